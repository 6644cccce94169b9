"""What the store kept is looked at before an engine or a follower starts from it."""

from __future__ import annotations

from dataclasses import replace

from consensus.certificates import check_certificate
from consensus.errors import PeerError, RestoredStateInvalid
from consensus.events import Restored
from consensus.types import ZERO_DIGEST, Committee, Epoch, VerifySignature, View, VoteKind


def of_epoch(restored: Restored, epoch: Epoch) -> Restored:
    """Without what belongs to other epochs: a boundary may be final by a descendant, whose views come again."""
    return replace(
        restored,
        votes=tuple(vote for vote in restored.votes if vote.epoch == epoch),
        blocks=tuple(block for block in restored.blocks if block.epoch == epoch),
        certificates=tuple(each for each in restored.certificates if each.vote.epoch == epoch),
    )


def starts_epoch(restored: Restored, epoch: Epoch) -> bool:
    """Whether `restored.head` is the block the epoch starts from: the genesis block, or the boundary before."""
    head = restored.head
    return head.height == 0 if epoch == 0 else head.epoch + 1 == epoch and head.is_boundary


def check_head(restored: Restored, committee: Committee) -> None:
    """Raises: RestoredStateInvalid where head, finalization and next committee do not fit each other or the epoch."""
    head, finalization = restored.head, restored.finalization
    starts = starts_epoch(restored, committee.epoch)
    if head.consortium != committee.consortium or (head.epoch != committee.epoch and not starts):
        raise RestoredStateInvalid("head", f"not of epoch {committee.epoch} of this consortium")
    if head.epoch == committee.epoch and head.is_boundary:
        raise RestoredStateInvalid("head", f"the boundary of epoch {head.epoch}: the next epoch starts from it")
    if (finalization is None) != starts:
        raise RestoredStateInvalid("head", "every block but the one the epoch starts from has a finalization")
    if starts and restored.next_committee != ZERO_DIGEST:
        raise RestoredStateInvalid("next_committee", "nothing was executed in this epoch that could have made one")
    if finalization is not None:
        vote = finalization.vote
        if (vote.kind, vote.view, vote.block) != (VoteKind.FINALIZE, head.view, head.digest):
            raise RestoredStateInvalid("finalization", "is not of the head")


def check_restored(restored: Restored, committee: Committee, verify: VerifySignature) -> None:
    """Raises: RestoredStateInvalid."""
    check_head(restored, committee)
    seen: dict[tuple[View, VoteKind], object] = {}
    for vote in restored.votes:
        if seen.setdefault((vote.view, vote.kind), vote) != vote:
            raise RestoredStateInvalid("votes", f"two different {vote.kind.name} votes of view {vote.view}")
        other = {VoteKind.NULLIFY: VoteKind.FINALIZE, VoteKind.FINALIZE: VoteKind.NULLIFY}.get(vote.kind)
        if other is not None and (vote.view, other) in seen:
            raise RestoredStateInvalid("votes", f"both nullify and finalize of view {vote.view}")
    finalization = restored.finalization
    try:
        for certificate in (*((finalization,) if finalization else ()), *restored.certificates):
            check_certificate(certificate, committee, verify)
    except PeerError as error:
        raise RestoredStateInvalid("certificates", str(error)) from error
