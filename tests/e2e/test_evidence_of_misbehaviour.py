"""A member's key used twice in earnest: two contradicting votes reach real nodes, and one file proves it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.output import Exit
from consensus.types import Digest, Height, Signature, SignedVote, ValidatorIndex, View, Vote, VoteKind, nullify
from node.keys import load_private_key
from node.network.frames import encode_frame
from node.network.host import EdgeConnection
from node.wire import FIRST_EPOCH, encode
from tests.e2e.running import RunningDevnet, until
from tests.e2e.test_hostile import HONEST, TRAITOR, Traitor
from tests.ledger.builders import make_claim


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDevnet]:
    """Three nodes, which are just a quorum, and the fourth one's keys in the tests' hands."""
    running = RunningDevnet(tmp_path_factory.mktemp("twice") / "d")
    try:
        for member in HONEST:
            running[member].start()
        for member in HONEST:
            running.start(member)
        running.record("court", running.sign(make_claim(2_000_000)))
        yield running
    finally:
        running.close()


async def votes_twice(traitor: Traitor, connection: EdgeConnection) -> None:
    """Gives up a view and finalizes a block in it, signed both with the member's one key, as a second process might."""
    devnet = traitor.devnet
    key = load_private_key(devnet[TRAITOR].config.key_path("consensus"))
    voter = devnet.genesis.validator_index(TRAITOR)
    assert voter is not None
    view = View(devnet.status(HONEST[0]).live.view + 5)
    block = Digest(bytes(range(32)))
    stream = await connection.open_stream("/stretto/1/consensus")
    finalize = Vote(kind=VoteKind.FINALIZE, epoch=FIRST_EPOCH, view=view, height=Height(9), block=block)
    for vote in (nullify(FIRST_EPOCH, view), finalize):
        signature = Signature(key.sign(vote.signing_bytes(devnet.genesis.digest)))
        signed = SignedVote(vote=vote, voter=ValidatorIndex(voter), signature=signature)
        await stream.write(encode_frame(encode(signed)))
    traitor.done += 1
    await connection.closed.wait()


def stretto(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document of a command, in a process of its own."""
    command = [sys.executable, "-m", "cli.main", *arguments, "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    document: dict[str, Any] = json.loads(ended.stdout)
    return ended.returncode, document


def test_two_votes_under_one_key_are_kept_exported_and_proven_offline(devnet: RunningDevnet, tmp_path: Path) -> None:
    traitor = Traitor(devnet, votes_twice)
    with traitor.at_work():
        for member in HONEST:
            until(lambda m=member: devnet.status(m).misbehaviours, f"{member} to keep the evidence", 40)
    node = devnet["court"].config.rpc
    (shown, *_) = stretto("misbehaviour", "list", "--node", node)[1]["misbehaviours"]
    assert TRAITOR in json.dumps(shown)
    devnet.record("label", devnet.sign(make_claim(2_000_001)))  # the others go on

    file, genesis = tmp_path / "twice.misbehaviour", str(devnet.devnet.genesis_path)
    code, got = stretto("misbehaviour", "get", shown["id"], "--out", str(file), "--node", node)
    assert code == Exit.OK, got
    for member in HONEST:
        devnet[member].stop()  # from here on nobody can be asked
    code, proven = stretto("misbehaviour", "verify", str(file), "--genesis", genesis)
    assert code == Exit.OK, proven
    assert TRAITOR in json.dumps(proven)

    whole = file.read_bytes()
    for place in (0, len(whole) // 3, 2 * len(whole) // 3, len(whole) - 1):  # every byte: tests/ledger
        tampered = tmp_path / "tampered.misbehaviour"
        tampered.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        code, refused = stretto("misbehaviour", "verify", str(tampered), "--genesis", genesis)
        assert code == Exit.REFUSED, (place, refused)
