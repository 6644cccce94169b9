"""A validator that breaks every rule it can, with what it learns from the honest ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

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
    ZERO_DIGEST,
    Block,
    Certificate,
    Digest,
    Epoch,
    Height,
    PublicKey,
    SignedVote,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
    nullify,
)
from tests.simulation.machine import Hello
from tests.simulation.terms import Term
from tests.simulation.world import World

HEARD_OF_ACTORS_MAX = 20_000
"""From other actors; what comes after is not heard: two that tempt each other would go on without end."""
LATE_MS = 190
"""How long a late proposer waits: its view is about to be given up, or was just now."""


@dataclass(frozen=True, kw_only=True)
class Appetite:
    """Probability of each crime, per occasion."""

    double_vote: float = 0.0
    """Votes for every block it sees."""
    nullify_and_finalize: float = 0.0
    """Votes to finalize what is notarized, and to nullify the same view."""
    equivocate: float = 0.0
    """Proposes several blocks in a view."""
    split: float = 0.0
    """Says to some what it does not say to others."""
    withhold: float = 0.0
    """Keeps a message to itself."""
    stale_parent: float = 0.0
    """Builds on an older block than the rules want."""
    bogus_parent: float = 0.0
    """Builds on a block that nobody notarized."""
    stonewall: float = 0.0
    """Votes as it should, so that others count on it, and answers nobody who asks it for what it voted on."""
    late: float = 0.0
    """Proposes when the view is all but given up."""
    forge: float = 0.0
    """Votes and certificates that prove nothing: others' signatures, too few, one twice, of another consortium."""
    replay: float = 0.0
    """Votes and certificates of earlier epochs, as they are and as of this one."""
    far_views: float = 0.0
    """Votes of views that nobody has reached."""
    flood: float = 0.0
    """Answers that nobody asked for."""
    bad_payload: float = 0.0
    """Orders a payload under an author's name that did not sign it."""
    bad_statement: float = 0.0
    """Orders a payload that holds a statement nobody, or somebody else, signed."""
    hidden_body: float = 0.0
    """Orders a catalogue whose body it gives to few or to none."""
    false_body: float = 0.0
    """Orders a catalogue whose body is not what was signed."""
    boundary: float = 0.0
    """Ends epochs that go on, to committees that nobody chose; orders payloads in those that end."""
    backdate: float = 0.0
    """Block times that go back, or far ahead."""
    is_plausible: bool = False
    """No crime of its own. It proposes in its turn, orders what others hold, replays what may count: one fault each."""


CRIMES = tuple(field.name for field in fields(Appetite) if field.name != "is_plausible")


AGAINST_AGREEMENT = ("double_vote", "nullify_and_finalize", "equivocate", "split", "stale_parent", "bogus_parent")
SPARINGLY = {"withhold": (0.0, 0.0, 0.15, 0.35), "forge": (0.0, 0.1), "replay": (0.0, 0.1, 0.3), "flood": (0.0, 0.1)}
"""What would drown the rest: a node that says nothing, or nothing but nonsense, does no other harm."""


def appetite_of(rng: random.Random) -> Appetite:
    """One crime alone, or those against agreement, or some of all: much at once gets in its own way."""
    match rng.choice(("one", "agreement", "agreement", "all")):
        case "one":
            return Appetite(**{rng.choice(CRIMES): 1.0})
        case "agreement":
            return Appetite(**{name: rng.choice((0.0, 0.3, 0.7, 1.0)) for name in AGAINST_AGREEMENT})
        case _:
            often = {name: rng.choice((0.0, 0.0, 0.3, 1.0)) for name in CRIMES}
            sparingly = {name: rng.choice(choices) for name, choices in SPARINGLY.items()}
            return Appetite(**(often | sparingly))


