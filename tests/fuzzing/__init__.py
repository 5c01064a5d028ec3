"""Calls every operation with what its document allows, and with what it does not."""
