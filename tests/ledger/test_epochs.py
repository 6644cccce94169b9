"""From the genesis to any epoch: what proves a roster, and every way in which a proof can fail to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.errors import MalformedMessage, PeerError
from consensus.types import Certificate, Digest, Epoch, Height, View, VoteKind
from ledger.cbor import decode, encode
from ledger.epochs import (
    EPOCH_PROOF_BYTES_MAX,
    EPOCHS_BYTES_MAX,
    HEADERS_MAX,
    EpochNotProven,
    EpochProof,
    check_epoch,
    encode_epochs,
    parse_epochs,
    verify_epochs,
)
from ledger.genesis import Role
from ledger.governance import Admit, amend, conclude
from tests.ledger.builders import make_consortium, make_member
from tests.ledger.epoch_builders import GENESIS, ROSTERS, boundary_of, certify, child_of, handover, proofs

PROOFS = proofs()
ONE, TWO, THREE, FOUR = PROOFS
ZERO, FIRST, SECOND = ROSTERS[:3]


def refused(given: tuple[EpochProof, ...], reason: str, epoch: int = 1) -> None:
    with pytest.raises(EpochNotProven, match=reason) as caught:
        verify_epochs(GENESIS, given)
    assert caught.value.epoch == epoch


def ending(roster: int = 0, headers: int = 0, **changes: Any) -> EpochProof:
    """A handover whose boundary is another, and correctly finalized all the same."""
    old = ROSTERS[roster]
    chain = [boundary_of(old, ROSTERS[roster + 1], **changes)]
    for _ in range(headers):
        chain.append(child_of(chain[-1]))
    return replace(PROOFS[roster], boundary=chain[0], headers=tuple(chain[1:]), finalization=certify(old, chain[-1]))


# ---- what proves a roster --------------------------------------------------------------------------------------------


def test_the_genesis_alone_proves_epoch_0() -> None:
    assert verify_epochs(GENESIS, ()) == (GENESIS.roster,)


@pytest.mark.parametrize("epochs", range(1, 5))
def test_proofs_lead_from_the_genesis_to_every_epoch(epochs: int) -> None:
    assert verify_epochs(GENESIS, PROOFS[:epochs]) == ROSTERS[: epochs + 1]


def test_a_committee_of_changed_keys_and_members_hands_over_in_its_turn() -> None:
    """Epoch 3 is ended by a committee with an admitted member, a replaced key and one founder less."""
    seats = [member.id for member in ROSTERS[3].validator_members()]
    assert seats == ["label", "court", "society", "indie"]
    assert check_epoch(ROSTERS[3], FOUR) == ROSTERS[4]


@pytest.mark.parametrize("headers", [0, 1, 2, 5])
def test_a_boundary_is_proven_by_a_descendants_finalization(headers: int) -> None:
    assert check_epoch(ZERO, handover(ZERO, FIRST, headers=headers)) == FIRST


@pytest.mark.parametrize("signers", [(0, 1, 2), (0, 1, 3), (1, 2, 3)])
def test_a_quorum_of_the_old_committee_is_enough(signers: tuple[int, ...]) -> None:
    assert check_epoch(ZERO, replace(ONE, finalization=certify(ZERO, ONE.boundary, signers))) == FIRST


# ---- who decided -----------------------------------------------------------------------------------------------------


def test_fewer_than_a_quorum_prove_nothing() -> None:
    refused((replace(ONE, finalization=certify(ZERO, ONE.boundary, (0, 2))),), "2 distinct|signers|quorum|needed")


def test_one_signer_several_times_is_no_certificate() -> None:
    one = certify(ZERO, ONE.boundary, (0,))
    with pytest.raises(MalformedMessage, match="certificate"):
        Certificate(vote=one.vote, signers=one.signers * 3, signatures=one.signatures * 3)
    spoilt = bytearray(ONE.encode())
    at = spoilt.index(certify(ZERO, ONE.boundary).encode())
    head = len(one.encode()) - 66
    spoilt[at + head + 66 : at + head + 132] = spoilt[at + head : at + head + 66]
    with pytest.raises(MalformedMessage, match="certificate"):
        EpochProof.decode(bytes(spoilt))


def test_the_new_committee_does_not_install_itself() -> None:
    fresh = replace(FIRST, epoch=Epoch(0))
    refused((replace(ONE, finalization=certify(fresh, ONE.boundary, (1, 2, 3, 4))),), "not in the committee")


def test_a_retired_key_no_longer_signs() -> None:
    """Epoch 2 has the court's new consensus key: the old one proves nothing of it."""
    old = replace(SECOND, members=FIRST.members)
    refused((ONE, TWO, replace(THREE, finalization=certify(old, THREE.boundary))), "signature of validator 1", 3)


