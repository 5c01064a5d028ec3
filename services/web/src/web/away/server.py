"""`python -m web.away.server` serves it to the ingress controller of a cluster. It needs no other server."""

from typing import Any

import uvicorn

from common.http.tls import context_factory
from common.settings import Listening, load
from web.away.answers import answer


async def app(scope: dict[str, Any], _receive: Any, send: Any) -> None:
    """Answer every request, whatever it asks for: who gets here has asked for something that is away."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    status, said, body = answer(scope["path"], headers)
    fields = [(name.lower().encode(), value.encode()) for name, value in said.items()]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve until SIGTERM."""
    settings = load(Listening)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        lifespan="off",
        access_log=False,
        ssl_context_factory=context_factory(settings),
    )


if __name__ == "__main__":
    main()
