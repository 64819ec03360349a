"""The API keys of a running server: those of the setting and those of the warehouse, known by their digests, never logged.

A key is looked up by its digest, whatever number of them there is: how long that takes says nothing of any key.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, UTC

from schemas.errors import SettingError, UsageError
from serving.file_stamp import Stamp, stamp_of
from warehouse import keys
from warehouse.keys import digest_of, Key
from warehouse.layout import Warehouse

log = logging.getLogger("cinematch.serving")

SAVE_S = 60.0


class Keys:
    """Whose keys are taken; the file is read again when it changes. `problem` says what is wrong with it, where something is."""

    def __init__(self, warehouse: Warehouse, hashes: str) -> None:
        self._warehouse = warehouse
        self._path = str(warehouse.keys)
        self._set = _by_digest(_of_setting(place, text.strip()) for place, text in enumerate(hashes.split(","), 1) if text.strip())
        self._keys: dict[str, Key] = self._set
        self._signature: Stamp | None = None
        self._used: dict[str, float] = {}
        self._saved_at = 0.0
        self.problem: str | None = None
        self.look()

    def look(self) -> None:
        """Read the file again where it changed. One that cannot be read lets nobody in that it did not before."""
        signature = stamp_of(self._path)
        if signature != self._signature:
            self._signature = signature
            try:
                self._keys = self._set | _by_digest(keys.read(self._warehouse.keys).values())
                self.problem = None
            except SettingError as error:
                self.problem = str(error)

    def __bool__(self) -> bool:
        """Whether there is any; before it says no it looks whether the first was made just now."""
        if not self._keys:
            self.look()
        return bool(self._keys)

    def find(self, shown: str) -> Key | None:
        """The key that was shown, which may have expired; None if it is none of ours. Before it says so it looks whether one was made just now."""
        digest = digest_of(shown)
        if digest not in self._keys:
            self.look()
        return self._keys.get(digest)

    def used(self, key: Key, now: float) -> None:
        self._used[key.sha256] = now

    @property
    def has_used(self) -> bool:
        """Whether a key was used since it was last written that one was."""
        return bool(self._used)

    def is_due(self, now: float) -> bool:
        """Whether it is to be written now; a clock that was set back does not put it off."""
        return self.has_used and not 0 <= now - self._saved_at < SAVE_S

    def take_used(self, now: float) -> dict[str, datetime]:
        """Return what is to be written, and count it as written from now on: it may be lost, for it only informs."""
        used, self._used, self._saved_at = self._used, {}, now
        return {digest: datetime.fromtimestamp(at, UTC) for digest, at in used.items()}

    def save(self, used: Mapping[str, datetime]) -> None:
        """Write when keys were used, from any thread."""
        try:
            keys.note_used(self._warehouse, used)
        except (OSError, SettingError) as error:
            log.warning("%s: when keys were used cannot be written: %s", self._warehouse.keys_used, error)


def given(headers: Mapping[bytes, bytes], *, is_basic_enough: bool) -> str | None:
    """The key or token that a request shows.

    A browser asks for a password and sends it by itself with every later request, so a basic password reads and never writes.
    """
    if b"x-api-key" in headers:
        return headers[b"x-api-key"].decode("latin-1")
    scheme, _, rest = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic" and is_basic_enough:
        try:
            return base64.b64decode(rest.strip(), validate=True).decode("utf-8").partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


def _by_digest(all_keys: Iterable[Key]) -> dict[str, Key]:
    return {key.sha256: key for key in all_keys}


def _of_setting(place: int, text: str) -> Key:
    """`HASH`, or with its scopes `promote+run:HASH`."""
    scopes, separator, digest = text.rpartition(":")
    digest = digest.lower()
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise SettingError(
            "api_key_hashes: expected SHA-256 digests of 64 hexadecimal digits, separated by commas, each with its scopes before it "
            "or without any, such as promote+run:DIGEST"
        )
    try:
        return Key(f"setting {place}", digest, keys.scopes_of(scopes, separator="+") if separator else keys.UNSCOPED)
    except UsageError as error:
        raise SettingError(f"api_key_hashes: {error}") from None
