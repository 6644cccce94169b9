"""A long chain written straight into a store: real signatures and the node's own execution, without a network.

What syncing is measured on: making a million claims through four running nodes would take longer than what is measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from consensus.events import Commit
from consensus.types import (
    Block,
    Certificate,
    Digest,
    Height,
    Signature,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
)
from ledger.catalogue import build_catalogue
from ledger.checkpoint import Checkpoint, checkpoint_note, cosignature, log_signature
from ledger.claim import Claim, Media, Party, PartyRole, ProprietaryId, Subject
from ledger.claim_check import check_claims
from ledger.genesis import Genesis
from ledger.identifiers import ISRC
from ledger.payload import build_payload
from ledger.statement import Statement, parse_statement, sign_statement
from node.devnet import Devnet
from node.execution import execute
from node.keys import load_private_key, public_bytes
from node.store.chain import ChainStore
from node.validation import HeldPayload

BLOCK_MS = 100
TIME_MS = 1_700_000_000_000


def synthetic_claim(run: str, number: int) -> bytes:
    """A recording with an ISRC, two parties and one file's digests: some 300 bytes, as a label's are."""
    seed = f"{run}-{number}".encode()
    isrc = f"QZ{run[:3].upper()}{number // 100_000 % 100:02}{number % 100_000:05}"
    assert ISRC.fault(isrc) is None, isrc
    return Claim(
        subject=Subject.RECORDING,
        title=f"Study {run} no. {number}",
        isrc=isrc,
        duration_ms=180_000 + number,
        parties=(
            Party(role=PartyRole.MAIN_ARTIST, name=f"Ensemble {number % 97}"),
            Party(role=PartyRole.COMPOSER, name=f"Composer {number % 89}"),
        ),
        media=(
            Media(
                blake3=hashlib.sha256(b"b" + seed).digest(), sha256=hashlib.sha256(b"s" + seed).digest(),
                size=30_000_000 + number, media_type="audio/flac",
            ),
        ),
    ).encode()  # fmt: skip


@cache
def _template() -> tuple[tuple[bytes, int], ...]:
    """A synthetic claim cut at what depends on its number: (bytes before, kind of field)."""
    run, number = "b33", 33_333_333
    seed = f"{run}-{number}".encode()
    fields = [
        (0, f"Study {run} no. {number}".encode()),
        (1, f"QZ{run[:3].upper()}{number // 100_000 % 100:02}{number % 100_000:05}".encode()),
        (2, hashlib.sha256(b"b" + seed).digest()),
        (3, hashlib.sha256(b"s" + seed).digest()),
    ]
    encoded = synthetic_claim(run, number)
    cuts = sorted((encoded.index(value), kind, value) for kind, value in fields)
    parts, at = [], 0
    for start, kind, value in cuts:
        assert encoded.count(value) == 1, "each is found once"
        parts.append((encoded[at:start], kind))
        at = start + len(value)
    return (*parts, (encoded[at:], -1))


def quick_claim(run: str, number: int) -> bytes:
    """As `synthetic_claim` of eight digits, with the template's parties and sizes, in 3 us instead of 60.

    run: three characters, a letter and two digits. number: below 10^7; what differs is title, ISRC and both digests.
    """
    number += 30_000_000
    seed = f"{run}-{number}".encode()
    values = (
        f"Study {run} no. {number}".encode(),
        f"QZ{run.upper()}{number // 100_000 % 100:02}{number % 100_000:05}".encode(),
        hashlib.sha256(b"b" + seed).digest(),
        hashlib.sha256(b"s" + seed).digest(),
    )
    return b"".join(part + values[kind] if kind >= 0 else part for part, kind in _template())


@dataclass
class ChainWriter:
    """Appends finalized blocks to a store; keys: a devnet's."""

    devnet: Devnet
    genesis: Genesis
    store: ChainStore
    _sequence: int = 0
    _signers: list[Callable[[bytes], bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        members = self.genesis.validator_members()[: self.genesis.quorum]
        for member in members:
            key = load_private_key(self.devnet.node(member.id).config.key_path("consensus"))
            self._signers.append(key.sign)
        statement = load_private_key(self.devnet.node("label").config.key_path("statement"))
        self._statement = (public_bytes(statement), statement.sign)

    def _signed(self, content: object, ref: str) -> Statement:
        public, sign = self._statement
        raw = sign_statement(
            content,  # type: ignore[arg-type]  # a claim or a header
            client_ref=ref, issuer="label", public_key=public, consortium=self.genesis.digest, sign=sign,
        )  # fmt: skip
        return parse_statement(raw)

    def catalogues(self, count: int, claims: int) -> Iterator[int]:
        """One catalogue a block. Gives the claims written so far."""
        for n in range(count):
            run = f"{'abcdefghijklmnopqrstuvwxyz'[n // 100]}{n % 100:02}"
            made = [quick_claim(run, i) for i in range(claims)]
            check_claims(made[:2])
            built = build_catalogue(made)
            statement = self._signed(built.header, f"catalogue-{self.store.size}")
            self.store.put_blobs((built.manifest, *built.chunks))
            held = self._payload((statement,), {statement.digest: tuple(made)})
            self._commit([held])
            yield (n + 1) * claims

    def statements(self, count: int, per_block: int) -> Iterator[int]:
        """Single claims, `per_block` to a payload and block. Gives the statements written so far."""
        first = self.store.size
        for start in range(0, count, per_block):
            numbers = range(first + start, first + min(start + per_block, count))
            batch = tuple(
                self._signed(
                    Claim(
                        subject=Subject.WORK, title=f"Study {n}",
                        ids=(ProprietaryId(namespace="bench", value=f"sync-{n}"),),
                    ),
                    f"sync-{n}",
                )
                for n in numbers
            )  # fmt: skip
            self._commit([self._payload(batch, {})])
            yield start + len(batch)

    def _payload(self, statements: Sequence[Statement], bodies: dict[Digest, tuple[bytes, ...]]) -> HeldPayload:
        self._sequence += 1
        unsigned = build_payload(
            [s.raw for s in statements],
            consortium=self.genesis.digest, epoch=self.genesis.committee().epoch, author=ValidatorIndex(0),
            sequence=(self.store.head().block.height << 20) + self._sequence, created_ms=TIME_MS,
        )  # fmt: skip
        payload = unsigned.signed(self._signers[0](unsigned.signing_bytes))
        self.store.put_payloads([payload])
        return HeldPayload(payload=payload, statements=tuple(statements), bodies=bodies)

    def _commit(self, held: Sequence[HeldPayload]) -> None:
        parent = self.store.head().block
        view = View(parent.view + 1)
        committee = self.genesis.committee()
        block = Block(
            consortium=self.genesis.digest, epoch=committee.epoch, view=view, height=Height(parent.height + 1),
            parent_view=parent.view, parent=parent.digest, timestamp_ms=TIME_MS + BLOCK_MS * parent.height,
            proposer=committee.leader(view), payloads=tuple(h.payload.digest for h in held),
        )  # fmt: skip
        vote = Vote(kind=VoteKind.FINALIZE, epoch=block.epoch, view=view, height=block.height, block=block.digest)
        message = vote.signing_bytes(self.genesis.digest)
        certificate = Certificate(
            vote=vote,
            signers=tuple(ValidatorIndex(i) for i in range(len(self._signers))),
            signatures=tuple(Signature(sign(message)) for sign in self._signers),
        )
        by_digest = {h.payload.digest: h for h in held}
        commit = Commit(blocks=(block,), finalization=certificate)
        execute(commit, self.store, lambda digests: [by_digest[d] for d in digests])

    def checkpoint(self) -> bytes:
        """A note of the log as it stands, cosigned by a quorum: what an operator pins."""
        frontier = self.store.frontier()
        made = Checkpoint(origin=self.genesis.origin, size=frontier.size, root=frontier.root())
        logs, cosignatures = [], []
        for member in self.genesis.validator_members()[: self.genesis.quorum]:
            config = self.devnet.node(member.id).config
            log, cosign = (load_private_key(config.key_path(name)) for name in ("log", "cosign"))
            logs.append(log_signature(made, public_key=public_bytes(log), sign=log.sign))
            cosignatures.append(
                cosignature(
                    made, member_id=member.id, timestamp_s=TIME_MS // 1000, public_key=public_bytes(cosign),
                    sign=cosign.sign,
                )
            )  # fmt: skip
        return checkpoint_note(made, logs, cosignatures).encode()
