"""A new node joins three real ones that have a long log: killed on the way, and told a wrong checkpoint."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.sync import NEW, make_source
from cli.devnet import wait_until_up
from ledger.checkpoint import Checkpoint, checkpoint_note, cosignature, log_signature
from ledger.genesis import Genesis
from node.devnet import Devnet
from node.keys import load_private_key, public_bytes
from node.start import load_genesis
from node.store.chain import ChainStore
from node.store.check import Outcome, check_store
from node.store.errors import StoreLocked
from node.sync_pin import MARKER

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devnet]:
    made = make_source(
        tmp_path_factory.mktemp("join") / "devnet", catalogues=40, claims=600, statements=400, per_block=4
    )  # fmt: skip
    providers = [node for node in made.nodes if node.member != NEW]
    try:
        for node in providers:
            node.start()
        wait_until_up(made, providers)
        yield made
    finally:
        made.stop()


def join(devnet: Devnet, checkpoint: Path) -> subprocess.CompletedProcess[str]:
    config = devnet.node(NEW).config.directory / "config.toml"
    command = [
        sys.executable,
        "-m",
        "cli.main",
        "node",
        "join",
        "--config",
        str(config),
        "--checkpoint",
        str(checkpoint),
    ]
    return subprocess.run([*command, "--exit"], capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def log_of(devnet: Devnet) -> str:
    path = devnet.node(NEW).log_path
    return path.read_text() if path.exists() else ""


def wrong_checkpoint(devnet: Devnet, genesis: Genesis, size: int) -> bytes:
    """Of another log, cosigned all the same: whoever made it has a quorum of keys."""
    made = Checkpoint(origin=genesis.origin, size=size, root=bytes(32))
    logs, cosigned = [], []
    for member in genesis.validator_members()[: genesis.roster.quorum]:
        keys = {name: load_private_key(devnet.node(member.id).config.key_path(name)) for name in ("log", "cosign")}
        logs.append(log_signature(made, public_key=public_bytes(keys["log"]), sign=keys["log"].sign))
        cosigned.append(
            cosignature(
                made, member_id=member.id, timestamp_s=1, public_key=public_bytes(keys["cosign"]),
                sign=keys["cosign"].sign,
            )
        )  # fmt: skip
    return checkpoint_note(made, logs, cosigned).encode()


def opened(folder: Path, genesis: Genesis) -> ChainStore:
    """Once the kernel has let go of the lock of a process that was killed."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ChainStore.open(folder, genesis)
        except StoreLocked:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def size_of(devnet: Devnet) -> int:
    return int((devnet.directory / "checkpoint").read_bytes().split(b"\n")[1])


def test_killed_on_the_way_it_goes_on_where_it_was(devnet: Devnet) -> None:
    genesis = load_genesis(devnet.genesis_path)
    new, folder = devnet.node(NEW), devnet.node(NEW).config.chain_path
    new.start()
    deadline = time.monotonic() + PATIENCE_S
    while not (folder / "data.mdb").exists() or (folder / "data.mdb").stat().st_blocks * 512 < 2 * 2**20:
        assert time.monotonic() < deadline, log_of(devnet)
        new.check_running()
        time.sleep(0.005)
    assert new.send_signal(signal.SIGKILL)
    new.wait_end()
    assert "sync: done" not in log_of(devnet), "killed before it was there, or the test shows nothing"
    with opened(folder, genesis) as store:
        height, blobs = store.head().block.height, len(store.uploads())
    assert height or blobs, "what had come is on disk"

    joined = join(devnet, devnet.directory / "checkpoint")
    assert joined.returncode == 0, joined.stderr
    assert f"joined: {size_of(devnet)} leaves" in joined.stdout + joined.stderr
    assert f"sync: starting at height {height}," in log_of(devnet)
    with ChainStore.open(folder, genesis) as store:
        assert store.size == size_of(devnet)
    assert all(found.outcome is Outcome.PASSED for found in check_store(folder, genesis))


def test_wrong_checkpoint_stops_it_before_it_serves_and_is_not_forgotten(devnet: Devnet, tmp_path: Path) -> None:
    new, folder = devnet.node(NEW), devnet.node(NEW).config.chain_path
    shutil.rmtree(new.config.directory / "data", ignore_errors=True)
    new.log_path.unlink(missing_ok=True)
    wrong = tmp_path / "wrong"
    wrong.write_bytes(wrong_checkpoint(devnet, load_genesis(devnet.genesis_path), size_of(devnet)))
    refused = join(devnet, wrong)
    assert refused.returncode != 0
    assert "served and voted for nothing" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "listens at" not in log_of(devnet)
    assert "this node votes again" not in log_of(devnet)
    assert (folder / MARKER).exists()
    again = join(devnet, devnet.directory / "checkpoint")
    assert again.returncode != 0, "what was taken on trust of the wrong one stays to be proven"
    assert "delete" in again.stderr
