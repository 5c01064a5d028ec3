"""What can go wrong, in the words of the business. `common.http.problems` knows the HTTP status of each kind."""

from typing import ClassVar


class SoukError(Exception):
    """An error that callers may see. `code` is stable and for programs; the message is for people.

    `more` are further members of the problem, for programs too: values that JSON and MongoDB can store.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str = "", **more: object) -> None:
        super().__init__(message)
        self.more = more


class Invalid(SoukError):
    """The request can be read, but what it asks for makes no sense."""

    code = "invalid"


class Unauthenticated(SoukError):
    """Nobody is signed in, or the session is not valid."""

    code = "not_signed_in"


class Forbidden(SoukError):
    """Signed in, but not allowed to do this."""

    code = "forbidden"


class NotFound(SoukError):
    """There is no such thing, or the caller may not know of it."""

    code = "not_found"


class Conflict(SoukError):
    """The request is valid, but the current state does not allow it."""

    code = "conflict"


class Declined(SoukError):
    """The payment was refused."""

    code = "declined"


class TooLarge(SoukError):
    """More bytes than this route accepts."""

    code = "too_large"


class Unsupported(SoukError):
    """A body of a type that this route does not accept."""

    code = "unsupported"


class TooMany(SoukError):
    """Too many attempts; the next one is allowed in `retry_after` seconds, which the problem has too."""

    code = "too_many_requests"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message, retry_after=retry_after)
        self.retry_after = retry_after


class Unavailable(SoukError):
    """Souk cannot do this right now. It is not the caller's fault, and nothing was lost: try again."""

    code = "unavailable"


class StaleWrite(Conflict):
    """Another writer changed the document since it was loaded. Load it and decide again."""

    code = "changed_meanwhile"


class IdempotencyKeyReused(Invalid):
    """The same Idempotency-Key came with another body."""

    code = "idempotency_key_reused"
