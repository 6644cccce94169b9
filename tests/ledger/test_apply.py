"""Execution: every statement is recorded once, forever, and everybody computes the same."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.errors import MalformedMessage
from consensus.types import Digest
from ledger.apply import Applied, Outcome, Overlay, Reason, Receipt, apply_block
from ledger.catalogue import Catalogue, check_catalogue
from ledger.claim import claim_keys
from ledger.claim_check import body_keys
from ledger.statement import Statement
from tests.ledger.builders import MemoryView, make_catalogue, make_claim, make_consortium

CONSORTIUM = make_consortium()
P1, P2 = Digest(b"\x01" * 32), Digest(b"\x02" * 32)
TIME = 1_700_000_000_000


def claim(seed: int, ref: str | None = None, issuer: str = "label") -> Statement:
    return CONSORTIUM.statement(make_claim(seed), ref=ref or f"ref-{seed}", issuer=issuer)


def catalogue(made: Catalogue, ref: str, issuer: str = "label") -> Statement:
    return CONSORTIUM.statement(made.header, ref=ref, issuer=issuer)


def resigned(statement: Statement) -> Statement:
    """The same signed content under other bytes, as if a second valid signature existed."""
    return replace(statement, raw=b"other", digest=Digest(bytes(31) + b"\x07"))


def run(view: MemoryView, *payloads: list[Statement], bodies: dict[Digest, tuple[bytes, ...]] | None = None) -> Applied:
    """Executes a block and records it in the view."""
    listed = [(Digest(bytes([i]) * 32), statements) for i, statements in enumerate(payloads, 1)]
    applied = apply_block(view, 7, TIME, listed, bodies or {})
    view.record(applied)
    return applied


def shown(applied: Applied) -> list[str]:
    return [
        f"{receipt.outcome.name} {receipt.index}" + (f" {receipt.reason.name}" if receipt.reason else "")
        for receipt in applied.receipts
    ]


def test_new_statements_become_leaves_in_order() -> None:
    view = MemoryView()
    applied = run(view, [claim(0), claim(1)], [claim(2)])
    assert shown(applied) == ["RECORDED 0", "RECORDED 1", "RECORDED 2"]
    assert [entry.index for entry in applied.entries] == [0, 1, 2]
    assert all((entry.height, entry.block_time_ms) == (7, TIME) for entry in applied.entries)
    assert shown(run(view, [claim(3)])) == ["RECORDED 3"]
    assert applied.claim_count == 3


def test_a_claim_entry_carries_its_bytes_and_keys() -> None:
    (entry,) = run(MemoryView(), [claim(5)]).entries
    assert entry.claims == (make_claim(5).encode(),)
    assert entry.keys == body_keys([claim_keys(make_claim(5))])


def test_a_catalogue_entry_carries_all_its_claims() -> None:
    made = make_catalogue(3)
    statement = catalogue(made, "cat-1")
    body = check_catalogue(made.header, made.manifest, made.chunks)
    (entry,) = run(MemoryView(), [statement], bodies={statement.digest: body}).entries
    assert list(entry.claims) == [make_claim(seed).encode() for seed in range(3)]
    assert entry.keys == body_keys(claim_keys(make_claim(seed)) for seed in range(3))


def test_claims_whose_keys_were_not_kept_are_read_for_them() -> None:
    made = make_catalogue(3)
    statement = catalogue(made, "cat-1")
    body = check_catalogue(made.header, made.manifest, made.chunks)
    (kept,) = run(MemoryView(), [statement], bodies={statement.digest: body}).entries
    (read,) = run(MemoryView(), [statement], bodies={statement.digest: tuple(body)}).entries
    assert read == kept


@pytest.mark.parametrize("body", [None, ()])
def test_a_catalogue_without_its_body_cannot_have_been_final(body: tuple[bytes, ...] | None) -> None:
    statement = catalogue(make_catalogue(3), "cat-1")
    with pytest.raises(AssertionError, match="catalogue"):
        run(MemoryView(), [statement], bodies={} if body is None else {statement.digest: body})


SAME = claim(0)
CATALOGUE = make_catalogue(2)
BODY = check_catalogue(CATALOGUE.header, CATALOGUE.manifest, CATALOGUE.chunks)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (SAME, SAME, "DUPLICATE 0 STATEMENT"),
        (SAME, resigned(SAME), "DUPLICATE 0 SIGNED"),
        (SAME, claim(1, ref="ref-0"), "DUPLICATE 0 CLIENT_REF"),
        (SAME, claim(1, ref="ref-0", issuer="society"), "RECORDED 1"),
        (SAME, claim(0, ref="ref-1"), "RECORDED 1"),
        (catalogue(CATALOGUE, "a"), catalogue(CATALOGUE, "b"), "DUPLICATE 0 CATALOGUE"),
        (catalogue(CATALOGUE, "a"), catalogue(CATALOGUE, "a"), "DUPLICATE 0 STATEMENT"),
        (catalogue(CATALOGUE, "a"), catalogue(CATALOGUE, "b", issuer="society"), "RECORDED 1"),
        (catalogue(CATALOGUE, "ref-0"), SAME, "DUPLICATE 0 CLIENT_REF"),
    ],
)
@pytest.mark.parametrize("where", ["payload", "block", "log", "overlay"])
def test_what_is_on_record_is_refused_wherever_the_first_is(
    first: Statement, second: Statement, expected: str, where: str
) -> None:
    view, bodies = MemoryView(), {first.digest: BODY, second.digest: BODY}
    match where:
        case "payload":
            applied = run(view, [first, second], bodies=bodies)
        case "block":
            applied = run(view, [first], [second], bodies=bodies)
        case "log":
            run(view, [first], bodies=bodies)
            applied = run(view, [second], bodies=bodies)
        case _:
            overlay = Overlay(view)
            overlay.extend(apply_block(overlay, 6, TIME, [(P1, [first])], bodies))
            applied = apply_block(overlay, 7, TIME, [(P2, [second])], bodies)
    assert shown(applied)[-1] == expected
    assert len(applied.entries) == len([line for line in shown(applied) if line.startswith("RECORDED")])


def test_a_refused_statement_takes_no_leaf_and_blocks_nothing() -> None:
    view = MemoryView()
    applied = run(view, [claim(0), claim(1, ref="ref-0"), claim(1), claim(2, ref="ref-0")])
    assert shown(applied) == ["RECORDED 0", "DUPLICATE 0 CLIENT_REF", "RECORDED 1", "DUPLICATE 0 CLIENT_REF"]
    assert [entry.statement.client_ref for entry in applied.entries] == ["ref-0", "ref-1"]


def test_execution_does_not_change_the_view() -> None:
    view = MemoryView()
    overlay = Overlay(view)
    first = apply_block(overlay, 1, TIME, [(P1, [SAME])], {})
    assert overlay.size == 0
    assert apply_block(overlay, 1, TIME, [(P1, [SAME])], {}) == first


def test_an_overlay_refuses_a_block_of_another_state() -> None:
    applied = apply_block(MemoryView(), 1, TIME, [(P1, [SAME])], {})
    view = MemoryView()
    view.statements.append(claim(9))
    with pytest.raises(AssertionError, match="another state"):
        Overlay(view).extend(applied)


def test_an_empty_block_adds_nothing() -> None:
    applied = apply_block(MemoryView(), 3, TIME, [], {})
    assert (applied.entries, applied.receipts, applied.height) == ((), (), 3)


POOL = [
    claim(seed, ref=f"ref-{ref}", issuer=issuer)
    for seed in range(3)
    for ref in range(2)
    for issuer in ("label", "society")
]
POOL += [catalogue(CATALOGUE, "ref-0"), catalogue(CATALOGUE, "x"), resigned(POOL[0])]


@given(st.lists(st.lists(st.lists(st.sampled_from(POOL), max_size=6), max_size=3), max_size=3))
@settings(max_examples=150)
def test_blocks_over_an_overlay_equal_one_block_after_another(blocks: list[list[list[Statement]]]) -> None:
    bodies = {statement.digest: BODY for statement in POOL}
    stored, overlay = MemoryView(), Overlay(MemoryView())
    for block in blocks:
        one_by_one = run(stored, *block, bodies=bodies)
        listed = [(Digest(bytes([i]) * 32), statements) for i, statements in enumerate(block, 1)]
        together = apply_block(overlay, 7, TIME, listed, bodies)
        overlay.extend(together)
        assert together == one_by_one
    assert overlay.size == stored.size
    recorded = stored.statements
    assert len({s.digest for s in recorded}) == len({s.signed_digest for s in recorded}) == len(recorded)
    assert len({(s.issuer, s.client_ref) for s in recorded}) == len(recorded)


# ---- receipts --------------------------------------------------------------------------------------------------------


def test_a_receipt_says_what_is_on_record_already() -> None:
    applied = run(MemoryView(), [SAME, SAME])
    recorded, duplicate = applied.receipts
    assert (recorded.code, recorded.field, recorded.expected) == ("", "", "")
    assert (duplicate.code, duplicate.field) == ("DUPLICATE_STATEMENT", "statement")
    assert duplicate.expected == "a statement not on record; it is leaf 0"


@given(
    st.builds(
        Receipt,
        statement=st.binary(min_size=32, max_size=32).map(Digest),
        outcome=st.sampled_from(Outcome),
        index=st.integers(0, 2**64 - 1),
        height=st.integers(0, 2**64 - 1),
        block_time_ms=st.integers(0, 2**64 - 1),
        reason=st.sampled_from(Reason),
    )
)
def test_receipts_come_back_from_their_encoding(receipt: Receipt) -> None:
    assert Receipt.decode(receipt.encode()) == receipt


@pytest.mark.parametrize(
    "data",
    [
        b"",
        struct.pack(">BB32sQQQ", 0, 0, bytes(32), 0, 0, 0),
        struct.pack(">BB32sQQQ", 1, 9, bytes(32), 0, 0, 0),
        struct.pack(">BB32sQQQ", 1, 0, bytes(32), 0, 0, 0) + b"\x00",
    ],
)
def test_other_receipts_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage, match="receipt"):
        Receipt.decode(data)
