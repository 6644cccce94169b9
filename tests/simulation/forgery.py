"""What a Byzantine node makes up: votes and certificates that prove nothing, payloads and bodies that are not valid."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from consensus.certificates import form_certificate
from consensus.errors import MalformedMessage
from consensus.messages import (
    BlockReply,
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
    SignedVote,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
    nullify,
)
from ledger.governance import SetPolicy
from tests.simulation import consortium as founding
from tests.simulation.consortium import Parcel
from tests.simulation.politics import vote_statement

if TYPE_CHECKING:
    from tests.simulation.byzantine import Byzantine

FAR_VIEWS = (10**6, 2**63)
OTHER_CONSORTIUM = Digest(hashlib.sha256(b"another consortium of the same members").digest())


class Forger:
    def __init__(self, byzantine: Byzantine) -> None:
        self._byzantine = byzantine
        self._world = byzantine.world
        self._random = byzantine.random
        self._larder: dict[Digest, bytes] = {}
        self._hidden: dict[Digest, frozenset[int]] = {}
        """To whom alone a content is given."""
        self._parcels = 0

    # ---- payloads ----------------------------------------------------------------------------------------------------

    def cargo(self) -> tuple[tuple[Digest, ...], Digest]:
        """What its next block orders, and which committee it names."""
        appetite, may = self._byzantine.appetite, self._byzantine.may
        waiting = sorted(self._waiting() if appetite.is_plausible else self._world.checks.submitted)
        chosen = self._random.sample(waiting, min(len(waiting), self._random.randint(0, 2)))
        if self._world.consortium is not None:
            crimes: list[tuple[float, Callable[[int], Parcel]]] = [
                (appetite.bad_payload, self._bad_payload),
                (appetite.bad_statement, self._bad_statement),
                (appetite.hidden_body, self._hidden_body),
                (appetite.false_body, self._false_body),
            ]
            for probability, make in crimes:
                if may(probability / 2):
                    self._parcels += 1
                    chosen.append(self._give_out(make(self._parcels)))
        decided = self._world.decided(self._byzantine.term.epoch)
        if may(appetite.boundary):
            named = self._random.choice((decided, Digest(self._random.randbytes(32)), ZERO_DIGEST))
            return tuple(chosen[:1] if self._random.random() < 0.5 else ()), named
        return ((), decided) if decided != ZERO_DIGEST else (tuple(chosen), ZERO_DIGEST)

    def _waiting(self) -> set[Digest]:
        """Payloads of this epoch that some honest node holds and has not seen ordered."""
        epoch, judge = self._byzantine.term.epoch, self._world.judge
        disks = [node.disk for node in self._world.nodes.values()]
        return {d for disk in disks for d in disk.pending() if judge.payload(disk.payloads[d]).header.epoch == epoch}

    def _give_out(self, parcel: Parcel) -> Digest:
        self._larder[parcel.digest] = parcel.frame
        for blob in parcel.blobs:
            self._larder[Digest(hashlib.sha256(blob).digest())] = blob
        for number in self._byzantine.some():
            if number in self._world.nodes:
                self._world.push(self._byzantine.number, self._world.nodes[number], parcel.digest, parcel.frame)
        return parcel.digest

    def serve(self, asker: int, content: Digest) -> bytes | None:
        """What it gives for a content asked for by hash."""
        if asker not in self._hidden.get(content, {asker}):
            return None
        found = self._larder.get(content)
        if found is not None and self._byzantine.may(self._byzantine.appetite.flood):
            return found[:-1] + bytes([found[-1] ^ 1])
        return found

    def _cut(self, number: int, statements: list[bytes], blobs: tuple[bytes, ...] = (), **changes: object) -> Parcel:
        byzantine = self._byzantine
        assert byzantine.index is not None, "who has no seat cuts no payload"
        values: dict[str, object] = {
            "consortium": byzantine.term.committee.consortium, "epoch": byzantine.term.epoch, "author": byzantine.index,
            "key": founding.secret_of(byzantine.key), "sequence": (1 << 40) + number, "blobs": blobs,
        }  # fmt: skip
        return founding.parcel(statements, **(values | changes))  # type: ignore[arg-type]

    @property
    def _consortium(self) -> Digest:
        return self._world.committee.consortium

    def _bad_payload(self, number: int) -> Parcel:
        """In somebody's name, perhaps its own, but not by that one's key."""
        author = ValidatorIndex(self._random.randrange(self._byzantine.term.committee.size))
        key = founding.secret("impostor", "consensus")
        return self._cut(number, [founding.claim(self._consortium, 500 + number)], author=author, key=key)

    def _bad_statement(self, number: int) -> Parcel:
        good = founding.claim(self._consortium, 500 + number)
        bad = self._random.choice((
            founding.forged_claim(self._consortium, number), founding.foreign_claim(number), self._vote_without_seat(),
        ))  # fmt: skip
        return self._cut(number, self._random.choice(([bad], [good, bad])))

    def _vote_without_seat(self) -> bytes:
        """A vote on a member by one who has none."""
        roster = self._byzantine.term.roster
        assert roster is not None, "a consortium has a roster"
        change = SetPolicy(epoch=roster.epoch, parameters=replace(roster.parameters, delta_ms=77))
        voter = next((member.id for member in roster.members if not member.validator), founding.ISSUER)
        return vote_statement(change, voter, roster.consortium)

    def _hidden_body(self, number: int) -> Parcel:
        """Good in itself: who gets the body may vote for it."""
        catalogue = founding.catalogue(self._consortium, 500 + number)
        parcel = self._cut(number, [catalogue.statement], catalogue.blobs)
        self._world.allow(catalogue.statement, catalogue.claims)
        self._world.checks.submitted.add(parcel.digest)
        others = self._byzantine.others
        few = frozenset(self._random.sample(others, self._random.choice((0, 0, 1, len(others)))))
        for blob in catalogue.blobs[-1:]:
            self._hidden[Digest(hashlib.sha256(blob).digest())] = few
        return parcel

    def _false_body(self, number: int) -> Parcel:
        catalogue = founding.false_catalogue(self._consortium, number)
        return self._cut(number, [catalogue.statement], catalogue.blobs)

    # ---- messages ----------------------------------------------------------------------------------------------------

    def tempt(self, sender: int) -> None:
        """On every message it hears it may answer with something false."""
        byzantine = self._byzantine
        crimes: tuple[tuple[float, Callable[[], Message | None]], ...] = (
            (byzantine.appetite.forge, self._forgery),
            (byzantine.appetite.replay, self._replay),
            (byzantine.appetite.far_views, self._far_view),
            (byzantine.appetite.flood, self._unasked),
        )
        for probability, make in crimes:
            if byzantine.may(probability):
                message = make()
                if message is not None:
                    byzantine.send([sender], message)

    def _block(self) -> Block:
        mine = [b for b in self._byzantine.blocks.values() if b.epoch == self._byzantine.term.epoch]
        return self._random.choice(mine) if mine else self._byzantine.start

    def _any_vote(self) -> Vote:
        """Of a view near the top, that nobody may have cast."""
        top, epoch, block = self._byzantine.top, self._byzantine.term.epoch, self._block()
        view = View(self._random.choice((max(1, top), top + 1, top + 1, top + 2)))
        if self._random.random() < 0.5:
            return nullify(epoch, view)
        kind = self._random.choice((VoteKind.NOTARIZE, VoteKind.FINALIZE))
        return Vote(kind=kind, epoch=epoch, view=view, height=block.height, block=block.digest)

    def certificate_for(self, block: Block) -> Certificate:
        """What would prove that `block` is notarized, had others signed it."""
        vote = Vote(kind=VoteKind.NOTARIZE, epoch=block.epoch, view=block.view, height=block.height, block=block.digest)
        return self._random.choice((self._forged, self._thin))(vote)

    def _forged(self, vote: Vote) -> Certificate:
        """A quorum in name, all by one key."""
        signed = self._byzantine.signed(vote)
        quorum = self._byzantine.term.committee.quorum
        return form_certificate([replace(signed, voter=ValidatorIndex(i)) for i in range(quorum)])

    def _thin(self, vote: Vote) -> Certificate:
        """Genuine, but of those few that did sign."""
        signed = self._byzantine.signed(vote)
        votes = {**self._byzantine.votes.get(vote, {}), signed.voter: signed}
        return form_certificate(list(votes.values())[: self._byzantine.term.committee.quorum - 1])

    def _repeated(self, vote: Vote) -> Certificate | None:
        """One signer as often as it takes. No decoder lets it through, so it is not sent where the type refuses it."""
        signed = self._byzantine.signed(vote)
        quorum = self._byzantine.term.committee.quorum
        try:
            return Certificate(vote=vote, signers=(signed.voter,) * quorum, signatures=(signed.signature,) * quorum)
        except MalformedMessage:
            return None

    def _stranger(self, vote: Vote) -> Certificate:
        """With signers that the committee does not have."""
        signed = self._byzantine.signed(vote)
        size, quorum = self._byzantine.term.committee.size, self._byzantine.term.committee.quorum
        voters = [signed.voter, *(ValidatorIndex(size + i) for i in range(quorum - 1))]
        return form_certificate([replace(signed, voter=voter) for voter in voters])

    def _foreign(self, vote: Vote) -> Certificate:
        """Genuine signatures of everybody, given in another consortium."""
        committee = self._byzantine.term.committee
        elsewhere = replace(vote)
        return form_certificate([
            SignedVote(
                vote=elsewhere, voter=ValidatorIndex(i), signature=self._world.sign(key, vote, OTHER_CONSORTIUM)
            )
            for i, key in enumerate(committee.validators[: committee.quorum])
        ])  # fmt: skip

    def false_chain(self, height: Height) -> Chain:
        """Blocks that nobody agreed to, from the right place on, with a finalization that one key made."""
        nodes = [node for node in self._world.nodes.values() if node.disk.head.height >= height - 1 > 0]
        on = nodes[0].disk.chain[height - 1] if nodes else self._byzantine.start
        block = Block(
            consortium=on.consortium, epoch=self._byzantine.term.epoch,
            view=View(max(on.view + 1, self._byzantine.top)), height=Height(on.height + 1),
            parent_view=on.view, parent=on.digest, timestamp_ms=on.timestamp_ms + 1,
            proposer=ValidatorIndex(0), payloads=(),
        )  # fmt: skip
        vote = Vote(kind=VoteKind.FINALIZE, epoch=block.epoch, view=block.view, height=block.height, block=block.digest)
        return Chain(blocks=(block,), finalization=self._forged(vote))

    def _turned(self) -> SignedVote | None:
        """What somebody signed of one kind, as if it were of another."""
        votes = [
            v for vote, by in self._byzantine.votes.items() if vote.view >= self._byzantine.top for v in by.values()
        ]
        votes = [v for v in votes if v.vote.kind is not VoteKind.NULLIFY and v.vote.epoch == self._byzantine.term.epoch]
        if not votes:
            return None
        signed = self._random.choice(votes)
        kind = VoteKind.FINALIZE if signed.vote.kind is VoteKind.NOTARIZE else VoteKind.NOTARIZE
        return replace(signed, vote=replace(signed.vote, kind=kind))

    def _forgery(self) -> Message | None:
        turned = self._turned()
        if turned is not None and self._random.random() < 0.3:
            return turned
        vote = self._any_vote()
        signed = self._byzantine.signed(vote)
        impostor = replace(signed, voter=ValidatorIndex(self._random.randint(0, self._byzantine.term.committee.size)))
        make = self._random.choice((self._forged, self._thin, self._repeated, self._stranger, self._foreign))
        certificate = make(vote)
        if certificate is None:
            return impostor
        block = self._block()
        return self._random.choice((
            impostor, impostor, certificate, certificate, Certificates(certificates=(certificate,)),
            ViewReply(nonce=b"x" * 16, highest=certificate), Chain(blocks=(block,), finalization=certificate),
            Chain(blocks=(), finalization=certificate),
            Proposal(block=block, vote=signed, parent=None, nullifications=(certificate,)),
        ))  # fmt: skip

    def _replay(self) -> Message | None:
        """What was true in an earlier epoch, as it was or as of this one."""
        byzantine = self._byzantine
        epoch = byzantine.term.epoch
        old_votes = [v for vote, votes in byzantine.votes.items() if vote.epoch < epoch for v in votes.values()]
        old = [c for key, c in byzantine.certificates.items() if key[0] < epoch]
        if byzantine.appetite.is_plausible:  # views that come again: those of the old epoch above its boundary
            old_votes = [v for v in old_votes if v.vote.view > byzantine.start.view]
            old = [c for c in old if c.vote.view > byzantine.start.view]
        if not old_votes or not old:
            return None
        signed, certificate = self._random.choice(old_votes), self._random.choice(old)
        if self._random.random() < 0.5:
            signed = replace(signed, vote=replace(signed.vote, epoch=epoch))
            certificate = replace(certificate, vote=replace(certificate.vote, epoch=epoch))
        return self._random.choice((signed, certificate, Certificates(certificates=(certificate,))))

    def _far_view(self) -> Message | None:
        epoch, top = self._byzantine.term.epoch, self._byzantine.top
        view = View(self._random.choice((top + 10, top + 80, *FAR_VIEWS)))
        return self._random.choice((
            self._byzantine.signed(nullify(epoch, view)), CertificateRequest(from_view=view),
            ChainRequest(from_height=Height(view)),
        ))  # fmt: skip

    def _unasked(self) -> Message | None:
        top, epoch, on = self._byzantine.top, self._byzantine.term.epoch, self._byzantine.start
        assert self._byzantine.index is not None, "who has no seat is not tempted"
        block = Block(
            consortium=on.consortium, epoch=epoch, view=View(top + self._random.choice((1, 1, 60))),
            height=Height(on.height + 1), parent_view=on.view, parent=on.digest,
            timestamp_ms=self._random.randint(1, 2**40), proposer=self._byzantine.index, payloads=(),
        )  # fmt: skip
        vote = Vote(
            kind=VoteKind.NOTARIZE, epoch=Epoch(epoch), view=block.view, height=block.height, block=block.digest
        )
        return self._random.choice((
            BlockReply(block=block), BlockReply(block=self._block()), ViewRequest(nonce=b""),
            Proposal(block=block, vote=self._byzantine.signed(vote), parent=None, nullifications=()),
        ))  # fmt: skip
