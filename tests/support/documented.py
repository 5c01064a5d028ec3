"""Compares what a service answers with its OpenAPI document: every answer in a test is a test of the document."""

import re
from typing import Any

import httpx
from fastapi import FastAPI

OF_BODIES = frozenset({"length_required", "too_large"})
"""What a body gets that an operation does not ask for."""


class Undocumented(AssertionError):
    """A service has answered what its OpenAPI document does not say."""


def compared(app: FastAPI) -> dict[str, list[Any]]:
    """The event hooks of a client of this service: what its document does not have raises `Undocumented`."""

    async def check(response: httpx.Response) -> None:
        if response.headers.get("content-type") == "application/problem+json":
            await response.aread()
        check_documented(app, response.request.method, response.request.url.path, response)

    return {"response": [check]}


def check_documented(app: FastAPI, method: str, path: str, response: httpx.Response) -> None:
    """Raise `Undocumented` if the operation, the status or the code of a problem is not in the document.

    The body of a problem must have been read. A 500 is no part of any document, and not checked.
    """
    is_problem = response.headers.get("content-type") == "application/problem+json"
    code = response.json()["code"] if is_problem and method != "HEAD" else None
    if response.status_code >= 500 and code != "unavailable":
        return
    operation = operation_at(app.openapi(), method, path)
    if operation is None or ("requestBody" not in operation and code in OF_BODIES):
        return
    told = f"{method} {path} answers {response.status_code} {code or ''}".rstrip()
    statuses = operation["responses"]
    documented = statuses.get(str(response.status_code)) or statuses.get(f"{response.status_code // 100}XX")
    if documented is None:
        raise Undocumented(f"{told}: name its error in responses=problems(...), or in raises(...) of the dependency")
    if is_problem and code:
        media = documented.get("content", {}).get("application/problem+json")
        if media is None or code not in media["schema"]["properties"]["code"]["enum"]:
            raise Undocumented(
                f"{told}: name its error in responses=problems(...), or in raises(...) of the dependency"
            )


def operation_at(document: dict[str, Any], method: str, path: str) -> dict[str, Any] | None:
    """The operation that a request for a path reaches: of several templates that fit, the most literal."""
    method = "get" if method == "HEAD" else method.lower()
    for template in sorted(document["paths"], key=lambda template: template.count("{")):
        pattern = re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(template))
        if method in document["paths"][template] and re.fullmatch(pattern, path):
            operation: dict[str, Any] = document["paths"][template][method]
            return operation
    return None
