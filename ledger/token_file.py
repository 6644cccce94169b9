"""A token as one file: the terms that a member signed, the claim they are of, and the checkpoint that contracts took.

An archive of three files with one encoding: `token.json`, and evidence of the MINT statement and of the claim. Nobody
signs it as a whole: everything in it is signed by itself, or follows. What the chain has is for the chain to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from consensus.errors import StrettoError
from consensus.types import Digest, Epoch
from ledger import secp256k1
from ledger.chain_checkpoint import ChainCheckpoint, bridge_set, check_quorum, quorum_of
from ledger.errors import StatementError
from ledger.evidence_archive import encode_archive, parse_archive
from ledger.evidence_case import Case
from ledger.evidence_checks import CannotCheck, Refused
from ledger.evidence_parts import check_names
from ledger.evidence_report import Check, Outcome, Verdict
from ledger.evidence_verify import verify_bundle
from ledger.genesis import Genesis
from ledger.json_values import JsonValues, hex_text
from ledger.merkle import PROOF_HASHES_MAX, leaf_hash, verify_inclusion
from ledger.mint_terms import MintTerms
from ledger.rights_content import Mint
from ledger.roster import Roster
from ledger.strict_json import load_json

FORMAT: Final = "stretto/token/v1"
TOKEN_JSON: Final = "token.json"  # noqa: S105  no secret
MINT_EVIDENCE: Final = "mint.evidence.zip"
CLAIM_EVIDENCE: Final = "claim.evidence.zip"
FILES: Final = (TOKEN_JSON, MINT_EVIDENCE, CLAIM_EVIDENCE)
TOKEN_BYTES_MAX: Final = 1 << 16
SIGNATURES_MAX: Final = 64
NUMBER_MAX: Final = 2**53 - 1

FIELDS: Final = (
    "format",
    "chain",
    "contract",
    "token",
    "index",
    "epoch",
    "size",
    "root",
    "successor",
    "signatures",
    "path",
)


class MalformedToken(StatementError):
    """Not a token file: the bytes break a rule of its form."""

    code = "MALFORMED_TOKEN"


@dataclass(frozen=True, kw_only=True)
class TokenFile:
    """Values as the file has them; whether they hold is for `verify_token` to say."""

    chain: int
    """EIP-155 id."""
    contract: bytes
    """The MusicNFT, 20 bytes."""
    token: Digest
    """Its id: the entry of the MINT leaf."""
    index: int
    """Of the MINT leaf."""
    checkpoint: ChainCheckpoint
    signatures: tuple[bytes, ...]
    """By validators of the checkpoint's epoch, EIP-2098, ascending by address."""
    path: tuple[Digest, ...]
    """From the leaf to the checkpoint's root."""
    mint_evidence: bytes
    claim_evidence: bytes

    def encode(self) -> bytes:
        """The one archive. Raises: MalformedMessage over a bound."""
        point = self.checkpoint
        document = {
            "format": FORMAT,
            "chain": self.chain,
            "contract": hex_text(self.contract),
            "token": hex_text(self.token),
            "index": self.index,
            "epoch": point.epoch,
            "size": point.size,
            "root": hex_text(point.root),
            "successor": hex_text(point.successor),
            "signatures": [*map(hex_text, self.signatures)],
            "path": [*map(hex_text, self.path)],
        }
        told = (json.dumps(document, indent=2) + "\n").encode()
        return encode_archive(
            {TOKEN_JSON: told, MINT_EVIDENCE: self.mint_evidence, CLAIM_EVIDENCE: self.claim_evidence}
        )


def parse_token(data: bytes) -> TokenFile:
    """Inverse of `TokenFile.encode`. Raises: MalformedToken, MalformedMessage."""
    files = parse_archive(data)
    if tuple(files) != FILES:
        raise MalformedToken("files", ", ".join(files), ", ".join(FILES))
    found = load_json(files[TOKEN_JSON], TOKEN_JSON, TOKEN_BYTES_MAX, MalformedToken)
    if not isinstance(found, dict) or tuple(found) != FIELDS or found["format"] != FORMAT:
        raise MalformedToken(TOKEN_JSON, found, f"an object of {', '.join(FIELDS)}, in this order, of format {FORMAT}")
    values = JsonValues(found, MalformedToken)
    made = TokenFile(
        chain=values.whole("chain", 1, NUMBER_MAX),
        contract=values.octets("contract", 20),
        token=Digest(values.octets("token", 32)),
        index=values.whole("index", 0, NUMBER_MAX),
        checkpoint=ChainCheckpoint(
            epoch=Epoch(values.whole("epoch", 0, NUMBER_MAX)),
            size=values.whole("size", 1, NUMBER_MAX),
            root=values.octets("root", 32),
            successor=Digest(values.octets("successor", 32)),
        ),
        signatures=values.octets_each("signatures", SIGNATURES_MAX, 64),
        path=tuple(map(Digest, values.octets_each("path", PROOF_HASHES_MAX, 32))),
        mint_evidence=files[MINT_EVIDENCE],
        claim_evidence=files[CLAIM_EVIDENCE],
    )
    if made.encode() != data:
        raise MalformedToken(TOKEN_JSON, "another layout", "the one that it has (indent 2)")
    return made


