"""The deadlines of open holds: a sorted set in Redis, order ids scored by when they are due. Nothing else speaks Redis.

Times in Redis are milliseconds since 1970. A deadline is rounded up to one and the clock down, so none is due early.

The set is a projection of the orders' events. `marker` holds the run id of the Redis that it is complete in; in a Redis
that was emptied, restarted or replaced the two differ, and nothing is claimed until the set has been rebuilt. A worker
also remembers the Redis that it used last: one that comes back from before a failover has its own marker, but not what
happened in the meantime.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from common.batching import Batcher
from common.ids import new_id

AWAY = (RedisError,)
"""Redis can't do it now: it is away, full or read-only. The calls made here are never wrong in themselves."""

LEASE = timedelta(seconds=15)
"""How long a claim is its worker's own. A worker that publishes is done or has failed within 5 seconds."""

REBUILD_LEASE = timedelta(seconds=15)
"""How long a rebuild may pause between two of its steps before another worker begins one."""

KEYS = ("deadlines", "marker", "rebuilding")

EPOCH: Final = datetime.fromtimestamp(0, UTC)
MILLISECOND: Final = timedelta(milliseconds=1)

RUN_ID = "local run_id = redis.call('INFO', 'server'):match('run_id:(%w+)')\n"

# The limit must be below 4,000: Lua unpacks at most 8,000 values.
CLAIM = f"""{RUN_ID}
local now, leased_until, limit, trusted = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('GET', KEYS[2]) ~= run_id or (trusted ~= '' and trusted ~= run_id) then return false end
local due = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
local leases = {{}}
for i = 1, #due, 2 do
  leases[i], leases[i + 1] = leased_until, due[i]
end
if #leases > 0 then redis.call('ZADD', KEYS[1], 'XX', unpack(leases)) end
return {{due, redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or leased_until, run_id}}
"""

SETTLE = """
local leased_until = tonumber(ARGV[1])
for i = 2, #ARGV, 2 do
  local order, due_again = ARGV[i], ARGV[i + 1]
  if tonumber(redis.call('ZSCORE', KEYS[1], order) or 0) == leased_until then
    if due_again == '' then redis.call('ZREM', KEYS[1], order) else redis.call('ZADD', KEYS[1], due_again, order) end
  end
end
"""

BEGIN_REBUILD = f"""{RUN_ID}
local worker, lease = ARGV[1], ARGV[2]
local holder = redis.call('GET', KEYS[3])
if holder and holder:sub(1, #worker) ~= worker then return 0 end
redis.call('SET', KEYS[3], worker .. run_id, 'PX', lease)
return 1
"""

# Fails once the rebuild is another worker's, or this is no longer the Redis it began in.
REBUILD = f"""{RUN_ID}
local worker, lease, complete = ARGV[1], ARGV[2], ARGV[3]
if redis.call('GET', KEYS[3]) ~= worker .. run_id then return false end
for i = 4, #ARGV, 2 do
  local order, due = ARGV[i], ARGV[i + 1]
  if due == '' then redis.call('ZREM', KEYS[1], order) else redis.call('ZADD', KEYS[1], due, order) end
end
if complete == '1' then
  redis.call('SET', KEYS[2], run_id)
  redis.call('DEL', KEYS[3])
else
  redis.call('PEXPIRE', KEYS[3], lease)
end
return run_id
"""


class Incomplete(Exception):
    """This Redis may lack deadlines: it is new, or was emptied, restarted or replaced. Rebuild it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Orders whose time is over, each with its deadline, the earliest first: this worker's own until `leased_until`."""

    orders: Mapping[str, int]
    leased_until: int
    idle: timedelta
    """How long nothing further is due, unless a deadline is added."""


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970, rounded up."""
    return -((EPOCH - moment) // MILLISECOND)


def utc_now() -> datetime:
    """The service's own clock."""
    return datetime.now(UTC)


@asynccontextmanager
async def redis_at(url: str) -> AsyncIterator[Redis]:
    """The Redis at `url`. A call gives up after 5 seconds; a connection that broke while idle is replaced at once."""
    async with Redis.from_url(
        url, decode_responses=True, socket_timeout=5, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1)
    ) as redis:
        yield redis


