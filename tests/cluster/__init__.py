"""Souk on a real cluster: `make test-cluster`."""
