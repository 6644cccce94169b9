"""A js-libp2p client against real nodes: gossip both ways, and by hash what gossip did not bring.

The client holds the peer key of a member whose own node does not run. Skipped, with the reason, where Node.js or the
npm registry cannot be had.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.types import Digest
from ledger.payload import Payload, build_payload, parse_payload
from ledger.statement import parse_statement
from node.keys import load_private_key, seed_bytes
from node.network.peer_id import peer_id_of
from node.store.reader import StoreReader
from node.wire import Fetch, decode_contents, encode_fetch
from tests.e2e.running import RunningDevnet, until
from tests.interop.foreign import ForeignClient, Unavailable, install
from tests.ledger.builders import make_claim

FOREIGN = "platform"
"""Whose key the client holds; its node stays down, and the other three are a quorum."""
_numbers = iter(range(500_000, 600_000))


@pytest.fixture(scope="module")
def packages() -> Path:
    try:
        return install()
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def devnet(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDevnet]:
    running = RunningDevnet(tmp_path_factory.mktemp("interop") / "d")
    for node in running.devnet.nodes:
        path = node.config.directory / "config.toml"
        path.write_text(f"gossip = true\n{path.read_text()}")
    try:
        for member in running.members:
            if member != FOREIGN:
                running[member].start()
        for member in running.members:
            if member != FOREIGN:
                running.start(member)
        yield running
    finally:
        running.close()


@pytest.fixture
def client(devnet: RunningDevnet, packages: Path) -> Iterator[ForeignClient]:
    """Connected to the label's node alone, and subscribed."""
    made = ForeignClient(
        packages,
        seed=seed_bytes(load_private_key(devnet[FOREIGN].config.key_path("peer"))),
        address=_address(devnet, "label"),
        topic=f"stretto/{devnet.genesis.digest.hex()[:16]}/payloads",
    )
    try:
        made.wait("connected")
        made.wait("subscribed")
        yield made
    finally:
        made.close()


def statement(devnet: RunningDevnet) -> bytes:
    return devnet.sign(make_claim(next(_numbers)))


def heard(client: ForeignClient, wanted: bytes) -> Payload:
    """The payload with this statement, as gossip brought it."""

    def holds(event: dict[str, str]) -> bool:
        return wanted in parse_payload(bytes.fromhex(event["data"])).statements

    return parse_payload(bytes.fromhex(client.wait("message", holds)["data"]))


def test_client_is_told_what_nodes_order_also_by_those_it_is_not_connected_to(
    devnet: RunningDevnet, client: ForeignClient
) -> None:
    for member in ("label", "court"):
        # The meshes form within some heartbeats: until then a message may pass the client by, which gossip allows.
        deadline = time.monotonic() + 30
        while True:
            wanted = statement(devnet)
            devnet.record(member, wanted)
            try:
                client.wait("message", lambda e, w=wanted: w in bytes.fromhex(e["data"]), seconds=2)  # type: ignore[misc]
                break
            except AssertionError:
                assert time.monotonic() < deadline, f"nothing that {member} ordered came by gossip"
        payload = heard(client, wanted)
        assert devnet.genesis.validator_members()[payload.header.author].id == member


def test_payload_that_a_client_publishes_is_ordered_and_final(devnet: RunningDevnet, client: ForeignClient) -> None:
    size = devnet.status("label").size
    wanted = statement(devnet)
    author = devnet.genesis.validator_index(FOREIGN)
    assert author is not None
    unsigned = build_payload(
        (wanted,),
        consortium=devnet.genesis.digest,
        epoch=devnet.genesis.committee().epoch,
        author=author,
        sequence=next(_numbers),
        created_ms=time.time_ns() // 1_000_000,
    )
    key = load_private_key(devnet[FOREIGN].config.key_path("consensus"))
    payload = unsigned.signed(key.sign(unsigned.signing_bytes))  # type: ignore[arg-type]

    def recorded() -> bool:
        client.tell(publish=payload.encode().hex())  # again and again: nobody may be in the mesh yet
        time.sleep(0.5)
        return devnet.status("label").size > size

    until(recorded, "the statement to be recorded", 40)
    digest = parse_statement(wanted).digest
    for member in ("label", "court", "society"):
        devnet.agree(size + 1, "label", "court", "society")
        assert devnet.client(member).statement(digest=digest).raw == wanted


def test_forged_payload_is_not_ordered_and_costs_nobody_the_topic(devnet: RunningDevnet, client: ForeignClient) -> None:
    """Published with a member's valid signature on the message, but the payload is nobody's."""
    size = devnet.status("label").size
    unsigned = build_payload(
        (statement(devnet),), consortium=devnet.genesis.digest, epoch=devnet.genesis.committee().epoch,
        author=devnet.genesis.validator_index("court") or 0, sequence=1, created_ms=1,  # type: ignore[arg-type]
    )  # fmt: skip
    client.tell(publish=unsigned.signed(bytes(64)).encode().hex())  # type: ignore[arg-type]
    client.tell(publish=b"no payload at all".hex())
    rejected = until(
        lambda: [p.rejected for p in devnet.status("label").live.peers if p.member == FOREIGN and p.rejected],
        "the forgeries to be counted against whose key signed them",
    )
    assert rejected
    devnet.record("label", statement(devnet))
    assert devnet.status("label").size == size + 1, "nothing but the honest one"


def test_what_gossip_did_not_bring_is_pulled_by_hash(devnet: RunningDevnet, client: ForeignClient) -> None:
    """Recorded while the client was away: gossip remembers it for some seconds at best."""
    client.close()
    wanted = statement(devnet)
    result = devnet.record("court", wanted)
    devnet.agree(result.index + 1, "label")
    block_payloads = _payloads_of(devnet, result.height)
    again = ForeignClient(
        install(),
        seed=seed_bytes(load_private_key(devnet[FOREIGN].config.key_path("peer"))),
        address=_address(devnet, "label"),
        topic=f"stretto/{devnet.genesis.digest.hex()[:16]}/payloads",
    )
    try:
        again.wait("subscribed")
        time.sleep(0.5)  # the node opens its stream for answers after it has accepted the connection
        again.tell(request=encode_fetch(Fetch(payloads=True, digests=tuple(block_payloads))).hex(), id=7)
        answer = again.wait("response", lambda event: event["id"] == 7)
        contents = decode_contents(bytes.fromhex(answer["data"]), len(block_payloads))
        found = [parse_payload(content) for content in contents if content is not None]
        assert [payload.digest for payload in found] == block_payloads, "each proves itself by its digest"
        assert any(wanted in payload.statements for payload in found)
    finally:
        again.close()


def _address(devnet: RunningDevnet, member: str) -> str:
    found = devnet.genesis.member(member)
    assert found is not None
    return f"{devnet[member].config.listen}/p2p/{peer_id_of(found.keys.peer)}"


def _payloads_of(devnet: RunningDevnet, height: int) -> list[Digest]:
    """Digests in the newest block with statements, which is at `height`, from the label's store."""
    store = StoreReader(devnet["label"].config.chain_path, devnet.genesis)
    try:
        with store.snapshot() as snapshot:
            proof = snapshot.block_of(snapshot.size - 1)
            assert proof is not None
            assert proof.block.height == height
            return list(proof.block.payloads)
    finally:
        store.close()
