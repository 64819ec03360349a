"""Signatures of releases: what altered, dropped or foreign ones are refused with, and that minisign agrees."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.cli import main
from schemas.errors import ReleaseError, SettingError, UsageError
from schemas.manifest import Manifest
from serving.verify import open_verified
from tests.conftest import Built, ROOT
from tests.serving.conftest import serving
from tests.warehouse.conftest import add_release
from warehouse import archive, signature
from warehouse.layout import Warehouse
from warehouse.promotion import promote, rollback
from warehouse.release import current_id, damage, read_manifest, sealed_ids
from warehouse.sealing import sign
from warehouse.signature import make_key, signing_key, Trusted, trusted

MESSAGE = b"a manifest\n"


class Keys:
    """A pair of ours, and one of a stranger."""

    def __init__(self, folder: Path) -> None:
        self.secret, self.other = folder / "release.key", folder / "other.key"
        self.public, self.foreign = make_key(self.secret), make_key(self.other)

    @property
    def trusted(self) -> Trusted:
        return trusted(str(self.public))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


def altered(text: str, line: int, change: Callable[[bytes], bytes]) -> str:
    """A signature with the bytes behind one of its lines changed."""
    lines = text.splitlines()
    lines[line] = base64.b64encode(change(base64.b64decode(lines[line]))).decode()
    return "\n".join(lines) + "\n"


def flipped(at: int) -> Callable[[bytes], bytes]:
    return lambda raw: raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def test_a_signature_holds_for_its_message_and_its_comment(keys: Keys) -> None:
    text = signing_key(keys.secret).sign(MESSAGE, comment="release:a")
    keys.trusted.check(MESSAGE, text, what="it")
    trusted(f"{keys.foreign}, {keys.public.read_text().splitlines()[1]}").check(MESSAGE, text, what="it")
    with pytest.raises(ReleaseError, match="it is not what key"):
        keys.trusted.check(MESSAGE + b" ", text, what="it")
    with pytest.raises(ReleaseError, match="it is not signed"):
        keys.trusted.check(MESSAGE, None, what="it")
    with pytest.raises(ReleaseError, match=f"signed by key {signature.signer_of(text)}, and trusted_keys has"):
        trusted(str(keys.foreign)).check(MESSAGE, text, what="it")
    Trusted({}).check(MESSAGE, None, what="it")


@pytest.mark.parametrize(("change", "says"), [
    (lambda text: altered(text, 1, flipped(2)), "trusted_keys has"),  # the key's id
    (lambda text: altered(text, 1, flipped(40)), "not what key"),
    (lambda text: altered(text, 3, flipped(0)), "not what key"),
    (lambda text: altered(text, 1, lambda raw: raw[:-1]), "damaged"), (lambda text: altered(text, 1, lambda raw: b"Ed" + raw[2:]), "damaged"),
    (lambda text: altered(text, 3, lambda raw: raw + b"\0"), "damaged"), (lambda text: text.replace("release:a", "release:b"), "not what key"),
    (lambda text: text[: len(text) // 2], "damaged"), (lambda text: "", "damaged"), (lambda text: text + "more\n", "damaged"),
    (lambda text: text.replace("trusted comment: ", "comment: "), "damaged"), (lambda text: text.replace("\n", " \n"), "damaged"),
])  # fmt: skip
def test_an_altered_signature_is_none(change: Callable[[str], str], says: str, keys: Keys) -> None:
    text = signing_key(keys.secret).sign(MESSAGE, comment="release:a")
    with pytest.raises(ReleaseError, match=says):
        keys.trusted.check(MESSAGE, change(text), what="it")


def test_a_foreign_signature_under_a_trusted_id_is_refused(keys: Keys) -> None:
    forged = replace(signing_key(keys.other), id=signing_key(keys.secret).id)
    with pytest.raises(ReleaseError, match="not what key"):
        keys.trusted.check(MESSAGE, forged.sign(MESSAGE, comment="release:a"), what="it")


def test_files_that_are_no_keys_say_so_and_show_nothing_of_themselves(keys: Keys, tmp_path: Path) -> None:
    text = keys.secret.read_text()
    raw = base64.b64decode(text.splitlines()[1])
    with pytest.raises(UsageError, match="is there already"):
        make_key(keys.secret)
    assert keys.secret.stat().st_mode & 0o777 == 0o600
    path = tmp_path / "wrong.key"
    for changed, says in (
        (b"", "expected a secret key"), (raw[:-1], "expected a secret key"), (raw[:2] + b"Sc" + raw[4:], "behind a password"),
        (flipped(100)(raw), "damaged"), (flipped(157)(raw), "damaged"),
    ):  # fmt: skip
        path.write_text(f"untrusted comment: x\n{base64.b64encode(changed).decode()}\n")
        with pytest.raises(SettingError, match=says) as refused:
            signing_key(path)
        assert base64.b64encode(raw[62:94]).decode()[:20] not in str(refused.value)
    with pytest.raises(SettingError, match="cannot be read"):
        signing_key(tmp_path / "absent.key")
    for setting in (str(tmp_path / "absent.pub"), str(keys.secret), "RWabc", f"{keys.public},{path}"):
        with pytest.raises(SettingError, match="trusted_keys"):
            trusted(setting)
    assert not trusted("") and not trusted(" , ")


@pytest.mark.skipif(shutil.which("minisign") is None, reason="minisign is not installed")
def test_minisign_verifies_ours_and_we_verify_minisigns(keys: Keys, tmp_path: Path) -> None:
    message = tmp_path / "manifest.json"
    message.write_bytes(MESSAGE)
    message.with_suffix(".json.minisig").write_text(signing_key(keys.secret).sign(MESSAGE, comment="release:a"))
    checked = subprocess.run(["minisign", "-V", "-p", keys.public, "-m", message], capture_output=True, text=True, timeout=20)
    assert checked.returncode == 0 and "release:a" in checked.stdout, checked.stderr
    subprocess.run(
        ["minisign", "-S", "-s", keys.secret, "-m", message, "-x", tmp_path / "ours"], check=True, capture_output=True, timeout=20
    )
    keys.trusted.check(MESSAGE, (tmp_path / "ours").read_text(), what="it")
    theirs = ["-p", tmp_path / "m.pub", "-s", tmp_path / "m.key"]
    subprocess.run(["minisign", "-G", "-W", *theirs], check=True, capture_output=True, timeout=20)
    text = signing_key(tmp_path / "m.key").sign(MESSAGE, comment="release:b")
    trusted(str(tmp_path / "m.pub")).check(MESSAGE, text, what="it")
    subprocess.run(["minisign", "-S", "-s", tmp_path / "m.key", "-m", message], check=True, capture_output=True, timeout=20)
    trusted(str(tmp_path / "m.pub")).check(MESSAGE, message.with_suffix(".json.minisig").read_text(), what="it")


def until(found: Callable[[], object], limit_s: float = 20) -> object:
    """Return what is found as soon as there is something; None if that takes too long."""
    deadline = time.monotonic() + limit_s
    while not (value := found()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value or None


def rewritten(built: Built, **changed: object) -> None:
    """Change a sealed manifest, with the digest over itself as it should be."""
    release = built.release
    release.folder.chmod(0o755)
    release.manifest.chmod(0o644)
    release.manifest.write_text(replace(built.manifest, **changed).to_json())


def test_only_a_signed_release_is_promoted_rolled_back_to_and_served(copied: Built, keys: Keys) -> None:
    warehouse, first = copied.warehouse, copied.release_id
    second = add_release(copied, "20990101T000000Z")
    sign(warehouse, second, signing_key(keys.secret))
    assert damage(warehouse.sealed(second), read_manifest(warehouse.sealed(second))) == {}
    assert promote(warehouse, second, reason="signed", trusted=keys.trusted) == first
    open_verified(warehouse.sealed(second), keys.trusted).retire()
    for refused in (
        lambda: rollback(warehouse, trusted=keys.trusted),
        lambda: promote(warehouse, first, reason="x", trusted=keys.trusted),
        lambda: open_verified(copied.release, keys.trusted),
    ):
        with pytest.raises(ReleaseError, match=f"release {first} is not signed"):
            refused()
    assert current_id(warehouse) == second
    sign(warehouse, first, signing_key(keys.other))
    with pytest.raises(ReleaseError, match="trusted_keys has"):
        rollback(warehouse, trusted=keys.trusted)
    sign(warehouse, first, signing_key(keys.secret))  # in place of the stranger's
    assert rollback(warehouse, trusted=keys.trusted) == first


def test_altered_manifests_and_files_are_refused_by_every_command(copied: Built, keys: Keys, capsys: pytest.CaptureFixture[str]) -> None:
    sign(copied.warehouse, copied.release_id, signing_key(keys.secret))
    flags = ["--warehouse", str(copied.warehouse.folder), "--trusted-keys", str(keys.public)]
    assert main(["releases", "verify", copied.release_id, *flags]) == 0
    assert f"manifest.json.minisig                        key {signature.shown(signing_key(keys.secret).id)}" in capsys.readouterr().out
    assert main(["audit", *flags]) == 0
    copied.release.table("popular").chmod(0o644)
    whole = copied.release.table("popular").read_bytes()
    copied.release.table("popular").write_bytes(whole[:-1])
    assert main(["releases", "verify", copied.release_id, *flags]) == 5
    assert "not as sealed" in capsys.readouterr().err
    copied.release.table("popular").write_bytes(whole)
    rewritten(copied, verdict=copied.manifest.verdict | {"reason": "better by far"})
    for command in (["releases", "verify", copied.release_id], ["releases", "promote", copied.release_id], ["audit"]):
        assert main([*command, *flags]) == 5
        assert "its manifest or its signature was altered" in capsys.readouterr().err
    with pytest.raises(ReleaseError, match="altered"):
        open_verified(copied.release, keys.trusted)
    open_verified(copied.release).retire()


def test_an_archive_without_its_signature_or_with_another_is_not_imported(
    copied: Built, keys: Keys, empty: Warehouse, tmp_path: Path
) -> None:
    sign(copied.warehouse, copied.release_id, signing_key(keys.secret))
    whole = archive.write(copied.warehouse, copied.release_id, tmp_path)

    def changed(name: str, change: Callable[[str, bytes], bytes | None]) -> Path:
        path = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
            for member in old.namelist():
                content = change(member, old.read(member))
                if content is not None:
                    new.writestr(member, content)
        return path

    def reason(name: str, content: bytes) -> bytes:
        if name != "manifest.json":
            return content
        manifest = Manifest.from_json(content.decode(), name="x")
        return replace(manifest, verdict=manifest.verdict | {"reason": "better by far"}).to_json().encode()

    dropped = changed("dropped", lambda name, content: None if name == archive.SIGNATURE else content)
    for path, says in (
        (dropped, "is not signed"), (changed("manifest", reason), "was altered"),
        (changed("cut", lambda name, content: content[:50] if name == archive.SIGNATURE else content), "damaged"),
        (changed("large", lambda name, content: content * 100 if name == archive.SIGNATURE else content), "4,096 bytes"),
        (changed("file", lambda name, content: content[::-1] if name == "tables/popular.parquet" else content), "tables/popular.parquet is changed"),
    ):  # fmt: skip
        with pytest.raises(ReleaseError, match=says):
            archive.import_(empty, path, trusted=keys.trusted)
        assert sealed_ids(empty) == []
    with pytest.raises(ReleaseError, match="trusted_keys has"):
        archive.import_(empty, whole, trusted=trusted(str(keys.foreign)))
    release = archive.import_(empty, whole, trusted=keys.trusted)
    assert release.signature.read_bytes() == copied.release.signature.read_bytes()
    assert promote(empty, release.id, reason="imported", trusted=keys.trusted) is None


def test_a_server_refuses_what_is_not_signed(copied: Built, keys: Keys) -> None:
    warehouse, first = copied.warehouse, copied.release_id
    command = [sys.executable, "-m", "serving", "--warehouse", str(warehouse.folder), "--port", "0", "--trusted-keys", str(keys.public)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT)
    assert refused.returncode == 5 and f"release {first} is not signed" in refused.stderr and "Traceback" not in refused.stderr
    second = add_release(copied, "20990101T000000Z")
    sign(warehouse, first, signing_key(keys.secret))
    with serving(warehouse.folder, "--trusted-keys", str(keys.public)) as server:
        promote(warehouse, second, reason="by one who trusts anybody")
        assert f"release {second} is not signed" in until(lambda: server.rows("/health/ready")[0].get("problem"))
        assert server.get("/popular").json()["release"] == first
        sign(warehouse, second, signing_key(keys.secret))
        assert until(lambda: server.get("/popular").json()["release"] == second)


def test_the_commands_make_keys_and_sign(copied: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--warehouse", str(copied.warehouse.folder)]
    assert main(["releases", "sign", "current", *flags]) == 2 and "signing-key" in capsys.readouterr().err
    assert main(["releases", "signing-key", str(tmp_path / "release.key"), *flags]) == 0
    assert main(["releases", "sign", "current", "--sign-key", str(tmp_path / "release.key"), *flags]) == 0
    assert "is signed by key" in capsys.readouterr().out
    trusted(str(tmp_path / "release.key.pub")).check_release(copied.release)
    assert copied.release.folder.stat().st_mode & 0o222 == 0 and copied.release.signature.stat().st_mode & 0o222 == 0
    assert main(["run", "--trusted-keys", str(tmp_path / "release.key.pub"), *flags]) == 2 and "set sign_key" in capsys.readouterr().err