# ---- checks ----------------------------------------------------------------------------------------------------------

FILE: Final = "file"
MINT: Final = "mint"
TERMS: Final = "terms"
CLAIM: Final = "claim"
HOLDER: Final = "holder"
LEAF: Final = "leaf"
SIGNERS: Final = "signers"
OFFLINE_CHECKS: Final = (FILE, MINT, TERMS, CLAIM, HOLDER, LEAF, SIGNERS)
"""What is checked of the file itself, in this order."""


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A token file under examination. Properties raise StrettoError where something in it is malformed."""

    file: TokenFile
    genesis: Genesis | None
    known: tuple[Roster, ...]

    @cached_property
    def mint(self) -> Case:
        return self._case(self.file.mint_evidence)

    @cached_property
    def claim(self) -> Case:
        return self._case(self.file.claim_evidence)

    def _case(self, bundle: bytes) -> Case:
        files = parse_archive(bundle)
        check_names(files)
        return Case(files=files, trusted=self.genesis, media=None, known=self.known)

    @property
    def consortium(self) -> Digest:
        """The trusted genesis'; without one the file's own, for self-consistency only."""
        return self.mint.genesis.digest

    @property
    def terms(self) -> MintTerms:
        content = self.mint.statement.content
        if not isinstance(content, Mint):
            raise Refused(f"The statement is a {self.mint.statement.kind.value}, not a MINT.")
        return content.terms

    @property
    def roster(self) -> Roster:
        """Of the checkpoint's epoch, as the evidence proves it."""
        epoch = self.file.checkpoint.epoch
        rosters = max(self.mint.rosters, self.claim.rosters, self.known, key=len)
        if epoch >= len(rosters):
            raise CannotCheck(
                f"The checkpoint is of epoch {epoch}; the file proves the validators up to {len(rosters) - 1}. Name"
                " epochs you trust."
            )
        return rosters[epoch]


def _check_evidence(case: _Case, bundle: bytes, what: str) -> None:
    report = verify_bundle(bundle, case.genesis, None, known=case.known)
    if report.verdict is Verdict.REFUSED:
        failed = next(check for check in report.checks if check.outcome is Outcome.FAILED)
        raise Refused(f"The evidence of {what} does not hold: {failed.name}: {failed.reason}")
    if report.verdict is Verdict.INCOMPLETE:
        optional = ("audio", "claim", "texts", "rights", "anchor", "anchor block")
        missing = [
            check for check in report.checks if check.outcome is Outcome.NOT_CHECKED and check.name not in optional
        ]
        raise CannotCheck(f"The evidence of {what} is incomplete: {missing[0].name}: {missing[0].reason}")


def _check_mint(case: _Case) -> str:
    _check_evidence(case, case.file.mint_evidence, "the MINT statement")
    statement, roster = case.mint.statement, case.mint.block_roster
    member = roster.member(statement.issuer)
    name = statement.issuer if member is None else f"{member.name} ({member.id}, {member.role})"
    return (
        f"{name} signed the MINT statement, SHA-256 {statement.digest.hex()}; it is entry {case.mint.log_proof.index}"
        " of the log, and a quorum finalized it."
    )


def _check_terms(case: _Case) -> str:
    terms, file = case.terms, case.file
    if terms.chain_id != file.chain or terms.nft != file.contract:
        raise Refused(
            f"The terms are for the contract {hex_text(terms.nft)} on chain {terms.chain_id}, the file says"
            f" {hex_text(file.contract)} on chain {file.chain}."
        )
    entry = terms.entry(case.consortium)
    if entry != file.token:
        raise Refused(f"The terms have the entry {hex_text(entry)}, which is not the token {hex_text(file.token)}.")
    return (
        f"The signed terms, of {terms.title!r}, edition {terms.edition} of {terms.editions}, have the hash that is the"
        f" token's id; they name chain {terms.chain_id}, contract {hex_text(terms.nft)} and minter"
        f" {hex_text(terms.minter)}."
    )


