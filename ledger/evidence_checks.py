"""The checks themselves: each a function of the case that returns why it holds, or raises why it does not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise

from consensus.certificates import check_certificate
from consensus.errors import StrettoError
from consensus.types import Block, VoteKind
from ledger import evidence_parts as parts
from ledger.catalogue import CatalogueHeader
from ledger.checkpoint import parse_checkpoint
from ledger.claim import Claim
from ledger.claim_parts import Media
from ledger.ed25519 import verify_strict
from ledger.epochs import parse_epochs
from ledger.errors import InvalidStatementSignature, RoleForbids, UnknownMember, WrongConsortium
from ledger.evidence_case import Case
from ledger.evidence_manifest import digests_of, format_time
from ledger.evidence_summary import summarise
from ledger.evidence_text import LIMITS_MD, VERIFY_GO, VERIFY_MD, VERIFY_PY
from ledger.governance import Change
from ledger.merkle import leaf_hash, verify_inclusion
from ledger.note import parse_note
from ledger.policy import epoch_policy, parse_policy
from ledger.roster import Roster
from ledger.statement import check_authority


class Refused(StrettoError):
    """A check failed. Its text is the reason, for people."""


class CannotCheck(StrettoError):
    """A check could not be made. Its text says what is missing."""


def _names(roster: Roster, member_ids: Iterable[str]) -> str:
    found = [roster.member(member_id) for member_id in member_ids]
    return ", ".join(f"{member.name} ({member.id}, {member.role})" for member in found if member is not None)


def check_manifest(case: Case) -> str:
    """Every file has the digest in the manifest, and the manifest lists every file."""
    covered = {
        name: content
        for name, content in case.files.items()
        if name not in (parts.MANIFEST, parts.MANIFEST_SIGNATURE) and not parts.is_anchor(name)
    }
    listed = dict(case.manifest.files)
    for name, digest in digests_of(covered):
        if name not in listed:
            raise Refused(f"{name} is not in the manifest.")
        if listed[name] != digest:
            raise Refused(
                f"{name} was changed after the export: its SHA-256 is {digest.hex()}, the manifest says"
                f" {listed[name].hex()}."
            )
    if tuple(listed) != tuple(covered):
        raise Refused("The manifest lists other files than the archive holds, or in another order.")
    count = len(covered)
    more = "" if count + 2 == len(case.files) else " Anchors are not in it: the check named anchor is about them."
    return f"The {count} files have exactly the SHA-256 digests that the manifest lists.{more}"


def check_genesis(case: Case) -> str:
    """The one thing that decides whom to believe."""
    enclosed = case.enclosed_genesis
    if case.trusted is None:
        raise CannotCheck(
            f"No trusted genesis was given. The file brings its own, of {enclosed.name} with SHA-256"
            f" {enclosed.digest.hex()}: anybody can write one, so compare it with a copy from somebody you trust."
        )
    if enclosed.digest != case.trusted.digest:
        raise Refused(
            f"The genesis in the file is not the trusted one: it names a consortium {enclosed.name} with SHA-256"
            f" {enclosed.digest.hex()}, trusted is {case.trusted.name} with SHA-256 {case.trusted.digest.hex()}."
            " Whoever made this file may have invented its institutions."
        )
    return f"The genesis in the file is the trusted one, of {case.trusted.name}, SHA-256 {enclosed.digest.hex()}."


def check_epochs(case: Case) -> str:
    """Whether the later committees that the file names follow from the genesis, each by the word of the one before."""
    if parts.EPOCHS not in case.files:
        return "The file names no later committee: it is judged by the validators of epoch 0, whom the genesis names."
    consortium, proofs = parse_epochs(case.files[parts.EPOCHS])
    if consortium != case.genesis.digest:
        raise Refused(f"The epochs are of another consortium, whose genesis has SHA-256 {consortium.hex()}.")
    if not proofs:
        raise Refused(f"The {parts.EPOCHS} file proves no epoch; evidence of epoch 0 has none.")
    rosters = case.rosters
    for ours, theirs in zip(case.known, rosters, strict=False):
        if ours != theirs:
            raise Refused(
                f"The members of epoch {theirs.epoch} in the file are not those you trust: the file's roster has"
                f" SHA-256 {theirs.digest.hex()}, yours has {ours.digest.hex()}. Two histories exist."
            )
    return (
        f"From the genesis to epoch {rosters[-1].epoch} every committee was handed over by a quorum of the one before;"
        f" the roster of epoch {rosters[-1].epoch} has SHA-256 {rosters[-1].digest.hex()}."
    )


def check_exporter(case: Case) -> str:
    """The manifest's signature by a member of the consortium."""
    manifest, genesis = case.manifest, case.genesis
    if manifest.consortium != genesis.digest:
        raise Refused(f"The manifest is of another consortium, whose genesis has SHA-256 {manifest.consortium.hex()}.")
    member = case.exporter_roster.member(manifest.exporter)
    if member is None:
        raise Refused(f"The exporter, {manifest.exporter!r}, is not a member of {genesis.name}.")
    if not verify_strict(member.keys.export, case.files[parts.MANIFEST], case.files[parts.MANIFEST_SIGNATURE]):
        raise Refused(f"The manifest is not signed by {member.name}, who it says exported this file.")
    return f"Exported by {member.name} ({member.id}, {member.role}) at {format_time(manifest.exported_ms)}, its clock."


