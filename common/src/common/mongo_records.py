"""Records of a service that stores them in MongoDB. Apart from `common.records`, which every service can import."""

from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession

from common.mongo.client import Collection
from common.records import Record, RecordsQuery


async def records_in(
    collection: Collection, query: RecordsQuery, *fields: str, session: AsyncClientSession | None = None
) -> list[Record]:
    """One page of documents: `id`, those of `fields` that are set, and as `pending` the number of unpublished events.

    Shows what the majority has, and so everything that was published; or the snapshot of `session`.
    """
    wanted: dict[str, Any] = {"$gt": query.after}
    if query.ids is not None:
        wanted["$in"] = query.ids
    shown: dict[str, Any] = dict.fromkeys(fields, 1)
    shown["pending"] = {"$size": {"$ifNull": ["$pending", []]}}
    found = await collection.find({"_id": wanted}, shown, session=session).sort("_id", 1).limit(query.limit).to_list()
    return [{"id": document.pop("_id"), **document} for document in found]
