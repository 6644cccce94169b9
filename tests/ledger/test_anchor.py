"""Anchors: what follows from a block's hash, on blocks of real anvil nodes and of py-evm; and whatever does not."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.blocks import ForeignHeader, ForeignReceipts, MalformedBlock, header_of, raw_block, receipt_of
from consensus.errors import MalformedMessage, StrettoError
from consensus.types import Digest
from ledger.anchor import Anchor, InvalidAnchor, MalformedAnchor, make_anchor, parse_anchor
from ledger.chain_block import parse_header, parse_receipt
from ledger.keccak import keccak256
from ledger.merkle import InvalidProof
from ledger.rlp import RLP_DEPTH_MAX, RlpItem, decode_rlp, encode_number, encode_rlp
from ledger.trie import InvalidTrieProof, ListTrie, item_at
from tests.contracts.log import Log as Entries
from tests.contracts.log import numbered
from tests.ledger.anchors import (
    CONTRACT,
    FORKS,
    MadeBlock,
    anvil_anchor,
    event,
    made_anchor,
    receipt,
    told_bytes,
    vector,
)

every_fork = pytest.mark.parametrize("fork", FORKS)


# ---- blocks of anvil ------------------------------------------------------------------------------------------------


@every_fork
def test_anchor_of_a_real_block_holds_and_says_what_the_node_said(fork: str) -> None:
    """Headers of 15 to 21 fields, legacy and typed receipts."""
    told, anchor = vector(fork), anvil_anchor(fork)
    anchored = anchor.check()
    assert (anchor.size, anchor.root) == (told["size"], told_bytes(told["root"]))
    assert anchor.block == told_bytes(told["block"]["hash"])
    assert anchored.header.number == int(told["block"]["number"], 16)
    assert anchored.header.timestamp_s == int(told["block"]["timestamp"], 16)
    assert parse_anchor(anchor.encode()) == anchor


@every_fork
def test_every_receipt_of_a_real_block_is_proven_and_reads_back(fork: str) -> None:
    told = vector(fork)
    raw = raw_block(told["block"], told["receipts"])
    root, trie = parse_header(raw.header).receipts_root, ListTrie(raw.receipts)
    assert trie.root == root
    for index, encoded in enumerate(raw.receipts):
        assert item_at(index, root, trie.proof(index)) == encoded
        assert parse_receipt(encoded).encode() == encoded
        with pytest.raises(InvalidTrieProof):
            item_at(index + 1, root, trie.proof(index))


@pytest.mark.parametrize("fork", ["cancun", "prague"])
def test_every_flipped_byte_of_an_anchor_is_refused(fork: str) -> None:
    """Of the file itself, bit by bit in turn: nothing in it is ornament, but where the chain's id stands alone."""
    data = bytearray(anvil_anchor(fork).encode())
    chain = data.index(b'"chain": ') + len(b'"chain": ')
    accepted = []
    for position in range(len(data)):
        for bit in (position % 8, (position + 3) % 8):
            data[position] ^= 1 << bit
            try:
                parse_anchor(bytes(data)).check()
            except StrettoError:
                pass
            else:
                accepted.append(position)
            data[position] ^= 1 << bit
    # No header names its chain. In evidence, the file's name says it again.
    assert {position for position in accepted if not chain <= position < chain + 3} == set()


@every_fork
def test_node_that_changes_anything_in_a_header_is_caught(fork: str) -> None:
    block = vector(fork)["block"]
    for field in ("receiptsRoot", "timestamp", "number", "extraData", "parentHash", "hash"):
        value = block[field]
        other = value[:-1] + ("0" if value[-1] != "0" else "1") if len(value) > 2 else "0x00"
        with pytest.raises(ForeignHeader, match="hashes blocks in another way"):
            header_of({**block, field: other})


