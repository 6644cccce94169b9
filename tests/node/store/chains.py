"""A consortium of four with keys from seeds, and a chain of blocks made by hand: what a store is fed in these tests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from consensus.events import Commit
from consensus.types import (
    Block,
    Certificate,
    Digest,
    EpochParameters,
    Height,
    Signature,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
    genesis_block,
)
from ledger.apply import Applied, Overlay, apply_block
from ledger.catalogue import Catalogue, build_catalogue
from ledger.checkpoint import Checkpoint, cosignature, log_signature
from ledger.claim import Claim, Media, Subject
from ledger.genesis import Member, Role, encode_genesis, parse_genesis
from ledger.merkle import Frontier
from ledger.note import NoteSignature
from ledger.payload import Payload, build_payload
from ledger.statement import parse_statement, sign_statement
from node.store.chain import ChainStore, Cosigned
from tests.ledger.keys import TestChainKey, TestKey, member_keys

ROLES = {"label": Role.LABEL, "court": Role.COURT, "society": Role.SOCIETY, "platform": Role.PLATFORM}


@cache
def key(member: str, name: str) -> TestKey:
    return TestKey(f"store/{member}/{name}")


def chain_key(member: str) -> TestChainKey:
    return TestChainKey(f"store/{member}/chain")


def make_genesis(name: str = "Store tests") -> bytes:
    members = tuple(
        Member(
            id=member,
            name=member.title(),
            role=role,
            validator=True,
            keys=member_keys(member, lambda kind, of=member: key(of, kind).public, chain_key(member)),
        )
        for member, role in ROLES.items()
    )
    return encode_genesis(name=name, origin="store.stretto.example/1", parameters=EpochParameters(), members=members)


GENESIS = parse_genesis(make_genesis())


def digest(kind: str, number: int) -> bytes:
    return hashlib.sha256(f"{kind} {number}".encode()).digest()


def isrc(number: int) -> str:
    return f"CNA01{number:07d}"


def claim(number: int, *, isrc_of: int | None = None) -> Claim:
    """A recording whose digests and ISRC follow from its number."""
    media = Media(blake3=digest("blake3", number), sha256=digest("sha256", number), size=1_000 + number)
    return Claim(
        subject=Subject.RECORDING,
        title=f"Track {number}",
        isrc=isrc(number if isrc_of is None else isrc_of),
        media=(media,),
    )


def sign(content: Claim | object, ref: str, issuer: str = "label") -> bytes:
    private = key(issuer, "statement")
    return sign_statement(
        content,  # type: ignore[arg-type]
        client_ref=ref,
        issuer=issuer,
        public_key=private.public,
        consortium=GENESIS.digest,
        sign=private.sign,
    )


def statement(number: int, **changes: int) -> bytes:
    return sign(claim(number, **changes), f"ref-{number}")


def catalogue(first: int, count: int, ref: str = "", *, isrc_of: int | None = None) -> tuple[bytes, Catalogue]:
    made = build_catalogue(claim(n, isrc_of=isrc_of).encode() for n in range(first, first + count))
    return sign(made.header, ref or f"catalogue-{first}"), made


def blobs(made: Catalogue) -> tuple[bytes, ...]:
    return (made.manifest, *made.chunks)


def payload(statements: Sequence[bytes], sequence: int) -> Payload:
    author = key("label", "consensus")
    unsigned = build_payload(
        statements,
        consortium=GENESIS.digest,
        epoch=GENESIS.committee().epoch,
        author=ValidatorIndex(0),
        sequence=sequence,
        created_ms=1_000 + sequence,
    )
    return unsigned.signed(author.sign(unsigned.signing_bytes))


def finalization(block: Block) -> Certificate:
    """A quorum's, with real signatures."""
    vote = Vote(
        kind=VoteKind.FINALIZE, epoch=block.epoch, view=block.view, height=block.height, block=block.digest
    )  # fmt: skip
    message = vote.signing_bytes(GENESIS.digest)
    signers = [member.id for member in GENESIS.validator_members()[: GENESIS.quorum]]
    return Certificate(
        vote=vote,
        signers=tuple(ValidatorIndex(i) for i in range(len(signers))),
        signatures=tuple(Signature(key(member, "consensus").sign(message)) for member in signers),
    )


