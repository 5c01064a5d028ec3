"""Begins, refreshes and ends sessions."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_hex

from auth.domain import Account, BadCredentials
from auth.passkeys.store import KeyringStore
from auth.sessions.access_tokens import AccessTokens
from auth.sessions.domain import Method, Session
from auth.sessions.refresh_tokens import RefreshChain, RefreshToken
from auth.sessions.store import SessionStore
from auth.store import AccountStore
from common.errors import NotFound
from common.events import SessionEnd
from common.http.sessions import SessionOver, User
from common.security_log import note

MAX_SECONDS_WITH_ROLE = 12 * 3600
"""How long after the sign-in a session of somebody with a role can be refreshed, in seconds."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks: a device and the network it is in."""

    device: str
    network: str


@dataclass(frozen=True, slots=True)
class Issued:
    """The tokens that a session has now, and how long each is good, in seconds."""

    user: User
    access_token: str
    access_seconds: int
    refresh_token: str | None = None
    """None where the session keeps the one that it has."""
    refresh_seconds: int = 0


class SessionKeeper:
    """All sessions. One lasts `seconds` after it was last refreshed."""

    def __init__(
        self,
        sessions: SessionStore,
        accounts: AccountStore,
        keyrings: KeyringStore,
        tokens: AccessTokens,
        chain: RefreshChain,
        seconds: int,
    ) -> None:
        self._sessions = sessions
        self._accounts = accounts
        self._keyrings = keyrings
        self._tokens = tokens
        self._chain = chain
        self._seconds = seconds

    async def begin(self, account: Account, client: Client, now: datetime, method: Method) -> Issued:
        """Somebody has proved by a method to be the owner of the account.

        Raises `BadCredentials` if the password of this account was replaced since it was loaded. Whoever replaces one
        ends the sessions that are stored then; one that is stored later is noticed here.
        """
        token = RefreshToken.new()
        session = Session.begin(
            user_id=account.id,
            family_hash=token.family_hash,
            token_hash=token.hash,
            device=client.device,
            address=client.network,
            now=now,
            expires_at=self._expires_at(account, now, now),
            method=method,
            password_version=account.password_version,
            chain_salt=token_hex(16),
        )
        await self._sessions.save(session)
        if _is_outdated(session, await self._accounts.get(account.id)):
            await self._end([session], SessionEnd.ENDED_BY_USER, now)
            raise BadCredentials("the password has just been changed; sign in again")
        note("signed_in", account.id, client.network)
        return await self._issued(account, session, token, now)

    async def refresh(self, text: str, key: str | None, client: Client, now: datetime) -> Issued:
        """Exchange a refresh token for new tokens. The same token under the same `key` gets the same one again.

        Raises `SessionOver`, also for a token that was used before: then the session has ended with it.
        """
        token = RefreshToken.of(text)
        session = await self._sessions.find(token.family_hash) if token else None
        account = await self._accounts.get(session.user_id) if session else None
        if token is None or session is None or account is None or _is_outdated(session, account):
            raise SessionOver("there is no such session; sign in again")
        following = token.following(self._chain, key, session.chain_salt)
        expires_at = self._expires_at(account, session.created_at, now)

        def decide(session: Session) -> None:
            session.refresh(
                used=token.hash,
                following=following.hash,
                key=sha256(key.encode()).hexdigest() if key else None,
                address=client.network,
                now=now,
                expires_at=expires_at,
            )

        session = await self._sessions.change(session, decide)
        if session.is_over(now):
            if session.ended_at == now:
                note("session_ended", session.user_id, client.network, SessionEnd.REUSED)
            raise SessionOver("this session has ended; sign in again")
        return await self._issued(account, session, following, now)

    async def prove(self, session_id: str, method: Method, now: datetime) -> Issued:
        """The holder of a session has proved once more to be its owner: an access token that says so."""
        session = await self._sessions.change(await self._running(session_id, now), lambda s: s.prove(method, now))
        return await self._reissued(session, now)

    async def reissue(self, session_id: str, now: datetime) -> Issued:
        """Another access token, that says what is so now."""
        return await self._reissued(await self._running(session_id, now), now)

    async def current(self, session_id: str, now: datetime) -> Session:
        """A session that is not over, also not by a new password. Raises `SessionOver`."""
        session = await self._running(session_id, now)
        if _is_outdated(session, await self._accounts.get(session.user_id)):
            raise SessionOver("this session has ended; sign in again")
        return session

    async def is_proved(self, session_id: str, methods: Iterable[Method], since: datetime) -> bool:
        """Whether the holder of a session has proved by one of these methods after `since` to be its owner."""
        session = await self._sessions.get(session_id)
        return session is not None and session.is_proved(methods, since)

    async def running(self, user_id: str, now: datetime) -> list[Session]:
        """The sessions of a user, the one seen last first."""
        return await self._sessions.running(user_id, now)

    async def sign_out(self, session_id: str | None, refresh_token: str | None, now: datetime) -> None:
        """End the sessions that an access token names and a refresh token belongs to."""
        token = RefreshToken.of(refresh_token) if refresh_token else None
        found = {
            session.id: session
            for session in (
                await self._sessions.get(session_id) if session_id else None,
                await self._sessions.find(token.family_hash) if token else None,
            )
            if session
        }
        await self._end(list(found.values()), SessionEnd.SIGNED_OUT, now)

    async def end(self, user_id: str, session_id: str, now: datetime) -> None:
        """The user ends one of their sessions. Raises `NotFound`."""
        session = await self._sessions.get(session_id)
        if session is None or session.user_id != user_id:
            raise NotFound("there is no such session")
        await self._end([session], SessionEnd.ENDED_BY_USER, now)

    async def end_older(self, account: Account, session_id: str | None, now: datetime) -> None:
        """The account has a new password: end all sessions but the one that has set it."""
        if session_id and (session := await self._sessions.get(session_id)):
            await self._sessions.change(session, lambda session: session.outlive(account.password_version))
        while older := await self._sessions.running(account.id, now, before=account.password_version):
            await self._end(older, SessionEnd.ENDED_BY_USER, now)

    async def end_others(
        self, user_id: str, session_id: str | None, now: datetime, reason: SessionEnd = SessionEnd.ENDED_BY_USER
    ) -> None:
        """End all sessions of a user but one."""
        while others := [one for one in await self._sessions.running(user_id, now) if one.id != session_id]:
            await self._end(others, reason, now)

    async def forget(self, user_id: str, now: datetime) -> None:
        """End all sessions of a user, and keep neither device nor network of any."""
        await self.end_others(user_id, None, now)
        await self._sessions.forget(user_id)

    async def _end(self, sessions: list[Session], reason: SessionEnd, now: datetime) -> None:
        def decide(session: Session) -> None:
            session.end(reason, now)

        for session in await asyncio.gather(*(self._sessions.change(session, decide) for session in sessions)):
            if session.ended_at == now:  # and not before
                note("session_ended", session.user_id, session.address, reason)

    def _expires_at(self, account: Account, created_at: datetime, now: datetime) -> datetime:
        expires_at = now + timedelta(seconds=self._seconds)
        return min(expires_at, created_at + timedelta(seconds=MAX_SECONDS_WITH_ROLE)) if account.roles else expires_at

    async def _running(self, session_id: str, now: datetime) -> Session:
        session = await self._sessions.get(session_id)
        if session is None or session.is_over(now):
            raise SessionOver("this session has ended; sign in again")
        return session

    async def _reissued(self, session: Session, now: datetime) -> Issued:
        account = await self._accounts.get(session.user_id)
        if account and not _is_outdated(session, account):
            return await self._issued(account, session, None, now)
        raise SessionOver("this session has ended; sign in again")

    async def _issued(self, account: Account, session: Session, token: RefreshToken | None, now: datetime) -> Issued:
        keyring = await self._keyrings.get(account.id)
        return Issued(
            user=user_of(account),
            access_token=self._tokens.sign(account, session, now, has_passkey=bool(keyring.passkeys)),
            access_seconds=self._tokens.seconds,
            refresh_token=token.text if token else None,
            refresh_seconds=int((session.expires_at - now).total_seconds()),
        )


def _is_outdated(session: Session, account: Account | None) -> bool:
    return account is None or session.password_version < account.password_version


def user_of(account: Account) -> User:
    """The account as its sessions describe it."""
    return User(**account.model_dump(include=set(User.model_fields)))
