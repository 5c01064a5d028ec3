"""Style sheet, scripts, font and icon."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from common.errors import NotFound
from common.http.dependencies import Provided
from web.rendering.assets import Assets

FOR_EVER = "public, max-age=31536000, immutable"

router = APIRouter()


FILE = {"schema": {"type": "string", "format": "binary"}}
FileName = Annotated[str, Path(description="A name that a page has.", examples=["souk.0123456789ab.css"])]
TYPES = ("application/javascript", "font/woff2", "image/svg+xml", "text/css", "text/javascript")


@router.get(
    "/static/{name}",
    responses={200: {"content": dict.fromkeys(TYPES, FILE)}, 404: {"description": "A page: there is no such file."}},
)
async def static_file(name: FileName, request: Request, assets: Annotated[Assets, Provided(Assets)]) -> Response:
    """A static file. Browsers may keep it for ever: its name changes with its content."""
    if not (asset := assets.by_name.get(name)):
        raise NotFound("there is no such file")
    headers = {"Cache-Control": FOR_EVER, "Vary": "Accept-Encoding"}
    accepted = request.headers.get("accept-encoding", "")
    for encoding in asset.encodings:
        if encoding in accepted:
            content = await asset.encoded(encoding)
            return Response(content, media_type=asset.media_type, headers={**headers, "Content-Encoding": encoding})
    return Response(asset.plain, media_type=asset.media_type, headers=headers)
