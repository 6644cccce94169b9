"""What a node does about its log's checkpoints: it cosigns them, and signs some of them for public chains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import assert_never

from consensus.errors import PeerError
from ledger.checkpoint import Checkpoint
from node.chain_signing import ChainSigning
from node.cosigning import Cosigning
from node.rosters import Rosters
from node.signer import KeyRing
from node.store.chain import ChainStore, Cosigned
from node.store.chain_signatures import ChainSigned
from node.wire import ChainSignature, ChainSignatureRequest, Cosignature, CosignatureRequest, Signing


class Checkpoints:
    """Both kinds of signatures, driven as one."""

    def __init__(
        self,
        *,
        rosters: Rosters,
        store: ChainStore,
        keys: KeyRing,
        broadcast: Callable[[Signing], None],
        reject: Callable[[str, PeerError], None],
        wall_ms: Callable[[], int],
    ) -> None:
        self.cosigning = Cosigning(
            rosters=rosters, store=store, keys=keys, broadcast=broadcast, reject=reject, wall_ms=wall_ms
        )
        self.chain_signing = ChainSigning(
            rosters=rosters, store=store, keys=keys, broadcast=broadcast, reject=reject
        )  # fmt: skip

    def resume(self, *, cosign: bool, sign_for_chains: bool) -> None:
        """After a start, a sync, or the end of doubt. What this node may sign; else it gathers."""
        self.cosigning.resume(sign=cosign)
        self.chain_signing.resume(sign=sign_for_chains)

    def reached(self, checkpoints: Sequence[Checkpoint], *, ended: bool, sign: bool) -> None:
        """This node's log has come to these sizes, and with the last of its blocks the epoch has `ended` or not."""
        # Cosigned first: what is signed for chains is what was cosigned.
        (self.cosigning.sign if sign else self.cosigning.reached)(checkpoints)
        self.chain_signing.reached(checkpoints, ended=ended, sign=sign)

    def hear(self, sender: str, message: Signing) -> Iterable[Signing]:
        """What a member says, and what to answer. Raises: PeerError."""
        match message:
            case Cosignature():
                self.cosigning.received(sender, message)
            case ChainSignature():
                self.chain_signing.received(sender, message)
            case CosignatureRequest():
                return self.cosigning.answer(message)
            case ChainSignatureRequest():
                return self.chain_signing.answer(message)
            case _:
                assert_never(message)
        return ()

    def tick(self, now_ms: int) -> None:
        self.cosigning.tick(now_ms)
        self.chain_signing.tick(now_ms)

    def due_ms(self) -> int | None:
        """When `tick` has something to do."""
        dues = (self.cosigning.due_ms(), self.chain_signing.due_ms())
        return min((due for due in dues if due is not None), default=None)

    def take_unwritten(self) -> tuple[tuple[Cosigned, ...], tuple[ChainSigned, ...]]:
        """Signatures not on disk yet, for a transaction that the caller is about to make."""
        return self.cosigning.take_unwritten(), self.chain_signing.take_unwritten()
