"""Proves addresses, and changes passwords and addresses."""

from datetime import datetime

from auth.domain import Account, BadCredentials
from auth.passwords import Passwords
from auth.recovery.domain import Request, TokenInvalid
from auth.recovery.store import RequestStore
from auth.sessions.keeper import SessionKeeper
from auth.store import AccountStore
from auth.throttle import Throttle
from common.errors import TooMany, Unauthenticated
from common.http.network import network_of
from common.http.sessions import Session
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
        passwords: Passwords,
        keeper: SessionKeeper,
        throttle: Throttle,
        tokens: MailTokens,
    ) -> None:
        self._requests = requests
        self._accounts = accounts
        self._passwords = passwords
        self._keeper = keeper
        self._throttle = throttle
        self._tokens = tokens

    async def welcome(self, account: Account, now: datetime) -> None:
        """Prepare the link of the welcome; saving the account sends it."""
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
        _, account = await self._use(Purpose.VERIFY_EMAIL, token, now)
        await self._accounts.update(account, Account.verify)

    async def ask_to_reset(self, email: str, address: str, now: datetime) -> None:
        """Mail a link to a new password, if there is an account and its address has not had many mails.

        The same work is done for every address. Raises `TooMany` by the network.
        """
        may = await self._throttle.count_mail(address, email)
        account = await self._accounts.find(email)
        await self._requests.save(Request.reset(account if may else None, email, now))

    async def reset(self, token: str, new_password: str, address: str, now: datetime) -> None:
        """Set a new password and end all sessions. Raises `TokenInvalid`, or `PasswordTooWeak`: then it still works."""
        request, account = await self._find(Purpose.RESET_PASSWORD, token, now)
        password_hash = await self._hash_new(account, new_password, address)
        await self._requests.change(request, lambda request: request.use(account, now))

        def decide(account: Account) -> None:
            account.set_password(password_hash)
            if account.email == request.email:
                account.verify()  # The link came to this address.

        await self._accounts.update(account, decide)
        note("password_changed", account.id, network_of(address), "reset")
        await self._keeper.end_others(account.id, None, now)

    async def change_password(
        self, session: Session, current_password: str, new_password: str, address: str, now: datetime
    ) -> None:
        """Set a new password and end all other sessions. Raises `BadCredentials`, `PasswordTooWeak`, `TooMany`."""
        account = await self.proved(session, current_password, address)
        password_hash = await self._hash_new(account, new_password, address)
        await self._accounts.update(account, lambda account: account.set_password(password_hash))
        note("password_changed", account.id, network_of(address))
        await self._keeper.end_others(account.id, session.id, now)

    async def ask_to_move(self, session: Session, password: str, new_email: str, address: str, now: datetime) -> None:
        """Mail a link to the new address, taken or not. Raises `BadCredentials` and `TooMany`."""
        account = await self.proved(session, password, address)
        await self._count_mail(address, new_email)
        await self._requests.save(Request.change(account, new_email, now))

    async def move(self, token: str, now: datetime) -> None:
        """The new address is confirmed. Raises `TokenInvalid` and `EmailTaken`."""
        request, account = await self._use(Purpose.CHANGE_EMAIL, token, now)
        new_email = request.new_email or account.email
        await self._accounts.update(account, lambda account: account.move_to(new_email, request.id))
        note("email_changed", account.id)

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
        async with self._throttle.guess(address, account.email) as guess:
            guess.right, _ = await self._passwords.verify(password, account.password_hash, address)
        if not guess.right:
            note("sign_in_failed", account.id, network_of(address), "a password asked for again")
            raise BadCredentials("this is not your password")
        return account

    async def _hash_new(self, account: Account, password: str, address: str) -> str:
        return await self._passwords.hash_new(password, address, account.name, account.email, field="new_password")

    async def _find(self, purpose: Purpose, token: str, now: datetime) -> tuple[Request, Account]:
        """The request of a token that works, and its account."""
        request_id = self._tokens.request_id(purpose, token)
        request = await self._requests.get(request_id) if request_id else None
        account = await self._accounts.get(request.user_id) if request and request.user_id else None
        if request is None or account is None:
            raise TokenInvalid
        request.check(account, now)
        return request, account

    async def _use(self, purpose: Purpose, token: str, now: datetime) -> tuple[Request, Account]:
        request, account = await self._find(purpose, token, now)
        await self._requests.change(request, lambda request: request.use(account, now))
        return request, account
