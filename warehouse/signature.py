"""Signatures of releases in the format of minisign: Ed25519 over the manifest, whose digests cover every other file.

`minisign -V -p release.pub -m manifest.json` says of a release what this says, and keys that `minisign -G -W` made sign here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import ReleaseError, SettingError, UsageError

if TYPE_CHECKING:  # takes a moment and some MiB, and most commands sign and check nothing
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from warehouse.layout import Release

KEY, PREHASHED, NO_PASSWORD, CHECKSUM = b"Ed", b"ED", b"\0\0", b"B2"
SECRET_BYTES, PUBLIC_BYTES, SIGNATURE_BYTES = 158, 42, 74
LARGEST = 4096  # of a signature's file
_UNTRUSTED, _TRUSTED = "untrusted comment: ", "trusted comment: "
_MAKE = "make one by `cinematch releases signing-key FILE` or `minisign -G -W`"


@dataclass(frozen=True)
class SigningKey:
    """A secret key with the id that its signatures name."""

    id: bytes
    secret: Ed25519PrivateKey

    def sign(self, message: bytes, *, comment: str) -> str:
        """The text of a `.minisig` file over the message and the comment."""
        signed = self.secret.sign(_prehashed(message))
        whole = self.secret.sign(signed + comment.encode())
        lines = [
            f"{_UNTRUSTED}signature of key {shown(self.id)}",
            _encoded(PREHASHED + self.id + signed),
            _TRUSTED + comment,
            _encoded(whole),
        ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Trusted:
    """The public keys that releases may be signed with, by their ids; none where anything is taken."""

    keys: dict[bytes, Ed25519PublicKey]

    def __bool__(self) -> bool:
        return bool(self.keys)

    def check(self, message: bytes, text: str | None, *, what: str) -> None:
        """Raises ReleaseError if the message has no signature of one of the keys."""
        from cryptography.exceptions import InvalidSignature

        if not self:
            return
        if text is None:
            raise ReleaseError(
                f"{what} is not signed, and trusted_keys takes only what {self._named()} signed; sign it by `cinematch releases sign`, or get "
                f"a signed copy"
            )
        key_id, signed, comment, whole = _parsed(text, what)
        if key_id not in self.keys:
            raise ReleaseError(
                f"{what} is signed by key {shown(key_id)}, and trusted_keys has {self._named()}; get a copy that one of those signed"
            )
        try:
            self.keys[key_id].verify(signed, _prehashed(message))
            self.keys[key_id].verify(whole, signed + comment.encode())
        except InvalidSignature:
            raise ReleaseError(
                f"{what} is not what key {shown(key_id)} signed: its manifest or its signature was altered; get a good copy"
            ) from None

    def check_release(self, release: Release) -> None:
        """Check the signature of a release's files. Of the manifest's own bytes, so that its digests can be relied on."""
        if not self:
            return
        try:
            text = release.signature.read_bytes()[: LARGEST + 1].decode() if release.signature.exists() else None
            message = release.manifest.read_bytes()
        except (OSError, UnicodeDecodeError) as error:
            raise ReleaseError(f"release {release.id}: its signature cannot be read ({error}); get a good copy") from None
        self.check(message, text, what=f"release {release.id}")

    def _named(self) -> str:
        return ", ".join(shown(key_id) for key_id in sorted(self.keys))


ANYBODY = Trusted({})


def signer_of(text: str) -> str:
    """The key that a signature names, as minisign shows it; nobody has checked it yet."""
    return shown(_parsed(text, "the signature")[0])


def trusted(setting: str) -> Trusted:
    """Return what the setting `trusted_keys` names: files of public keys, or the keys themselves, separated by commas."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    keys: dict[bytes, Ed25519PublicKey] = {}
    for given in filter(None, (part.strip() for part in setting.split(","))):
        lines, where = [given], given[:20]
        if len(given) != len(_encoded(bytes(PUBLIC_BYTES))) or Path(given).exists():
            try:
                lines, where = Path(given).read_text(encoding="utf-8").splitlines(), given
            except (OSError, UnicodeDecodeError) as error:
                raise SettingError(f"trusted_keys: {given}: expected a minisign public key, or a file of them ({error})") from None
        key_lines = [line.strip() for line in lines if line.strip() and not line.startswith(_UNTRUSTED)]
        raw = [key for line in key_lines if (key := _decoded(line, PUBLIC_BYTES)) is not None and key[:2] == KEY]
        if not raw or len(raw) < len(key_lines):
            raise SettingError(f"trusted_keys: {where}: expected minisign public keys, each a line of 56 letters that begins with RW")
        keys |= {key[2:10]: Ed25519PublicKey.from_public_bytes(key[10:]) for key in raw}
    return Trusted(keys)