class Deadlines:
    """The deadlines as one worker sees them. Every call may raise one of `AWAY`."""

    def __init__(self, redis: Redis, *, lease: timedelta = LEASE, clock: Callable[[], datetime] = utc_now) -> None:
        self._redis = redis
        self._lease = lease // MILLISECOND
        self._clock = clock
        self._worker = new_id()
        self._trusted = ""
        """The run id of the Redis in which this worker last found every deadline."""
        self._change: Batcher[tuple[str, int | None], None] = Batcher(self._change_all, shared=AWAY)
        self._claim = redis.register_script(CLAIM)
        self._settle = redis.register_script(SETTLE)
        self._begin_rebuild = redis.register_script(BEGIN_REBUILD)
        self._rebuild = redis.register_script(REBUILD)

    async def add(self, order_id: str, expires_at: datetime) -> None:
        """The hold of this order ends then. Adding again changes nothing: neither its deadline nor a claim on it."""
        await self._change((order_id, milliseconds(expires_at)))

    async def drop(self, order_id: str) -> None:
        """The hold of this order is settled."""
        await self._change((order_id, None))

    async def _change_all(self, changes: Sequence[tuple[str, int | None]]) -> list[None]:
        settled = {order for order, due in changes if due is None}
        added = {order: due for order, due in changes if due is not None and order not in settled}
        async with self._redis.pipeline(transaction=False) as pipeline:
            if added:
                pipeline.zadd(KEYS[0], added, nx=True)
            if settled:
                pipeline.zrem(KEYS[0], *settled)
            await pipeline.execute()
        return [None] * len(changes)

    async def due(self, orders: Sequence[str]) -> dict[str, int]:
        """The deadlines of those of the orders that have one, in milliseconds since 1970; or when a claim ends."""
        scores = await self._redis.zmscore(KEYS[0], list(orders)) if orders else []
        return {order: int(score) for order, score in zip(orders, scores, strict=True) if score is not None}

    async def all(self) -> AsyncIterator[tuple[str, int]]:
        """Every order that has a deadline, with it, in milliseconds since 1970."""
        async for order, due in self._redis.zscan_iter(KEYS[0], count=1_000):
            yield order, int(due)

    async def distrust(self) -> None:
        """Make a worker rebuild the deadlines, as if this Redis were new."""
        await self._redis.delete(KEYS[1])

    async def claim(self, limit: int) -> Claim:
        """Take up to `limit` orders that are due; the next claim takes others. Raises `Incomplete`.

        What is claimed must be settled. If its worker dies, it is due again when the lease is over.
        """
        now = (self._clock() - EPOCH) // MILLISECOND
        leased_until = now + self._lease
        answer = await self._claim(keys=KEYS, args=[now, leased_until, limit, self._trusted])
        if answer is None:
            raise Incomplete
        due, next_due, self._trusted = answer
        orders = {order: int(deadline) for order, deadline in zip(due[::2], due[1::2], strict=True)}
        return Claim(orders, leased_until, max(int(next_due) - now, 0) * MILLISECOND)

    async def settle(self, claim: Claim, published: Collection[str]) -> None:
        """Remove the orders of the claim whose end is `published`; give the rest back, due as before.

        Leaves alone what is no longer leased by this claim: it was dropped, added again or claimed by another worker.
        """
        args: list[str | int] = [claim.leased_until]
        for order, deadline in claim.orders.items():
            args += [order, "" if order in published else deadline]
        await self._settle(keys=KEYS, args=args)

    async def begin_rebuild(self) -> bool:
        """Become the worker that rebuilds. False while another one does it."""
        return bool(await self._begin_rebuild(keys=KEYS, args=[self._worker, REBUILD_LEASE // MILLISECOND]))

    async def rebuild(self, changes: Mapping[str, datetime | None], *, complete: bool = False) -> None:
        """Repeat some of what happened: deadlines, and None for what was settled; `complete` ends the rebuild.

        Raises `Incomplete` if the rebuild must start again: Redis was emptied again, or another worker took over.
        """
        args: list[str | int] = [self._worker, REBUILD_LEASE // MILLISECOND, int(complete)]
        for order, expires_at in changes.items():
            args += [order, "" if expires_at is None else milliseconds(expires_at)]
        run_id = await self._rebuild(keys=KEYS, args=args)
        if run_id is None:
            raise Incomplete
        if complete:
            self._trusted = run_id
