"""A real evidence file with real keys, part by part, so that a test can put one wrong part into it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consensus.types import (
    Block,
    Certificate,
    Digest,
    Epoch,
    Height,
    Signature,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
)
from ledger.checkpoint import Checkpoint, checkpoint_note, cosignature, log_signature
from ledger.evidence import Outcome, Report, Verdict, build_bundle, verify_bundle
from ledger.evidence_archive import encode_archive, parse_archive
from ledger.evidence_manifest import digests_of, parse_manifest
from ledger.evidence_parts import CLAIM, EPOCHS, MANIFEST, MANIFEST_SIGNATURE, block_contents, ordered_names
from ledger.merkle import Frontier, inclusion_proof
from ledger.note import Note
from ledger.statement import parse_statement, sign_statement
from tests.ledger.builders import (
    FOUR,
    Consortium,
    make_catalogue,
    make_claim,
    make_consortium,
    make_keys,
    make_member,
    private_key,
)

BLOCK_TIME_MS = 1_790_000_000_123
EXPORT_TIME_MS = BLOCK_TIME_MS + 3_600_000
INDEX, SIZE = 4, 11


@dataclass(frozen=True)
class Impostor(Consortium):
    """Four invented institutions with the names of the real ones and keys of their own."""

    def key(self, member: str, purpose: str) -> Any:
        return private_key(f"invented {member}", purpose)


def make_impostors() -> Impostor:
    members = [
        dataclasses.replace(
            make_member(name, role),
            keys=make_keys(name, f"invented {name}"),
        )
        for name, role in FOUR
    ]
    return Impostor(make_consortium(members).genesis)


def sign_with(consortium: Consortium, member: str, purpose: str) -> Callable[[bytes], bytes]:
    sign: Callable[[bytes], bytes] = consortium.key(member, purpose).sign
    return sign


def finalize(
    consortium: Consortium, block: Block, signers: Sequence[int] = (0, 1, 2, 3), **changes: Any
) -> Certificate:
    """Certificate of a finalize vote for `block`; changes: fields of the vote."""
    fields = {"kind": VoteKind.FINALIZE, "epoch": block.epoch, "view": block.view, "height": block.height}
    vote = Vote(**({**fields, "block": block.digest} | changes))
    validators = consortium.genesis.validator_members()
    message = vote.signing_bytes(consortium.genesis.digest)
    return Certificate(
        vote=vote,
        signers=tuple(ValidatorIndex(i) for i in signers),
        signatures=tuple(Signature(sign_with(consortium, validators[i].id, "consensus")(message)) for i in signers),
    )


def cosign(consortium: Consortium, checkpoint: Checkpoint, cosigners: Sequence[str]) -> Note:
    logs, lines = [], []
    for member in cosigners:
        keys = consortium.genesis.member(member)
        assert keys is not None
        logs.append(log_signature(checkpoint, public_key=keys.keys.log, sign=sign_with(consortium, member, "log")))
        lines.append(
            cosignature(
                checkpoint,
                member_id=member,
                timestamp_s=BLOCK_TIME_MS // 1000 + 1,
                public_key=keys.keys.cosign,
                sign=sign_with(consortium, member, "cosign"),
            )
        )
    return checkpoint_note(checkpoint, logs, lines)


def entries(statement: bytes) -> list[bytes]:
    """Entries of a log that has the statement at INDEX."""
    found = [bytes([i]) * 32 for i in range(2 * SIZE)]
    found[INDEX] = parse_statement(statement).digest
    return found


def log_path(statement: bytes, index: int = INDEX, size: int = SIZE) -> tuple[Digest, ...]:
    _, full = Frontier().extend(entries(statement))
    nodes = {(node.level, node.index): node.hash for node in full}
    return inclusion_proof(index, size, lambda level, i: nodes[level, i])


def make_checkpoint(consortium: Consortium, statement: bytes, size: int = SIZE, origin: str = "") -> Checkpoint:
    frontier, _ = Frontier().extend(entries(statement)[:size])
    return Checkpoint(origin=origin or consortium.genesis.origin, size=size, root=frontier.root())


def make_blocks(consortium: Consortium, payload: Digest, children: int) -> tuple[Block, ...]:
    blocks: list[Block] = []
    for i in range(children + 1):
        blocks.append(
            Block(
                consortium=consortium.genesis.digest,
                epoch=Epoch(0),
                view=View(9 + 2 * i),
                height=Height(7 + i),
                parent_view=View(8 + 2 * i - (1 if i else 0)),
                parent=blocks[-1].digest if blocks else Digest(b"p" * 32),
                timestamp_ms=BLOCK_TIME_MS + i,
                proposer=ValidatorIndex(i % 4),
                payloads=() if i else (Digest(b"o" * 32), payload),
            )
        )
    return tuple(blocks)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What `build_bundle` takes, correct unless a test replaces something."""

    consortium: Consortium
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def but(self, **changes: Any) -> Parts:
        return dataclasses.replace(self, arguments={**self.arguments, **changes})

    def build(self) -> bytes:
        return build_bundle(**self.arguments)