def test_node_that_leaves_out_or_changes_a_receipt_is_caught() -> None:
    told = vector("cancun")
    block, receipts = told["block"], told["receipts"]
    changed = [{**receipts[0], "cumulativeGasUsed": "0x1"}, *receipts[1:]]
    with pytest.raises(ForeignReceipts, match="ask another node"):
        raw_block(block, changed)
    with pytest.raises(MalformedBlock, match="a receipt of every transaction"):
        raw_block(block, receipts[1:])
    assert raw_block(block, list(reversed(receipts))) == raw_block(block, receipts)


def test_receipt_that_the_header_does_not_commit_to_is_left_out_at_the_end_alone() -> None:
    """As Polygon's nodes list it: with a transaction of its own that the block's JSON names too."""
    told = vector("cancun")
    strange = {**told["receipts"][0], "transactionHash": "0x" + "ab" * 32}
    block = {**told["block"], "transactions": [*told["block"]["transactions"], strange["transactionHash"]]}
    assert raw_block(block, [*told["receipts"], strange]) == raw_block(told["block"], told["receipts"])
    first = {**told["block"], "transactions": [strange["transactionHash"], *told["block"]["transactions"]]}
    with pytest.raises(ForeignReceipts):
        raw_block(first, [*told["receipts"], strange])


@pytest.mark.parametrize(
    ("field", "value"),
    [("status", None), ("status", "1"), ("logsBloom", "0x0"), ("logsBloom", "0x"), ("logs", "none"), ("logs", [7]),
     ("type", "0x80"), ("cumulativeGasUsed", "0x"), ("cumulativeGasUsed", 7)],
)  # fmt: skip
def test_receipt_that_is_none_is_named_by_field(field: str, value: object) -> None:
    with pytest.raises(MalformedBlock, match=field):
        receipt_of({**vector("cancun")["receipts"][0], field: value})


# ---- blocks of py-evm -----------------------------------------------------------------------------------------------


def test_header_and_receipts_of_py_evm_are_read_as_they_are_made() -> None:
    """The other implementation: its own RLP, its own tries."""
    import rlp

    from tests.contracts.chain import PyEvm
    from tests.contracts.deployed import deploy_all

    chain = PyEvm()
    world = deploy_all(chain)
    world.log.extend([bytes([i]) * 32 for i in range(5)])
    world.submit()
    backend = chain._tester.backend.chain
    block = backend.get_canonical_block_by_number(backend.get_block().number - 1)
    header = rlp.encode(block.header)
    receipts = [each.encode() for each in block.get_receipts(backend.chaindb)]
    anchor = make_anchor(
        chain=32769, contract=told_bytes(world.bridge.address), header=header, receipts=receipts, transaction=0, size=6
    )
    assert anchor.block == block.hash
    assert anchor.root == world.log.root()
    assert anchor.check().header.timestamp_s == block.header.timestamp


# ---- what does not hold ---------------------------------------------------------------------------------------------

ROOT = hashlib.sha256(b"a root").digest()
HONEST = made_anchor(7, ROOT, 1_790_000_000)


def invalid(reason: str, **changes: Any) -> None:
    with pytest.raises((InvalidAnchor, InvalidTrieProof, MalformedMessage), match=reason):
        dataclasses.replace(HONEST, **changes).check()


def test_anchor_with_other_values_than_its_block_has_is_refused() -> None:
    HONEST.check()
    invalid("recorded is the root", size=8)
    invalid("recorded is the root", root=Digest(bytes(32)))
    invalid("the header is of block", block=Digest(bytes(32)))
    invalid("accepts a checkpoint", contract=bytes(20))
    invalid("has 1 events", log=1)
    invalid("node above names", transaction=1)
    invalid("ends above the leaf", proof=HONEST.proof[:-1])
    invalid("nodes follow the leaf", proof=(*HONEST.proof, HONEST.proof[-1]))
    invalid("the root", proof=HONEST.proof[1:])
    invalid("ends above the leaf", proof=())


