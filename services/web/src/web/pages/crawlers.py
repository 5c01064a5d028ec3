"""What search engines ask for."""

from typing import Annotated
from xml.sax.saxutils import escape

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse, RedirectResponse

from common.http.dependencies import Provided
from web.pages.visitor import CurrentVisitor
from web.rendering.assets import Assets

router = APIRouter()

PAGES = 20
"""Pages of the newest items in the site map."""

HOUR = {"Cache-Control": "public, max-age=3600"}

PRIVATE = ("/my/", "/orders/", "/account", "/operator", "/sell", "/signin", "/signup", "/live", "/api/")
"""Beginnings of addresses where a search engine finds nothing."""


@router.get("/robots.txt", include_in_schema=False)
async def robots(visitor: CurrentVisitor) -> Response:
    """Where search engines may go."""
    rules = "".join(f"Disallow: {path}\n" for path in PRIVATE)
    return PlainTextResponse(f"User-agent: *\n{rules}\nSitemap: {visitor.origin}/sitemap.xml\n", headers=HOUR)


@router.get("/sitemap.xml", include_in_schema=False)
async def site_map(visitor: CurrentVisitor) -> Response:
    """The newest items, and their categories (sitemaps.org/protocol.html)."""
    addresses, cursor = [f"{visitor.origin}/"], None
    for _ in range(PAGES):
        found = await visitor.api.items(cursor=cursor)
        if not cursor:
            addresses += [f"{visitor.origin}/categories/{category}" for category in found.facets.get("category", ())]
        addresses += [f"{visitor.origin}/items/{item.id}" for item in found.items]
        cursor = found.next
        if not cursor:
            break
    urls = "".join(f"<url><loc>{escape(address)}</loc></url>" for address in addresses)
    content = f'<?xml version="1.0" encoding="UTF-8"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>'
    return Response(content, media_type="application/xml", headers=HOUR)


@router.get("/favicon.ico", include_in_schema=False)
async def favicon(assets: Annotated[Assets, Provided(Assets)]) -> Response:
    """The icon, for browsers that ask before they read a page."""
    return RedirectResponse(assets.url("icon.svg"), 302, headers=HOUR)
