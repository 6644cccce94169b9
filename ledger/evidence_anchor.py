"""Anchors in evidence: the two checks of them, and how one is put into a file that was exported before it existed.

They stand at the end of the archive and outside of its manifest (docs/adr/0014): an anchor rests on no member's word,
so none has to sign for it, and anybody can add one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ledger import evidence_parts as parts
from ledger.anchor import Anchor, Anchored
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.errors import StatementError
from ledger.evidence_archive import encode_archive, parse_archive
from ledger.evidence_case import Case
from ledger.evidence_checks import CannotCheck, Refused
from ledger.evidence_manifest import TIME_MS_MAX, format_time
from ledger.json_values import hex_text
from ledger.tlog_proof import TlogProof, parse_tlog_proof

CLOCK_TOLERANCE_MS: Final = 60_000
"""A chain's time may stand so far before the ledger's; Ethereum's is within a slot, 12 s."""


class AnchorNotForThis(StatementError):
    """An anchor does not belong to this evidence."""

    code = "ANCHOR_NOT_FOR_THIS"


def check_anchor(case: Case) -> str:
    """Every anchor of the file: it follows from its block's hash, and is of the log that the evidence is about."""
    if not any(map(parts.is_anchor, case.files)):
        raise CannotCheck("The file carries no anchor on a public chain.")
    chains = parts.anchor_chains(case.files)
    found = []
    for chain, anchor in zip(chains, case.anchors, strict=True):
        if anchor.chain != chain:
            raise Refused(f"{parts.anchor_name(chain)} says that it is of chain {anchor.chain}.")
        anchored = check_fits(anchor, case.log_proof)
        if _time_ms(anchored) + CLOCK_TOLERANCE_MS < case.blocks[0].timestamp_ms:
            raise Refused(
                f"Block {anchored.header.number} of chain {chain} is of {_time(anchored)}, before the statement was"
                f" recorded, {format_time(case.blocks[0].timestamp_ms)}: it cannot show what did not exist."
            )
        found.append(
            f"On chain {chain} the contract {hex_text(anchor.contract)} recorded this log's root at {anchor.size}"
            f" entries, this statement among them, in block {hex_text(anchor.block)} (number"
            f" {anchored.header.number}) at {_time(anchored)}."
        )
    return " ".join(found)


def check_anchor_block(case: Case) -> str:
    """Whether the blocks are in their chains: that takes a connection, so it is never checked here."""
    if not case.anchors:
        raise CannotCheck("There is no anchor whose block could be looked up.")
    told = " and ".join(f"chain {anchor.chain} has the block {hex_text(anchor.block)}" for anchor in case.anchors)
    raise CannotCheck(
        f"No network was used, so it was not checked whether {told}. Ask a node you trust, or a public explorer; only"
        " then does the anchor show anything. Compare the contract's address with that which the consortium publishes."
    )


def check_fits(anchor: Anchor, proof: TlogProof) -> Anchored:
    """That the anchor holds, and that the recorded tree has the statement that `proof` places in the log.

    Raises: AnchorNotForThis; InvalidAnchor, InvalidTrieProof, InvalidProof, MalformedMessage.
    """
    anchored = anchor.check()
    checkpoint = _checkpoint(proof)
    if anchor.size <= proof.index:
        raise AnchorNotForThis("anchor.size", anchor.size, f"over {proof.index}, the entry that the evidence is about")
    anchor.check_agrees(checkpoint.size, checkpoint.root)
    return anchored


def sizes_for(bundle: bytes, anchor: Anchor) -> tuple[int, int]:
    """Between which sizes the log's consistency must be proven to put this anchor into the evidence; ascending.

    Raises: MalformedMessage; AnchorNotForThis if the statement is not among the entries that are anchored.
    """
    proof = log_proof(bundle)
    if anchor.size <= proof.index:
        raise AnchorNotForThis("anchor.size", anchor.size, f"over {proof.index}, the entry that the evidence is about")
    size = _checkpoint(proof).size
    return min(size, anchor.size), max(size, anchor.size)


def add_anchors(bundle: bytes, anchors: Sequence[Anchor]) -> bytes:
    """The evidence with these anchors, each in place of the one of its chain, if there was one. The rest is as it was.

    anchors: each with the proof that leads to the evidence's checkpoint.
    Raises: AnchorNotForThis, and what `check_fits` raises: nothing is added that would not hold.
    """
    files = parse_archive(bundle)
    parts.check_names(files)
    proof = parse_tlog_proof(files[parts.LOG_PROOF])
    for anchor in anchors:
        check_fits(anchor, proof)
        files[parts.anchor_name(anchor.chain)] = anchor.encode()
    chains = parts.anchor_chains(files)
    plain = {name: content for name, content in files.items() if not parts.is_anchor(name)}
    ordered = {parts.anchor_name(chain): files[parts.anchor_name(chain)] for chain in sorted(chains)}
    parts.check_names((*plain, *ordered))
    return encode_archive(plain | ordered)


def log_proof(bundle: bytes) -> TlogProof:
    """Of the statement in the log, as the evidence has it; not checked. Raises: MalformedMessage."""
    files = parse_archive(bundle)
    parts.check_names(files)
    return parse_tlog_proof(files[parts.LOG_PROOF])


def _checkpoint(proof: TlogProof) -> Checkpoint:
    return parse_checkpoint(proof.note.text)


def _time_ms(anchored: Anchored) -> int:
    return anchored.header.timestamp_s * 1000


def _time(anchored: Anchored) -> str:
    if _time_ms(anchored) > TIME_MS_MAX:
        return f"{anchored.header.timestamp_s} s after 1970"
    return format_time(_time_ms(anchored))
