"""Downloads a MovieLens archive: resumed where it stopped, checked against the published checksum, kept."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from schemas.errors import SourceError, UsageError

KNOWN = ("ml-latest-small", "ml-latest", "ml-32m", "ml-25m", "ml-20m", "ml-10m", "ml-1m", "ml-100k")
TIMEOUT_S = 30
ATTEMPTS = 4
_CHUNK = 2**20
_MD5 = re.compile(r"\b[0-9a-fA-F]{32}\b")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BROKEN = (http.client.HTTPException, ConnectionError, TimeoutError)


def fetched(dataset: str, *, url: str, folder: Path) -> Path:
    """`<folder>/<dataset>.zip`, downloaded from `<url>/<dataset>.zip` unless it is there already."""
    if not _NAME.fullmatch(dataset):
        raise UsageError(f"dataset {dataset!r}: expected a name such as {', '.join(KNOWN)}")
    archive = folder / f"{dataset}.zip"
    if archive.is_file():
        return archive
    address = f"{url.rstrip('/')}/{dataset}.zip"
    if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
        raise UsageError(f"dataset_url {url!r}: expected an address that begins with https:// or http://")
    folder.mkdir(parents=True, exist_ok=True)
    part = archive.with_name(archive.name + ".part")
    _transfer(address, part, dataset)
    _check(part, _published_md5(address + ".md5"), address)
    os.replace(part, archive)
    return archive


def _transfer(address: str, part: Path, dataset: str) -> None:
    """Appends to `part` until it has every byte; a broken connection is taken up again where it broke."""
    for attempt in range(1, ATTEMPTS + 1):
        problem = "the connection ended early"
        try:
            if _append(address, part, dataset):
                return
        except _BROKEN as error:
            problem = str(error) or type(error).__name__
        if attempt < ATTEMPTS:
            time.sleep(0.2 * attempt)
    n_bytes = part.stat().st_size if part.exists() else 0
    raise SourceError(f"{address}: stopped after {n_bytes:,} bytes, {ATTEMPTS} times ({problem}); run again to go on from there")


def _append(address: str, part: Path, dataset: str) -> bool:
    """One request for what is missing. Whether all of it has come."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = _open(request)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:  # nothing after what we have: all of it, or the file was replaced by a shorter one
                total = error.headers.get("Content-Range", "").rpartition("/")[2]
                if total == str(have):
                    return True
                part.unlink()
                return False
            if error.code == 404:
                raise SourceError(
                    f"{address}: not found (404); expected dataset to be one of {', '.join(KNOWN)}; got {dataset!r}"
                ) from None
            raise SourceError(f"{address}: the server answered {error.code} {error.reason}; try again later, or give path") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError | ConnectionResetError):
            raise error.reason from None
        raise SourceError(f"{address}: cannot be reached: {error.reason}; check dataset_url and the network, or give path") from None
    with response:
        is_resumed = response.status == 206
        start = have if is_resumed else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with part.open("ab" if is_resumed else "wb") as out, _progress(dataset, start, total) as advance:
            while chunk := response.read(_CHUNK):
                out.write(chunk)
                advance(len(chunk))
            out.flush()
            os.fsync(out.fileno())
    return total is None or part.stat().st_size == total


def _open(request: urllib.request.Request) -> http.client.HTTPResponse:
    """Through the environment's proxy, if there is one, except to this machine."""
    is_local = urllib.parse.urlsplit(request.full_url).hostname in ("127.0.0.1", "localhost", "::1")
    handlers = [urllib.request.ProxyHandler({})] if is_local else []
    return urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT_S)


def _published_md5(address: str) -> str | None:
    """The checksum in `<md5>  name` or `MD5 (name) = <md5>`; None if none is published."""
    try:
        with _open(urllib.request.Request(address)) as response:
            match = _MD5.search(response.read(4096).decode("ascii", errors="replace"))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (403, 404):
            return None
        raise SourceError(f"{address}: the server answered {error.code}; the download is kept, run again to check it") from None
    except (urllib.error.URLError, *_BROKEN) as error:
        raise SourceError(f"{address}: cannot be reached: {error}; the download is kept, run again to check it") from None
    if match is None:
        raise SourceError(f"{address}: holds no MD5 checksum; expected 32 hexadecimal digits")
    return match[0].lower()


def _check(part: Path, expected: str | None, address: str) -> None:
    """Removes the file and raises where it is not what was published. Without a checksum the zip checks
    itself."""
    if expected is not None:
        with part.open("rb") as stream:
            got = hashlib.file_digest(stream, "md5").hexdigest()
        if got != expected:
            part.unlink()
            raise SourceError(f"{address}: checksum {got}, expected {expected}; the file was removed, run again to fetch it anew")
        return
    _say(f"{address}: no checksum is published, so only the archive's own were checked")
    try:
        with zipfile.ZipFile(part) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError) as error:
        damaged = str(error)
    if damaged is not None:
        part.unlink()
        raise SourceError(f"{address}: not a sound zip ({damaged}); the file was removed, run again to fetch it anew")


@contextmanager
def _progress(name: str, start: int, total: int | None) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal; elsewhere a line at each tenth."""
    if sys.stderr.isatty():
        with tqdm(desc=name, initial=start, total=total, unit="B", unit_scale=True, file=sys.stderr) as bar:
            yield bar.update
        return
    have, told = start, time.monotonic()
    tenth = start * 10 // total if total else 0
    _say(
        f"{name}: downloading {f'{total / 2**20:,.1f} MiB' if total else 'an unknown number of bytes'}"
        + (f", from {start:,} on" if start else "")
    )

    def advance(n: int) -> None:
        nonlocal have, tenth, told
        have += n
        reached = have * 10 // total if total else tenth
        if reached > tenth or time.monotonic() - told > 10:
            tenth, told = reached, time.monotonic()
            _say(f"{name}: {have / 2**20:,.1f} MiB" + (f", {have * 100 // total} %" if total else ""))

    yield advance


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