def test_a_removed_member_no_longer_signs() -> None:
    old = replace(ROSTERS[3], members=SECOND.members)
    refused((ONE, TWO, THREE, replace(FOUR, finalization=certify(old, FOUR.headers[-1]))), "not in the committee", 4)


def test_a_certificate_of_another_epoch_proves_nothing() -> None:
    refused((replace(ONE, finalization=certify(ZERO, ONE.boundary, epoch=Epoch(1))),), "not to finalize block 10")


@pytest.mark.parametrize("kind", [VoteKind.NOTARIZE, VoteKind.FINALIZE])
def test_only_finalize_votes_for_the_last_block_count(kind: VoteKind) -> None:
    other = Digest(b"o" * 32) if kind is VoteKind.FINALIZE else ONE.boundary.digest
    refused((replace(ONE, finalization=certify(ZERO, ONE.boundary, kind=kind, block=other)),), "not to finalize")


@pytest.mark.parametrize(("field", "value"), [("view", View(99)), ("height", Height(99))])
def test_a_certificate_that_misnames_its_block_is_refused(field: str, value: int) -> None:
    refused((replace(ONE, finalization=certify(ZERO, ONE.boundary, **{field: value})),), "not to finalize")


# ---- what was decided ------------------------------------------------------------------------------------------------


def test_a_boundary_that_names_another_roster_is_refused() -> None:
    other = replace(FIRST, parameters=replace(FIRST.parameters, delta_ms=9_999))
    refused((replace(ONE, roster=other),), "the boundary names")


def test_an_ordinary_block_is_no_boundary() -> None:
    refused((ending(next_committee=Digest(bytes(32))),), "the boundary names 0000")


def test_a_boundary_that_orders_payloads_is_none() -> None:
    refused((ending(payloads=(Digest(b"x" * 32),)),), "orders payloads")


def test_a_roster_of_another_log_or_consortium_is_refused() -> None:
    for other in (replace(FIRST, origin="elsewhere.example/log"), replace(FIRST, consortium=Digest(b"c" * 32))):
        refused((replace(ending(next_committee=other.digest), roster=other),), "another consortium or log")


@pytest.mark.parametrize("epoch", [0, 2, 7])
def test_an_epoch_does_not_repeat_or_skip(epoch: int) -> None:
    other = replace(FIRST, epoch=Epoch(epoch))
    refused((replace(ending(next_committee=other.digest), roster=other),), f"is of epoch {epoch}")


def test_more_than_f_seats_at_once_are_refused_whoever_signed() -> None:
    amended = FIRST
    for member in ("one", "two"):
        amended = amend(amended, Admit(epoch=Epoch(0), member=make_member(member, Role.LABEL)))
    other = conclude(ZERO, amended)
    refused((replace(ending(next_committee=other.digest), roster=other),), "3 seats change at once, at most 1 may")


# ---- where it stands in the chain ------------------------------------------------------------------------------------


def test_a_gap_between_epochs_is_refused() -> None:
    refused((ONE, THREE), "not of epoch 1", 2)
    refused((TWO,), "not of epoch 0")


def test_an_epoch_proven_twice_is_refused() -> None:
    refused((ONE, ONE), "not of epoch 1", 2)


def test_proofs_in_another_order_are_refused() -> None:
    refused((TWO, ONE), "not of epoch 0")


def test_proofs_of_another_consortium_are_refused() -> None:
    with pytest.raises(EpochNotProven, match="another consortium"):
        verify_epochs(make_consortium(name="Another").genesis, PROOFS)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda second: replace(second, parent=Digest(b"q" * 32)),
        lambda second: replace(second, height=Height(second.height + 1)),
        lambda second: replace(second, parent_view=View(second.parent_view - 1)),
    ],
    ids=["parent", "height", "parent view"],
)
def test_a_broken_chain_of_headers_is_refused(break_it: Callable[[Any], Any]) -> None:
    chain = [boundary_of(ZERO, FIRST)]
    chain.append(child_of(chain[0]))
    chain[1] = break_it(chain[1])
    chain.append(child_of(chain[1]))
    proof = EpochProof(
        boundary=chain[0], headers=tuple(chain[1:]), finalization=certify(ZERO, chain[-1]), roster=FIRST
    )  # fmt: skip
    refused((proof,), "is not the child of block")


