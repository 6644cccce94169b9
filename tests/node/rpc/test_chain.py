"""GetChainCheckpoint: what contracts take, in order; what is not there yet is waited for or refused in words."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.client import NodeClient, NodeError
from consensus.errors import RequestError
from ledger import chain_checkpoint, secp256k1
from ledger.chain_checkpoint import NO_SUCCESSOR, ChainCheckpoint, bridge_set, check_quorum, successor_of
from node.rpc.chain import ChainService
from node.rpc.errors import code_of
from node.rpc.tail import LogState, LogTail
from node.store.chain_signatures import ChainSigned
from node.store.reader import StoreReader
from protos import stretto_pb2 as pb
from tests.ledger.builders import make_claim
from tests.node import nodes
from tests.node.rpc.consortium import GENESIS, chain_key, statement
from tests.node.rpc.readers import ReaderProcess
from tests.node.rpc.stores import GrowingStore
from tests.node.test_epochs import pass_change, policy
from tests.node.town import Town

Request = pb.GetChainCheckpointRequest


def sign(store: GrowingStore, size: int, count: int = 3) -> None:
    """As the first `count` validators do."""
    checkpoint = store.chain.chain_checkpoint_at(size)
    assert checkpoint is not None
    for member in GENESIS.validator_members()[:count]:
        signature = checkpoint.sign(chain_key(member.id).secret, GENESIS.digest)
        store.chain.put_chain_signatures([ChainSigned(checkpoint=checkpoint, member=member.id, signature=signature)])


def check_answer(answer: pb.GetChainCheckpointResponse) -> ChainCheckpoint:
    """As a relayer does, which takes nobody's word."""
    checkpoint = ChainCheckpoint(
        epoch=answer.epoch, size=answer.size, root=answer.root, successor=answer.successor  # type: ignore[arg-type]
    )  # fmt: skip
    check_quorum(checkpoint, answer.consortium, answer.validators, [each.signature for each in answer.signatures])
    digest = checkpoint.digest(answer.consortium)
    for each in answer.signatures:
        key = secp256k1.recover(digest, each.signature)
        assert key is not None
        assert secp256k1.address(key) == each.address
    assert list(answer.validators) == sorted(answer.validators)
    return checkpoint


