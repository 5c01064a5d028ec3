"""Auth: builds its parts and serves them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from auth.devices import Devices
from auth.erasure.erasure import Erasure
from auth.operators.operators import Operators
from auth.operators.store import OperatorStore
from auth.passkeys.challenges import Challenges
from auth.passkeys.passkeys import Passkeys
from auth.passkeys.relying_party import RelyingParty
from auth.passkeys.store import KeyringStore
from auth.passwords import Passwords
from auth.recovery.recovery import Recovery
from auth.recovery.store import RequestStore
from auth.routes import router
from auth.sessions.access_tokens import AccessTokens, signing_key
from auth.sessions.keeper import SessionKeeper
from auth.sessions.refresh_tokens import RefreshChain
from auth.sessions.routes import Cookies
from auth.sessions.store import SessionStore
from auth.settings import AuthSettings
from auth.store import AccountStore
from auth.throttle import Throttle
from auth.windows_store import Windows
from common.bus.connection import Bus
from common.directory import ADDRESS_CHANGES, CONTACTS, IDS, NAMED, NAMES, Reader, answering
from common.http.app import Running, create_app, serve
from common.live_sessions import live_sessions
from common.mail_tokens import MailTokens
from common.mongo.client import AWAY, database
from common.outbox import Relay
from common.security_log import note
from common.settings import load


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    """Everything auth needs, for the life of the process."""
    settings = load(AuthSettings)
    key = signing_key(settings.jwt_private_key.get_secret_value())
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.of(settings, "auth", away=AWAY) as bus,
        live_sessions(bus, settings) as checked,
        Relay.running(bus, db.users, db.sessions, db.requests, db.keyrings) as relay,
        Passwords.ready(settings.password_backlog, settings.passwords_per_network) as passwords,
    ):
        accounts, sessions, keyrings = AccountStore(db, relay), SessionStore(db, relay), KeyringStore(db, relay)
        windows, requests, appointed = Windows(db), RequestStore(db, relay), OperatorStore(db, relay)
        for store in (accounts, sessions, keyrings, windows, requests, appointed):
            await store.prepare()
        tokens = AccessTokens(key, settings.access_seconds)
        if await sessions.is_new_key(tokens.kid):
            note("key_rotated", detail=tokens.kid)
        throttle = Throttle(
            windows,
            failures_per_account=settings.signin_failures_per_account,
            failures_per_network=settings.signin_failures_per_network,
            signups_per_network=settings.signups_per_network,
            signups_overall=settings.signups_overall,
            mails_per_network=settings.mails_per_network,
        )
        chain = RefreshChain(key, settings.mail_token_key)
        keeper = SessionKeeper(sessions, accounts, keyrings, tokens, chain, settings.session_seconds)
        tokens_of_mails = MailTokens(settings.mail_token_key)
        recovery = Recovery(requests, accounts, keyrings, passwords, keeper, throttle, tokens_of_mails)
        party, challenges = RelyingParty(settings.public_url), Challenges(key, keyrings)
        passkeys = Passkeys(party, challenges, keyrings, accounts, passwords, keeper, throttle)
        erasure = Erasure(accounts, requests, keyrings, keeper, throttle)
        strict = {"verified_only": checked.verified_only, "passkeys_only": checked.passkeys_only}
        operators = Operators(appointed, accounts, keyrings, **strict)
        cookies = Cookies(secure=settings.cookie_secure)
        doing = [recovery, passkeys, erasure, operators]
        parts = [settings, *doing, accounts, passwords, keeper, cookies, throttle, checked]
        parts.append(Devices(settings.mail_token_key))
        people: dict[str, Reader] = {
            NAMES: accounts.names,
            CONTACTS: accounts.contacts,
            IDS: accounts.owners,
            NAMED: accounts.namesakes,
            ADDRESS_CHANGES: requests.address_changes,
        }
        async with answering(bus, people), erasure.running(), recovery.running():
            yield Running(parts, {"mongo": partial(db.command, "ping"), "bus": bus.check})


app = create_app("auth", router, start, away=AWAY)

if __name__ == "__main__":
    serve(app, AuthSettings, "auth")
