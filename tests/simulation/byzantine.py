"""A validator that breaks every rule it can, with what it learns from the honest ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from consensus.certificates import form_certificate
from consensus.messages import (
    BlockReply,
    BlockRequest,
    CertificateRequest,
    Certificates,
    Chain,
    ChainRequest,
    Message,
    Proposal,
    ViewReply,
    ViewRequest,
)
from consensus.types import (
    Block,
    Certificate,
    Digest,
    Epoch,
    Height,
    SignedVote,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
    genesis_block,
    nullify,
)
from tests.consensus.toys import sign
from tests.simulation.world import WALL_START_MS, World


@dataclass(frozen=True)
class Appetite:
    """Probabilities of each crime, per occasion."""

    vote_for_any: float
    finalize_any: float
    nullify_any: float
    equivocate: float
    stale_parent: float
    withhold: float
    garbage: float


def appetite_of(rng: random.Random) -> Appetite:
    return Appetite(*(rng.choice((0.0, 0.3, 0.7, 1.0)) for _ in range(6)), garbage=rng.choice((0.0, 0.1)))


class Byzantine:
    """Hears all messages sent to it, forms certificates of them, and says what it likes to whom it likes."""

    def __init__(self, world: World, index: int, appetite: Appetite) -> None:
        self._world = world
        self._random = world.random
        self._committee = world.committee
        self._me = ValidatorIndex(index)
        self._appetite = appetite
        genesis = genesis_block(world.committee)
        self._blocks: dict[Digest, Block] = {genesis.digest: genesis}
        self._votes: dict[Vote, dict[int, SignedVote]] = {}
        self._certificates: dict[tuple[VoteKind, View, Digest], Certificate] = {}
        self._proposed: set[View] = set()
        world.actors[index] = self.hear

    # ---- learning ----------------------------------------------------------------------------------------------------

    def hear(self, sender: int, message: Message) -> None:
        match message:
            case SignedVote():
                self._learn_vote(message)
            case Proposal():
                self._blocks[message.block.digest] = message.block
                self._learn_vote(message.vote)
                for certificate in (*message.nullifications, *((message.parent,) if message.parent else ())):
                    self._learn(certificate)
            case Certificate():
                self._learn(message)
            case Certificates():
                for certificate in message.certificates:
                    self._learn(certificate)
            case BlockReply():
                self._blocks[message.block.digest] = message.block
            case Chain():
                self._blocks |= {block.digest: block for block in message.blocks}
                self._learn(message.finalization)
            case CertificateRequest() | BlockRequest() | ChainRequest() | ViewRequest():
                self._answer(sender, message)
            case ViewReply():
                pass
        if self._random.random() < self._appetite.garbage:
            self._send([sender], self._garbage())
        self._lead()

    def _learn_vote(self, signed: SignedVote) -> None:
        vote = signed.vote
        votes = self._votes.setdefault(vote, {})
        is_new_vote = not votes
        votes[signed.voter] = signed
        if is_new_vote and vote.kind is VoteKind.NOTARIZE and self._may(self._appetite.vote_for_any):
            self._cast(vote)
        if is_new_vote and self._may(self._appetite.nullify_any):
            self._cast(nullify(vote.epoch, vote.view))
        if len(votes) >= self._committee.quorum:
            self._learn(form_certificate(votes.values()))

    def _learn(self, certificate: Certificate) -> None:
        vote = certificate.vote
        key = (vote.kind, vote.view, vote.block)
        if key in self._certificates or len(certificate.signers) < self._committee.quorum:
            return  # known, or another actor's garbage
        self._certificates[key] = certificate
        if vote.kind is VoteKind.NOTARIZE:
            if self._may(self._appetite.finalize_any):
                self._cast(replace(vote, kind=VoteKind.FINALIZE))
            if self._may(self._appetite.nullify_any):
                self._cast(nullify(vote.epoch, vote.view))

    # ---- crimes ------------------------------------------------------------------------------------------------------

    def _may(self, probability: float) -> bool:
        return self._random.random() < probability

    def _some(self) -> list[int]:
        others = [i for i in range(self._committee.size) if i != self._me]
        if self._may(0.5):
            return others
        return self._random.sample(others, self._random.randint(1, len(others)))

    def _send(self, to: Sequence[int], message: Message) -> None:
        if not self._may(self._appetite.withhold / 2):
            for other in to:
                self._world.send(self._me, other, message)

    def _signed(self, vote: Vote) -> SignedVote:
        message = vote.signing_bytes(self._committee.consortium)
        return SignedVote(vote=vote, voter=self._me, signature=sign(self._me, message))

    def _cast(self, vote: Vote) -> None:
        signed = self._signed(vote)
        self._votes.setdefault(vote, {})[self._me] = signed
        self._send(self._some(), signed)
        if len(self._votes[vote]) >= self._committee.quorum:
            self._learn(form_certificate(self._votes[vote].values()))

    def _lead(self) -> None:
        """Propose in the views we lead: several blocks, on the right parent or on a stale one."""
        top = max((view for _, view, _ in self._certificates), default=View(0))
        for view in (View(top + 1), View(top + 2)):
            if self._committee.leader(view) == self._me and view not in self._proposed:
                self._proposed.add(view)
                for _ in range(self._random.randint(2, 3) if self._may(self._appetite.equivocate) else 1):
                    self._propose(view)

    def _propose(self, view: View) -> None:
        parents = [
            certificate
            for (kind, at, digest), certificate in self._certificates.items()
            if kind is not VoteKind.NULLIFY and at < view and digest in self._blocks
        ]
        parents.sort(key=lambda certificate: certificate.vote.view)
        parent = parents[-1] if parents else None
        if parents and self._may(self._appetite.stale_parent):
            parent = self._random.choice([*parents[-3:], None])
        on = self._blocks[parent.vote.block] if parent is not None else genesis_block(self._committee)
        skipped = [
            self._certificates.get((VoteKind.NULLIFY, View(v), Digest(bytes(32)))) for v in range(on.view + 1, view)
        ]
        waiting = sorted(self._world.checks.submitted)
        chosen = self._random.sample(waiting, min(len(waiting), self._random.randint(0, 2)))
        block = Block(
            consortium=self._committee.consortium, epoch=self._committee.epoch, view=view,
            height=Height(on.height + 1), parent_view=on.view, parent=on.digest,
            timestamp_ms=max(on.timestamp_ms + 1, WALL_START_MS + self._world.now_ms + self._random.randint(-500, 20)),
            proposer=self._me, payloads=tuple(chosen),
        )  # fmt: skip
        self._blocks[block.digest] = block
        vote = Vote(kind=VoteKind.NOTARIZE, epoch=block.epoch, view=view, height=block.height, block=block.digest)
        signed = self._signed(vote)
        self._votes.setdefault(vote, {})[self._me] = signed
        nullifications = tuple(c for c in skipped[-64:] if c is not None)
        self._send(self._some(), Proposal(block=block, vote=signed, parent=parent, nullifications=nullifications))

    def _answer(self, sender: int, message: Message) -> None:
        """Half the truth, or nothing."""
        known = sorted(self._certificates.values(), key=lambda certificate: certificate.vote.view)
        match message:
            case CertificateRequest() if known:
                count = self._random.randint(1, min(len(known), 20))
                chosen = sorted(self._random.sample(known, count), key=lambda certificate: certificate.vote.view)
                self._send([sender], Certificates(certificates=tuple(chosen)))
            case BlockRequest() if self._blocks:
                self._send([sender], BlockReply(block=self._random.choice(list(self._blocks.values()))))
            case ViewRequest() if known:
                self._send([sender], ViewReply(nonce=message.nonce, highest=known[0]))
            case _:
                pass

    def _garbage(self) -> Message:
        """Well-formed values that prove nothing: wrong epochs, forged signatures, too few signers, far views."""
        rng = self._random
        top = max((view for _, view, _ in self._certificates), default=View(0))
        view = View(rng.choice((1, max(1, top), top + 1, top + 1, top + 2, top + 80)))
        block = rng.choice(list(self._blocks.values()))
        finalize = Vote(kind=VoteKind.FINALIZE, epoch=Epoch(0), view=view, height=block.height, block=block.digest)
        vote = rng.choice((nullify(Epoch(0), view), nullify(Epoch(1), view), finalize))
        signed = self._signed(vote)
        forged = replace(signed, voter=ValidatorIndex(rng.randint(0, self._committee.size)))
        few = form_certificate([signed])
        forgery = form_certificate([replace(signed, voter=ValidatorIndex(i)) for i in range(self._committee.quorum)])
        certificate = rng.choice((few, forgery))
        far = View(rng.choice((10**6, 2**63)))
        return rng.choice((
            forged, forged, certificate, Certificates(certificates=(certificate,)), BlockReply(block=block),
            self._signed(nullify(Epoch(0), far)), ChainRequest(from_height=Height(far)),
            CertificateRequest(from_view=far), ViewRequest(nonce=b""), ViewReply(nonce=b"x" * 16, highest=certificate),
            Chain(blocks=(block,), finalization=certificate), Chain(blocks=(), finalization=certificate),
            Proposal(block=block, vote=signed, parent=None, nullifications=(certificate,)),
        ))  # fmt: skip
