"""Where the claim's rights stood when its evidence was made: by the exporter's word, in the manifest that it signs.

Proof of the statement is no proof of what came after it. So that nobody takes evidence of a disputed or withdrawn claim
for more than it is, the exporter says where the claim stood in its log. Whoever doubts it asks another node, or for
evidence of the statements that are named.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from consensus.types import Digest
from ledger.member import MEMBER_ID
from ledger.rights import DISPUTES_MAX, ClaimRights, ClaimState

KEYS: Final = ("state", "holder", "head", "disputes", "stay", "superseded_by")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")

Refuse = Callable[[str, str], Exception]
"""(field, what would have been right) -> what to raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RightsNote:
    """What the manifest says of a claim's rights."""

    state: ClaimState
    holder: str
    """Member id."""
    head: Digest
    """The statement that changed them last; the claim's own where none did."""
    disputes: tuple[Digest, ...]
    """Open ones."""
    stay: Digest | None
    """The COURT_ORDER that stays the claim."""
    superseded_by: Digest | None

    def value(self) -> dict[str, object]:
        """For JSON, in the order of KEYS."""
        return {
            "state": self.state.name,
            "holder": self.holder,
            "head": self.head.hex(),
            "disputes": [dispute.hex() for dispute in self.disputes],
            "stay": None if self.stay is None else self.stay.hex(),
            "superseded_by": None if self.superseded_by is None else self.superseded_by.hex(),
        }

    def describe(self) -> str:
        """In one sentence, for people."""
        words = {
            ClaimState.ACTIVE: "stood undisputed",
            ClaimState.DISPUTED: "was DISPUTED",
            ClaimState.REVOKED: "was REVOKED",
            ClaimState.SUPERSEDED: "had been SUPERSEDED by another",
        }
        said = f"the claim {words[self.state]} and was held by {self.holder}"
        if self.disputes:
            said += f"; open disputes: {', '.join(dispute.hex() for dispute in self.disputes)}"
        if self.stay is not None:
            said += f"; stayed by the order {self.stay.hex()}"
        if self.superseded_by is not None:
            said += f"; replaced by the statement {self.superseded_by.hex()}"
        return f"{said}; the last statement that changed its rights is {self.head.hex()}"


def rights_note(rights: ClaimRights) -> RightsNote:
    return RightsNote(
        state=rights.state,
        holder=rights.holder,
        head=rights.head,
        disputes=tuple(dispute.statement for dispute in rights.disputes),
        stay=None if rights.stay is None else rights.stay.order,
        superseded_by=None if rights.superseded is None else rights.superseded.by,
    )


def read_rights_note(value: object, refuse: Refuse) -> RightsNote:
    """Inverse of `RightsNote.value`. Raises: what `refuse` makes."""
    if not isinstance(value, dict) or tuple(value) != KEYS:
        raise refuse("rights", f"an object of {', '.join(KEYS)}, in this order")
    state, holder, disputes = value["state"], value["holder"], value["disputes"]
    if state not in ClaimState.__members__:
        raise refuse("rights.state", " | ".join(ClaimState.__members__))
    if not isinstance(holder, str) or not MEMBER_ID.fullmatch(holder):
        raise refuse("rights.holder", "a member id")
    if not isinstance(disputes, list) or len(disputes) > DISPUTES_MAX:
        raise refuse("rights.disputes", f"at most {DISPUTES_MAX} digests")

    def digest(name: str, given: object) -> Digest:
        if not isinstance(given, str) or not _DIGEST.fullmatch(given):
            raise refuse(f"rights.{name}", "a digest as 64 lower-case hexadecimal digits")
        return Digest(bytes.fromhex(given))

    def perhaps(name: str) -> Digest | None:
        return None if value[name] is None else digest(name, value[name])

    return RightsNote(
        state=ClaimState[state],
        holder=holder,
        head=digest("head", value["head"]),
        disputes=tuple(digest("disputes", each) for each in disputes),
        stay=perhaps("stay"),
        superseded_by=perhaps("superseded_by"),
    )
