"""What audit reads from the environment."""

from pydantic import PositiveInt

from common.settings import MongoSettings


class AuditSettings(MongoSettings):
    """When reconciliation runs, and how long a difference may last before it counts as a violation."""

    reconcile_every: PositiveInt = 300
    """Seconds from the start of one check to the start of the next, over all replicas."""
    reconcile_whole_every: PositiveInt = 3600
    """Seconds from one check of everything to the next. The others check what has changed."""
    reconcile_grace: PositiveInt = 120
    """Seconds after which an event on its way counts as lost. A handler retries for 111 s before it dead-letters."""
