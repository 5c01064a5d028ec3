"""Souk under faults: people buy and sell while processes die and wires break, and then a checker does the books."""
