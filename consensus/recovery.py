"""What a validator does that cannot trust its own voting state: find out where it may have voted, and stay above.

Design D4: "ask n - f OTHER validators for certificate-backed views, and vote only above the highest + 2, after a
finalization there". Why 2: if this validator ever voted in view w, there was a certificate of w - 1; its at least
n - 2f - 1 honest signers other than us had entered w - 1, and keep on disk what let them. Any n - f others that answer
hold n - 2f honest ones, and the two groups meet among the n - 1 - f honest others: somebody answers w - 2 or more.
"""

from __future__ import annotations

import hashlib

from consensus.types import Committee, ValidatorIndex, View

MARGIN_VIEWS = 2
NONCE_BYTES = 16


class Recovery:
    """active: this validator must not vote."""

    def __init__(self, committee: Committee, seed: bytes) -> None:
        self._quorum = committee.quorum
        self._seed = seed
        self._rounds = 0
        self._highest = View(0)
        self._replies: set[ValidatorIndex] = set()
        self.active = False
        self.nonce = bytes(NONCE_BYTES)

    def begin(self, own_highest: View) -> None:
        """Start, or start again. own_highest: highest view this node itself knows a certificate or an own vote of."""
        self._rounds += 1
        material = b"stretto/recovery/v1" + self._rounds.to_bytes(8, "big") + self._seed
        self.nonce = hashlib.sha256(material).digest()[:NONCE_BYTES]
        self._highest = own_highest
        self._replies.clear()
        self.active = True

    @property
    def is_asking(self) -> bool:
        return self.active and len(self._replies) < self._quorum

    def has_reply(self, validator: ValidatorIndex) -> bool:
        return validator in self._replies

    def reply(self, sender: ValidatorIndex, view: View) -> None:
        """`sender`, another validator, proved that its highest certificate is of `view`."""
        self._replies.add(sender)
        self._highest = max(self._highest, view)

    def ends_with_epoch(self, boundary_view: View) -> bool:
        """Whether this validator doubted, and can have forgotten nothing of the next epoch. boundary_view: its start.

        Had it been in the next epoch, the boundary was final before it asked. A quorum voted so, who had seen a block
        of the boundary's view or a later one notarized; of those that answered, an honest one is among them.
        """
        return len(self._replies) >= self._quorum and boundary_view > self._highest

    def settle(self, finalized_view: View) -> None:
        """End once a quorum of others answered and they made something final above anything voted on before."""
        if self.active and not self.is_asking and finalized_view > self._highest + MARGIN_VIEWS:
            self.active = False