def check_texts(case: Case) -> str:
    """What a person may read, or run, on the exporter's word alone. Other versions of Stretto write other texts."""
    due = {
        parts.VERIFY: VERIFY_MD,
        parts.LIMITS: LIMITS_MD,
        parts.PYTHON_PROGRAM: VERIFY_PY,
        parts.GO_PROGRAM: VERIFY_GO,
    }
    other = [name for name, content in due.items() if case.files[name] != content]
    if other:
        raise CannotCheck(
            f"{', '.join(other)}: not what this version of Stretto writes. Another version may have written it, or the"
            f" exporter, {case.manifest.exporter!r}: nobody else vouches for these words and programs. The other checks"
            " do not rest on them."
        )
    return f"{', '.join(due)} are those that this version of Stretto writes, byte for byte."


def check_statement_form(case: Case) -> str:
    statement = case.statement
    return (
        f"A well-formed {statement.kind.value} statement, SHA-256 {statement.digest.hex()},"
        f" the issuer's reference {statement.client_ref!r}."
    )


def check_issuer(case: Case) -> str:
    statement, genesis, roster = case.statement, case.genesis, case.block_roster
    source = f"roster of epoch {roster.epoch}" if roster.epoch else "genesis"
    try:
        member = check_authority(statement, roster)
    except WrongConsortium:
        raise Refused(
            f"The statement was signed for another consortium, whose genesis has SHA-256 {statement.consortium.hex()}."
        ) from None
    except UnknownMember:
        raise Refused(f"The issuer, {statement.issuer}, is not a member of {genesis.name}{_in(roster)}.") from None
    except RoleForbids as error:
        raise Refused(f"The issuer may not make such statements: {error.value} is not {error.expected}.") from None
    except InvalidStatementSignature:
        raise Refused(
            f"The statement names a key (id {statement.key_id.hex()}) that is not the one the {source} gives"
            f" {statement.issuer}."
        ) from None
    return (
        f"The issuer is {member.name} ({member.id}, {member.role}), a member who may make such statements;"
        f" the statement names the key that the {source} gives this member."
    )


def check_signature(case: Case) -> str:
    member = case.block_roster.member(case.statement.issuer)
    assert member is not None, "the issuer was checked before"
    if not verify_strict(member.keys.statement, case.statement.signed_bytes, case.statement.signature):
        raise Refused(f"The statement is not signed with the key of {member.name}.")
    return f"The statement is signed by {member.name} (Ed25519 key {member.keys.statement.hex()})."


def check_claim(case: Case) -> str:
    content, own = case.statement.content, case.statement.own_claim
    if isinstance(content, CatalogueHeader):
        return _check_claim_of(content, case)
    if case.catalogue_proof is not None:
        raise Refused("The file offers a claim of a catalogue, but the statement is no catalogue.")
    if own is not None:
        return f"The signed statement is itself the claim, about {own.title!r}."
    if isinstance(content, Change):
        raise CannotCheck(f"The statement is a vote on governance, to {content.describe()}; it holds no claim.")
    assert not isinstance(content, Claim), "a CLAIM holds its own claim"
    raise CannotCheck(f"The statement is to {content.describe()}; it holds no claim.")


