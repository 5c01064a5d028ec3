"""The door: gates, and the scans that they make."""
