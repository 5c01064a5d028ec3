"""Souk under faults: people buy and sell while processes die and connections break; then a checker looks for damage."""
