"""Souk on Kubernetes: kustomize bases and overlays, and what writes their secrets and users."""
