"""The front door, and a page for every address where nothing is."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from web.pages import HEADERS, HOME, MISSING

router = APIRouter(include_in_schema=False)


@router.get("/")
async def home() -> HTMLResponse:
    """What Souk is, and where its API begins."""
    return HTMLResponse(HOME, headers=HEADERS)


@router.get("/{path:path}")
async def missing(path: str) -> HTMLResponse:  # noqa: ARG001 - named in the route
    """There is no such page."""
    return HTMLResponse(MISSING, 404, headers=HEADERS)
