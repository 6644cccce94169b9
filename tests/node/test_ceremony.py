"""Founding: all or nothing, private, never over something that is there."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from consensus.types import EpochParameters
from ledger.genesis import Genesis, Role
from ledger.member import ED25519_PURPOSES
from node import ceremony as module
from node.ceremony import FolderInUse, Founder, found
from node.chain_key import load_chain_key
from node.config import load_config
from node.keys import KEY_NAMES, load_private_key, public_bytes
from node.rosters import Rosters
from node.signer import KeyRing
from node.start import check_members, load_genesis
from node.store.voting import VotingStore

FOUNDERS = tuple(
    Founder(
        id=f"member-{n}",
        name=f"Member {n}",
        role=Role.LABEL,
        listen=f"/ip4/127.0.0.1/tcp/{4101 + n}",
        rpc=f"127.0.0.1:{5101 + n}",
    )
    for n in range(4)
)


def found_in(directory: Path) -> Genesis:
    return found(
        directory, name="Test", origin="test.example/log", founders=FOUNDERS, parameters=EpochParameters(delta_ms=77)
    )


def test_every_founder_gets_a_folder_that_a_node_starts_from(tmp_path: Path) -> None:
    genesis = found_in(tmp_path / "new" / "consortium")
    assert genesis.parameters.delta_ms == 77
    for founder in FOUNDERS:
        config = load_config(tmp_path / "new" / "consortium" / founder.id / "config.toml")
        assert (config.member, config.listen, config.rpc) == (founder.id, founder.listen, founder.rpc)
        assert dict(config.peers) == {other.id: other.listen for other in FOUNDERS if other != founder}
        own = load_genesis(config.genesis_path)
        assert own.raw == genesis.raw == (tmp_path / "new" / "consortium" / "genesis.json").read_bytes()
        keys = KeyRing(config)
        assert keys.missing(own.roster) == ()
        assert keys.signer(own.roster) is not None
        check_members(config, Rosters(own), public_bytes(load_private_key(config.key_path("peer"))))
        with VotingStore.open(config.voting_path) as voting:
            assert voting.next_boot_generation() == 1


def test_keys_are_private_and_no_two_are_the_same(tmp_path: Path) -> None:
    found_in(tmp_path / "consortium")
    seen = set()
    for founder in FOUNDERS:
        folder = tmp_path / "consortium" / founder.id / "keys"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {path.stem for path in folder.iterdir()} == set(KEY_NAMES)
        seen |= {public_bytes(load_private_key(folder / f"{name}.pem")) for name in ED25519_PURPOSES}
        seen.add(load_chain_key(folder / "chain.pem").public)
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert len(seen) == len(FOUNDERS) * len(KEY_NAMES)


def test_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "keys.pem").write_text("precious")
    with pytest.raises(FolderInUse, match="not empty"):
        found_in(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["keys.pem"]


def test_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "consortium").mkdir()
    found_in(tmp_path / "consortium")
    assert (tmp_path / "consortium" / "genesis.json").is_file()


def test_founding_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.VotingStore, "create", fail)
        with pytest.raises(OSError, match="No space left"):
            found_in(tmp_path / "consortium")
    assert list((tmp_path / "consortium").iterdir()) == []
    found_in(tmp_path / "consortium")


def test_founding_twice_gives_two_consortia(tmp_path: Path) -> None:
    assert found_in(tmp_path / "a").digest != found_in(tmp_path / "b").digest