def signing_key(path: Path) -> SigningKey:
    """A secret key of minisign without a password. Raises SettingError if it is none; its bytes are in no message."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"sign_key: {path}: cannot be read ({getattr(error, 'strerror', None) or 'no text'}); {_MAKE}") from None
    raw = _decoded(lines[1], SECRET_BYTES) if len(lines) > 1 else None
    if raw is None or raw[:2] != KEY or raw[4:6] != CHECKSUM:
        raise SettingError(f"sign_key: {path}: expected a secret key of minisign; {_MAKE}")
    if raw[2:4] != NO_PASSWORD:
        raise SettingError(
            f"sign_key: {path}: is behind a password, which nobody types in a weekly run; {_MAKE}, and let nobody else read it"
        )
    key_id, pair, checksum = raw[54:62], raw[62:126], raw[126:]
    secret = Ed25519PrivateKey.from_private_bytes(pair[:32])
    # minisign leaves the checksum of a key without a password empty
    if checksum not in (bytes(32), _checksum(key_id + pair)) or secret.public_key().public_bytes_raw() != pair[32:]:
        raise SettingError(f"sign_key: {path}: is damaged; put a good copy in its place")
    return SigningKey(key_id, secret)


def make_key(path: Path) -> Path:
    """Write a new secret key, for its owner's eyes, and beside it the public key; returns the file of that."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = path.with_name(f"{path.name}.pub")
    for taken in (path, public):
        if taken.exists():
            raise UsageError(f"{taken}: is there already; name another file")
    secret, key_id = Ed25519PrivateKey.generate(), secrets.token_bytes(8)
    pair = secret.private_bytes_raw() + secret.public_key().public_bytes_raw()
    raw = KEY + NO_PASSWORD + CHECKSUM + bytes(48) + key_id + pair + _checksum(key_id + pair)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{_UNTRUSTED}minisign secret key {shown(key_id)}\n{_encoded(raw)}\n")
        public.write_text(f"{_UNTRUSTED}minisign public key {shown(key_id)}\n{_encoded(KEY + key_id + pair[32:])}\n")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
    return public


def shown(key_id: bytes) -> str:
    """A key's id as minisign shows it."""
    return f"{int.from_bytes(key_id, 'little'):016X}"


def _parsed(text: str, what: str) -> tuple[bytes, bytes, str, bytes]:
    """Key id, signature, trusted comment, and the signature over both."""
    lines = text.splitlines()
    if len(lines) == 4 and len(text) <= LARGEST and lines[0].startswith(_UNTRUSTED) and lines[2].startswith(_TRUSTED):
        first, whole = _decoded(lines[1], SIGNATURE_BYTES), _decoded(lines[3], 64)
        if first is not None and whole is not None and first[:2] == PREHASHED:
            return first[2:10], first[10:], lines[2].removeprefix(_TRUSTED), whole
    raise ReleaseError(f"{what}: its signature is damaged, or not in minisign's present format; sign it again, or get a good copy")


def _prehashed(message: bytes) -> bytes:
    return hashlib.blake2b(message).digest()


def _checksum(key: bytes) -> bytes:
    return hashlib.blake2b(KEY + key, digest_size=32).digest()


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decoded(line: str, n_bytes: int) -> bytes | None:
    try:
        raw = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == n_bytes else None
