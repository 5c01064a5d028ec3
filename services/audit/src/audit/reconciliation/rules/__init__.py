"""The rules: what the event log and the services' records must agree on. No I/O.

The log is read after the records. Up to a record's version it lacks only events that are on their way. A finding is
`certain` only if both sides have the same version; any other finding must last to count.
"""
