"""Proves addresses, and changes passwords and addresses."""

from contextlib import AbstractAsyncContextManager
from datetime import datetime

from auth.domain import Account, BadCredentials, EmailTaken
from auth.passkeys.domain import Keyring
from auth.passkeys.store import KeyringStore
from auth.passwords import Passwords
from auth.recovery.domain import Request, TokenInvalid, credentials_of
from auth.recovery.store import RequestStore
from auth.sessions.keeper import SessionKeeper
from auth.store import AccountStore
from auth.throttle import Throttle
from common.clock import now as clock
from common.errors import TooMany, Unauthenticated
from common.http.network import network_of
from common.http.sessions import Session
from common.leased_work import LeasedWork
from common.mail_tokens import MailTokens, Purpose
from common.security_log import note

HOUR = 3600


class Recovery:
    """What users do about their address and their password; `address` is the network address that they do it from.

    A link is used up before what it stands for is done, so that it never works twice; whoever loses the answer asks for
    another link.
    """

    def __init__(
        self,
        requests: RequestStore,
        accounts: AccountStore,
        keyrings: KeyringStore,
        passwords: Passwords,
        keeper: SessionKeeper,
        throttle: Throttle,
        tokens: MailTokens,
    ) -> None:
        self._requests = requests
        self._accounts = accounts
        self._keyrings = keyrings
        self._passwords = passwords
        self._keeper = keeper
        self._throttle = throttle
        self._tokens = tokens
        self._due = LeasedWork(
            accounts.users, "ending_due", self.end_again, poll_seconds=5, first_lease=30, max_lease=3600
        )

    async def welcome(self, account: Account, now: datetime) -> None:
        """Prepare the link of the welcome; saving the account sends it. Raises `EmailTaken`."""
        await self._check_free(account.email, account.id, now)
        request = Request.at_sign_up(account, now)
        await self._requests.save(request)
        account.welcome(request.id)

    async def ask_to_verify(self, user_id: str, address: str, now: datetime) -> None:
        """Mail another link that proves the address, unless it is proved. Raises `TooMany`."""
        account = await self._account(user_id)
        if account.verified:
            return
        await self._count_mail(address, account.email)
        await self._requests.save(Request.verification(account, now))

    async def verify(self, token: str, now: datetime) -> None:
        """The address is proved. Raises `TokenInvalid`."""
        request, account = await self._use(Purpose.VERIFY_EMAIL, token, now)

        def decide(account: Account) -> None:
            if account.email != request.email:
                raise TokenInvalid
            account.verify()

        await self._accounts.update(account, decide)

    async def ask_to_reset(self, email: str, address: str, now: datetime) -> None:
        """Mail a link to a new password, if there is an account and its address has not had many mails.

        The same work is done for every address. Raises `TooMany` by the network.
        """
        may = await self._throttle.count_mail(address, email)
        account = await self._accounts.find(email)
        keyring = await self._keyrings.get(account.id if account else "")
        credentials = credentials_of(account, keyring) if account else ""
        await self._requests.save(Request.reset(account if may else None, email, credentials, now))

    async def reset(self, token: str, new_password: str, address: str, now: datetime) -> None:
        """Set a new password, end all sessions and remove the passkeys and recovery codes of whoever has no role.

        Raises `TokenInvalid`, or `PasswordTooWeak`: then it still works.
        """
        request, account, keyring = await self._find(Purpose.RESET_PASSWORD, token, now)
        password_hash = await self._hash_new(account, new_password, address)
        await self._requests.change(request, lambda request: request.use(account, keyring, now))
        before = account.password_version

        def decide(account: Account) -> None:
            if (account.email, account.password_version) != (request.email, before):
                raise TokenInvalid
            account.reset_password(password_hash, now)
            account.verify()  # The link came to this address.

        account = await self._accounts.update(account, decide)
        note("password_changed", account.id, network_of(address), "reset")
        await self._end(account, None, now)

    async def change_password(
        self, session: Session, current_password: str, new_password: str, address: str, now: datetime
    ) -> None:
        """Set a new password and end all other sessions. Raises `BadCredentials`, `PasswordTooWeak`, `TooMany`."""
        account = await self.proved(session, current_password, address)
        password_hash = await self._hash_new(account, new_password, address)
        before = account.password_version

        def decide(account: Account) -> None:
            if account.password_version != before:
                raise BadCredentials("the password has just been changed")
            account.set_password(password_hash, now)

        account = await self._accounts.update(account, decide)
        note("password_changed", account.id, network_of(address))
        await self._end(account, session.id, now)

    async def ask_to_move(self, session: Session, password: str, new_email: str, address: str, now: datetime) -> None:
        """Mail a link to the new address, taken or not. Raises `BadCredentials` and `TooMany`."""
        account = await self.proved(session, password, address)
        await self._count_mail(address, new_email)
        credentials = credentials_of(account, await self._keyrings.get(account.id))
        await self._requests.save(Request.change(account, new_email, credentials, now))

    async def move(self, token: str, address: str, now: datetime) -> None:
        """The new address is confirmed. Raises `TokenInvalid` and `EmailTaken`."""
        request, account = await self._use(Purpose.CHANGE_EMAIL, token, now)
        new_email, before = request.new_email or account.email, account.model_copy()
        await self._check_free(new_email, account.id, now)

        def decide(account: Account) -> None:
            if any(getattr(account, name) != getattr(before, name) for name in ("email_version", "password_version")):
                raise TokenInvalid
            account.move_to(new_email, request.id)

        await self._accounts.update(account, decide)
        note("email_changed", account.id, network_of(address))

    async def take_back(self, token: str, address: str, now: datetime) -> None:
        """The old address takes a change back: all sessions end, and it gets a link to a new password.

        Whoever made the change may know the password, or have set one. The link is used up last: nobody can ask for
        another, and taking it back twice does no harm. Raises `TokenInvalid` and `EmailTaken`.
        """
        request, account = await self._asked(Purpose.UNDO_EMAIL, token)
        old_email, version = request.email, request.undone_version(now)
        account = await self._accounts.update(account, lambda account: account.take_back(old_email, now))
        note("email_changed", account.id, network_of(address), "taken back")
        await self._end(account, None, now)
        credentials = credentials_of(account, await self._keyrings.get(account.id))
        await self._requests.save(Request.reset(account, account.email, credentials, now))
        await self._requests.undone(account.id, version)

    async def end_again(self, user_id: str) -> None:
        """End once more what a new password ends: whoever set it may have died in between."""
        if account := await self._accounts.get(user_id):
            await self._keyrings.drop(account.id, account.keys_since)
            await self._keeper.end_older(account, None, clock())
            version = account.password_version
            await self._accounts.update(account, lambda account: account.is_ended(version))

    def running(self) -> AbstractAsyncContextManager[None]:
        """Repeat such endings in the background."""
        return self._due.running()

    async def _end(self, account: Account, session_id: str | None, now: datetime) -> None:
        await self._keyrings.drop(account.id, account.keys_since)
        await self._keeper.end_older(account, session_id, now)

    async def _check_free(self, email: str, user_id: str, now: datetime) -> None:
        if await self._requests.is_reserved(email, user_id, now):
            raise EmailTaken("another account has this address")

    async def _count_mail(self, address: str, email: str) -> None:
        if not await self._throttle.count_mail(address, email):
            raise TooMany("this address has had many mails; look for them, or try again later", HOUR)

    async def _account(self, user_id: str) -> Account:
        if account := await self._accounts.get(user_id):
            return account
        raise Unauthenticated("this account is not there")

    async def proved(self, session: Session, password: str, address: str) -> Account:
        """The account of a session, whose user knows the password. Raises `BadCredentials` and `TooMany`."""
        account = await self._account(session.user.id)
        async with self._throttle.guess(address, account.email, known=session.id) as guess:
            guess.right, _ = await self._passwords.verify(password, account.password_hash, address)
        if not guess.right:
            note("sign_in_failed", account.id, network_of(address), "a password asked for again")
            raise BadCredentials("this is not your password")
        return account

    async def _hash_new(self, account: Account, password: str, address: str) -> str:
        return await self._passwords.hash_new(password, address, account.name, account.email, field="new_password")

    async def _asked(self, purpose: Purpose, token: str) -> tuple[Request, Account]:
        """The request of a token, and its account."""
        request_id = self._tokens.request_id(purpose, token)
        request = await self._requests.get(request_id) if request_id else None
        account = await self._accounts.get(request.user_id) if request and request.user_id else None
        if request is None or account is None:
            raise TokenInvalid
        return request, account

    async def _find(self, purpose: Purpose, token: str, now: datetime) -> tuple[Request, Account, Keyring]:
        """The request of a token that works, its account and its keyring."""
        request, account = await self._asked(purpose, token)
        keyring = await self._keyrings.get(account.id)
        request.check(account, keyring, now)
        return request, account, keyring

    async def _use(self, purpose: Purpose, token: str, now: datetime) -> tuple[Request, Account]:
        request, account, keyring = await self._find(purpose, token, now)
        await self._requests.change(request, lambda request: request.use(account, keyring, now))
        return request, account
