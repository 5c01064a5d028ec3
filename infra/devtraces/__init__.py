"""The traces of a Souk on a laptop, for development only. No cluster has it."""
