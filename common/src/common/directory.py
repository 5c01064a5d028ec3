"""Who somebody is: auth alone knows, and says so to those who may ask, by request and reply over the bus. Likewise
tickets says to which address a ticket is offered, as long as it is.

No event holds a name or an address, because streams keep events for ever (docs/decisions/privacy.md). Who has deleted
their account is not found any more.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, Field, ValidationError

from common.bus.connection import Bus
from common.errors import Unavailable

log = logging.getLogger(__name__)

NAMES = "people.names"
CONTACTS = "people.contacts"
ADDRESS_CHANGES = "people.address_changes"
IDS = "people.ids"
NAMED = "people.named"
RECIPIENTS = "offers.recipients"
"""The subjects of requests. Whoever may send them is in `infra.services`."""

MOST = 200
"""Keys of one request."""

T = TypeVar("T", bound=BaseModel)
Reader = Callable[[list[str]], Awaitable[Mapping[str, BaseModel]]]


class Named(BaseModel):
    """How somebody is called."""

    name: str


class Contact(Named):
    """Where mails reach somebody."""

    email: str
    email_version: int
    language: str


class AddressChange(BaseModel):
    """A request for another address: the one before and the new one."""

    email: str
    new_email: str


class Owner(BaseModel):
    """Whose address it is."""

    user_id: str


class Namesakes(BaseModel):
    """Those whose name has a text in it, some of them if they are many."""

    user_ids: list[str]


class Recipient(BaseModel):
    """The address that a ticket is offered to."""

    email: str


class Query(BaseModel):
    """What is looked up: ids of users or of requests, addresses, or parts of names."""

    keys: Annotated[list[str], Field(max_length=MOST)]


class Directory:
    """Asks auth or tickets. Every call raises `Unavailable` without an answer; who is unknown or erased is left out."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def name(self, user_id: str) -> str | None:
        """The name of a user."""
        return (await self.names([user_id])).get(user_id)

    async def names(self, user_ids: Collection[str]) -> dict[str, str]:
        """The names of users, by id."""
        wanted, names = list(user_ids), dict[str, str]()
        for start in range(0, len(wanted), MOST):
            found = await self._ask(NAMES, wanted[start : start + MOST], Named)
            names |= {key: one.name for key, one in found.items()}
        return names

    async def contact(self, user_id: str) -> Contact | None:
        """Where mails reach a user."""
        return (await self._ask(CONTACTS, [user_id], Contact)).get(user_id)

    async def address_change(self, request_id: str) -> AddressChange | None:
        """The addresses of a request for another one. None once auth has forgotten it."""
        return (await self._ask(ADDRESS_CHANGES, [request_id], AddressChange)).get(request_id)

    async def user_with(self, email: str) -> str | None:
        """The id of the user with this address, in any case."""
        found = await self._ask(IDS, [email], Owner)
        return found[email].user_id if email in found else None

    async def named(self, text: str) -> list[str]:
        """The ids of users whose name has this text in it, in any case; not all of them if they are many."""
        found = await self._ask(NAMED, [text], Namesakes)
        return found[text].user_ids if text in found else []

    async def recipient(self, request_id: str) -> str | None:
        """The address that a ticket is offered to with this request. None once that offer is over."""
        found = await self._ask(RECIPIENTS, [request_id], Recipient)
        return found[request_id].email if request_id in found else None

    async def _ask(self, subject: str, keys: list[str], kind: type[T]) -> dict[str, T]:
        said = await self._bus.request(subject, Query(keys=keys).model_dump_json().encode())
        found = _Answer[kind].model_validate_json(said).found  # type: ignore[valid-type]
        if found is None:
            raise Unavailable(f"{subject} could not be looked up")
        return found


class _Answer(BaseModel, Generic[T]):
    found: dict[str, T] | None


@asynccontextmanager
async def answering(bus: Bus, readers: Mapping[str, Reader]) -> AsyncIterator[None]:
    """Answer requests, each subject by its reader, which finds what it can of the keys."""
    async with AsyncExitStack() as subscriptions:
        for subject, reader in readers.items():
            await subscriptions.enter_async_context(bus.answering(subject, _answer(reader)))
        yield


def _answer(reader: Reader) -> Callable[[bytes], Awaitable[bytes]]:
    async def answer(request: bytes) -> bytes:
        try:
            found = await reader(Query.model_validate_json(request).keys)
        except ValidationError:
            found = {}
        except Exception as error:
            log.warning("could not look up who somebody is: %s", type(error).__name__)
            return b'{"found":null}'
        return _Answer[BaseModel](found=dict(found)).model_dump_json(serialize_as_any=True).encode()

    return answer
