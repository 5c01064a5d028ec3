"""Souk on Kubernetes: kustomize base and overlays, and the programs that write their secrets and lists of services."""
