"""The fields of a submitted form, once it is certain that one of Souk's own pages sent it."""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Request, UploadFile
from starlette.datastructures import FormData
from starlette.datastructures import UploadFile as Upload
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from common.errors import TooLarge, Unsupported
from common.http.dependencies import Provided
from common.places import Places
from web.clients.api import Refused
from web.pages.visitor import CurrentVisitor, Visitor
from web.security.csrf import FIELD, Csrf, StaleForm

MAX_TEXT = 64 * 1024
"""Bytes of a form without files."""

MAX_PICTURES = 6
MAX_PICTURE = 5 * 1024 * 1024
MAX_BODY = MAX_PICTURES * MAX_PICTURE + MAX_TEXT
"""Bytes of a form with files."""

WITH_PICTURES = re.compile(r"/sell|/items/[^/]+/pictures")
"""The paths of the two forms with files."""

FORMS_PER_PERSON, FORMS = 2, 32
"""Forms with files that one person sends at the same time, and that all do."""


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


class _WithPictures(MultiPartParser):
    """Checks the token as soon as it is there, and takes no file before."""

    def __init__(self, request: Request, check: Callable[[object], None]) -> None:
        super().__init__(
            request.headers, request.stream(), max_files=2 * MAX_PICTURES, max_fields=50, max_part_size=MAX_TEXT
        )
        self._check = check
        self._checked = False

    def on_part_end(self) -> None:
        super().on_part_end()
        name, value = self.items[-1]
        if name == FIELD:
            self._check(value)
            self._checked = True

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if self._current_files and not self._checked:
            raise StaleForm("this form has no token before its files")


async def _submitted(request: Request, visitor: CurrentVisitor, csrf: Annotated[Csrf, Provided(Csrf)]) -> Fields:
    if _is_multipart(request):
        raise Unsupported("this form has no files: send it as application/x-www-form-urlencoded")
    if int(request.headers.get("content-length", 0)) > MAX_TEXT:
        raise TooLarge(f"a form may have at most {MAX_TEXT} bytes")
    data = await request.form(max_fields=50, max_part_size=MAX_TEXT)
    _check(data.get(FIELD), visitor, csrf)
    return Fields(data)


async def _submitted_with_pictures(
    request: Request,
    visitor: CurrentVisitor,
    csrf: Annotated[Csrf, Provided(Csrf)],
    places: Annotated[Places, Provided(Places)],
) -> AsyncIterator[Fields]:
    user = visitor.require_user()  # Before a byte of the body is read.
    if not _is_multipart(request):
        yield await _submitted(request, visitor, csrf)
        return
    with places.taken_by(user.id):
        parser = _WithPictures(request, lambda token: _check(token, visitor, csrf))
        try:
            data = await parser.parse()
        except MultiPartException as error:
            raise HTTPException(400, error.message) from None
        try:
            _check(data.get(FIELD), visitor, csrf)
            yield Fields(data)
        finally:
            await data.close()


def _is_multipart(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data"


def _check(token: object, visitor: Visitor, csrf: Csrf) -> None:
    if visitor.visit is None or not isinstance(token, str):
        raise StaleForm("this form has no token")
    visitor.require_known()
    csrf.check(token, visitor.visit, visitor.user_id)


Form = Annotated[Fields, Depends(_submitted)]
"""The submitted form. A route without use for its fields asks for it all the same: that checks who sent it."""

FormWithPictures = Annotated[Fields, Depends(_submitted_with_pictures)]
"""A submitted form whose sender is signed in and may add files. They are on the disk until the answer is made."""


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