def _check_claim_of(catalogue: CatalogueHeader, case: Case) -> str:
    proof = case.catalogue_proof
    if proof is None:
        raise CannotCheck(
            f"The file is evidence of a catalogue of {catalogue.count} claims as a whole; it offers no single claim."
        )
    proof.check(case.files[parts.CLAIM], catalogue.count, catalogue.root)
    assert case.claim is not None, "a catalogue's claim lies beside its proof"
    return f"The claim, about {case.claim.title!r}, is number {proof.index} (from 0) of the {catalogue.count} signed."


def check_audio(case: Case) -> str:
    media = case.media
    if media is None:
        raise CannotCheck("No audio file was given, so none was compared.")
    if case.claim is None:
        raise CannotCheck("The file offers no single claim that could be compared with the audio given.")

    def agrees(listed: Media) -> bool:
        pairs = ((media.blake3, listed.blake3), (media.sha256, listed.sha256))
        return all(offered == claimed for offered, claimed in pairs if offered is not None)

    if not any(agrees(listed) for listed in case.claim.media):
        raise Refused(
            f"The audio file given is none of the {len(case.claim.media)} that the claim names: its digests are"
            " different. A copy in another format or with other tags is another file."
        )
    compared = " and ".join(name for name, d in (("BLAKE3", media.blake3), ("SHA-256", media.sha256)) if d is not None)
    return (
        f"The audio file given is one that the claim names, by its {compared} digest. This compares bytes, not sound."
    )


def check_inclusion(case: Case) -> str:
    proof = case.log_proof
    if case.files[parts.CHECKPOINT] != proof.note.encode():
        raise Refused(f"The {parts.CHECKPOINT} file is not the checkpoint in {parts.LOG_PROOF}.")
    checkpoint = parse_checkpoint(proof.note.text)
    verify_inclusion(
        leaf=leaf_hash(case.statement.digest), index=proof.index, size=checkpoint.size, proof=proof.path,
        root=checkpoint.root,
    )  # fmt: skip
    return (
        f"The statement is entry {proof.index} (from 0) among the {checkpoint.size} under the checkpoint's root."
        " Whether to believe that root is the check named checkpoint."
    )


def check_checkpoint(case: Case) -> str:
    roster = case.checkpoint_roster
    acceptance = epoch_policy(case.genesis, roster).check(parse_note(case.files[parts.CHECKPOINT]))
    times = [timestamp_s for _, timestamp_s in acceptance.cosigners]
    return (
        f"The log {acceptance.checkpoint.origin} at {acceptance.checkpoint.size} entries is vouched for by"
        f" {len(acceptance.cosigners)} institutions{_of(roster)}, {roster.quorum} are needed:"
        f" {_names(roster, (name for name, _ in acceptance.cosigners))}; by their clocks from {_seconds(min(times))}"
        f" to {_seconds(max(times))}."
    )


def _in(roster: Roster) -> str:
    return f" in epoch {roster.epoch}" if roster.epoch else ""


def _of(roster: Roster) -> str:
    return f" of epoch {roster.epoch}" if roster.epoch else ""


def _seconds(timestamp_s: int) -> str:
    try:
        return datetime.fromtimestamp(timestamp_s, UTC).replace(tzinfo=None).isoformat() + "Z"
    except (ValueError, OverflowError, OSError):
        return f"{timestamp_s} s after 1970"


def check_policy(case: Case) -> str:
    """The policy file is for foreign tools; Stretto derives its own from the genesis, or from a later roster."""
    roster = case.checkpoint_roster
    source = f"roster of epoch {roster.epoch}" if roster.epoch else "genesis"
    enclosed, due = parse_policy(case.files[parts.POLICY]), parse_policy(epoch_policy(case.genesis, roster).encode())
    if enclosed != due:
        raise Refused(f"The policy file is not the one that follows from the {source}: other keys, or another quorum.")
    return f"The policy file for other verifiers names exactly the {source}'s validators and quorum."


