"""Four real processes, as an operator runs them: record, read elsewhere, refuse, kill, restart, stop without trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from cli.client import NodeClient, NodeError, NodeUnreachable, Submission
from cli.output import Exit
from ledger.catalogue import build_catalogue, split_body
from ledger.claim import Claim
from ledger.payload import STATEMENTS_MAX
from node.config import STORE_BYTES_MIN
from node.devnet import init_devnet, load_devnet
from node.network.network import Network
from node.network.peer_id import peer_id_of
from node.network.values import NetworkSettings
from node.rpc.types import SubmissionState
from tests.e2e.running import RunningDevnet, log_lines, processes_of, reader_of, until
from tests.ledger.builders import make_catalogue, make_claim

FINAL, DUPLICATE, REFUSED = SubmissionState.FINAL, SubmissionState.DUPLICATE, SubmissionState.REFUSED
_numbers = iter(range(10_000, 100_000))


def claim() -> Claim:
    """One that no other test records."""
    return make_claim(next(_numbers))


# ---- recording and reading -------------------------------------------------------------------------------------------


def test_statement_recorded_through_one_node_is_read_from_the_others(running: RunningDevnet) -> None:
    size = running.status("court").size
    statement = running.sign(claim())
    result = running.record("court", statement)
    assert (result.state, result.index) == (FINAL, size)
    running.agree(size + 1)
    for member in running.members:
        found = running.client(member).statement(index=size)
        assert found.raw == statement, "verbatim"
        assert (found.height, found.block_time_ms) == (result.height, result.block_time_ms)
        assert running.client(member).statement(digest=found.digest) == found


def test_claim_is_found_by_its_file_and_its_isrc_at_another_node(running: RunningDevnet) -> None:
    recorded = claim()
    result = running.record("label", running.sign(recorded))
    running.agree(result.index + 1)
    media = recorded.media[0]
    client = running.client("platform")
    for found in (
        list(client.claims(media_digest=media.blake3)),
        list(client.claims(media_digest=media.sha256)),
        list(client.claims(isrc=recorded.isrc)),
    ):
        assert [(c.claim, c.index, c.issuer) for c in found] == [(recorded.encode(), result.index, "label")]


def test_checkpoint_is_signed_by_a_quorum_and_proves_growth(running: RunningDevnet) -> None:
    before = running.record("court", running.sign(claim())).index + 1
    after = running.record("label", running.sign(claim())).index + 1
    root = running.agree(after)
    client = running.client("society")
    checkpoint = until(lambda: (c := client.checkpoint()).size >= after and c, "a complete checkpoint")
    assert len(checkpoint.signers) >= running.genesis.quorum
    assert (checkpoint.size, checkpoint.root) == (after, root)
    proof = client.consistency_proof(before, after)
    assert proof.to_root == root


def test_stream_of_many_statements_is_recorded_in_full(running: RunningDevnet) -> None:
    size = running.status("court").size
    statements = [running.sign(claim()) for _ in range(150)]
    results = list(running.client("court").submit_many(Submission(statement=s) for s in statements))
    ends = [result for result in results if result.ends]
    assert {result.state for result in ends} == {FINAL}
    assert sorted(result.index for result in ends) == list(range(size, size + 150))
    running.agree(size + 150)
    assert STATEMENTS_MAX > 150


def test_catalogue_of_500_claims_is_retrievable_from_another_node(running: RunningDevnet) -> None:
    first = next(_numbers) + 100_000
    built = make_catalogue(500, first=first)
    assert len(built.chunks) > 1, "it takes several fetches"
    before = running.status("platform")
    statement = running.sign(built.header)
    result = running.client("court").submit(statement, (built.manifest, *built.chunks))
    assert result.state is FINAL
    running.agree(result.index + 1)
    client = running.client("platform")
    assert client.status().claims == before.claims + 500
    found = list(client.claims(statement=result.digest, page_size=200))
    assert [c.position for c in found] == list(range(500))
    assert [c.claim for c in found] == list(split_body(built.header, built.manifest, built.chunks))
    (one,) = client.claims(isrc=make_claim(first + 321).isrc)
    assert (one.catalogue, one.position, one.claim) == (True, 321, make_claim(first + 321).encode())
    again = running.client("label").submit(running.sign(built.header), (built.manifest, *built.chunks))
    assert (again.state, again.index) == (DUPLICATE, result.index), "a re-run records nothing twice"


def test_same_statement_twice_is_recorded_once_and_says_so(running: RunningDevnet) -> None:
    statement = running.sign(claim())
    first = running.record("court", statement)
    running.agree(first.index + 1)
    for member in ("court", "platform"):
        second = running.record(member, statement)
        assert (second.state, second.index) == (DUPLICATE, first.index)
        assert (second.height, second.block_time_ms) == (first.height, first.block_time_ms)
    running.agree(first.index + 1)


def test_watcher_sees_what_another_node_records(running: RunningDevnet) -> None:
    size = running.status("society").size
    seen = running.client("society").watch(size)
    recorded = [running.record(member, running.sign(claim())) for member in ("court", "label")]
    assert [next(seen).digest for _ in recorded] == [result.digest for result in recorded]
    seen.close()  # type: ignore[attr-defined]  it is a generator


# ---- refusals --------------------------------------------------------------------------------------------------------


def flipped(statement: bytes) -> bytes:
    return statement[:-1] + bytes([statement[-1] ^ 1])


BAD: dict[str, tuple[Callable[[RunningDevnet], bytes], str, str]] = {
    "malformed": (lambda _: b"\xd2\x84 no statement", "INVALID_ARGUMENT", "MALFORMED_STATEMENT"),
    "empty": (lambda _: b"", "INVALID_ARGUMENT", "MALFORMED_STATEMENT"),
    "statement too large": (lambda _: bytes(65_537), "INVALID_ARGUMENT", "STATEMENT_TOO_LARGE"),
    "wrong signature": (lambda r: flipped(r.sign(claim())), "UNAUTHENTICATED", "INVALID_SIGNATURE"),
    "key of another": (lambda r: r.sign(claim(), key_of="society"), "UNAUTHENTICATED", "INVALID_SIGNATURE"),
    "unknown member": (lambda r: r.sign(claim(), issuer="stranger", key_of="label"), "PERMISSION_DENIED",
                       "UNKNOWN_MEMBER"),
    "role forbidden": (lambda r: r.sign(claim(), issuer="platform"), "PERMISSION_DENIED", "ROLE_FORBIDS"),
    "other consortium": (lambda r: r.sign(claim(), consortium=bytes(32)), "FAILED_PRECONDITION", "WRONG_CONSORTIUM"),
    "catalogue without its body": (lambda r: r.sign(make_catalogue(2).header), "FAILED_PRECONDITION", "MISSING_CHUNKS"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_statement_is_refused_by_its_name_and_leaves_the_log_as_it_was(running: RunningDevnet, what: str) -> None:
    make, status, code = BAD[what]
    size = running.status("court").size
    with pytest.raises(NodeError) as caught:
        running.record("court", make(running))
    assert (caught.value.status, caught.value.code) == (status, code)
    good = running.record("court", running.sign(claim()))
    assert good.index == size, "the next good one takes the very next leaf"
    running.agree(size + 1)


def test_oversized_message_is_refused_and_the_node_serves_on(running: RunningDevnet) -> None:
    size = running.status("court").size
    with NodeClient(running["court"].config.rpc) as client:
        with pytest.raises(NodeError) as caught:
            client.submit(bytes(3 * 2**20), (bytes(2**20),))
        assert caught.value.status == "RESOURCE_EXHAUSTED"
    assert running.record("court", running.sign(claim())).index == size


def test_catalogue_with_a_false_claim_is_refused_and_leaves_the_log_as_it_was(running: RunningDevnet) -> None:
    size = running.status("court").size
    built = build_catalogue([make_claim(1).encode(), b"no claim"])
    result = running.client("court").submit(running.sign(built.header), (built.manifest, *built.chunks))
    assert result.state is REFUSED
    assert result.refusal is not None
    assert (result.refusal.code, result.refusal.field.partition(".")[0]) == ("MALFORMED_CLAIM", "claims[1]")
    assert running.record("court", running.sign(claim())).index == size


def test_reference_used_twice_is_refused_and_leaves_the_log_as_it_was(running: RunningDevnet) -> None:
    first = running.record("court", running.sign(claim(), ref="used"))
    second = running.record("label", running.sign(claim(), ref="used"))
    assert second.state is REFUSED
    assert second.refusal is not None
    assert second.refusal.code == "CLIENT_REF_USED"
    running.agree(first.index + 1)


# ---- strangers -------------------------------------------------------------------------------------------------------


async def test_nodes_refuse_the_connection_of_a_non_member(running: RunningDevnet) -> None:
    members = {m.id: m for m in running.genesis.members}
    targets = ("court", "label")
    peers = {peer_id_of(members[t].keys.peer): t for t in targets}
    addresses = {t: running[t].config.listen for t in targets}
    settings = NetworkSettings(listen=None, peers=addresses, redial_s_min=0.05, fallback_dial_s=0.05)
    stranger = Network(settings, bytes(range(32)), lambda: peers)
    async with trio.open_nursery() as nursery:
        await nursery.start(stranger.run)
        with trio.fail_after(20):
            for target in targets:
                while not any(stranger.peer_id in line for line in log_lines(running[target], "not a member")):
                    await trio.sleep(0.02)
        assert stranger.connected() == frozenset()
        nursery.cancel_scope.cancel()
    assert running.record("court", running.sign(claim())).state is FINAL


# ---- kills -----------------------------------------------------------------------------------------------------------


def test_killed_node_does_not_stop_the_others_and_catches_up(running: RunningDevnet) -> None:
    size = running.status("court").size
    running["platform"].stop(kill=True)
    results = [running.record(m, running.sign(claim())) for m in ("court", "label", "society", "court", "label")]
    assert {r.state for r in results} == {FINAL}
    root = running.agree(size + 5, "court", "label", "society")
    running.start("platform")
    assert running.agree(size + 5) == root
    assert running.record("platform", running.sign(claim())).index == size + 5


def test_killed_reader_comes_back_and_consensus_never_noticed(running: RunningDevnet) -> None:
    node = running["society"]
    before = reader_of(node)
    assert before is not None
    pid = node.pid()
    os.kill(before, signal.SIGKILL)
    result = running.record("court", running.sign(claim()))
    until(lambda: reader_of(node) not in (None, before), "another reader")
    assert node.pid() == pid
    assert running.client("society").status().member == "society"
    running.agree(result.index + 1)


def test_killed_node_takes_its_reader_along(running: RunningDevnet) -> None:
    node = running["label"]
    node.stop(kill=True)
    until(lambda: not processes_of(node.config.directory), "the reader's end")
    running.start("label")


def test_all_nodes_killed_at_once_lose_nothing(running: RunningDevnet) -> None:
    statement = running.sign(claim())
    result = running.record("court", statement)
    root = running.agree(result.index + 1)
    for node in running.devnet.nodes:
        node.stop(kill=True)
    running.up()
    assert running.agree(result.index + 1) == root
    assert running.client("platform").statement(index=result.index).raw == statement
    assert running.record("label", running.sign(claim())).index == result.index + 1


# ---- one node by itself ----------------------------------------------------------------------------------------------


def run_alone(directory: Path, member: str = "court") -> tuple[subprocess.Popen[str], Path]:
    config = load_devnet(directory).node(member).config.directory / "config.toml"
    command = [sys.executable, "-m", "cli.main", "node", "run", "--config", str(config)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return process, config


def test_full_store_ends_the_node_with_one_clear_line(tmp_path: Path) -> None:
    alone = RunningDevnet(tmp_path / "d")
    node = alone["court"]
    config = node.config.directory / "config.toml"
    config.write_text(f"store_bytes_max = {STORE_BYTES_MIN}\n{config.read_text()}")
    built = make_catalogue(8_000)
    assert built.header.body_bytes > STORE_BYTES_MIN
    process, _ = run_alone(tmp_path / "d")
    try:
        with NodeClient(node.config.rpc, deadline_s=2) as client:
            until(lambda: _answers(client), "the node")
            with pytest.raises((NodeError, NodeUnreachable)):  # it ends under the call
                client.submit(alone.sign(built.header), (built.manifest, *built.chunks))
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == Exit.CONFIG
    assert "Traceback" not in said
    assert "internal fault" not in said
    (critical,) = [line for line in said.splitlines() if '"critical"' in line]
    assert "store_bytes_max" in json.loads(critical)["message"], "it says what to mend"
    until(lambda: not processes_of(node.config.directory), "the reader's end")


def _answers(client: NodeClient) -> bool:
    try:
        return client.status().live.consensus_running
    except Exception:  # noqa: BLE001  not there yet, in whatever way
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_signal_while_the_node_still_starts_stops_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    init_devnet(tmp_path / "d")
    process, config = run_alone(tmp_path / "d")
    try:
        until((config.parent / "data" / "chain" / "writer.lock").exists, "the store's opening")
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in said
    assert [json.loads(line)["message"] for line in said.splitlines() if "stopping" in line][:1] == ["stopping"]
    assert not processes_of(tmp_path / "d")


def test_two_processes_never_share_a_store(running: RunningDevnet) -> None:
    """A fail-over pair with one key would vote twice (pitfall 2)."""
    process, _ = run_alone(running.devnet.directory)
    try:
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode not in (0, None)
    assert "two nodes must never share one" in said
    assert "Traceback" not in said
    assert running["court"].pid() is not None
    assert running.record("court", running.sign(claim())).state is FINAL


# ---- the end ---------------------------------------------------------------------------------------------------------


def test_logs_of_all_this_hold_no_secret_and_no_traceback(running: RunningDevnet) -> None:
    for node in running.devnet.nodes:
        text = node.log_path.read_text()
        assert "Traceback" not in text
        assert "PRIVATE" not in text
        for line in text.splitlines():
            assert json.loads(line)["level"] in ("info", "warning", "error")
        for key in (node.config.directory / "keys").iterdir():
            assert key.read_text().splitlines()[1] not in text


def test_down_leaves_no_process_and_up_finds_everything_again(running: RunningDevnet) -> None:
    result = running.record("court", running.sign(claim()))
    root = running.agree(result.index + 1)
    directory = running.devnet.directory
    assert len(processes_of(directory)) == 8, "four nodes, four readers"
    command = [sys.executable, "-m", "cli.main", "devnet", "down", "--json", "--dir", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert json.loads(done.stdout)["stopped"] == running.members
    assert processes_of(directory) == {}
    assert [node.pid() for node in running.devnet.nodes] == [None] * 4
    for node in running.devnet.nodes:
        assert list(log_lines(node, '"stopping"')), "each was asked, and stopped in order"
    running.up()
    assert running.agree(result.index + 1) == root
