"""An entry of the security log, as audit keeps it."""

from typing import Self

from common.bus.message import Message
from common.security_log import SecurityEntry


class Noted(SecurityEntry):
    """What a service has noted."""

    service: str

    @classmethod
    def of(cls, message: Message) -> Self:
        """The entry in a message. Its subject says whose it is: the bus lets no service write another's."""
        entry = SecurityEntry.model_validate_json(message.body)
        return cls(**entry.model_dump(), service=message.subject.split(".")[1])