def make_parts(
    consortium: Consortium | None = None,
    *,
    position: int | None = None,
    catalogue: bool = False,
    children: int = 0,
    exporter: str = "court",
    content: Any = None,
    issuer: str = "label",
    **claim: Any,
) -> Parts:
    """Parts of evidence of a single claim; of a catalogue with `catalogue`, or of its claim at `position`.

    content: of the issuer's statement instead.
    """
    consortium = consortium or make_consortium()
    made = make_catalogue(5)
    is_catalogue = catalogue or position is not None
    content = content or (made.header if is_catalogue else make_claim(1, **claim))
    statement = consortium_sign(consortium, content, issuer=issuer)
    fillers = [consortium_sign(consortium, make_claim(100 + i), ref=f"filler {i}") for i in range(2)]
    payload = consortium.payload([fillers[0], statement, fillers[1]])
    blocks = make_blocks(consortium, payload.digest, children)
    checkpoint = make_checkpoint(consortium, statement)
    return Parts(
        consortium=consortium,
        arguments={
            "genesis": consortium.genesis,
            "statement": statement,
            "index": INDEX,
            "path": log_path(statement),
            "note": cosign(consortium, checkpoint, [name for name, _ in FOUR]).encode(),
            "blocks": blocks,
            "finalization": finalize(consortium, blocks[-1]),
            "payload": payload.encode(),
            "claims": [make_claim(seed).encode() for seed in range(5)] if position is not None else None,
            "position": position,
            "exporter": exporter,
            "exported_ms": EXPORT_TIME_MS,
            "sign": sign_with(consortium, exporter, "export"),
        },
    )


def consortium_sign(consortium: Consortium, content: Any, *, ref: str = "ref-1", issuer: str = "label") -> bytes:
    """As `Consortium.sign`, with the consortium's own keys (an impostor's are not the real ones)."""
    member = consortium.genesis.member(issuer)
    assert member is not None
    return sign_statement(
        content,
        client_ref=ref,
        issuer=issuer,
        public_key=member.keys.statement,
        consortium=consortium.genesis.digest,
        sign=sign_with(consortium, issuer, "statement"),
    )


def reseal(
    data: bytes, changes: Mapping[str, bytes], signer: Consortium, exporter: str = "court", **manifest_fields: Any
) -> bytes:
    """The archive with other contents and a manifest that covers them, signed: what a dishonest exporter could make."""
    files = parse_archive(data) | changes
    names = ordered_names(len(block_contents(files)), catalogue=CLAIM in files, epochs=EPOCHS in files)
    files = {name: files[name] for name in names}
    manifest = files.pop(MANIFEST)
    files.pop(MANIFEST_SIGNATURE)
    again = dataclasses.replace(parse_manifest(manifest), **({"files": digests_of(files)} | manifest_fields)).encode()
    return encode_archive({MANIFEST: again, MANIFEST_SIGNATURE: sign_with(signer, exporter, "export")(again), **files})


TRUSTED = make_consortium().genesis
"""What the verifier trusts in tests."""


def outcomes(report: Report, outcome: Outcome) -> set[str]:
    return {check.name for check in report.checks if check.outcome is outcome}


def refused(data: bytes) -> Report:
    report = verify_bundle(data, TRUSTED, None)
    assert report.verdict is Verdict.REFUSED
    assert outcomes(report, Outcome.FAILED)
    return report


def refused_for(data: bytes, name: str, reason: str) -> Report:
    """Refused, the named check among the failed ones and with words to this effect."""
    report = refused(data)
    assert report.check(name).outcome is Outcome.FAILED, report.check(name)
    assert reason in report.check(name).reason
    return report
