"""The event log, the histories of orders, items and payments, dead letters, and reconciliation."""
