"""Adds passkeys, signs people in with them, and has them prove that a session is theirs."""

from datetime import datetime, timedelta

from auth.domain import Account, BadCredentials
from auth.passkeys import codes
from auth.passkeys.challenges import Challenges, Purpose
from auth.passkeys.domain import Keyring, Passkey, PasskeyInvalid, PasskeyRefused
from auth.passkeys.relying_party import Json, NotVerified, RelyingParty, known_transports
from auth.passkeys.store import KeyringStore
from auth.passwords import Passwords
from auth.sessions.domain import Method
from auth.sessions.keeper import Client, Issued, SessionKeeper
from auth.store import AccountStore
from auth.throttle import CODE, PASSKEY, Throttle
from common.errors import Unauthenticated
from common.http.network import network_of
from common.http.sessions import PROOF_SECONDS, PasskeyNeeded, ProofNeeded, Session
from common.security_log import note

FRESH = timedelta(seconds=PROOF_SECONDS)


class Passkeys:
    """What users do with passkeys and recovery codes; `address` is the network address that they do it from.

    Whoever changes how to sign in without the password proves first, in the last five minutes, to be more than the
    holder of a cookie: with a passkey or a recovery code, or, while they have no passkey, with the password.
    """

    def __init__(
        self,
        party: RelyingParty,
        challenges: Challenges,
        keyrings: KeyringStore,
        accounts: AccountStore,
        passwords: Passwords,
        keeper: SessionKeeper,
        throttle: Throttle,
    ) -> None:
        self._party = party
        self._challenges = challenges
        self._keyrings = keyrings
        self._accounts = accounts
        self._passwords = passwords
        self._keeper = keeper
        self._throttle = throttle

    async def keyring(self, user_id: str) -> Keyring:
        """The passkeys of a user."""
        return await self._keyrings.get(user_id)

    async def begin_adding(self, session: Session, now: datetime) -> Json:
        """What a browser needs to make a passkey. Raises `ProofNeeded` and `PasskeyLimit`."""
        keyring = await self._proved(session, now)
        keyring.check_room()
        challenge = self._challenges.new(Purpose.ADD, session.id, now)
        return self._party.creation_options(await self._account(session.user.id), keyring.passkeys, challenge)

    async def add(self, session: Session, credential: Json, name: str, now: datetime) -> tuple[Passkey, Issued]:
        """Add a passkey that a browser has made. Returns a token that knows of it as well.

        Raises `PasskeyInvalid`, `ChallengeInvalid`, `PasskeyKnown`, `PasskeyLimit` and `SessionOver`.
        """
        version = (await self._keeper.current(session.id, now)).password_version
        try:
            challenge = self._challenge(credential, Purpose.ADD, session.id, now)
            made = self._party.verify_made(credential, challenge)
        except NotVerified as error:
            raise PasskeyInvalid(f"this is no passkey for Souk: {error}") from None
        await self._challenges.use(challenge)
        transports = known_transports(credential)
        added: list[Passkey] = []

        def decide(keyring: Keyring) -> None:
            added[:] = [
                keyring.add(
                    credential_id=made.credential_id,
                    public_key=made.public_key,
                    sign_count=made.sign_count,
                    transports=transports,
                    name=name,
                    now=now,
                    password_version=version,
                )
            ]

        await self._keyrings.change(await self._keyrings.get(session.user.id), decide)
        await self._check_counts(await self._account(session.user.id), version)
        return added[0], await self._keeper.reissue(session.id, now)

    async def rename(self, user_id: str, passkey_id: str, name: str) -> Passkey:
        """Give a passkey another name. Raises `PasskeyNotFound`."""
        keyring = await self._keyrings.get(user_id)
        keyring = await self._keyrings.change(keyring, lambda keyring: keyring.rename(passkey_id, name))
        return keyring.get(passkey_id)

    async def remove(self, session: Session, passkey_id: str, now: datetime) -> Issued:
        """Remove a passkey. Returns a token that knows of it. Raises `PasskeyNotFound` and `ProofNeeded`."""
        keyring = await self._keyrings.get(session.user.id)
        keyring.get(passkey_id)
        keyring = await self._proved(session, now)
        await self._keyrings.change(keyring, lambda keyring: keyring.remove(passkey_id))
        return await self._keeper.reissue(session.id, now)

    def begin_sign_in(self, browser: str, now: datetime) -> Json:
        """What a browser needs to sign in with whichever passkey the person chooses."""
        return self._party.request_options((), self._challenges.new(Purpose.SIGN_IN, browser, now))

    async def sign_in(self, browser: str, credential: Json, client: Client, address: str, now: datetime) -> Issued:
        """Begin a session. Raises `PasskeyRefused`, `ChallengeInvalid` and `TooMany`."""
        keyring = await self._keyrings.find(credential["id"]) or Keyring(id="nobody")
        await self._check_signed(keyring, credential, Purpose.SIGN_IN, browser, address, now)
        account = await self._account(keyring.id)
        await self._check_counts(account, keyring.find(credential["id"]).password_version)
        return await self._keeper.begin(account, client, now, Method.PASSKEY)

    async def begin_proof(self, session: Session, now: datetime) -> Json:
        """What a browser needs to prove with one of the user's passkeys. Raises `PasskeyNeeded`."""
        keyring = await self._keyrings.get(session.user.id)
        if not keyring.passkeys:
            raise PasskeyNeeded("there is no passkey to prove with; add one first")
        return self._party.request_options(keyring.passkeys, self._challenges.new(Purpose.PROVE, session.id, now))

    async def prove(self, session: Session, credential: Json, address: str, now: datetime) -> Issued:
        """The user has one of their passkeys: a token that says so. Raises as `sign_in`."""
        keyring = await self._keyrings.get(session.user.id)
        await self._check_signed(keyring, credential, Purpose.PROVE, session.id, address, now)
        return await self._keeper.prove(session.id, Method.PASSKEY, now)

    async def prove_by_password(self, session: Session, password: str, address: str, now: datetime) -> Issued:
        """The user knows the password. Raises `BadCredentials` and `TooMany`."""
        account = await self._account(session.user.id)
        async with self._throttle.guess(address, account.email, known=session.id) as guess:
            guess.right, _ = await self._passwords.verify(password, account.password_hash, address)
        if not guess.right:
            note("sign_in_failed", account.id, network_of(address), "a password asked for again")
            raise BadCredentials("this is not your password")
        return await self._keeper.prove(session.id, Method.PASSWORD, now)

    async def new_codes(self, session: Session, now: datetime) -> list[str]:
        """New recovery codes in place of all older ones. Raises `ProofNeeded` and `SessionOver`."""
        version = (await self._keeper.current(session.id, now)).password_version
        keyring = await self._proved(session, now)
        made = codes.new_codes()
        hashes = [codes.hash_of(code) for code in made]
        await self._keyrings.change(keyring, lambda keyring: keyring.replace_codes(hashes, version))
        await self._check_counts(await self._account(session.user.id), version)
        return made

    async def sign_in_by_code(self, email: str, code: str, client: Client, address: str, now: datetime) -> Issued:
        """Begin a session with a recovery code, which is used up. Raises `BadCredentials` and `TooMany`."""
        code_hash, right = codes.hash_of(code), False

        def decide(keyring: Keyring) -> None:
            nonlocal right
            right = keyring.use_code(code_hash)

        async with self._throttle.guess(address, email, CODE) as guess:
            account = await self._accounts.find(email)
            keyring = await self._keyrings.get(account.id if account else "")
            if account and code_hash in keyring.code_hashes:
                await self._keyrings.change(keyring, decide)
            guess.right = right
        if account is None or not right:
            note("sign_in_failed", account.id if account else None, client.network, "a recovery code")
            raise BadCredentials("no account has this address and this recovery code")
        await self._check_counts(account, keyring.codes_version)
        return await self._keeper.begin(account, client, now, Method.RECOVERY_CODE)

    async def _check_signed(
        self, keyring: Keyring, credential: Json, purpose: Purpose, browser: str, address: str, now: datetime
    ) -> None:
        """One of these passkeys has signed a challenge, which is used up. Raises as `sign_in`; refusals are counted."""
        refused = None
        async with self._throttle.guess(address, f"passkeys of {keyring.id}", PASSKEY) as guess:
            try:
                await self._use(keyring, credential, purpose, browser, now)
                guess.right = True
            except PasskeyRefused as error:
                refused = error
        if refused:
            note("sign_in_failed", keyring.id if keyring.passkeys else None, network_of(address), "a passkey")
            raise refused

    async def _use(self, keyring: Keyring, credential: Json, purpose: Purpose, browser: str, now: datetime) -> None:
        passkey = keyring.find(credential["id"])
        try:
            challenge = self._challenge(credential, purpose, browser, now)
            count = self._party.verify_signed(credential, challenge, passkey, keyring.id)
        except NotVerified as error:
            raise PasskeyRefused(f"this passkey did not sign in here: {error}") from None
        await self._challenges.use(challenge)
        only_one = False

        def decide(keyring: Keyring) -> None:
            nonlocal only_one
            only_one = keyring.use(passkey.credential_id, count, now)

        await self._keyrings.change(keyring, decide)
        if not only_one:
            raise PasskeyRefused("there may be a copy of this passkey; remove it, and add another one")

    def _challenge(self, credential: Json, purpose: Purpose, browser: str, now: datetime) -> bytes:
        challenge = self._party.challenge_of(credential)
        self._challenges.check(challenge, purpose, browser, now)
        return challenge

    async def _proved(self, session: Session, now: datetime) -> Keyring:
        """The keyring of a user who may change it now."""
        keyring = await self._keyrings.get(session.user.id)
        method = Method.PASSKEY if keyring.passkeys else Method.PASSWORD
        if not await self._keeper.is_proved(session.id, (method, Method.RECOVERY_CODE), now - FRESH):
            raise ProofNeeded("confirm first that it is you", by=[method, Method.RECOVERY_CODE])
        return keyring

    async def _check_counts(self, account: Account, password_version: int) -> None:
        """Raise `BadCredentials` if a reset has ended what was added at this version of the password.

        Whoever resets it removes what is stored then; what is stored later, by a call that was under way, goes here.
        """
        if password_version < account.keys_since:
            await self._keyrings.drop(account.id, account.keys_since)
            raise BadCredentials("the password has just been changed; sign in again")

    async def _account(self, user_id: str) -> Account:
        if account := await self._accounts.get(user_id):
            return account
        raise Unauthenticated("this account is not there")
