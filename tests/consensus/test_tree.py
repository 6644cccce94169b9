"""The tree of blocks and certificates above the committed chain."""

from __future__ import annotations

import pytest

from consensus.errors import ConflictingCertificates
from consensus.tree import Tree
from consensus.types import View, VoteKind, genesis_block
from tests.consensus.toys import (
    certify,
    child,
    committee_of,
    finalization,
    notarization,
    nullification,
    payload,
    vote_for,
)

COMMITTEE = committee_of(4)
GENESIS = genesis_block(COMMITTEE)
ONE = child(COMMITTEE, payloads=(payload(1),))
TWO = child(COMMITTEE, ONE)
FOUR = child(COMMITTEE, ONE, view=4)


def tree_with(*blocks: object, certificates: tuple[object, ...] = ()) -> Tree:
    tree = Tree(GENESIS, None)
    for block in blocks:
        tree.add_block(block, 0)  # type: ignore[arg-type]
    for certificate in certificates:
        tree.add_certificate(certificate)  # type: ignore[arg-type]
    return tree


class TestParent:
    def test_genesis_is_built_on_at_first(self) -> None:
        assert tree_with().parent_view(View(1)) == 0

    def test_highest_notarized_view_is_built_on(self) -> None:
        certificates = (notarization(COMMITTEE, ONE), notarization(COMMITTEE, TWO))
        assert tree_with(ONE, TWO, certificates=certificates).parent_view(View(3)) == 2

    def test_views_between_must_be_nullified(self) -> None:
        tree = tree_with(ONE, certificates=(notarization(COMMITTEE, ONE), nullification(COMMITTEE, 3)))
        assert tree.parent_view(View(4)) is None
        assert tree.uncovered_view(View(4)) == 2
        tree.add_certificate(nullification(COMMITTEE, 2))
        assert tree.parent_view(View(4)) == 1
        assert tree.uncovered_view(View(4)) is None

    def test_finalization_stands_for_notarization(self) -> None:
        tree = tree_with(ONE, certificates=(finalization(COMMITTEE, ONE),))
        assert tree.certified(View(1)) == ONE.digest
        assert tree.parent_view(View(2)) == 1

    def test_a_notarized_block_not_held_is_passed_over_if_its_view_is_nullified_too(self) -> None:
        tree = tree_with(ONE, certificates=(notarization(COMMITTEE, ONE), notarization(COMMITTEE, TWO)))
        assert tree.parent_view(View(3)) is None
        tree.add_certificate(nullification(COMMITTEE, 2))
        assert tree.parent_view(View(3)) == 1

    def test_nothing_below_a_final_view_is_built_on(self) -> None:
        tree = tree_with(ONE, TWO, certificates=(notarization(COMMITTEE, ONE), finalization(COMMITTEE, TWO)))
        assert tree.certified(View(1)) is None
        assert tree.parent_view(View(3)) == 2


class TestPath:
    def test_leads_from_the_head_to_the_block(self) -> None:
        assert tree_with(ONE, TWO).path(vote_for(VoteKind.FINALIZE, TWO)).blocks == (ONE, TWO)

    def test_names_the_first_block_missing(self) -> None:
        assert tree_with(TWO).path(vote_for(VoteKind.FINALIZE, TWO)).missing == ONE.digest
        assert tree_with(ONE).path(vote_for(VoteKind.FINALIZE, TWO)).missing == TWO.digest

    def test_a_block_beside_the_committed_chain_is_a_conflict(self) -> None:
        tree = tree_with(ONE)
        tree.advance(ONE)
        tree.add_block(rival := child(COMMITTEE, view=3), 0)
        with pytest.raises(ConflictingCertificates):
            tree.path(vote_for(VoteKind.FINALIZE, rival))


class TestCertificates:
    def test_two_notarized_blocks_of_one_view_conflict(self) -> None:
        rival = child(COMMITTEE, payloads=(payload(9),))
        tree = tree_with(certificates=(notarization(COMMITTEE, ONE),))
        with pytest.raises(ConflictingCertificates):
            tree.check_consistent(notarization(COMMITTEE, rival))
        tree.check_consistent(nullification(COMMITTEE, 1))

    def test_final_and_nullified_conflict_both_ways(self) -> None:
        with pytest.raises(ConflictingCertificates):
            tree_with(certificates=(finalization(COMMITTEE, ONE),)).check_consistent(nullification(COMMITTEE, 1))
        with pytest.raises(ConflictingCertificates):
            tree_with(certificates=(nullification(COMMITTEE, 1),)).check_consistent(finalization(COMMITTEE, ONE))

    def test_an_answer_starts_with_the_last_finalization_unless_it_is_old(self) -> None:
        certificates = (finalization(COMMITTEE, ONE), nullification(COMMITTEE, 2), notarization(COMMITTEE, FOUR))
        tree = tree_with(certificates=certificates)
        assert tree.certificates_from(View(1), 10) == certificates
        assert tree.certificates_from(View(2), 10) == certificates[1:]
        assert tree.certificates_from(View(1), 2) == certificates[:2]
        assert tree.certificates_from(View(5), 10) == ()
        assert tree.top_certificate() == certificates[2]

    def test_a_fresh_tree_has_nothing_to_show(self) -> None:
        assert Tree(GENESIS, None).top_certificate() is None

    def test_finalization_makes_older_certificates_superfluous(self) -> None:
        tree = tree_with(certificates=(notarization(COMMITTEE, ONE), nullification(COMMITTEE, 2)))
        tree.add_certificate(certify(COMMITTEE, vote_for(VoteKind.FINALIZE, FOUR)))
        assert (tree.notarizations, tree.nullifications) == ({}, {})


class TestWork:
    def test_a_notarized_payload_waits_until_final(self) -> None:
        tree = tree_with(ONE, certificates=(notarization(COMMITTEE, ONE),))
        assert tree.has_unfinal_work()
        tree.add_certificate(finalization(COMMITTEE, ONE))
        assert not tree.has_unfinal_work()

    def test_an_empty_block_makes_no_work_but_its_ancestors_do(self) -> None:
        empty = child(COMMITTEE)
        assert not tree_with(empty, certificates=(notarization(COMMITTEE, empty),)).has_unfinal_work()
        assert tree_with(ONE, TWO, certificates=(notarization(COMMITTEE, TWO),)).has_unfinal_work()

    def test_committing_forgets_what_is_not_above(self) -> None:
        rival = child(COMMITTEE, payloads=(payload(9),))
        tree = tree_with(ONE, rival, FOUR, certificates=(finalization(COMMITTEE, ONE),))
        tree.advance(ONE)
        assert set(tree.blocks) == {ONE.digest, FOUR.digest}
        assert tree.finalizations == {}
        assert tree.finalized_view == 1
