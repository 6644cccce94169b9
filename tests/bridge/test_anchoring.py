"""Anchors fetched from a real anvil node; and from answers that a node has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bridge.anchoring import NotAnchored, accepted, anchor_of, final_number, first_anchor
from bridge.blocks import ForeignHeader, ForeignReceipts, MalformedBlock
from contracts.toolchain import Unavailable, install
from ledger.anchor import InvalidAnchor
from tests.contracts.chain import Anvil
from tests.contracts.deployed import Deployed, deploy_all

CHAIN_ID = 137


class Node:
    """An anvil node's JSON-RPC, with the answers that a test changes."""

    def __init__(self, chain: Anvil) -> None:
        self.chain = chain
        self.changed: dict[str, Any] = {}
        self.asked: list[str] = []

    def ask(self, method: str, *params: Any) -> Any:
        self.asked.append(method)
        answer = self.chain._ask(method, *params)
        return self.changed[method](answer) if method in self.changed else answer


@pytest.fixture(scope="module")
def world() -> Iterator[Deployed]:
    """A bridge that has accepted the sizes 1, 4, 6 and 9."""
    try:
        program = install(tools=True) / "node_modules" / ".bin" / "anvil"
    except Unavailable as error:
        pytest.skip(str(error))
    chain = Anvil(program, chain_id=CHAIN_ID, hardfork="prague")
    made = deploy_all(chain)
    for count in (3, 2, 3):
        made.grow(*(bytes([made.log.size + i]) * 32 for i in range(count)))
    yield made
    chain.close()


@pytest.fixture
def node(world: Deployed) -> Node:
    return Node(world.chain)  # type: ignore[arg-type]


def contract(world: Deployed) -> bytes:
    return bytes.fromhex(world.bridge.address[2:])


def last(node: Node) -> int:
    return int(node.ask("eth_blockNumber"), 16)


@pytest.mark.parametrize(("index", "size"), [(0, 1), (1, 4), (3, 4), (4, 6), (5, 6), (6, 9), (8, 9)])
def test_earliest_checkpoint_over_an_entry_is_anchored(world: Deployed, node: Node, index: int, size: int) -> None:
    anchor = first_anchor(node, CHAIN_ID, contract(world), index, first=0, last=last(node))
    assert (anchor.size, anchor.root, anchor.chain) == (size, world.log.root(size), CHAIN_ID)
    block = node.ask("eth_getBlockByHash", f"0x{anchor.block.hex()}", False)
    assert anchor.check().header.number == int(block["number"], 16)


def test_entry_that_is_not_covered_yet_is_named(world: Deployed, node: Node) -> None:
    with pytest.raises(NotAnchored, match=r"accepted no checkpoint over entry 9 in the blocks 0 to \d+"):
        first_anchor(node, CHAIN_ID, contract(world), 9, first=0, last=last(node))
    with pytest.raises(NotAnchored):
        first_anchor(node, CHAIN_ID, bytes(20), 0, first=0, last=last(node))


def test_search_goes_in_ranges_that_endpoints_allow(
    world: Deployed, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.anchoring.BLOCKS_PER_QUERY", 2)
    until = last(node)
    searched: list[int] = []
    found = list(accepted(node, contract(world), 0, until, searched.append))
    assert [one.size for one in found] == [1, 4, 6, 9]
    assert node.asked.count("eth_getLogs") == len(searched) == until // 2 + 1


def test_final_block_is_the_nodes_or_so_many_behind(node: Node) -> None:
    assert final_number(node) <= last(node)
    assert final_number(node, 2) == last(node) - 2
    assert final_number(node, 10_000) == 0
    node.changed["eth_getBlockByNumber"] = lambda _: None
    with pytest.raises(MalformedBlock, match="eth_getBlockByNumber"):
        final_number(node)


@pytest.mark.parametrize(
    ("method", "change", "error"),
    [
        ("eth_getLogs", lambda _: {}, MalformedBlock),
        ("eth_getLogs", lambda logs: [{**log, "topics": []} for log in logs], MalformedBlock),
        ("eth_getLogs", lambda logs: [{**log, "transactionIndex": "0x5"} for log in logs], InvalidAnchor),
        ("eth_getLogs", lambda logs: [{**log, "topics": [log["topics"][0], "0x63"]} for log in logs], InvalidAnchor),
        ("eth_getBlockByHash", lambda _: None, MalformedBlock),
        ("eth_getBlockByHash", lambda block: {**block, "timestamp": "0x1"}, ForeignHeader),
        ("eth_getBlockByHash", lambda block: {**block, "hash": "0x" + "11" * 32}, MalformedBlock),
        ("eth_getBlockReceipts", lambda _: [], MalformedBlock),
        ("eth_getBlockReceipts", lambda found: [{**found[0], "cumulativeGasUsed": "0x1"}], ForeignReceipts),
        ("eth_getBlockReceipts", lambda found: [{**found[0], "logs": []}], ForeignReceipts),
    ],
)
def test_node_that_changes_an_answer_is_caught(
    world: Deployed, node: Node, method: str, change: Any, error: type[Exception]
) -> None:
    node.changed[method] = change
    with pytest.raises(error):
        first_anchor(node, CHAIN_ID, contract(world), 1, first=0, last=last(node))


def test_node_cannot_give_another_root(world: Deployed, node: Node) -> None:
    """It may lie about where: the block it then names has to have the event in it."""
    found = list(accepted(node, contract(world), 0, last(node)))
    for one in found:
        assert anchor_of(node, CHAIN_ID, contract(world), one).root == world.log.root(one.size)
    with pytest.raises(MalformedBlock):
        anchor_of(node, CHAIN_ID, contract(world), found[0].__class__(4, "0x" + "00" * 32, found[1].number, 0))
