"""Why a node takes or keeps no statement that is valid in itself."""

from __future__ import annotations

from collections.abc import Sequence

from consensus.errors import RequestError


class NotAValidator(RequestError):
    """This node cannot get a statement ordered. Nothing was taken."""

    code = "NOT_A_VALIDATOR"

    def __init__(self, member: str, validators: Sequence[str]) -> None:
        self.field = "node"
        self.value = member
        self.expected = f"a validator's node: one of {', '.join(validators)}"
        super().__init__(f"node: {member} does not vote: expected {self.expected}; nothing was taken")


class OtherEpoch(RequestError):
    """A vote on a change that was not ordered before its epoch ended."""

    code = "GOVERNANCE_OTHER_EPOCH"

    def __init__(self, voted: int, epoch: int) -> None:
        self.field = "change.epoch"
        self.value = str(voted)
        self.expected = f"{epoch}, the epoch that has begun: votes lapse with their epoch"
        super().__init__(f"change.epoch: expected {self.expected}, got {voted}")
