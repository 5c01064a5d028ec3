"""What audit reads from the environment."""

from pydantic import PositiveInt

from common.settings import MongoSettings


class AuditSettings(MongoSettings):
    """How often the books are checked, and how long a difference may last before it counts."""

    reconcile_every: PositiveInt = 300
    """Seconds from the beginning of one check to that of the next, by whichever replica."""
    reconcile_grace: PositiveInt = 120
    """Seconds after which what is still on its way counts as lost; a handler tries for 111 before it gives up."""
