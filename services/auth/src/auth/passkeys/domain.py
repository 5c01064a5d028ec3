"""What a user signs in with besides the password: passkeys, and recovery codes in case they are lost. No I/O."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, Field

from common.aggregate import Aggregate
from common.errors import Conflict, Invalid, NotFound, Unauthenticated
from common.events import PasskeyChange, PasskeysChanged
from common.ids import new_id

MAX_PASSKEYS = 20


class PasskeyRefused(Unauthenticated):
    """No passkey of an account has signed this, for this site, with its user verified. Or a copy of one has."""

    code = "passkey_refused"


class PasskeyInvalid(Invalid):
    """This is no new passkey for this site, made with its user verified."""

    code = "passkey_invalid"


class PasskeyNotFound(NotFound):
    """The caller has no such passkey."""

    code = "passkey_not_found"


class PasskeyKnown(Conflict):
    """This passkey was added before."""

    code = "passkey_known"


class PasskeyLimit(Conflict):
    """The caller has as many passkeys as one may have."""

    code = "passkey_limit"


class Passkey(BaseModel):
    """A key pair of which the user's device, or their password manager, has the private half.

    `sign_count` is the number that its authenticator last sent; many always send 0.
    """

    id: str
    credential_id: str
    """What the authenticator calls it, in base64url."""
    public_key: bytes
    """As a COSE key."""
    sign_count: int
    transports: tuple[str, ...] = ()
    name: str
    created_at: datetime
    last_used_at: datetime | None = None
    password_version: int = 1
    """The password of the session that added it."""


class Keyring(Aggregate):
    """The passkeys of one user, whose id it has, and the hashes of their recovery codes."""

    passkeys: list[Passkey] = Field(default_factory=list)
    code_hashes: list[str] = Field(default_factory=list)
    codes_version: int = 1
    """The password of the session that made the codes."""
    changes: int = 0
    """How often passkeys or codes came or went."""

    def add(
        self,
        *,
        credential_id: str,
        public_key: bytes,
        sign_count: int,
        transports: Sequence[str],
        name: str,
        now: datetime,
        password_version: int,
    ) -> Passkey:
        """Add a passkey. Raises `PasskeyLimit` and `PasskeyKnown`."""
        self.check_room()
        if any(one.credential_id == credential_id for one in self.passkeys):
            raise PasskeyKnown("this passkey was added before")
        passkey = Passkey(
            id=new_id(),
            credential_id=credential_id,
            public_key=public_key,
            sign_count=sign_count,
            transports=tuple(transports),
            name=name,
            created_at=now,
            password_version=password_version,
        )
        self.passkeys.append(passkey)
        self.changes += 1
        self._record(PasskeyChange.ADDED, passkey)
        return passkey

    def check_room(self) -> None:
        """Raise `PasskeyLimit` if there can be no more passkeys."""
        if len(self.passkeys) >= MAX_PASSKEYS:
            raise PasskeyLimit(f"there are {MAX_PASSKEYS} passkeys already; remove one first")

    def get(self, passkey_id: str) -> Passkey:
        """The passkey with this id. Raises `PasskeyNotFound`."""
        if found := next((one for one in self.passkeys if one.id == passkey_id), None):
            return found
        raise PasskeyNotFound("there is no such passkey")

    def find(self, credential_id: str) -> Passkey:
        """The passkey that its authenticator calls so. Raises `PasskeyRefused`."""
        if found := next((one for one in self.passkeys if one.credential_id == credential_id), None):
            return found
        raise PasskeyRefused("this passkey belongs to no account; it may have been removed")

    def rename(self, passkey_id: str, name: str) -> None:
        """Give a passkey another name. Raises `PasskeyNotFound`."""
        self.get(passkey_id).name = name

    def remove(self, passkey_id: str) -> None:
        """Nobody signs in with this passkey again. Raises `PasskeyNotFound`."""
        passkey = self.get(passkey_id)
        self.passkeys.remove(passkey)
        self.changes += 1
        self._record(PasskeyChange.REMOVED, passkey)

    def use(self, credential_id: str, sign_count: int, now: datetime) -> bool:
        """A passkey has signed. Return whether it is the only one of its kind. Raises `PasskeyRefused`.

        A counter that does not grow means that there is a copy, on this side of the signature or on the other: the
        signature does not count, and the owner is told (WebAuthn 3, 6.1.1).
        """
        passkey = self.find(credential_id)
        if (sign_count or passkey.sign_count) and sign_count <= passkey.sign_count:
            self._record(PasskeyChange.COPIED, passkey)
            return False
        passkey.sign_count, passkey.last_used_at = sign_count, now
        return True

    def forget(self) -> None:
        """The account is erased: nothing of it is left here. Nobody is told, since there is nobody."""
        self.passkeys, self.code_hashes = [], []

    def reset(self) -> None:
        """The user has lost them all: the password is enough again, until a passkey is added."""
        self.forget()
        self.changes += 1
        self.record(PasskeysChanged(user_id=self.id, change=PasskeyChange.RESET))

    def drop(self, since: int) -> None:
        """Passkeys and codes of older passwords than this version are gone. Doing it twice is doing it once."""
        passkeys = [one for one in self.passkeys if one.password_version >= since]
        codes = self.code_hashes if self.codes_version >= since else []
        if (passkeys, codes) == (self.passkeys, self.code_hashes):
            return
        self.passkeys, self.code_hashes = passkeys, codes
        self.changes += 1
        self.record(PasskeysChanged(user_id=self.id, change=PasskeyChange.RESET))

    def replace_codes(self, hashes: Sequence[str], password_version: int) -> None:
        """From now on these recovery codes work, and no older one."""
        self.code_hashes, self.codes_version = list(hashes), password_version
        self.changes += 1
        self.record(PasskeysChanged(user_id=self.id, change=PasskeyChange.CODES_MADE))

    def use_code(self, code_hash: str) -> bool:
        """Use up a recovery code. Return whether it was there."""
        if code_hash not in self.code_hashes:
            return False
        self.code_hashes.remove(code_hash)
        left = len(self.code_hashes)
        self.record(PasskeysChanged(user_id=self.id, change=PasskeyChange.CODE_USED, codes_left=left))
        return True

    def _record(self, change: PasskeyChange, passkey: Passkey) -> None:
        self.record(PasskeysChanged(user_id=self.id, change=change, passkey_id=passkey.id))
