"""What somebody typed into a form, once it is certain that our own page sent it."""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated

from fastapi import Depends, Request, UploadFile
from starlette.datastructures import FormData
from starlette.datastructures import UploadFile as Upload

from common.errors import TooLarge
from web.security.csrf import FIELD, StaleForm, check_origin
from web.security.visitor import Here

MAX_TEXT = 64 * 1024
"""Bytes of a form without files."""

MAX_PICTURES = 6
MAX_PICTURE = 5 * 1024 * 1024
MAX_BODY = MAX_PICTURES * MAX_PICTURE + MAX_TEXT
"""Bytes of a form with files."""


class Typed:
    """The fields of a form."""

    def __init__(self, data: FormData) -> None:
        self._data = data

    def text(self, name: str) -> str:
        """A field as it was typed; empty where there is none."""
        value = self._data.get(name, "")
        return value.replace("\r\n", "\n") if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        """A whole number; None for anything else."""
        text = self.text(name).strip()
        return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else None

    def texts(self, *names: str) -> Mapping[str, str]:
        """Some fields, to show them again."""
        return {name: self.text(name) for name in names}

    def many(self, name: str) -> list[str]:
        """Every value of a field that may come several times, as from a row of boxes."""
        return [value for value in self._data.getlist(name) if isinstance(value, str)]

    def files(self, name: str) -> list[UploadFile]:
        """The files chosen in a field."""
        return [f for f in self._data.getlist(name) if isinstance(f, Upload) and f.filename]  # type: ignore[misc]


async def _posted(request: Request, visitor: Here) -> AsyncIterator[Typed]:
    check_origin(request)
    files = request.headers.get("content-type", "").startswith("multipart/form-data")
    if not files and int(request.headers.get("content-length", 0)) > MAX_TEXT:
        raise TooLarge(f"a form may have at most {MAX_TEXT} bytes")
    async with request.form(max_files=2 * MAX_PICTURES, max_fields=50, max_part_size=MAX_TEXT) as data:
        token = data.get(FIELD)
        if visitor.visit is None or not isinstance(token, str):
            raise StaleForm("this form has no token")
        visitor.site.csrf.check(token, visitor.visit, visitor.user_id)
        yield Typed(data)


Form = Annotated[Typed, Depends(_posted)]
