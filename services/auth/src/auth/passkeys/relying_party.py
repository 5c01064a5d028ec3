"""Souk as a relying party of WebAuthn: what it asks an authenticator for, and whether the answer is right."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, options_to_json_dict, parse_client_data_json
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    CollectedClientData,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from auth.domain import Account
from auth.passkeys.challenges import LIFETIME
from auth.passkeys.domain import Passkey

Json = dict[str, Any]
TIMEOUT = int(LIFETIME.total_seconds() * 1000)
REQUIRED = UserVerificationRequirement.REQUIRED


class NotVerified(Exception):
    """The answer of an authenticator is not right. The message says why."""


@dataclass(frozen=True, slots=True)
class Made:
    """A new key pair: what Souk keeps of it."""

    credential_id: str
    public_key: bytes
    sign_count: int


class RelyingParty:
    """Souk at `site`, the address under which people find it."""

    def __init__(self, site: str) -> None:
        parts = urlsplit(site)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.id = parts.hostname or ""

    def creation_options(self, account: Account, passkeys: Sequence[Passkey], challenge: bytes) -> Json:
        """What a browser needs to make a passkey that signs in alone, on a device that has none of `passkeys`."""
        options = generate_registration_options(
            rp_id=self.id,
            rp_name="Souk",
            user_id=account.id.encode(),
            user_name=account.email,
            user_display_name=account.name,
            challenge=challenge,
            timeout=TIMEOUT,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, require_resident_key=True, user_verification=REQUIRED
            ),
            exclude_credentials=_descriptors(passkeys),
        )
        return options_to_json_dict(options)

    def request_options(self, passkeys: Sequence[Passkey], challenge: bytes) -> Json:
        """What a browser needs to sign with one of `passkeys`; without any, with whichever the person chooses."""
        options = generate_authentication_options(
            rp_id=self.id,
            challenge=challenge,
            timeout=TIMEOUT,
            allow_credentials=_descriptors(passkeys) or None,
            user_verification=REQUIRED,
        )
        return options_to_json_dict(options)

    def challenge_of(self, credential: Json) -> bytes:
        """The challenge that an authenticator says it has signed. Raises `NotVerified`."""
        with _hostile():
            data = base64url_to_bytes(credential["response"]["clientDataJSON"])
            client: CollectedClientData = parse_client_data_json(data)
        if client.cross_origin:
            raise NotVerified("it was made in a frame of another site")
        return client.challenge

    def verify_made(self, credential: Json, challenge: bytes) -> Made:
        """The new passkey. Raises `NotVerified`."""
        with _hostile():
            made = verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=self.origin,
                require_user_verification=True,
            )
        return Made(bytes_to_base64url(made.credential_id), made.credential_public_key, made.sign_count)

    def verify_signed(self, credential: Json, challenge: bytes, passkey: Passkey, user_id: str) -> int:
        """The count of the authenticator, if this passkey of a user has signed the challenge. Raises `NotVerified`.

        Whether the count has grown is for the keyring to say, which knows the newest one.
        """
        if credential["response"].get("userHandle") not in (None, bytes_to_base64url(user_id.encode())):
            raise NotVerified("it says that it belongs to somebody else")
        with _hostile():
            signed = verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=self.origin,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=0,
                require_user_verification=True,
            )
        return signed.new_sign_count


def known_transports(credential: Json) -> list[str]:
    """How the authenticator can be reached, by its own words, as far as they are the standard's."""
    known = {transport.value for transport in AuthenticatorTransport}
    return [transport for transport in credential["response"].get("transports", ()) if transport in known]


@contextmanager
def _hostile() -> Iterator[None]:
    """What goes on here reads bytes that somebody may have made up: whatever it raises, they are not right."""
    try:
        yield
    except Exception as error:
        raise NotVerified(str(error)) from error


def _descriptors(passkeys: Sequence[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            id=base64url_to_bytes(passkey.credential_id),
            transports=[AuthenticatorTransport(transport) for transport in passkey.transports],
        )
        for passkey in passkeys
    ]
