"""Targets of the ledger's and the engine's formats: what is stored, signed, exported and verified offline."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any, cast

from consensus.errors import MalformedMessage, PeerError
from consensus.types import Block, Certificate, Digest
from ledger import cbor, claim, epochs, genesis, governance, merkle, misbehaviour, note, payload, policy, tlog_proof
from ledger.catalogue import CHUNK_BYTES, CatalogueHeader, build_catalogue, check_catalogue, parse_catalogue_header
from ledger.checkpoint import parse_checkpoint
from ledger.claim_check import body_keys, check_claims
from ledger.errors import (
    CatalogueBodyMismatch,
    MalformedCatalogue,
    MalformedCbor,
    MalformedClaim,
    MalformedGenesis,
    MalformedGovernance,
    MalformedMember,
    MalformedRights,
    MalformedRoster,
    MalformedStatement,
    MalformedTerms,
)
from ledger.evidence import Verdict, verify_bundle
from ledger.evidence_archive import encode_archive, parse_archive
from ledger.evidence_manifest import parse_manifest
from ledger.evidence_parts import parse_inclusion_proof
from ledger.member_record import encode_member_record, parse_member_record
from ledger.receipt import Outcome, Reason, Receipt
from ledger.roster import parse_roster
from ledger.statement import parse_statement
from tests.fuzz.target import Broken, Target, canonical, holds, stable
from tests.ledger import test_chain_misbehaviour as chain
from tests.ledger import test_misbehaviour, test_policy, test_tlog_proof
from tests.ledger.builders import make_catalogue, make_claim, make_consortium
from tests.ledger.claim_families import full
from tests.ledger.epoch_builders import CHANGES, ROSTERS, proofs
from tests.ledger.evidence_builders import make_parts, reseal
from tests.ledger.rights_builders import CONTENTS

_UNREAD = frozenset({"manifest.json", "manifest.sig", "VERIFY.md", "LIMITS.md", "verify.py", "verify.go"})
"""Made anew over the part that was replaced; and what the verifier does not read: advice and programs for those without
it. Their exporter answers for them by its signature."""


def encode(value: object) -> bytes:
    """Of anything that encodes itself."""
    return cast(bytes, cast(Any, value).encode())


def own(decode: Callable[[bytes], object]) -> Callable[[bytes], object]:
    return canonical(decode, encode)


@cache
def _bundles() -> tuple[bytes, ...]:
    return make_parts().build(), make_parts(position=3).build(), make_parts(children=1).build()


@cache
def _parts() -> dict[str, bytes]:
    return {name: data for bundle in _bundles() for name, data in parse_archive(bundle).items()}


@cache
def _statements() -> tuple[bytes, ...]:
    consortium = make_consortium()
    contents = (make_claim(1), make_catalogue(5).header, *CONTENTS.values())
    return tuple(consortium.sign(content) for content in contents)


# ---- what is checked beyond the round trip ---------------------------------------------------------------------------


def _statement(data: bytes) -> object:
    found = parse_statement(data)
    holds(found.raw == data, "a statement is kept verbatim")
    holds(encode(found.content) in data, "a statement carries its content as that is encoded")
    return found


def _claim(data: bytes) -> object:
    """Its three readers agree: the strict one, the fast check of bodies, and the one for what was checked before."""
    try:
        found = claim.parse_claim(data)
    except MalformedClaim:
        check_claims([data])
        raise Broken("the fast check accepts what the strict one refuses") from None
    holds(found.encode() == data, "a claim has one encoding")
    keys = claim.claim_keys(found)
    holds(claim.read_claim_keys(data) == keys, "both readers find the same keys")
    holds(check_claims([data]) == body_keys([keys]), "the fast check finds the same keys")
    return found


def _body(data: bytes) -> object:
    """A catalogue that commits to whatever it is: every claim is valid, or it is refused."""
    claims, at = [], 0
    while at + 2 <= len(data):
        length = int.from_bytes(data[at : at + 2], "big") % 4096
        claims.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    built = build_catalogue(claims)
    checked = check_catalogue(built.header, built.manifest, built.chunks)
    holds(tuple(checked) == tuple(claims), "a body is its claims")
    return checked


def _chunk(data: bytes) -> object:
    """The signed header fits the chunk by its length and digest, and nothing else is known of it."""
    body = data[2 : 2 + CHUNK_BYTES]
    manifest = hashlib.sha256(body).digest()
    header = CatalogueHeader(
        count=max(1, int.from_bytes(data[:2], "big") % 16_384),
        root=make_catalogue(1).header.root,
        body_bytes=max(3, len(body)),
        manifest=cast(Any, hashlib.sha256(manifest).digest()),
    )
    return check_catalogue(header, manifest, (body,))


def _bundle(data: bytes) -> object:
    """Never raises, and verifies nothing but the honest file: whatever was changed shows."""
    report = verify_bundle(data, make_consortium().genesis, None)
    holds(report.verdict is not Verdict.VERIFIED or data in _bundles(), "a changed bundle was verified")
    return report


def _resealed(data: bytes) -> object:
    """One part of a bundle replaced by its exporter, who signs the whole anew: what depends on the part must notice."""
    bundle, name, part = _replacement(data)
    honest = parse_archive(bundle)
    changed = reseal(bundle, {name: part}, make_consortium())
    report = verify_bundle(changed, make_consortium().genesis, None)
    holds(report.verdict is not Verdict.VERIFIED or honest[name] == part, f"a bundle with another {name} was verified")
    return report


def _replacement(data: bytes) -> tuple[bytes, str, bytes]:
    """(bundle, part's name, its new bytes): two bytes that choose, then the part."""
    which, index = (*data[:2], 0, 0)[:2]
    bundle = _bundles()[which % 2]
    names = sorted(parse_archive(bundle).keys() - _UNREAD)
    return bundle, names[index % len(names)], data[2:]


def _misbehaviour(data: bytes) -> object:
    report = misbehaviour.verify_misbehaviour(data, test_misbehaviour.GENESIS)
    found = misbehaviour.parse_misbehaviour(data)
    holds(found.encode() == data, "evidence has one encoding")
    return report


def _genesis(data: bytes) -> object:
    found = genesis.parse_genesis(data)
    holds(found.raw == data, "a genesis is its exact bytes")
    holds(parse_roster(found.roster.encode()) == found.roster, "its roster has an encoding")
    return found


def _epochs(data: bytes) -> object:
    consortium, found = epochs.parse_epochs(data)
    holds(epochs.encode_epochs(consortium, found) == data, "a file of epochs has one encoding")
    roster = ROSTERS[0]
    try:
        for proof in found:
            roster = epochs.check_epoch(roster, proof)
    except PeerError:
        return found
    holds(roster in ROSTERS, "an epoch that never was is proven")
    return found


def _lines(decode: Callable[[str], object]) -> Callable[[bytes], object]:
    def run(data: bytes) -> object:
        text = data.decode("latin-1")
        found = decode(text)
        holds(cast(Any, found).encode() == text, "a key has one encoding")
        return found

    return run


# ---- the targets -----------------------------------------------------------------------------------------------------

_MESSAGE = (MalformedMessage,)


def _governance(data: bytes) -> object:
    """Each kind's decoder on the same bytes: at most one may accept."""
    accepted = []
    for decode in (governance.parse_admit, governance.parse_remove, governance.parse_rotate_key,
                   governance.parse_set_policy):  # fmt: skip
        try:
            found = decode(data)
        except MalformedGovernance:
            continue
        holds(encode(found) == data, "a change has one encoding")
        accepted.append(found)
    holds(len(accepted) <= 1, f"one text, several changes: {accepted}")
    if not accepted:
        raise MalformedGovernance("change", "", "one of the four")
    return accepted[0]


def _keys() -> list[bytes]:
    return [line.split(b" ")[1] for line in test_policy.POLICY.encode().splitlines() if line.startswith(b"log ")]


def _misbehaviours() -> list[bytes]:
    here = test_misbehaviour
    pairs = (
        (here.vote(here.NOTARIZE), here.vote(here.NOTARIZE, here.B)),
        (here.vote(here.NULLIFY), here.vote(here.FINALIZE)),
    )
    return [
        misbehaviour.MisbehaviourEvidence.of(here.GENESIS.digest, here.sign(first), here.sign(second)).encode()
        for first, second in pairs
    ] + [
        chain.evidence(chain.checkpoint(), chain.checkpoint(7, chain.OTHER_ROOT)).encode(),
        chain.evidence(chain.END, chain.checkpoint(9, chain.ROOT, chain.OTHER_NEXT)).encode(),
    ]


def _receipts() -> list[bytes]:
    statement = Digest(b"s" * 32)
    return [
        Receipt(statement=statement, outcome=Outcome.RECORDED, index=3, height=2, block_time_ms=9).encode(),
        Receipt(
            statement=statement, outcome=Outcome.DUPLICATE, index=1, height=2, block_time_ms=9, reason=Reason.STATEMENT
        ).encode(),
    ]


FORMATS = (
    Target(
        name="cbor",
        run=canonical(cbor.decode, lambda value: cbor.encode(cast(Any, value))),
        seeds=lambda: [
            make_claim(1).encode(),
            make_catalogue(5).header.encode(),
            cbor.encode({"a": [1, -1, b"x", "y", True, {}]}),
        ],
        errors=(MalformedCbor,),
    ),
    Target(
        name="statement",
        run=_statement,
        seeds=lambda: list(_statements()),
        errors=(
            MalformedStatement,
            MalformedClaim,
            MalformedCatalogue,
            MalformedGovernance,
            MalformedRights,
            MalformedTerms,
        ),
    ),
    Target(
        name="claim",
        run=_claim,
        seeds=lambda: [*(make_claim(seed).encode() for seed in range(3)), *(full(n).encode() for n in range(2))],
        errors=(MalformedClaim,),
    ),
    Target(
        name="catalogue-header",
        run=own(parse_catalogue_header),
        seeds=lambda: [make_catalogue(5).header.encode()],
        errors=(MalformedCatalogue,),
    ),
    Target(
        name="catalogue-body",
        run=_body,
        seeds=lambda: [
            b"".join(len(c).to_bytes(2, "big") + c for c in (make_claim(seed).encode() for seed in range(4)))
        ],
        errors=(MalformedClaim, MalformedCatalogue, CatalogueBodyMismatch),
    ),
    Target(
        name="catalogue-chunk",
        run=_chunk,
        seeds=lambda: [b"\x00\x01" + make_catalogue(1).chunks[0]],
        errors=(MalformedClaim, MalformedCatalogue, CatalogueBodyMismatch),
    ),
    Target(
        name="payload",
        run=own(payload.parse_payload),
        seeds=lambda: [make_consortium().payload(list(_statements())).encode()],
        errors=(payload.MalformedPayload,),
    ),
    Target(
        name="payload-header",
        run=own(payload.parse_payload_header),
        seeds=lambda: [payload.parse_payload(make_consortium().payload(list(_statements())).encode()).header.encode()],
        errors=(payload.MalformedPayload,),
    ),
    Target(name="block", run=own(Block.decode), seeds=lambda: [p.boundary.encode() for p in proofs()], errors=_MESSAGE),
    Target(
        name="certificate",
        run=own(Certificate.decode),
        seeds=lambda: [p.finalization.encode() for p in proofs()],
        errors=_MESSAGE,
    ),
    Target(
        name="note",
        run=own(note.parse_note),
        seeds=lambda: [test_policy.note_by("court", "label").encode()],
        errors=_MESSAGE,
    ),
    Target(
        name="note-line",
        run=own(note.parse_signature_line),
        seeds=lambda: [test_policy.log_line("court").encode(), test_policy.cosign_line("label").encode()],
        errors=_MESSAGE,
    ),
    Target(
        name="checkpoint",
        run=canonical(parse_checkpoint, lambda value: cast(Any, value).body()),
        seeds=lambda: [test_policy.CHECKPOINT.body()],
        errors=_MESSAGE,
    ),
    Target(
        name="policy",
        run=stable(policy.parse_policy, encode),
        seeds=lambda: [test_policy.POLICY.encode()],
        errors=_MESSAGE,
    ),
    Target(name="verifier-key", run=_lines(note.parse_verifier_key), seeds=_keys, errors=_MESSAGE),
    Target(
        name="tlog-proof",
        run=own(tlog_proof.parse_tlog_proof),
        seeds=lambda: [test_tlog_proof.proof_of(7).encode()],
        errors=_MESSAGE,
    ),
    Target(
        name="inclusion-proof",
        run=own(parse_inclusion_proof),
        seeds=lambda: [_parts()["catalogue-proof.txt"], _parts()["payload-proof.txt"]],
        errors=_MESSAGE,
    ),
    Target(
        name="frontier",
        run=own(merkle.parse_frontier),
        seeds=lambda: [
            merkle.Frontier().extend([bytes([i]) * 32 for i in range(n)])[0].encode() for n in (0, 1, 7, 64)
        ],
        errors=_MESSAGE,
    ),
    Target(
        name="evidence-archive",
        run=canonical(parse_archive, lambda files: encode_archive(cast(Any, files))),
        seeds=lambda: list(_bundles()),
        errors=_MESSAGE,
    ),
    Target(name="evidence-bundle", run=_bundle, seeds=lambda: list(_bundles())),
    Target(
        name="evidence-part",
        run=_resealed,
        seeds=lambda: [
            bytes((which, i)) + parse_archive(bundle)[name]
            for which, bundle in enumerate(_bundles()[:2])
            for i, name in enumerate(sorted(parse_archive(bundle).keys() - _UNREAD))
        ],
    ),
    Target(
        name="evidence-manifest",
        run=own(parse_manifest),
        seeds=lambda: [_parts()["manifest.json"]],
        errors=_MESSAGE,
    ),
    Target(
        name="misbehaviour",
        run=_misbehaviour,
        seeds=_misbehaviours,
        errors=(misbehaviour.MalformedMisbehaviour,),
    ),
    Target(name="genesis", run=_genesis, seeds=lambda: [make_consortium().genesis.raw], errors=(MalformedGenesis,)),
    Target(
        name="member-record",
        run=stable(
            lambda data: parse_member_record(data, validator=True), lambda value: encode_member_record(cast(Any, value))
        ),
        seeds=lambda: [encode_member_record(ROSTERS[0].members[0])],
        errors=(MalformedMember,),
    ),
    Target(
        name="roster", run=own(parse_roster), seeds=lambda: [r.encode() for r in ROSTERS], errors=(MalformedRoster,)
    ),
    Target(
        name="epochs",
        run=_epochs,
        seeds=lambda: [epochs.encode_epochs(ROSTERS[0].consortium, proofs(n)) for n in (1, 4)],
        errors=_MESSAGE,
    ),
    Target(
        name="governance",
        run=_governance,
        seeds=lambda: [encode(change) for change in CHANGES],
        errors=(MalformedGovernance,),
    ),
    Target(name="receipt", run=own(Receipt.decode), seeds=_receipts, errors=_MESSAGE),
)
