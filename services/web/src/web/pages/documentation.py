"""The API for those who program against it: its documents, and a page for each."""

from typing import Annotated

from fastapi import APIRouter, Response

from common.http.dependencies import Provided
from web.pages.visitor import CurrentVisitor
from web.rendering.documents import Documents
from web.security.headers import content_security_policy

router = APIRouter(prefix="/api", include_in_schema=False)

TheDocuments = Annotated[Documents, Provided(Documents)]

ICONS = {"img-src": "'self' data:"}
"""Swagger UI's style sheet contains its icons."""


@router.get("/openapi.json")
async def openapi(documents: TheDocuments) -> Response:
    """What the services answer to whom: one document for all of them."""
    return Response(documents.texts["openapi.json"], media_type="application/json")


@router.get("/asyncapi.json")
async def asyncapi(documents: TheDocuments) -> Response:
    """What the services tell each other."""
    return Response(documents.texts["asyncapi.json"], media_type="application/json")


@router.get("/docs")
async def calls_page(visitor: CurrentVisitor) -> Response:
    """The OpenAPI document, to read and to try."""
    page = visitor.render("documentation/calls.html")
    page.headers["Content-Security-Policy"] = content_security_policy(ICONS)
    return page


@router.get("/docs/events")
async def events_page(visitor: CurrentVisitor, documents: TheDocuments) -> Response:
    """The AsyncAPI document, to read."""
    return visitor.render("documentation/events.html", streams=documents.streams, headers=documents.event_headers)
