"""What to do with a stack that has just started: the lines after `ready:`."""

import httpx

from infra.local.commands.catalogue import SELLERS, items_of
from infra.local.commands.trade import how_to_sign_in
from infra.local.env import Env
from infra.local.stack.stack import Stack


async def next_steps(stack: Stack) -> list[str]:
    """Return the lines: how to fill the stack, or how to sign in if that has been done; then what else there is."""
    variables = variables_of(stack)
    if await is_seeded(stack.url):
        lines = ["  it holds the items and orders of `make seed`", *how_to_sign_in()]
    else:
        lines = [f"  next: make seed{variables}   (items, orders and people to sign in as; about half a minute)"]
    if any(viewer.name == "traces" for viewer in stack.viewers):
        lines.append(f"  traces: {stack.public_url}/dev/traces")
    return [*lines, f"  make operator EMAIL=...{variables}   (gives an account the operator's pages)"]


async def is_seeded(url: str) -> bool:
    """Return whether the first item of the seed is on sale."""
    title = next(items_of(SELLERS[0]))["title"]
    async with httpx.AsyncClient(base_url=url, timeout=5, trust_env=False) as client:
        try:
            answer = await client.get("/api/items", params={"q": str(title)})
            found = answer.raise_for_status().json().get("items", [])
        except httpx.HTTPError:
            return False
    return any(item["title"] == title for item in found)


def variables_of(stack: Stack) -> str:
    """Return the variables that a command needs to find this stack: nothing where it uses the defaults."""
    standard = Env.model_construct()
    words = []
    if stack.gateway.port != standard.port:
        words.append(f" PORT={stack.gateway.port}")
    if stack.data_dir != standard.data_dir.resolve():
        words.append(f" DATA_DIR={stack.data_dir}")
    return "".join(words)
