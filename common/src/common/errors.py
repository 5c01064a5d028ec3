"""What can go wrong, in the words of the business. `http.py` alone knows which status each kind becomes."""

from typing import ClassVar


class SoukError(Exception):
    """An error that a caller may be told. `code` is stable: clients branch on it; the text is for people."""

    code: ClassVar[str] = "error"


class Invalid(SoukError):
    """The request can be read, but what it asks for makes no sense."""

    code = "invalid"


class Unauthenticated(SoukError):
    """Nobody is signed in, or the session does not hold."""

    code = "not_signed_in"


class Forbidden(SoukError):
    """Signed in, but not allowed to do this."""

    code = "forbidden"


class NotFound(SoukError):
    """There is no such thing, or it is none of the caller's business."""

    code = "not_found"


class Conflict(SoukError):
    """The request is fine, but the state of things does not allow it."""

    code = "conflict"


class Declined(SoukError):
    """The money was refused."""

    code = "declined"


class TooLarge(SoukError):
    """More bytes than this route takes."""

    code = "too_large"


class Unsupported(SoukError):
    """A body of a kind that this route does not take."""

    code = "unsupported"


class TooMany(SoukError):
    """Too many tries; come back in `retry_after` seconds."""

    code = "too_many_requests"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(SoukError):
    """Souk cannot do this right now, through no fault of the caller. Nothing was lost; try again."""

    code = "unavailable"


class StaleWrite(Conflict):
    """Somebody else changed the document since it was loaded. Load it again and decide anew."""

    code = "changed_meanwhile"


class IdempotencyKeyReused(Invalid):
    """The same Idempotency-Key came with another body."""

    code = "idempotency_key_reused"
