"""The floor: what bare FastAPI does with the same database and bus, without sessions, versions, outbox or retries.

GET is one `find_one`, or the newest twenty;
POST is one insert and one awaited publish, so an event is lost when the process dies in between.
"""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from pymongo import AsyncMongoClient


class NewItem(BaseModel):
    """The same body as an item of Souk."""

    title: str
    description: str
    price: int
    currency: str
    quantity: int


class Item(NewItem):
    """The same size of an answer."""

    id: str
    seller_id: str
    seller_name: str | None
    available: int
    status: str
    version: int


@asynccontextmanager
async def servers(app: FastAPI) -> AsyncIterator[None]:
    """One database, one bus."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(os.environ["MONGO_URL"], w="majority")
    bus = await nats.connect(os.environ["NATS_URL"])
    app.state.items = client.get_default_database().items
    app.state.js = bus.jetstream()
    await app.state.js.add_stream(name="FLOOR", subjects=["floor.>"])
    yield
    await bus.close()
    await client.close()


app = FastAPI(lifespan=servers)


@app.get("/")
async def newest() -> list[Item]:
    """The newest twenty items."""
    found = await app.state.items.find({}).sort("_id", -1).limit(20).to_list()
    return [Item(id=document.pop("_id"), **document) for document in found]


@app.get("/{key}")
async def get(key: str) -> Item:
    """One item."""
    return Item(id=key, **await app.state.items.find_one({"_id": key}))


@app.post("/", status_code=201)
async def post(body: NewItem) -> Item:
    """One item more, and an event."""
    item = Item(
        id=uuid.uuid4().hex,
        seller_id="s",
        seller_name="Sid",
        available=body.quantity,
        status="listed",
        version=1,
        **body.model_dump(),
    )
    await app.state.items.insert_one({"_id": item.id, **item.model_dump(exclude={"id"})})
    headers = {"Nats-Msg-Id": uuid.uuid4().hex}
    await app.state.js.publish("floor.listed", item.model_dump_json().encode(), headers=headers)
    return item


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")