def test_headers_after_the_boundary_order_nothing_and_name_nobody() -> None:
    chain = (boundary_of(ZERO, FIRST),)
    for changes, reason in (
        ({"payloads": (Digest(b"x" * 32),)}, "orders payloads"),
        ({"next_committee": FIRST.digest}, "names a roster again"),
        ({"epoch": Epoch(1)}, "not of epoch 0"),
        ({"consortium": Digest(b"c" * 32)}, "another consortium"),
    ):
        last = child_of(chain[0], **changes)
        refused(
            (EpochProof(boundary=chain[0], headers=(last,), finalization=certify(ZERO, last), roster=FIRST),), reason
        )


def test_a_finalization_below_the_last_header_is_refused() -> None:
    refused((replace(handover(ZERO, FIRST, headers=1), finalization=ONE.finalization),), "not to finalize block 11")


@pytest.mark.parametrize("changes", [{"height": Height(10)}, {"view": View(20), "parent_view": View(19)}])
def test_a_boundary_before_the_one_before_is_refused(changes: dict[str, Any]) -> None:
    refused((ONE, ending(1, **changes)), "does not come after", 2)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_flipped_bit_leaves_another_roster_proven(data: st.DataObject) -> None:
    encoded = bytearray(encode_epochs(GENESIS.digest, PROOFS[:2]))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        _, found = parse_epochs(bytes(encoded))
        rosters = verify_epochs(GENESIS, found)
    except PeerError:
        return
    assert rosters == ROSTERS[:3], "only the consortium's name of the file, or nothing that is believed, was changed"


# ---- form ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("proof", PROOFS)
def test_a_proof_survives_its_bytes(proof: EpochProof) -> None:
    assert EpochProof.decode(proof.encode()) == proof


def test_a_file_of_proofs_survives_its_bytes_and_any_cbor_reader_reads_it() -> None:
    data = encode_epochs(GENESIS.digest, PROOFS)
    assert parse_epochs(data) == (GENESIS.digest, PROOFS)
    read = cbor2.loads(data)
    assert (read["format"], len(read["proofs"])) == ("stretto/epochs/v1", 4)
    assert cbor2.loads(cbor2.loads(read["proofs"][0])["roster"])["epoch"] == 1


def edited(data: bytes, key: str, value: object) -> bytes:
    document: Any = decode(data)
    document[key] = value
    return encode(document)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("boundary", "text"),
        ("boundary", b"no block"),
        ("headers", b""),
        ("headers", [1]),
        ("headers", [b"no block"]),
        ("headers", [ONE.boundary.encode()] * (HEADERS_MAX + 1)),
        ("finalization", b"no certificate"),
        ("roster", b"no roster"),
        ("roster", []),
        ("extra", 1),
    ],
)
def test_malformed_proofs_are_refused(key: str, value: object) -> None:
    with pytest.raises(MalformedMessage):
        EpochProof.decode(edited(ONE.encode(), key, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "stretto/epochs/v2"),
        ("consortium", b"short"),
        ("consortium", "text"),
        ("proofs", {}),
        ("proofs", [1]),
        ("proofs", [b"no proof"]),
        ("proofs", [b""] * 10_001),
        ("extra", 1),
    ],
)
def test_malformed_files_are_refused(key: str, value: object) -> None:
    with pytest.raises(MalformedMessage):
        parse_epochs(edited(encode_epochs(GENESIS.digest, (ONE,)), key, value))


def test_what_is_too_large_is_refused_unread() -> None:
    with pytest.raises(MalformedMessage, match="at most"):
        EpochProof.decode(bytes(EPOCH_PROOF_BYTES_MAX + 1))
    with pytest.raises(MalformedMessage, match="at most"):
        parse_epochs(bytes(EPOCHS_BYTES_MAX + 1))
    with pytest.raises(MalformedMessage, match="at most"):
        encode_epochs(GENESIS.digest, (ONE,) * 10_001)
    with pytest.raises(MalformedMessage, match="headers"):
        replace(ONE, headers=(ONE.boundary,) * (HEADERS_MAX + 1))


@given(st.binary(max_size=200))
def test_any_bytes_are_proofs_or_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        EpochProof.decode(data)
    with pytest.raises(MalformedMessage):
        parse_epochs(data)
