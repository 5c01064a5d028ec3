"""The fields of a submitted form, once it is certain that one of Souk's own pages sent it."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Request, UploadFile
from starlette.datastructures import FormData
from starlette.datastructures import UploadFile as Upload

from common.errors import TooLarge
from common.http.dependencies import Provided
from web.clients.api import Refused
from web.pages.visitor import CurrentVisitor
from web.security.csrf import FIELD, Csrf, StaleForm

MAX_TEXT = 64 * 1024
"""Bytes of a form without files."""

MAX_PICTURES = 6
MAX_PICTURE = 5 * 1024 * 1024
MAX_BODY = MAX_PICTURES * MAX_PICTURE + MAX_TEXT
"""Bytes of a form with files."""


class Fields:
    """The fields of a submitted form."""

    def __init__(self, data: FormData) -> None:
        self._data = data

    def text(self, name: str) -> str:
        """A field as it was typed, or an empty string if there is none."""
        value = self._data.get(name, "")
        return value.replace("\r\n", "\n") if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        """A whole number of up to nine digits. None for anything else."""
        text = self.text(name).strip()
        return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else None

    def texts(self, *names: str) -> Mapping[str, str]:
        """Several fields, to show them again."""
        return {name: self.text(name) for name in names}

    def many(self, name: str) -> list[str]:
        """All values of a field that may occur several times, such as a row of checkboxes."""
        return [value for value in self._data.getlist(name) if isinstance(value, str)]

    def files(self, name: str) -> list[UploadFile]:
        """The files chosen in a field."""
        return [f for f in self._data.getlist(name) if isinstance(f, Upload) and f.filename]  # type: ignore[misc]


async def _submitted(
    request: Request, visitor: CurrentVisitor, csrf: Annotated[Csrf, Provided(Csrf)]
) -> AsyncIterator[Fields]:
    files = request.headers.get("content-type", "").startswith("multipart/form-data")
    if not files and int(request.headers.get("content-length", 0)) > MAX_TEXT:
        raise TooLarge(f"a form may have at most {MAX_TEXT} bytes")
    async with request.form(max_files=2 * MAX_PICTURES, max_fields=50, max_part_size=MAX_TEXT) as data:
        token = data.get(FIELD)
        if visitor.visit is None or not isinstance(token, str):
            raise StaleForm("this form has no token")
        visitor.require_known()
        csrf.check(token, visitor.visit, visitor.user_id)
        yield Fields(data)


Form = Annotated[Fields, Depends(_submitted)]
"""The submitted form. A route without use for its fields asks for it all the same: that checks who sent it."""


def errors_of(refused: Refused, texts: Mapping[str, str]) -> dict[str, str]:
    """The texts for the fields that a service has refused. Raises `refused` if there is no text for any of them."""
    errors = {name: text for name, text in texts.items() if name in refused.fields}
    if not errors:
        raise refused
    return errors


@contextmanager
def expected(*reasons: str) -> Iterator[None]:
    """Continue if a service refuses for one of these reasons: the next page shows the state that explains it."""
    try:
        yield
    except Refused as refused:
        if refused.reason not in reasons:
            raise