def cosigned(checkpoint: Checkpoint, member: str) -> tuple[NoteSignature, NoteSignature]:
    """A validator's log signature and cosignature."""
    log, witness = key(member, "log"), key(member, "cosign")
    return (
        log_signature(checkpoint, public_key=log.public, sign=log.sign),
        cosignature(checkpoint, member_id=member, timestamp_s=9, public_key=witness.public, sign=witness.sign),
    )


@dataclass
class Prepared:
    """All that one commit needs."""

    payloads: list[Payload]
    blobs: list[bytes]
    commit: Commit
    applied: list[Applied]
    frontier: Frontier


@dataclass
class ChainMaker:
    """Makes blocks on top of a store and writes them as the node would."""

    store: ChainStore
    sequence: int = 0
    catalogues: dict[Digest, tuple[bytes, ...]] = field(default_factory=dict)
    _blobs: list[bytes] = field(default_factory=list)

    def catalogue(self, first: int, count: int, ref: str = "", *, isrc_of: int | None = None) -> bytes:
        """A catalogue's statement; its body goes into the store with the next commit."""
        raw, made = catalogue(first, count, ref, isrc_of=isrc_of)
        parsed = parse_statement(raw)
        self.catalogues[parsed.digest] = tuple(claim(n, isrc_of=isrc_of).encode() for n in range(first, first + count))
        self._blobs += blobs(made)
        return raw

    def prepare(self, *blocks: Sequence[Sequence[bytes]]) -> Prepared:
        """blocks: for each its payloads, for each payload its statements."""
        with self.store.recorded() as recorded:
            return self._prepare(Overlay(recorded), blocks)

    def _prepare(self, view: Overlay, blocks: Sequence[Sequence[Sequence[bytes]]]) -> Prepared:
        head = self.store.head()
        parent, frontier = head.block, self.store.frontier()
        payloads: list[Payload] = []
        made: list[Block] = []
        applied: list[Applied] = []
        for contents in blocks:
            own = []
            for statements in contents:
                self.sequence += 1
                own.append(payload(statements, (parent.height << 20) + self.sequence))
            view_number = View(parent.view + 1)
            block = Block(
                consortium=GENESIS.digest,
                epoch=parent.epoch,
                view=view_number,
                height=Height(parent.height + 1),
                parent_view=parent.view,
                parent=parent.digest,
                timestamp_ms=1_700_000_000_000 + parent.height * 100,
                proposer=GENESIS.committee().leader(view_number),
                payloads=tuple(p.digest for p in own),
            )
            one = apply_block(
                view,
                block.height,
                block.timestamp_ms,
                [(p.digest, [parse_statement(raw) for raw in p.statements]) for p in own],
                self.catalogues,
            )
            view.extend(one)
            frontier, _ = frontier.extend(leaf.digest for leaf in one.leaves())
            payloads += own
            made.append(block)
            applied.append(one)
            parent = block
        commit = Commit(blocks=tuple(made), finalization=finalization(parent))
        given, self._blobs = self._blobs, []
        return Prepared(payloads, given, commit, applied, frontier)

    def write(self, prepared: Prepared) -> list[Applied]:
        if prepared.blobs:
            self.store.put_blobs(prepared.blobs)
        self.store.put_payloads(prepared.payloads)
        self.store.commit(prepared.commit, prepared.applied, prepared.frontier)
        return prepared.applied

    def commit(self, *blocks: Sequence[Sequence[bytes]]) -> list[Applied]:
        return self.write(self.prepare(*blocks))

    def cosign(self, size: int, members: Sequence[str] = ("label", "court", "society")) -> None:
        checkpoint = self.store.checkpoint_at(size)
        assert checkpoint is not None
        for member in members:
            log, signature = cosigned(checkpoint, member)
            self.store.put_cosignatures(
                [Cosigned(checkpoint=checkpoint, member=member, log=log, cosignature=signature)]
            )


FIRST = genesis_block(GENESIS.committee())