class Byzantine:
    """Hears all messages sent to it, forms certificates of them, and says what it likes to whom it likes."""

    def __init__(self, world: World, number: int, appetite: Appetite) -> None:
        from tests.simulation.forgery import Forger

        self.world = world
        self.random = world.random
        self.number = number
        self.appetite = appetite
        self.blocks: dict[Digest, Block] = {}
        self.votes: dict[Vote, dict[int, SignedVote]] = {}
        self.certificates: dict[tuple[Epoch, VoteKind, View, Digest], Certificate] = {}
        self._known: tuple[int, int, list[Certificate]] = (0, 0, [])
        """What `known` found, with the epoch and the number of certificates it found it for."""
        self._proposed: set[tuple[Epoch, View]] = set()
        self._done: set[tuple[Epoch, View, VoteKind]] = set()
        """Where it voted as it should."""
        self._heard_of_actors = 0
        """Messages of other actors so far."""
        self._forger = Forger(self)
        world.actors[number] = self.hear
        world.larders[number] = self._forger.serve

    # ---- who it is ---------------------------------------------------------------------------------------------------

    @property
    def term(self) -> Term:
        """It knows at once when an epoch has begun."""
        return self.world.checks.top_term

    @property
    def index(self) -> ValidatorIndex | None:
        """Its seat in this epoch; None once it was voted out."""
        return self.term.index(self.number)

    @property
    def key(self) -> PublicKey:
        assert self.index is not None, "who has no seat signs nothing"
        return self.term.committee.validators[self.index]

    @property
    def start(self) -> Block:
        """The block this epoch starts from."""
        return self.world.checks.starts[self.term.epoch]

    def known(self) -> list[Certificate]:
        """Certificates of this epoch, by view."""
        epoch, count = self.term.epoch, len(self.certificates)
        if self._known[:2] != (epoch, count):
            mine = [c for key, c in self.certificates.items() if key[0] == epoch]
            self._known = (epoch, count, sorted(mine, key=lambda certificate: certificate.vote.view))
        return self._known[2]

    @property
    def top(self) -> View:
        known = self.known()
        # Another actor's garbage may be all it knows: certificates of views that were over before this epoch began.
        return max(known[-1].vote.view, self.start.view) if known else self.start.view

    def may(self, probability: float) -> bool:
        return probability > 0 and self.random.random() < probability

    # ---- learning ----------------------------------------------------------------------------------------------------

    def hear(self, sender: int, _epoch: Epoch, message: Message | Hello) -> None:
        if not self._listens_to(sender):
            return
        match message:
            case SignedVote():
                self._learn_vote(message)
            case Proposal():
                self.blocks[message.block.digest] = message.block
                self._learn_vote(message.vote)
                for certificate in (*message.nullifications, *((message.parent,) if message.parent else ())):
                    self.learn(certificate)
            case Certificate():
                self.learn(message)
            case Certificates():
                for certificate in message.certificates:
                    self.learn(certificate)
            case BlockReply():
                self.blocks[message.block.digest] = message.block
            case Chain():
                self.blocks |= {block.digest: block for block in message.blocks}
                self.learn(message.finalization)
            case CertificateRequest() | BlockRequest() | ChainRequest() | ViewRequest():
                self._answer(sender, message)
            case ViewReply() | Hello():
                pass
        if self.index is not None:
            self._forger.tempt(sender)
            self._lead()

    def _listens_to(self, sender: int) -> bool:
        self._heard_of_actors += sender in self.world.actors
        return sender not in self.world.actors or self._heard_of_actors <= HEARD_OF_ACTORS_MAX

    def _learn_vote(self, signed: SignedVote) -> None:
        vote = signed.vote
        votes = self.votes.setdefault(vote, {})
        is_new_vote = not votes
        votes[signed.voter] = signed
        if vote.epoch != self.term.epoch or self.index is None:
            return
        if (
            is_new_vote
            and vote.kind is VoteKind.NOTARIZE
            and (self._does_duty(vote) or self.may(self.appetite.double_vote))
        ):
            self.cast(vote)
        if is_new_vote and self.may(self.appetite.nullify_and_finalize):
            self.cast(nullify(vote.epoch, vote.view))
        if len(votes) >= self.term.committee.quorum:
            self.learn(form_certificate(votes.values()))

    def _does_duty(self, vote: Vote) -> bool:
        """Whether a stonewaller votes as an honest validator would, as far as the others can tell."""
        if not self.may(self.appetite.stonewall) or (vote.epoch, vote.view, vote.kind) in self._done:
            return False
        self._done.add((vote.epoch, vote.view, vote.kind))
        return True

    def learn(self, certificate: Certificate) -> None:
        vote = certificate.vote
        key = (vote.epoch, vote.kind, vote.view, vote.block)
        term = self.world.checks.terms.get(vote.epoch)
        if key in self.certificates or term is None or len(certificate.signers) < term.committee.quorum:
            return  # known, or another actor's garbage
        self.certificates[key] = certificate
        is_mine = vote.epoch == self.term.epoch and self.index is not None
        if is_mine and vote.kind is VoteKind.NOTARIZE and self.may(self.appetite.nullify_and_finalize):
            self.cast(replace(vote, kind=VoteKind.FINALIZE))
            self.cast(nullify(vote.epoch, vote.view))
        elif (
            is_mine
            and vote.kind is VoteKind.NOTARIZE
            and self._does_duty(final := replace(vote, kind=VoteKind.FINALIZE))
        ):
            self.cast(final)

    # ---- saying ------------------------------------------------------------------------------------------------------

    @property
    def others(self) -> list[int]:
        return [number for number in self.term.members if number != self.number]

    def some(self) -> list[int]:
        if not self.may(self.appetite.split):
            return self.others
        return self.random.sample(self.others, self.random.randint(1, len(self.others)))

    def send(self, to: Sequence[int], message: Message) -> None:
        if not self.may(self.appetite.withhold):
            for other in to:
                self.world.send(self.number, other, message, self.term.epoch)

    def signed(self, vote: Vote) -> SignedVote:
        assert self.index is not None, "who has no seat signs nothing"
        return SignedVote(vote=vote, voter=self.index, signature=self.world.sign(self.key, vote))

    def cast(self, vote: Vote) -> None:
        signed = self.signed(vote)
        self.votes.setdefault(vote, {})[signed.voter] = signed
        self.send(self.some(), signed)
        if len(self.votes[vote]) >= self.term.committee.quorum:
            self.learn(form_certificate(self.votes[vote].values()))

    # ---- leading -----------------------------------------------------------------------------------------------------

    def _lead(self) -> None:
        """Propose in the views it leads: several blocks, on the right parent or on another, now or late."""
        term = self.term
        # One that commits no crime waits for its turn.
        waits = self.appetite.is_plausible or self.appetite == Appetite()
        for view in (View(self.top + 1), View(self.top + 2))[: 1 if waits else 2]:
            if term.committee.leader(view) == self.index and (term.epoch, view) not in self._proposed:
                self._proposed.add((term.epoch, view))
                delay_ms = self.random.randint(LATE_MS // 2, LATE_MS) if self.may(self.appetite.late) else 0
                for _ in range(self.random.randint(2, 3) if self.may(self.appetite.equivocate) else 1):
                    self.world.at(self.world.now_ms + delay_ms, lambda v=view, e=term.epoch: self._propose(e, v))  # type: ignore[misc]

    def _parent(self, view: View) -> tuple[Block, Certificate | None]:
        """The block to build on, and what proves that it may be built on."""
        certified = [c for c in self.known() if c.vote.kind is not VoteKind.NULLIFY and c.vote.view < view]
        certified = [c for c in certified if c.vote.block in self.blocks]
        if self.may(self.appetite.bogus_parent):
            proven = {certificate.vote.block for certificate in certified}
            loose = [b for b in self.blocks.values() if b.epoch == self.term.epoch and self.start.view < b.view < view]
            loose = sorted((b for b in loose if b.digest not in proven), key=lambda b: b.view)
            if loose:
                block = self.random.choice(loose[-2:])
                return block, self._forger.certificate_for(block)
        if not certified:
            return self.start, None
        chosen: Certificate | None = certified[-1]
        if self.may(self.appetite.stale_parent):
            chosen = self.random.choice([*certified[-3:], None])
        return (self.start, None) if chosen is None else (self.blocks[chosen.vote.block], chosen)

    def _propose(self, epoch: Epoch, view: View) -> None:
        if epoch != self.term.epoch or self.index is None:
            return
        on, parent = self._parent(view)
        if on.view >= view:
            return
        nullifications = (
            self.certificates.get((epoch, VoteKind.NULLIFY, View(v), ZERO_DIGEST)) for v in range(on.view + 1, view)
        )
        payloads, committee = self._forger.cargo()
        time_ms = self.world.wall_ms + self.random.randint(-500, 20)
        if self.may(self.appetite.backdate):
            time_ms = self.random.choice((on.timestamp_ms - 1, on.timestamp_ms, self.world.wall_ms + 10**7))
        else:
            time_ms = max(on.timestamp_ms + 1, time_ms)
        block = Block(
            consortium=self.term.committee.consortium, epoch=epoch, view=view, height=Height(on.height + 1),
            parent_view=on.view, parent=on.digest, timestamp_ms=max(0, time_ms), proposer=self.index,
            payloads=payloads, next_committee=committee,
        )  # fmt: skip
        self.blocks[block.digest] = block
        vote = Vote(kind=VoteKind.NOTARIZE, epoch=epoch, view=view, height=block.height, block=block.digest)
        signed = self.signed(vote)
        self.votes.setdefault(vote, {})[signed.voter] = signed
        held = tuple(c for c in nullifications if c is not None)[-64:]
        self.send(self.some(), Proposal(block=block, vote=signed, parent=parent, nullifications=held))

    # ---- answering ---------------------------------------------------------------------------------------------------

    def _answer(self, sender: int, message: Message) -> None:
        """Half the truth, or nothing; and nothing that costs others their trust in those who asked."""
        known = self.known()
        if self.may(self.appetite.stonewall):
            return
        match message:
            case CertificateRequest() if known:
                count = self.random.randint(1, min(len(known), 20))
                chosen = sorted(self.random.sample(known, count), key=lambda certificate: certificate.vote.view)
                self.send([sender], Certificates(certificates=tuple(chosen)))
            case BlockRequest() if self.blocks:
                self.send([sender], BlockReply(block=self.random.choice(list(self.blocks.values()))))
            case ChainRequest() if self.index is not None and self.may(self.appetite.forge):
                self.send([sender], self._forger.false_chain(message.from_height))
            case ViewRequest() if known:
                self.send([sender], ViewReply(nonce=message.nonce, highest=known[0]))
            case _:
                pass