def with_receipt(encoded: bytes) -> Anchor:
    block = MadeBlock(receipts=(encoded,), timestamp_s=1)
    return dataclasses.replace(
        HONEST, header=block.header, block=keccak256(block.header), proof=ListTrie([encoded]).proof(0), transaction=0
    )


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (receipt(event(7, ROOT), succeeded=False), "transaction 0 of the block failed"),
        (receipt(event(7, ROOT, contract=bytes(20))), "accepts a checkpoint"),
        (receipt(event(7, ROOT, topic=bytes(32))), "accepts a checkpoint"),
        (receipt(), "has 0 events"),
        (b"\x05" + receipt(event(7, ROOT))[1:], "type"),
        (b"\x7f" + receipt(event(7, ROOT))[1:], "type"),
    ],
)
def test_receipt_that_shows_something_else_is_refused(encoded: bytes, reason: str) -> None:
    with pytest.raises(StrettoError, match=reason):
        with_receipt(encoded).check()
    with_receipt(receipt(event(7, ROOT))).check()


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4])
def test_every_known_type_of_receipt_is_read(kind: int) -> None:
    with_receipt(receipt(event(7, ROOT), kind=kind)).check()


def test_receipt_from_before_byzantium_is_refused() -> None:
    old = encode_rlp([bytes(32), b"\x01", bytes(256), []])
    with pytest.raises(MalformedMessage, match="status"):
        parse_receipt(old)


def test_checkpoints_of_one_log_agree_in_both_directions_and_others_do_not() -> None:
    log = Entries(numbered(12))
    anchor = made_anchor(7, log.root(7), 1)
    digests = tuple(map(Digest, log.consistency(7, 12)))
    anchor.for_checkpoint(digests).check_agrees(12, log.root())
    later = made_anchor(12, log.root(), 1)
    later.for_checkpoint(digests).check_agrees(7, log.root(7))
    anchor.check_agrees(7, log.root(7))
    other = Entries(numbered(12, "other"))
    for size, root, proof in (
        (12, other.root(), digests), (11, log.root(11), digests), (12, log.root(), ()), (7, other.root(7), ()),
        (12, log.root(), digests[:-1]),
    ):  # fmt: skip
        with pytest.raises(InvalidProof):
            anchor.for_checkpoint(proof).check_agrees(size, root)


def test_block_without_the_event_makes_no_anchor() -> None:
    receipts = (receipt(), receipt(event(7, ROOT)))
    block = MadeBlock(receipts=receipts, timestamp_s=1)
    given_ = {"chain": 1, "contract": CONTRACT, "header": block.header, "receipts": receipts}
    make_anchor(**given_, transaction=1, size=7)
    for transaction, size, reason in ((0, 7, "no checkpoint of 7"), (1, 8, "no checkpoint of 8"), (2, 7, "none at 2")):
        with pytest.raises(InvalidAnchor, match=reason):
            make_anchor(**given_, transaction=transaction, size=size)
    with pytest.raises(InvalidAnchor, match="receipts have the root"):
        make_anchor(**{**given_, "receipts": receipts[:1]}, transaction=0, size=7)


# ---- the file -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"chain": 0}, "chain"), ({"chain": 2**53}, "chain"), ({"chain": True}, "chain"), ({"chain": "137"}, "chain"),
        ({"size": 0}, "size"), ({"root": "0x00"}, "root"), ({"block": "00" * 32}, "block"),
        ({"contract": "0x" + "AB" * 20}, "contract"), ({"transaction": -1}, "transaction"), ({"log": 2**16}, "log"),
        ({"proof": "0x"}, "proof"), ({"proof": ["0x"] * 9}, "proof"), ({"header": "0x0"}, "header"),
        ({"consistency": ["0x" + "00" * 32] * 129}, "consistency"), ({"format": "stretto/anchor/v2"}, "format"),
        ({"more": 1}, "anchor"),
    ],
)  # fmt: skip
def test_malformed_anchor_is_named_by_field(change: dict[str, Any], field: str) -> None:
    document = json.loads(HONEST.encode()) | change
    with pytest.raises(MalformedAnchor) as refused:
        parse_anchor((json.dumps(document, indent=2) + "\n").encode())
    assert refused.value.field == field


