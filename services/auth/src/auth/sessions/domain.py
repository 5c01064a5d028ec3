"""A session: one sign-in on one device, until it is ended or its time is over. No I/O."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from pydantic import Field

from common.aggregate import Aggregate
from common.events import SessionEnd, SessionEnded
from common.ids import new_id

REPEAT_SECONDS = 30
"""How long a refresh repeats its answer for the same Idempotency-Key."""


class Method(StrEnum):
    """How somebody proves to be the owner of an account."""

    PASSWORD = "password"  # noqa: S105 - the name of a method
    PASSKEY = "passkey"
    RECOVERY_CODE = "recovery_code"


class Session(Aggregate):
    """A sign-in. Of its refresh tokens it knows hashes only.

    All refresh tokens of a session begin with the same secret, whose hash is `family_hash`; `token_hash` is the hash of
    the one that counts now. Any other token of the family was used before.
    """

    user_id: str
    family_hash: str
    token_hash: str
    device: str
    address: str
    """The network that it was last seen in."""
    created_at: datetime
    last_seen: datetime
    """The sign-in or the last refresh."""
    expires_at: datetime
    used_hash: str | None = None
    """Hash of the token that was exchanged last, at `last_seen`, and of the Idempotency-Key that came with it."""
    used_key: str | None = None
    chain_salt: str = ""
    """Random, of this session alone: its refresh tokens are derived with it."""
    ended_at: datetime | None = None
    proofs: dict[Method, datetime] = Field(default_factory=dict)
    """When its holder last proved to be its owner, by each method."""
    password_version: int = 1
    """The password that its account had: a newer one ends it, whenever that is noticed."""

    @classmethod
    def begin(
        cls,
        *,
        user_id: str,
        family_hash: str,
        token_hash: str,
        device: str,
        address: str,
        now: datetime,
        expires_at: datetime,
        method: Method,
        password_version: int,
        chain_salt: str,
    ) -> Self:
        """Somebody has signed in, by a method."""
        return cls(
            id=new_id(),
            user_id=user_id,
            family_hash=family_hash,
            token_hash=token_hash,
            device=device,
            address=address,
            created_at=now,
            last_seen=now,
            expires_at=expires_at,
            proofs={method: now},
            chain_salt=chain_salt,
            password_version=password_version,
        )

    def prove(self, method: Method, now: datetime) -> None:
        """Its holder has proved once more to be its owner."""
        self.proofs[method] = now

    def is_proved(self, methods: Iterable[Method], since: datetime) -> bool:
        """Whether its holder has proved by one of these methods after `since` to be its owner."""
        return any(self.proofs[method] > since for method in methods if method in self.proofs)

    def outlive(self, password_version: int) -> None:
        """Its holder has set a new password: this session goes on."""
        self.password_version = password_version

    def is_over(self, now: datetime) -> bool:
        """Whether it was ended, or its time is over."""
        return self.ended_at is not None or now >= self.expires_at

    def refresh(
        self, *, used: str, following: str, key: str | None, address: str, now: datetime, expires_at: datetime
    ) -> None:
        """Exchange the refresh token whose hash is `used` for that of `following`.

        A token that was exchanged before ends the session: two have it, and one of them may have stolen it. Only under
        the same `key`, within `REPEAT_SECONDS`, is it a repetition: an answer was lost, or two pages asked at once.
        """
        if self.is_over(now):
            return
        if used == self.token_hash:
            self.used_hash, self.used_key = used, key
            self.last_seen, self.address, self.expires_at = now, address, expires_at
        elif not self._is_repetition(used, key, now):
            self.end(SessionEnd.REUSED, now)
            return
        self.token_hash = following

    def _is_repetition(self, used: str, key: str | None, now: datetime) -> bool:
        recent = now < self.last_seen + timedelta(seconds=REPEAT_SECONDS)
        return recent and key is not None and (used, key) == (self.used_hash, self.used_key)

    def end(self, reason: SessionEnd, now: datetime) -> None:
        """End it. Ending it twice, or after its time, is nothing new."""
        if self.is_over(now):
            return
        self.ended_at = now
        self.record(SessionEnded(session_id=self.id, user_id=self.user_id, ended_at=now, reason=reason))