# ---- a reader process ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrowingStore]:
    """Sizes 1 to 4; signed by a quorum: 2 and 3; by two: 4."""
    made = GrowingStore(tmp_path_factory.mktemp("court") / "data" / "chain")
    for number in range(4):
        made.add(statement(number))
    sign(made, 2)
    sign(made, 3, 4)
    sign(made, 4, 2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(store: GrowingStore) -> Iterator[NodeClient]:
    reader = ReaderProcess(store.path.parents[1])
    with NodeClient(reader.address, deadline_s=10) as made:
        yield made
    assert reader.stop() == 0


def ask(client: NodeClient, **values: object) -> pb.GetChainCheckpointResponse:
    return client._call(client.stub.GetChainCheckpoint, Request(**values))  # type: ignore[arg-type,no-any-return]


def refused(call: Callable[[], object]) -> tuple[str, str, str]:
    with pytest.raises(NodeError) as caught:
        call()
    return caught.value.status, caught.value.code, caught.value.field


@pytest.mark.parametrize(("min_size", "size", "count"), [(1, 2, 3), (2, 2, 3), (3, 3, 4), (0, 3, 4)])
def test_first_complete_checkpoint_from_a_size_on_or_the_latest(
    client: NodeClient, min_size: int, size: int, count: int
) -> None:
    answer = ask(client, min_size=min_size) if min_size else ask(client)
    assert (answer.size, len(answer.signatures)) == (size, count)
    checkpoint = check_answer(answer)
    assert (checkpoint.epoch, checkpoint.successor) == (0, NO_SUCCESSOR)
    assert answer.consortium == GENESIS.digest
    assert tuple(answer.validators) == bridge_set(GENESIS.roster)
    assert (list(answer.next_validators), answer.current_epoch) == ([], 0)
    assert answer.as_of.size == 4
    names = {member.id: member for member in GENESIS.validator_members()}
    assert all(secp256k1.address(names[each.member].keys.chain) == each.address for each in answer.signatures)


def test_what_is_not_there_is_refused_in_words(client: NodeClient) -> None:
    with NodeClient(client.address, deadline_s=0.5) as hasty:  # it tries again what may come
        assert refused(lambda: ask(hasty, min_size=4)) == ("UNAVAILABLE", "NOT_READY_YET", "min_size")
        assert refused(lambda: ask(hasty, min_size=99)) == ("OUT_OF_RANGE", "BEYOND_LOG", "min_size")
        for epoch in (0, 2**64 - 1):
            assert refused(lambda e=epoch: ask(hasty, ends_epoch=e)) == ("UNAVAILABLE", "NOT_READY_YET", "ends_epoch")  # type: ignore[misc]


def test_status_says_what_lacks(client: NodeClient) -> None:
    status = client.status()
    assert (status.chain_checkpoint_size, status.chain_signatures_missing, status.chain_ends_missing) == (3, 1, 0)


def test_whoever_waits_gets_it_when_it_comes_or_is_told_that_it_did_not(
    client: NodeClient, store: GrowingStore
) -> None:
    with NodeClient(client.address, deadline_s=1) as hasty:
        begun = time.monotonic()
        assert refused(lambda: ask(hasty, min_size=4, wait=True))[1:] == ("NOT_READY_YET", "min_size")
        assert time.monotonic() - begun > 0.5
    later = threading.Timer(0.5, lambda: sign(store, 4, 4))
    later.start()
    answer = ask(client, min_size=4, wait=True)
    later.join()
    assert answer.size == 4
    check_answer(answer)


# ---- ends of epochs --------------------------------------------------------------------------------------------------


class Caller:
    """Of a call with time left. seconds: how much."""

    def __init__(self, seconds: float = 5) -> None:
        self._seconds = seconds

    def remaining_s(self) -> float:
        return self._seconds


@pytest.fixture(scope="module")
def handed_over(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node's store after two epochs, whose first end has a quorum and whose second has two signatures."""
    town = Town(tmp_path_factory.mktemp("town"))
    pass_change(town, policy(0, 160))
    end = town["court"].store.rosters.end_of(0)
    assert end is not None
    town.run(lambda: town["court"].store.is_chain_complete(end))
    results = town.submit("court", nodes.CONSORTIUM.statement(make_claim(1), ref="r"))
    town.run(lambda: results.last.ends)
    pass_change(town, policy(1, 170))
    town.run(for_ms=3_000)
    court = town["court"].store
    second = court.rosters.end_of(1)
    assert second is not None
    court._env.write(lambda txn: _forget(txn, court, second))
    town.close()
    return town.configs["court"].chain_path


def _forget(txn: object, store: object, size: int) -> None:
    """Leaves two signatures of the end of epoch 1."""
    from node.store.schema import key

    for member in ("label", "platform"):
        txn.delete(key(size) + member.encode(), db=store._tables.chain_signatures)  # type: ignore[attr-defined]
    txn.delete(key(size), db=store._tables.chain_complete)  # type: ignore[attr-defined]


def served(path: Path, request: pb.GetChainCheckpointRequest, seconds: float = 5) -> pb.GetChainCheckpointResponse:
    reader = StoreReader(path, nodes.GENESIS)

    def look() -> LogState:
        with reader.snapshot() as snapshot:
            return LogState(
                size=snapshot.size, checkpoint=0, chain_checkpoints=snapshot.chain_checkpoint_count(), epoch=0
            )

    async def call() -> pb.GetChainCheckpointResponse:
        tail = LogTail(look)
        running = asyncio.create_task(tail.run())
        try:
            answer = await ChainService(reader, tail).get_chain_checkpoint(request, Caller(seconds))  # type: ignore[arg-type]
        finally:
            running.cancel()
        assert isinstance(answer, pb.GetChainCheckpointResponse)
        return answer

    try:
        return asyncio.run(call())
    finally:
        reader.close()


def test_the_end_of_an_epoch_names_the_next_set(handed_over: Path) -> None:
    answer = served(handed_over, Request(ends_epoch=0))
    checkpoint = check_answer(answer)
    reader = StoreReader(handed_over, nodes.GENESIS)
    with reader.snapshot() as snapshot:
        following = snapshot.rosters().of_epoch(1)
        end = snapshot.rosters().end_of(0)
    reader.close()
    assert following is not None
    assert (checkpoint.size, checkpoint.successor) == (end, successor_of(following))
    assert tuple(answer.next_validators) == bridge_set(following)
    assert answer.current_epoch == 2
    same = served(handed_over, Request(min_size=answer.size))
    assert (same.size, same.successor, same.signatures) == (answer.size, answer.successor, answer.signatures)


@pytest.mark.parametrize(("epoch", "wait"), [(1, False), (1, True), (2, False), (2, True), (7, True)])
def test_an_end_without_a_quorum_or_not_come_yet_is_waited_for_as_long_as_the_caller_does(
    handed_over: Path, epoch: int, wait: bool
) -> None:
    with pytest.raises(RequestError, match="ends_epoch") as caught:
        served(handed_over, Request(ends_epoch=epoch, wait=wait), seconds=0.2)
    assert code_of(caught.value)[1] == "NOT_READY_YET"
    if (epoch, wait) == (1, False):
        assert "3 signatures, 2 are here" in str(caught.value)


def test_a_set_that_contracts_do_not_take_is_a_named_refusal(
    handed_over: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_checkpoint, "VALIDATORS_BRIDGED_MAX", 3)
    for wait in (False, True):
        with pytest.raises(RequestError, match="at most 3") as caught:
            served(handed_over, Request(ends_epoch=0, wait=wait))
        assert [each if isinstance(each, str) else each.name for each in code_of(caught.value)] == [
            "FAILED_PRECONDITION",
            "SET_NOT_BRIDGEABLE",
        ]
