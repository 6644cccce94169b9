"""Votes: what others cast, verified once and counted, and what this validator cast and may still cast."""

from __future__ import annotations

from collections import Counter

from consensus.certificates import form_certificate
from consensus.errors import InvalidSignature, UnknownValidator, WrongEpoch
from consensus.types import Certificate, Committee, SignedVote, ValidatorIndex, VerifySignature, View, Vote, VoteKind


def contradict(first: Vote, second: Vote) -> bool:
    """Whether no honest validator casts both: two digests of one kind in one view, or nullify and finalize.

    Notarize and nullify is what an honest validator does when its timer runs out: never evidence (design D4).
    """
    if first.epoch != second.epoch or first.view != second.view or first == second:
        return False  # an epoch's last views come again in the next one
    return first.kind is second.kind or {first.kind, second.kind} == {VoteKind.NULLIFY, VoteKind.FINALIZE}


_KINDS = tuple(VoteKind)


class VotePool:
    """Verified votes of the views above the last finalized one: the first of each validator, view and kind.

    Bounded by who may call `put`: at most three votes per validator in each of the views the engine admits.
    """

    def __init__(self, committee: Committee, verify: VerifySignature) -> None:
        self._committee = committee
        self._verify = verify
        self._votes: dict[View, dict[tuple[VoteKind, ValidatorIndex], SignedVote]] = {}
        self._counts: dict[View, Counter[Vote]] = {}

    def get(self, view: View, kind: VoteKind, voter: ValidatorIndex) -> SignedVote | None:
        return self._votes.get(view, {}).get((kind, voter))

    def has_view(self, view: View) -> bool:
        return view in self._votes

    def is_verified(self, signed: SignedVote) -> bool:
        return self.get(signed.vote.view, signed.vote.kind, signed.voter) == signed

    def check(self, signed: SignedVote) -> None:
        """Raises: WrongEpoch, UnknownValidator, InvalidSignature."""
        committee = self._committee
        if signed.vote.epoch != committee.epoch:
            raise WrongEpoch("vote", committee.epoch, signed.vote.epoch)
        if signed.voter >= committee.size:
            raise UnknownValidator(signed.voter, committee.size)
        message = signed.vote.signing_bytes(committee.consortium)
        if not self._verify(committee.validators[signed.voter], message, signed.signature):
            raise InvalidSignature(
                f"validator {signed.voter}", f"{signed.vote.kind.name} vote of view {signed.vote.view}"
            )

    def put(self, signed: SignedVote) -> SignedVote | None:
        """Count a verified vote, unless its voter has cast one of its kind in its view. Returns one it contradicts."""
        vote, voter = signed.vote, signed.voter
        votes = self._votes.setdefault(vote.view, {})
        first = votes.get((vote.kind, voter))
        if first is not None:
            return first if first.vote != vote else None
        votes[vote.kind, voter] = signed
        self._counts.setdefault(vote.view, Counter())[vote] += 1
        for kind in _KINDS:
            other = votes.get((kind, voter))
            if other is not None and other is not signed and contradict(other.vote, vote):
                return other
        return None

    def count(self, vote: Vote) -> int:
        """How many distinct validators cast exactly this vote."""
        counts = self._counts.get(vote.view)
        return counts[vote] if counts is not None else 0

    def voters(self, vote: Vote) -> tuple[ValidatorIndex, ...]:
        votes = self._votes.get(vote.view, {}).values()
        return tuple(sorted(signed.voter for signed in votes if signed.vote == vote))

    def certificate(self, vote: Vote) -> Certificate | None:
        """The certificate for `vote`, once a quorum cast it; its signatures are verified already."""
        if self.count(vote) < self._committee.quorum:
            return None
        return form_certificate(signed for signed in self._votes[vote.view].values() if signed.vote == vote)

    def prune(self, view: View) -> None:
        """Forget views up to and including `view`."""
        for old in [v for v in self._votes if v <= view]:
            del self._votes[old]
            self._counts.pop(old, None)


class Ballots:
    """This validator's own votes above the last finalized view, and the guard that they never contradict.

    A vote is here from the moment it is decided, so from before its Persist; its signature follows later.
    """

    def __init__(self) -> None:
        self._votes: dict[View, dict[VoteKind, Vote]] = {}
        self._signed: dict[View, dict[VoteKind, SignedVote]] = {}

    def get(self, view: View, kind: VoteKind) -> Vote | None:
        return self._votes.get(view, {}).get(kind)

    def signed(self, view: View) -> tuple[SignedVote, ...]:
        """Own signed votes of a view, notarize first."""
        return tuple(signed for _, signed in sorted(self._signed.get(view, {}).items()))

    def stored(self) -> tuple[Vote, ...]:
        """Every own vote, by view and kind."""
        return tuple(vote for _, votes in sorted(self._votes.items()) for _, vote in sorted(votes.items()))

    def reason_against(self, kind: VoteKind, view: View) -> str | None:
        """Why this validator must not cast another vote of `kind` in `view`; None where it may.

        Simplex, section 2.1: step 3 votes for "the first proposal" of an iteration only; step 4 sends finalize(h) only
        if "the timer T_h did not fire yet", and cancels it "so it never fires": nullify XOR finalize. Together with
        the ancestry check that is all safety rests on (research/consensus.md section 3).
        """
        cast = self._votes.get(view, {})
        if kind in cast:
            return f"{kind.name} was cast in view {view}"
        if kind is VoteKind.FINALIZE and VoteKind.NULLIFY in cast:
            return f"view {view} was nullified here: finalizing it could fork the chain"
        if kind is VoteKind.NULLIFY and VoteKind.FINALIZE in cast:
            return f"view {view} was voted final here: nullifying it could fork the chain"
        if kind is VoteKind.NOTARIZE and VoteKind.NULLIFY in cast:
            # Not needed for safety (research section 3), but after our timer we want the view over.
            return f"view {view} was nullified here"
        return None

    def cast(self, vote: Vote) -> None:
        reason = self.reason_against(vote.kind, vote.view)
        assert reason is None, f"a vote that must not be cast: {reason}"
        self._votes.setdefault(vote.view, {})[vote.kind] = vote

    def restore(self, vote: Vote) -> None:
        """Take up a vote cast before a restart, in the order stored."""
        self._votes.setdefault(vote.view, {})[vote.kind] = vote

    def add_signature(self, signed: SignedVote) -> bool:
        """False where the vote is not (or no longer) among our own."""
        if self.get(signed.vote.view, signed.vote.kind) != signed.vote:
            return False
        self._signed.setdefault(signed.vote.view, {})[signed.vote.kind] = signed
        return True

    def prune(self, view: View) -> None:
        """Forget views below `view`."""
        for votes in (self._votes, self._signed):
            for old in [v for v in votes if v < view]:
                del votes[old]
