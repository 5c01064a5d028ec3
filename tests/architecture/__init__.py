"""The plan of the repository: its walls, its registry of services, and the guide to adding one."""
