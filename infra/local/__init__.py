"""Souk on a laptop: real servers, all services and the gateway, started and supervised by `python -m infra.local`."""
