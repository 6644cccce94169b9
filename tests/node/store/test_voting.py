"""The voting state: what was persisted is there after any end, and two votes in it never contradict each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.events import Persist
from consensus.types import (
    Block,
    Certificate,
    Committee,
    Digest,
    Epoch,
    Height,
    PublicKey,
    Signature,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
    genesis_block,
    nullify,
)
from node.store.errors import Equivocation, SchemaTooNew, StoreLocked, StoreMisused, VotingStateMissing
from node.store.voting import VotingStore

COMMITTEE = Committee(
    consortium=Digest(b"c" * 32), epoch=Epoch(0), validators=tuple(PublicKey(bytes([i]) * 32) for i in range(4))
)
GENESIS = genesis_block(COMMITTEE)
A, B = Digest(b"a" * 32), Digest(b"b" * 32)


def vote(kind: VoteKind, view: int, block: Digest = A) -> Vote:
    return Vote(kind=kind, epoch=Epoch(0), view=View(view), height=Height(view), block=block)


def block(view: int) -> Block:
    return Block(
        consortium=COMMITTEE.consortium, epoch=Epoch(0), view=View(view), height=Height(view),
        parent_view=View(view - 1), parent=A, timestamp_ms=view, proposer=ValidatorIndex(0), payloads=(),
    )  # fmt: skip


def certificate(of: Vote) -> Certificate:
    return Certificate(
        vote=of, signers=tuple(ValidatorIndex(i) for i in range(3)), signatures=(Signature(bytes(64)),) * 3
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    VotingStore.create(tmp_path / "voting")
    return tmp_path / "voting"


@pytest.fixture
def store(path: Path) -> Iterator[VotingStore]:
    with VotingStore.open(path) as opened:
        yield opened


def test_what_was_persisted_is_loaded_after_reopening(path: Path) -> None:
    votes = (vote(VoteKind.NOTARIZE, 1), vote(VoteKind.FINALIZE, 1), nullify(Epoch(0), View(2)))
    blocks = (block(1), block(2))
    certificates = (certificate(vote(VoteKind.NOTARIZE, 1)), certificate(nullify(Epoch(0), View(2))))
    with VotingStore.open(path) as store:
        store.persist(Persist(votes=votes, blocks=blocks, certificates=certificates))
    with VotingStore.open(path) as store:
        restored = store.load(GENESIS, None)
    assert restored.head == GENESIS
    assert restored.trusted
    assert restored.votes == votes
    assert set(restored.blocks) == set(blocks)
    assert set(restored.certificates) == set(certificates)


def test_the_same_vote_again_is_accepted(store: VotingStore) -> None:
    store.persist(Persist(votes=(vote(VoteKind.NOTARIZE, 3),)))
    store.persist(Persist(votes=(vote(VoteKind.NOTARIZE, 3),)))
    assert store.load(GENESIS, None).votes == (vote(VoteKind.NOTARIZE, 3),)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (vote(VoteKind.NOTARIZE, 5, A), vote(VoteKind.NOTARIZE, 5, B)),
        (vote(VoteKind.FINALIZE, 5, A), vote(VoteKind.FINALIZE, 5, B)),
        (vote(VoteKind.FINALIZE, 5), nullify(Epoch(0), View(5))),
        (nullify(Epoch(0), View(5)), vote(VoteKind.FINALIZE, 5)),
        (nullify(Epoch(0), View(5)), nullify(Epoch(1), View(5))),
    ],
    ids=lambda v: f"{v.kind.name}-{v.epoch}-{v.block[:1].decode()}",
)
@pytest.mark.parametrize("together", [True, False])
def test_a_contradicting_vote_is_refused_and_nothing_of_its_batch_is_written(
    store: VotingStore, first: Vote, second: Vote, together: bool
) -> None:
    other = vote(VoteKind.NOTARIZE, 9)
    if not together:
        store.persist(Persist(votes=(first,)))
    with pytest.raises(Equivocation, match="view 5"):
        store.persist(Persist(votes=(other, first, second), blocks=(block(9),)))
    restored = store.load(GENESIS, None)
    assert restored.votes == (() if together else (first,))
    assert restored.blocks == ()


@pytest.mark.parametrize(
    "after", [nullify(Epoch(0), View(5)), vote(VoteKind.FINALIZE, 5), vote(VoteKind.NOTARIZE, 6, B)]
)
def test_what_may_follow_a_notarize_is_accepted(store: VotingStore, after: Vote) -> None:
    store.persist(Persist(votes=(vote(VoteKind.NOTARIZE, 5),)))
    store.persist(Persist(votes=(after,)))
    assert len(store.load(GENESIS, None).votes) == 2


def test_pruning_keeps_everything_above_the_finalized_view(store: VotingStore) -> None:
    for view in (1, 2, 300, 301):
        store.persist(
            Persist(
                votes=(vote(VoteKind.NOTARIZE, view),),
                blocks=(block(view),),
                certificates=(certificate(vote(VoteKind.NOTARIZE, view)),),
            )
        )
    store.prune(View(300))
    restored = store.load(GENESIS, None)
    assert [v.view for v in restored.votes] == [301]
    assert [b.view for b in restored.blocks] == [301]
    assert [c.vote.view for c in restored.certificates] == [301]


def test_a_vote_in_a_pruned_view_is_refused_since_nobody_can_tell_what_stood_there(path: Path) -> None:
    with VotingStore.open(path) as store:
        store.persist(Persist(votes=(vote(VoteKind.NOTARIZE, 40, A),)))
        store.prune(View(40))
        store.prune(View(2))  # never goes back
    with VotingStore.open(path) as store:
        with pytest.raises(Equivocation, match="finalized view 40"):
            store.persist(Persist(votes=(vote(VoteKind.NOTARIZE, 40, B),)))
        store.persist(Persist(votes=(vote(VoteKind.NOTARIZE, 41, B),)))


def test_what_is_not_worth_pruning_yet_still_guards_against_contradiction(store: VotingStore) -> None:
    store.persist(Persist(votes=(vote(VoteKind.NOTARIZE, 4, A),)))
    store.prune(View(4))
    with pytest.raises(Equivocation, match="view 4"):
        store.persist(Persist(votes=(vote(VoteKind.NOTARIZE, 4, B),)))


def test_a_state_newer_than_the_chain_it_is_loaded_for_is_not_trusted(store: VotingStore) -> None:
    """The chain was restored from a backup: this node has voted above its head and forgot it as final."""
    store.prune(View(40))
    assert not store.load(block(39), certificate(vote(VoteKind.FINALIZE, 39))).trusted
    assert store.load(block(40), certificate(vote(VoteKind.FINALIZE, 40))).trusted


def test_what_stands_at_or_below_the_head_is_not_loaded(store: VotingStore) -> None:
    store.persist(Persist(votes=(vote(VoteKind.NOTARIZE, 1), vote(VoteKind.NOTARIZE, 2)), blocks=(block(1), block(2))))
    restored = store.load(block(1), certificate(vote(VoteKind.FINALIZE, 1)))
    assert [v.view for v in restored.votes] == [2]
    assert restored.blocks == (block(2),)


def test_every_boot_generation_is_higher_than_all_before(path: Path) -> None:
    seen = []
    for _ in range(3):
        with VotingStore.open(path) as store:
            seen += [store.next_boot_generation(), store.next_boot_generation()]
    assert seen == [1, 2, 3, 4, 5, 6]


def test_opening_what_was_never_created_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VotingStateMissing):
        VotingStore.open(tmp_path / "voting")
    assert not (tmp_path / "voting").exists()


def test_creating_over_an_existing_state_is_refused(path: Path) -> None:
    with VotingStore.open(path) as store:
        store.persist(Persist(votes=(vote(VoteKind.NOTARIZE, 1),)))
    with pytest.raises(StoreMisused):
        VotingStore.create(path)
    with VotingStore.open(path) as store:
        assert store.load(GENESIS, None).votes == (vote(VoteKind.NOTARIZE, 1),)


def test_a_state_made_after_a_loss_is_not_trusted_until_said_so(tmp_path: Path) -> None:
    VotingStore.create(tmp_path / "voting", trusted=False)
    with VotingStore.open(tmp_path / "voting") as store:
        assert not store.load(GENESIS, None).trusted
        store.set_trusted(True)
    with VotingStore.open(tmp_path / "voting") as store:
        assert store.load(GENESIS, None).trusted


def test_a_second_opener_is_refused(path: Path, store: VotingStore) -> None:
    with pytest.raises(StoreLocked, match="process"):
        VotingStore.open(path)


def test_a_newer_schema_is_refused_and_may_be_opened_by_nobody_here(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.store.voting.SCHEMA", 0)
    with pytest.raises(SchemaTooNew, match="schema 1"):
        VotingStore.open(path)


# ---- epochs ----------------------------------------------------------------------------------------------------------


def of_epoch(epoch: int, kind: VoteKind, view: int, block: Digest = A) -> Vote:
    return Vote(kind=kind, epoch=Epoch(epoch), view=View(view), height=Height(view), block=block)


def test_vote_of_the_next_epoch_may_have_the_view_of_an_old_one(path: Path) -> None:
    """Old votes above the boundary helped to make it final; the new epoch counts its views from the boundary on."""
    with VotingStore.open(path) as store:
        old = (of_epoch(0, VoteKind.NOTARIZE, 7), of_epoch(0, VoteKind.FINALIZE, 7))
        store.persist(Persist(votes=old, blocks=(block(7),), certificates=(certificate(old[0]),)))
        store.begin_epoch(Epoch(1))
        store.persist(Persist(votes=(of_epoch(1, VoteKind.NOTARIZE, 7, B),)))
    with VotingStore.open(path) as store:
        assert store.epoch == 1
        restored = store.load(block(6), None, epoch=Epoch(1))
        assert restored.votes == (of_epoch(1, VoteKind.NOTARIZE, 7, B),)
        assert restored.blocks == restored.certificates == ()
        assert restored.trusted
        with pytest.raises(Equivocation):
            store.persist(Persist(votes=(of_epoch(1, VoteKind.NOTARIZE, 7, A),)))


@pytest.mark.parametrize("epoch", [0, 2])
def test_vote_of_another_epoch_than_the_current_is_never_written(store: VotingStore, epoch: int) -> None:
    store.begin_epoch(Epoch(1))
    with pytest.raises(Equivocation, match="beginning of epoch 1"):
        store.persist(Persist(votes=(of_epoch(epoch, VoteKind.NOTARIZE, 9),)))
    store.begin_epoch(Epoch(0))
    assert store.epoch == 1, "it never goes back"


def test_chain_older_than_the_voting_state_makes_that_untrusted(store: VotingStore) -> None:
    """The chain store was put back to before the epoch's end: this node may have voted after it."""
    store.begin_epoch(Epoch(1))
    assert store.load(block(6), None, epoch=Epoch(1)).trusted
    assert not store.load(block(6), None, epoch=Epoch(0)).trusted