def check_finalization(case: Case) -> str:
    genesis, blocks, certificate = case.genesis, case.blocks, case.finalization
    roster = case.block_roster
    for block in blocks:
        if block.consortium != genesis.digest:
            raise Refused(f"Block {block.height} is of another consortium.")
    for parent, child in pairwise(blocks):
        if child.parent != parent.digest or child.height != parent.height + 1 or child.epoch != parent.epoch:
            raise Refused(f"Block {child.height} is not the child of block {parent.height}: the chain is broken.")
    vote, last = certificate.vote, blocks[-1]
    if vote.kind is not VoteKind.FINALIZE or (vote.epoch, vote.view, vote.height, vote.block) != _identity(last):
        raise Refused(f"The votes are not to finalize block {last.height}.")
    if last.epoch != roster.epoch:
        raise Refused(f"Block {last.height} is of epoch {last.epoch}, and the file proves no validators of that epoch.")
    check_certificate(certificate, roster.committee(), verify_strict)
    validators = roster.validator_members()
    signers = [validators[i].id for i in certificate.signers]
    through = "" if len(blocks) == 1 else f", through its descendant {last.height}"
    return (
        f"Block {blocks[0].height} is final{through}: {len(signers)} validators{_of(roster)} voted so,"
        f" {roster.quorum} are needed: {_names(roster, signers)}."
    )


def _identity(block: Block) -> tuple[int, int, int, bytes]:
    return (block.epoch, block.view, block.height, block.digest)


def check_order(case: Case) -> str:
    block, header = case.blocks[0], case.payload_header
    if header.digest not in block.payloads:
        raise Refused(f"Block {block.height} does not order the payload whose header is in the file.")
    if (header.consortium, header.epoch) != (block.consortium, block.epoch):
        raise Refused("The payload is of another consortium or epoch than its block.")
    case.payload_proof.check(case.statement.digest, header.count, header.root)
    place = block.payloads.index(header.digest)
    return (
        f"The statement is number {case.payload_proof.index} of {header.count} in payload {place} of block"
        f" {block.height} (counted from 0). Whether that block is final is the check named finalization."
    )


def check_summary(case: Case) -> str:
    data = case.files[parts.SUMMARY]
    proof = case.catalogue_proof if isinstance(case.statement.content, CatalogueHeader) else None
    due = summarise(
        genesis=case.genesis, roster=case.block_roster, statement=case.statement, claim=case.claim,
        position=proof.index if proof else None,
        log_index=case.log_proof.index, log_size=parse_checkpoint(case.log_proof.note.text).size,
        height=case.blocks[0].height, recorded_ms=case.blocks[0].timestamp_ms,
    )  # fmt: skip
    if data != due:
        raise Refused(f"{parts.SUMMARY} does not say what the signed files say.")
    return f"{parts.SUMMARY} says what the signed files say (SHA-256 {hashlib.sha256(data).hexdigest()})."


def check_time(case: Case) -> str:
    block, manifest = case.blocks[0], case.manifest
    if manifest.recorded_ms != block.timestamp_ms:
        raise Refused(
            f"The manifest says recorded at {format_time(manifest.recorded_ms)}, the block says"
            f" {format_time(block.timestamp_ms)}."
        )
    if manifest.exported_ms + case.block_roster.parameters.precision_ms < manifest.recorded_ms:
        raise Refused("The file says that it was exported before the statement was recorded.")
    return (
        f"Recorded at {format_time(block.timestamp_ms)} by block time, exported at"
        f" {format_time(manifest.exported_ms)} by the exporter's clock. Block time shows the order among this"
        " consortium's records; it is not legal time."
    )


def check_rights(case: Case) -> str:
    """What came after the statement is not proven here; it must not be kept quiet about either."""
    manifest = case.manifest
    if manifest.rights is None:
        raise CannotCheck("The file does not say where a claim's rights stood when it was made.")
    raise CannotCheck(
        f"By the word of the exporter, {manifest.exporter}, and not proven by this file: at"
        f" {format_time(manifest.exported_ms)} {manifest.rights.describe()}. Each of these statements has evidence of"
        " its own; what came later is not in it."
    )


def check_legal_time(case: Case) -> str:
    nothing = "The file carries no time-stamp token (RFC 3161), so it proves no legal time"
    if any(map(parts.is_anchor, case.files)):
        nothing += "; what an anchor on a public chain is worth for that is for a court to say"
    if rests_on_retired_keys(case):
        raise CannotCheck(
            f"{nothing}, nor that the handovers to epoch {len(case.proofs)} were signed while the keys behind them were"
            " in use: whoever holds a quorum of retired keys could have made another history. Compare the roster's"
            " SHA-256 under the check named epochs with one from somebody you trust."
        )
    raise CannotCheck(f"{nothing}.")


def rests_on_retired_keys(case: Case) -> bool:
    """Whether the file proves committees by handovers alone that the verifier does not know (design D10)."""
    try:
        return len(case.proofs) >= max(len(case.known), 1)
    except StrettoError:
        return False  # they do not parse, which another check says
