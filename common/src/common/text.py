"""What people may type: `LINE` is for titles and names, `TEXT` for descriptions, as in `Annotated[str, LINE]`.

Control characters (C0, DEL and C1) have no place in either, but a `TEXT` may have tabs and ends of lines. Both are for
requests only: what was stored before this rule existed must still load.
"""

import re
from dataclasses import dataclass

from pydantic import AfterValidator, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_TEXT = re.compile(r"(?!\r\n)[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def _line(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("a line cannot contain a control character")
    return value


def _text(value: str) -> str:
    if _CONTROL_IN_TEXT.search(value):
        raise ValueError("a text cannot contain a control character other than tabs and ends of lines")
    return value


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
TEXT = _Characters(_text, r"^[\t-\r]*(?:[^\x00-\x08\x0b-\x1f\x7f-\x9f]|\r\n)*[\t-\r]*$")
