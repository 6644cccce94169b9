"""claim.json: what a clerk reads. Derived from the signed bytes, and checked to be: a summary must not lie.

Verification derives it again and compares every byte: a later layout is another FORMAT, and a program that writes it
still derives this one for evidence that has it.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Final

from ledger.catalogue import CatalogueHeader
from ledger.cbor import CborValue, decode
from ledger.claim import Claim
from ledger.evidence_manifest import format_time
from ledger.genesis import Genesis
from ledger.governance import Change
from ledger.rights_content import RightsContent
from ledger.roster import Roster
from ledger.statement import Statement

FORMAT: Final = "stretto/summary/v1"

_PERSONAL: Final = frozenset({"name", "isni", "ipi_name", "ipi_base", "operator"})
"""Fields of parties and exhibits that hold 32 bytes where the value is committed instead of open."""


def _readable(value: CborValue, field: str = "") -> object:
    """A claim's CBOR as JSON: digests in hexadecimal, commitments marked as such."""
    match value:
        case bytes():
            return {"committed": value.hex()} if field in _PERSONAL else value.hex()
        case list():
            return [_readable(item, field) for item in value]
        case dict():
            return {str(key): _readable(item, str(key)) for key, item in value.items()}
        case _:
            return value


def summarise(
    *,
    genesis: Genesis,
    roster: Roster,
    statement: Statement,
    claim: Claim | None,
    position: int | None,
    log_index: int,
    log_size: int,
    height: int,
    recorded_ms: int,
) -> bytes:
    """The summary of one piece of evidence.

    claim: the one offered, of a CLAIM its own; None where a catalogue is offered as a whole. position: 0-based place in
    the catalogue, None outside of one. log_size: leaves under the checkpoint. height, recorded_ms: of the block.
    roster: of that block's epoch.
    """
    member = roster.member(statement.issuer)
    document: dict[str, object] = {
        "format": FORMAT,
        "about": "Made for people from the signed files beside it; where they differ, the signed files decide.",
        "consortium": {"name": genesis.name, "genesis_sha256": genesis.digest.hex()},
        "statement": {
            "sha256": statement.digest.hex(),
            "kind": statement.kind.value,
            "issuer": statement.issuer,
            "issuer_name": member.name if member else None,
            "issuer_role": member.role.value if member else None,
            "client_reference": statement.client_ref,
        },
        "recorded": {
            "log": genesis.origin,
            "index": log_index,
            "log_size": log_size,
            **({"epoch": roster.epoch} if roster.epoch else {}),
            "block_height": height,
            "block_time": format_time(recorded_ms),
            "meaning": "Block time shows the order among this consortium's records. It is not a legal time-stamp.",
        },
    }
    if isinstance(statement.content, CatalogueHeader):
        document["catalogue"] = {
            "claims": statement.content.count,
            "root": statement.content.root.hex(),
            "position": position,
        }
    if isinstance(statement.content, Change):
        document["vote"] = {"epoch": statement.content.epoch, "to": statement.content.describe()}
    if isinstance(statement.content, RightsContent):
        changed = statement.content
        document["change"] = {"claim": changed.claim.hex(), "position": changed.position, "to": changed.describe()}
    if claim is not None:
        encoded = decode(claim.encode())
        assert isinstance(encoded, dict), "a claim is a map"
        # In the order in which people tell it, not in CBOR's.
        told = [field.name for field in fields(Claim) if field.name in encoded]
        document["claim"] = {name: _readable(encoded[name], name) for name in told}
        document["ai_disclosure"] = claim.contains_ai.value
    document["questions"] = {
        "unchanged since it was recorded": "proven by this file, see VERIFY.md",
        "true before it was recorded": "declared by the issuer, not examined",
        "who owns it": "not decided here",
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
