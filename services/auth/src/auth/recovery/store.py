"""Requests in MongoDB."""

from collections.abc import Callable

from auth.recovery.domain import Request
from common.mongo.client import WITHOUT_PENDING, Database
from common.outbox import Outbox, Relay

FORGOTTEN_SECONDS = 24 * 3600
"""How long a request is kept after its time."""


class RequestStore:
    """Keeps requests. MongoDB itself deletes those whose time is long over and whose events are published."""

    def __init__(self, db: Database, relay: Relay) -> None:
        self._requests = db.requests
        self._outbox = Outbox(db.requests, relay)

    async def prepare(self) -> None:
        """Make the index that removes old requests."""
        await self._requests.create_index(
            "expires_at",
            name="forgotten",
            expireAfterSeconds=FORGOTTEN_SECONDS,
            partialFilterExpression={"pending": []},
        )

    async def save(self, request: Request) -> None:
        """Save a new request. Raises `Unavailable` when too many events wait for the bus."""
        self._outbox.relay.check_room()
        await self._outbox.save(request)

    async def get(self, request_id: str) -> Request | None:
        """The request with this id; None if there is none."""
        document = await self._requests.find_one({"_id": request_id}, WITHOUT_PENDING)
        return Request.from_document(document) if document else None

    async def change(self, request: Request, decide: Callable[[Request], None]) -> None:
        """Let `decide` change a request, and save it."""
        await self._outbox.change(request, decide)
