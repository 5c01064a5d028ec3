"""Records of a service that stores them in MongoDB. Apart from `common.records`, which every service can import."""

from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure

from common.mongo.client import AWAY, Collection, Document
from common.records import ChangesLost, Record, RecordsQuery

TELLABLE = {"insert", "update", "replace"}
"""Writes after which the document is still there. No service deletes its records."""


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


async def changes_in(query: RecordsQuery, **collections: Collection) -> list[Record]:
    """What anybody wrote to these collections of one database since the mark `query.after`: a page of change stream.

    A row names the `kind` of a record, as its collection is named here, and its `key`; the row's id is the mark behind
    it. A last row without a key says that there is no more: its id is the mark of now. Without `after` it comes alone.
    Raises `ChangesLost` if the oplog no longer reaches back to the mark, or something was deleted.
    """
    kinds = {collection.name: kind for kind, collection in collections.items()}
    [database] = {collection.database.name: collection.database for collection in collections.values()}.values()
    mark = {"_data": query.after} if query.after else None
    ours: list[Document] = [
        {"$match": {"ns.coll": {"$in": list(kinds)}}},
        {"$project": {"operationType": 1, "ns.coll": 1, "documentKey": 1}},
    ]
    rows: list[Record] = []
    try:
        stream = await database.watch(ours, resume_after=mark, max_await_time_ms=1, batch_size=query.limit)
        async with stream as changes:
            while mark and len(rows) < query.limit and (change := await changes.try_next()):
                collection = change["ns"]["coll"]
                if change["operationType"] not in TELLABLE:
                    raise ChangesLost(f"there was a {change['operationType']} in {collection}")
                key = change["documentKey"]["_id"]
                rows.append({"id": change["_id"]["_data"], "kind": kinds[collection], "key": key})
            if len(rows) < query.limit:
                rows.append({"id": changes.resume_token["_data"]})  # type: ignore[index] # one comes with each batch
    except AWAY:
        raise
    except OperationFailure as error:
        raise ChangesLost(f"the change stream cannot be read from that mark: {error}") from error
    return rows
