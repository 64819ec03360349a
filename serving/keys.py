"""API keys: made here, shown once, kept as a digest, compared in constant time, never logged.

python -m serving.keys create --warehouse warehouse/data --name shop
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import secrets
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from schemas.errors import CineMatchError, SettingError, UsageError
from schemas.settings import resolve
from warehouse.layout import Warehouse

_DIGEST = re.compile(r"[0-9a-f]{64}")


def digest_of(key: str) -> str:
    """A key has 256 random bits, so one round of SHA-256 is as good as many."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def create(path: Path, name: str) -> str:
    """Make a key, keep its digest under a name, and return it; it cannot be had again."""
    kept = read(path)
    if name in kept:
        raise UsageError(
            f"{path}: there is a key named {name!r} already; give another --name, or remove that one from the file"
        )
    key = f"cm_{secrets.token_urlsafe(32)}"
    kept[name] = {"sha256": digest_of(key), "created_at": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(json.dumps(kept, indent=1) + "\n")
    os.replace(temporary, path)
    return key


def read(path: Path) -> dict[str, dict[str, str]]:
    """Names and digests; empty where there is no file."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if not all(_DIGEST.fullmatch(entry["sha256"]) for entry in kept.values()):
            raise ValueError("a digest is not 64 hexadecimal digits")
        return kept
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SettingError(
            f"{path}: not a file of API keys ({error}); make keys with `python -m serving.keys create`"
        ) from None


class Keys:
    """The keys of a running server: those of the setting, and those of the file, read again when it changes."""

    def __init__(self, path: Path, hashes: str) -> None:
        self._path = path
        self._set = {
            f"setting {place}": text.strip().lower() for place, text in enumerate(hashes.split(","), 1) if text.strip()
        }
        for text in self._set.values():
            if not _DIGEST.fullmatch(text):
                raise SettingError(
                    "api_key_hashes: expected SHA-256 digests of 64 hexadecimal digits, separated by commas"
                )
        self._signature: tuple | None = None
        self._digests: dict[str, str] = dict(self._set)
        self.problem: str | None = None
        self.look()

    def look(self) -> None:
        """Read the file again where it changed. One that cannot be read lets nobody in that it did not before, and `problem`
        says so."""
        try:
            found = os.stat(self._path)
            signature = (found.st_ino, found.st_mtime_ns, found.st_size)
        except OSError:
            signature = None
        if signature != self._signature:
            self._signature = signature
            try:
                self._digests = self._set | {name: entry["sha256"] for name, entry in read(self._path).items()}
                self.problem = None
            except SettingError as error:
                self.problem = str(error)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def name_of(self, headers: Mapping[bytes, bytes], *, is_basic_enough: bool = False) -> str | None:
        """The name of the key that a request shows; None where it shows none, or none of ours. Every digest is compared.

        A browser asks for a password and sends it by itself with every later request, so a basic password reads and never writes.
        """
        given = _given(headers, is_basic_enough)
        if given is None:
            return None
        shown, found = digest_of(given), None
        for name, digest in self._digests.items():
            if hmac.compare_digest(shown, digest):
                found = name
        return found


def _given(headers: Mapping[bytes, bytes], is_basic_enough: bool) -> str | None:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """`create` prints a new key, once."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.keys", description="Make an API key; only its digest is kept."
    )
    parser.add_argument("action", choices=["create"])
    parser.add_argument("--warehouse", metavar="FOLDER")
    parser.add_argument("--settings", metavar="FILE")
    parser.add_argument("--name", default="default", help="what the key is for; one key a name")
    parsed = parser.parse_args(arguments)
    try:
        settings = resolve({"warehouse": parsed.warehouse, "settings": parsed.settings}, os.environ)
        path = Warehouse(Path(settings.warehouse)).keys
        key = create(path, parsed.name)
    except CineMatchError as error:
        print(f"cinematch: {error}", file=sys.stderr)
        return error.exit_code
    print(f"Key {parsed.name!r}, shown this once; a running server takes it at once:", file=sys.stderr)
    print(key)
    print(f"Send it as a header:  Authorization: Bearer {key[:6]}...   Its digest is in {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
