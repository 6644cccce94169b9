"""The key for public chains as a file: private from its first instant, of its own kind, named where it lacks."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from ledger import secp256k1
from ledger.chain_key import is_possession
from node.chain_key import ChainKey, generate_chain_key, load_chain_key
from node.config import NodeConfig
from node.keys import KeyFileError, generate_private_key, write_key
from node.signer import KeyRing
from tests.ledger.builders import chain_key
from tests.node.nodes import GENESIS, make_folder, write_chain_key

PATH = "chain.pem"


def test_a_key_is_written_once_for_its_owner_alone_and_loaded_again(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = generate_chain_key(tmp_path / PATH)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / PATH).stat().st_mode) == 0o600
    loaded = load_chain_key(tmp_path / PATH)
    assert (loaded.public, loaded.address) == (made.public, made.address)
    assert secp256k1.is_strict_key(made.public)
    assert is_possession(made.public, "court", loaded.prove("court"))
    with pytest.raises(KeyFileError, match="exists already"):
        generate_chain_key(tmp_path / PATH)


def test_openssl_reads_it_and_agrees_on_the_public_half(tmp_path: Path) -> None:
    made = generate_chain_key(tmp_path / PATH)
    command = ["openssl", "pkey", "-in", str(tmp_path / PATH), "-pubout", "-outform", "DER"]
    public = load_der_public_key(subprocess.run(command, capture_output=True, check=True).stdout)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint) == made.public


@pytest.mark.parametrize("secret", [1, 255, secp256k1._N - 1])
def test_a_small_secret_is_filled_up_to_32_bytes(secret: int) -> None:
    key = ChainKey(ec.derive_private_key(secret, ec.SECP256K1()))
    assert key.public == secp256k1.public_key(secret.to_bytes(32, "big"))


def test_its_repr_shows_the_address_and_not_the_secret() -> None:
    key = ChainKey(ec.derive_private_key(0xABCDEF, ec.SECP256K1()))
    assert repr(key) == f"ChainKey(0x{key.address.hex()})"
    assert "abcdef" not in repr(key)


def test_a_key_of_another_kind_is_named(tmp_path: Path) -> None:
    generate_private_key(tmp_path / "ed.pem")
    with pytest.raises(KeyFileError, match=r"holds a Ed25519PrivateKey.*secp256k1"):
        load_chain_key(tmp_path / "ed.pem")
    write_key(tmp_path / "p256.pem", ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(KeyFileError, match="secp256r1"):
        load_chain_key(tmp_path / "p256.pem")
    generate_chain_key(tmp_path / PATH).prove("x")
    (tmp_path / PATH).chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_chain_key(tmp_path / PATH)


# ---- the seat --------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return make_folder(tmp_path / "court", "court")


def test_a_folder_without_it_says_so_at_start_and_what_to_do(config: NodeConfig) -> None:
    """As an operator sees it who has the folder from before there was one."""
    path = config.key_path("chain")
    path.unlink()
    with pytest.raises(KeyFileError) as caught:
        KeyRing(config)
    assert str(path) in str(caught.value)
    assert "is missing" in caught.value.problem
    assert "stretto key new --chain" in caught.value.expected


def test_another_key_than_the_rosters_is_a_seat_without_its_keys(
    config: NodeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    config.key_path("chain").unlink()
    generate_chain_key(config.key_path("chain"))
    ring = KeyRing(config)
    assert ring.missing(GENESIS.roster) == ("chain",)
    assert ring.signer(GENESIS.roster) is None
    write_chain_key(config.key_path("chain.next"), chain_key("court"))
    with caplog.at_level(logging.ERROR):
        ring.renew()
    assert ring.missing(GENESIS.roster) == (), "it looks into the folder when an epoch begins"
    assert not caplog.records
    config.key_path("chain").unlink()
    assert KeyRing(config).missing(GENESIS.roster) == (), "the next key may be the only one"


def test_a_spoilt_next_key_does_not_take_away_the_one_in_use(
    config: NodeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    ring = KeyRing(config)
    shutil.copy(config.key_path("log"), config.key_path("chain.next"))
    with caplog.at_level(logging.ERROR):
        ring.renew()
    assert "goes on with the keys it has read before" in caplog.text
    assert ring.missing(GENESIS.roster) == ()
