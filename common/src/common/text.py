"""What people may type: `LINE` is for titles and names, `TEXT` for descriptions, as in `Annotated[str, LINE]`.
`SOME_TEXT` has something in it. `TIME_ZONE` is the IANA name of a time zone, as in `Europe/Berlin`. `CALENDAR` is for a
day or a time in a query, which is not a number of seconds.

Control characters (C0, DEL and C1) have no place in any, but a text may have tabs and ends of lines. These are for
requests only: what was stored before this rule existed must still load.
"""

import re
from dataclasses import dataclass
from functools import cache
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_CONTROL_IN_TEXT = re.compile(r"(?!\r\n)[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def _line(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("a line cannot contain a control character")
    return value


def _text(value: str) -> str:
    if _CONTROL_IN_TEXT.search(value):
        raise ValueError("a text cannot contain a control character other than tabs and ends of lines")
    return value


def _time_zone(value: str) -> str:
    if value not in _time_zones():
        raise ValueError("it is not the name of a time zone, as in Europe/Berlin")
    return value


def _begins_with_a_day(value: object) -> object:
    if isinstance(value, str) and not _DAY.match(value):
        raise ValueError("write a day as 2027-05-01, and a time as 2027-05-01T18:00:00Z")
    return value  # Pydantic would take "86400" as well, as the second of January 1970.


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())  # which looks through all files, every time


@dataclass(frozen=True, slots=True)
class _Characters(AfterValidator):
    """A check of characters that the JSON schema shows as a pattern."""

    pattern: str

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": self.pattern}


# Texts are stripped before the check: white space around one is no fault, and a line is more than that.
LINE = _Characters(
    _line, r"^[\t-\r ]*[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?[\t-\r ]*$"
)
_ALLOWED = r"(?:[^\x00-\x08\x0b-\x1f\x7f-\x9f]|\r\n)*[\t-\r]*$"
TEXT = _Characters(_text, rf"^[\t-\r]*{_ALLOWED}")
SOME_TEXT = _Characters(_text, rf"^[\t-\r ]*[^\s\x00-\x1f\x7f-\x9f]{_ALLOWED}")
TIME_ZONE = AfterValidator(_time_zone)
CALENDAR = BeforeValidator(_begins_with_a_day)
