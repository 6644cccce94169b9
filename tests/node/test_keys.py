"""Private key files: made private, never overwritten, refused when others may read them, and never quoted."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from node import keys
from node.keys import (
    KEY_FILE_BYTES_MAX,
    KeyFileError,
    load_private_key,
    public_bytes,
    seed_bytes,
    write_key,
)

SEED = bytes(range(32))
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
SECRETS = (SEED.hex(), base64.b64encode(SEED).decode(), PEM.splitlines()[1].decode(), repr(SEED))


def put(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def refused(path: Path) -> KeyFileError:
    with pytest.raises(KeyFileError) as caught:
        load_private_key(path)
    error = caught.value
    assert str(path) in str(error)
    assert error.expected in str(error)
    # What Python prints of an error that nobody caught: its cause and its context must not quote the key either.
    seen = [error, error.__cause__, None if error.__suppress_context__ else error.__context__]
    text = " ".join(f"{e} {e!r} {vars(e)}" for e in seen if e is not None)
    assert not [secret for secret in SECRETS if secret in text]
    return error


def test_written_key_is_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "log.pem"
    write_key(path, KEY)
    assert seed_bytes(load_private_key(path)) == SEED
    assert public_bytes(KEY) == KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def test_written_key_is_private_from_its_first_instant_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        generated = keys.generate_private_key(tmp_path / "log.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log.pem").stat().st_mode) == 0o600
    assert seed_bytes(load_private_key(tmp_path / "log.pem")) == seed_bytes(generated)


def test_two_generated_keys_differ(tmp_path: Path) -> None:
    first, second = (keys.generate_private_key(tmp_path / name) for name in ("a.pem", "b.pem"))
    assert seed_bytes(first) != seed_bytes(second)


def test_written_key_is_readable_by_openssl(tmp_path: Path) -> None:
    write_key(tmp_path / "log.pem", KEY)
    command = ["openssl", "pkey", "-in", str(tmp_path / "log.pem"), "-pubout", "-outform", "DER"]
    try:
        printed = subprocess.run(command, capture_output=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("no openssl on this machine")
    assert printed.endswith(public_bytes(KEY))


def test_key_is_never_overwritten(tmp_path: Path) -> None:
    path = put(tmp_path / "log.pem", b"something precious")
    with pytest.raises(KeyFileError, match="never overwritten"):
        write_key(path, KEY)
    assert path.read_bytes() == b"something precious"


def test_key_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "log.pem").symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(KeyFileError, match="exists already"):
        write_key(tmp_path / "log.pem", KEY)
    assert not (tmp_path / "elsewhere.pem").exists()


def test_key_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="choose a folder"):
        write_key(tmp_path / "nowhere" / "log.pem", KEY)


def test_key_that_could_not_be_written_whole_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a key would stand in the way of the next attempt for ever."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyFileError, match="No space left"):
        write_key(tmp_path / "log.pem", KEY)
    assert not (tmp_path / "log.pem").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644, 0o777, 0o610])
def test_key_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    error = refused(put(tmp_path / "log.pem", PEM, mode))
    assert f"chmod 600 {tmp_path / 'log.pem'}" in str(error)
    assert f"{mode:04o}" in str(error)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_key_that_only_its_owner_may_read_is_loaded(tmp_path: Path, mode: int) -> None:
    assert seed_bytes(load_private_key(put(tmp_path / "log.pem", PEM, mode))) == SEED


def test_missing_key_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "log.pem").problem


def test_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PEM[:-30],
        PEM.replace(b"PRIVATE", b"PUBLIC"),
        PEM.replace(b"MC4", b"MC5"),
        KEY.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()),
        KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")),
        KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        PEM + b"\n" * KEY_FILE_BYTES_MAX,
    ],
    ids=["empty", "cut", "wrong label", "wrong DER", "raw", "encrypted", "DER", "public", "too large"],
)
def test_what_is_no_key_is_refused_without_quoting_it(tmp_path: Path, data: bytes) -> None:
    refused(put(tmp_path / "log.pem", data))


def test_key_of_another_kind_is_refused_by_its_name(tmp_path: Path) -> None:
    other = generate_private_key(SECP256K1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert "ECPrivateKey" in refused(put(tmp_path / "log.pem", other)).problem


@given(position=st.integers(0, len(PEM) - 1), byte=st.integers(0, 255))
def test_key_with_one_byte_changed_is_loaded_or_refused_without_quoting_it(
    tmp_path_factory: pytest.TempPathFactory, position: int, byte: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.pem"
    put(path, PEM[:position] + bytes([byte]) + PEM[position + 1 :])
    try:
        load_private_key(path)
    except KeyFileError:
        refused(path)