def _check_claim(case: _Case) -> str:
    terms, claim = case.terms, case.claim
    _check_evidence(case, case.file.claim_evidence, "the claim")
    proof = claim.catalogue_proof
    place = (claim.statement.digest, proof.index if proof else 0)
    if place != (terms.claim, terms.position) or claim.claim is None:
        raise Refused(
            f"The evidence is of position {place[1]} in {place[0].hex()}, the terms name position {terms.position} in"
            f" {terms.claim.hex()}."
        )
    entry = claim.log_proof.index
    return f"The claim is {claim.statement.issuer}'s, about {claim.claim.title!r}, entry {entry} of the log."


def _check_holder(case: _Case) -> str:
    issuer, claimant = case.mint.statement.issuer, case.claim.statement.issuer
    if issuer == claimant:
        return f"Who signed the terms, {issuer}, is who made the claim."
    return (
        f"The terms are signed by {issuer}, the claim by {claimant}: the ledger makes a MINT leaf for the claim's"
        " holder alone, so the claim was handed over in between; ask for its history."
    )


def _check_leaf(case: _Case) -> str:
    file, point = case.file, case.file.checkpoint
    verify_inclusion(
        leaf=leaf_hash(file.token), index=file.index, size=point.size, proof=file.path, root=point.root
    )  # fmt: skip
    return (
        f"The terms' leaf is entry {file.index} of the {point.size} under the checkpoint's root: every node that"
        " follows the rules made it right after the MINT statement."
    )


def _check_signers(case: _Case) -> str:
    file, point, roster = case.file, case.file.checkpoint, case.roster
    addresses = bridge_set(roster)
    check_quorum(point, case.consortium, addresses, file.signatures)
    digest = point.digest(case.consortium)
    keys = [secp256k1.recover(digest, signature) for signature in file.signatures]
    signers = {secp256k1.address(key) for key in keys if key is not None}
    names = [
        f"{member.name} ({member.id})"
        for member in roster.validator_members()
        if member.keys.chain and secp256k1.address(member.keys.chain) in signers
    ]
    return (
        f"The checkpoint of {point.size} entries is signed for public chains by {len(signers)} validators of epoch"
        f" {point.epoch}, {quorum_of(len(addresses))} are needed: {', '.join(names)}."
    )


_RULES: Final[tuple[tuple[str, Callable[[_Case], str], tuple[str, ...]], ...]] = (
    (MINT, _check_mint, ()),
    (TERMS, _check_terms, ()),
    (CLAIM, _check_claim, (TERMS,)),
    (HOLDER, _check_holder, (MINT, CLAIM)),
    (LEAF, _check_leaf, (TERMS,)),
    (SIGNERS, _check_signers, ()),
)
assert tuple(name for name, _, _ in _RULES) == OFFLINE_CHECKS[1:], "every check has a rule"


def verify_token(data: bytes, genesis: Genesis | None, *, known: Sequence[Roster] = ()) -> tuple[Check, ...]:
    """One check for each name of OFFLINE_CHECKS, in that order. Never raises for bad data.

    genesis: the one the verifier trusts; without one nothing passes that needs trust. known: rosters of epochs 0 and up
    that the verifier trusts besides.
    """
    try:
        file = parse_token(data)
    except StrettoError as error:
        damaged = Check(FILE, Outcome.FAILED, f"The file is damaged or was changed: {error}.")
        unread = "The file could not be read as a token's."
        return (damaged, *(Check(name, Outcome.NOT_CHECKED, unread) for name in OFFLINE_CHECKS[1:]))
    found = [
        Check(FILE, Outcome.PASSED, f"Token {hex_text(file.token)} of {hex_text(file.contract)} on chain {file.chain}.")
    ]
    case = _Case(file=file, genesis=genesis, known=tuple(known))
    for name, check, needs in _RULES:
        found.append(_apply(name, check, needs, case, found))
    return tuple(found)


def _apply(
    name: str, check: Callable[[_Case], str], needs: tuple[str, ...], case: _Case, found: Sequence[Check]
) -> Check:
    broken = [each.name for each in found if each.name in needs and each.outcome is Outcome.FAILED]
    if broken:
        return Check(name, Outcome.NOT_CHECKED, f"It builds on what failed before: {', '.join(broken)}.")
    try:
        reason = check(case)
    except CannotCheck as error:
        return Check(name, Outcome.NOT_CHECKED, str(error))
    except StrettoError as error:
        return Check(name, Outcome.FAILED, str(error))
    if case.genesis is None:
        told = f"Not checked for want of a trusted genesis. By the file's own, which nobody vouches for: {reason}"
        return Check(name, Outcome.NOT_CHECKED, told)
    return Check(name, Outcome.PASSED, reason)


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """All of them matter."""
    outcomes = {check.outcome for check in checks}
    if Outcome.FAILED in outcomes:
        return Verdict.REFUSED
    return Verdict.INCOMPLETE if Outcome.NOT_CHECKED in outcomes else Verdict.VERIFIED
