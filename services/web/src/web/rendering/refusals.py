"""A service's no that no page has an answer to is handed on as it is."""

from fastapi import Request, Response

from common.http.problems import problem
from web.clients.api import Refused


async def answer_refusal(_: Request, error: Exception) -> Response:
    """The problem that the service answered with."""
    assert isinstance(error, Refused)  # noqa: S101 - registered for this type
    return problem(error.status, error.reason, str(error))