def test_anchor_has_one_layout() -> None:
    data = HONEST.encode()
    for other in (
        data + b"\n",
        data.replace(b"  ", b" "),
        data.replace(b"0x0001", b"0x\\u003001"),
        b"{}",
        b"",
        b"[" * 99_999,
    ):
        with pytest.raises(MalformedAnchor):
            parse_anchor(other)


# ---- RLP ------------------------------------------------------------------------------------------------------------

items: st.SearchStrategy[RlpItem] = st.recursive(
    st.binary(max_size=70), lambda inner: st.lists(inner, max_size=8), max_leaves=20
)


def _depth(item: RlpItem) -> int:
    return 0 if isinstance(item, bytes) else 1 + max(map(_depth, item), default=0)


@settings(max_examples=300)
@given(items.filter(lambda item: _depth(item) <= RLP_DEPTH_MAX))
def test_rlp_round_trips_and_agrees_with_another_library(item: RlpItem) -> None:
    import rlp

    encoded = encode_rlp(item)
    assert encoded == rlp.encode(item)
    assert decode_rlp(encoded) == item


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_rlp_that_is_accepted_is_what_its_value_encodes_to(data: bytes) -> None:
    try:
        item = decode_rlp(data)
    except MalformedMessage:
        return
    assert encode_rlp(item) == data


@pytest.mark.parametrize(
    "data",
    ["", "8100", "817f", "b800", "b837" + "00" * 55, "b90038" + "00" * 56, "83aabb", "c1", "c28100", "c3830102", "0000",
     "bfffffffffffffffff", "c7c7c7c7c7c7c7c0", "f800", "c0c0", "c6c5c4c3c2c1c0"],
)  # fmt: skip
def test_rlp_that_is_not_canonical_is_refused(data: str) -> None:
    with pytest.raises(MalformedMessage):
        decode_rlp(bytes.fromhex(data))


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 400), index=st.integers(0, 399))
def test_list_trie_proves_each_item_and_has_the_root_of_another_library(count: int, index: int) -> None:
    import rlp
    from trie import HexaryTrie

    made = [hashlib.sha256(bytes([i % 256, i // 256])).digest() * 3 for i in range(count)]
    other = HexaryTrie({})
    for i, item in enumerate(made):
        other[rlp.encode(encode_number(i))] = item
    trie = ListTrie(made)
    assert trie.root == other.root_hash
    if index < count:
        assert item_at(index, trie.root, trie.proof(index)) == made[index]
    else:
        with pytest.raises(IndexError):
            trie.proof(index)


def test_leaf_at_the_root_is_of_its_own_index_alone() -> None:
    """No branch tells indexes apart there: the leaf's path has to."""
    item = b"x" * 40
    trie = ListTrie([item])
    assert item_at(0, trie.root, trie.proof(0)) == item
    for index in (1, 5, 128):
        with pytest.raises(InvalidTrieProof):
            item_at(index, trie.root, trie.proof(0))


def test_leaf_that_ends_before_the_key_does_is_of_another_item() -> None:
    leaf = encode_rlp([bytes.fromhex("2081"), b"x" * 40])
    with pytest.raises(InvalidTrieProof, match="of another item"):
        item_at(128, keccak256(leaf), [leaf])
    whole = encode_rlp([bytes.fromhex("208180"), b"x" * 40])
    assert item_at(128, keccak256(whole), [whole]) == b"x" * 40


def test_header_with_a_gap_among_its_later_fields_is_put_back_together() -> None:
    """As chains have it that leave out what only Ethereum's consensus needs: absent in JSON, empty in the RLP."""
    block = dict(vector("prague")["block"])
    fields = decode_rlp(header_of(block))
    assert isinstance(fields, list)
    fields[16] = b""
    encoded = encode_rlp(fields)
    told = {**block, "withdrawalsRoot": None, "hash": "0x" + keccak256(encoded).hex()}
    assert header_of(told) == encoded
    del told["withdrawalsRoot"]
    assert header_of(told) == encoded
    with pytest.raises(ForeignHeader):
        header_of({**told, "hash": block["hash"]})
