"""Valid payloads kept in memory until they are executed; what there is no room for is read back from the store."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from consensus.events import PayloadsHeld
from consensus.types import Digest, Epoch
from ledger.payload import parse_payload
from node.store.chain import ChainStore
from node.validation import HeldPayload, catalogues, load_body, parse_statements

HELD_BYTES_MAX = 256 * 2**20
"""Valid payloads kept in memory until they are executed; older ones are read back from the store."""


class Holdings:
    """Invariant: all that is kept here is on disk too, so forgetting costs time only."""

    def __init__(self, store: ChainStore) -> None:
        self._store = store
        self._payloads: OrderedDict[Digest, HeldPayload] = OrderedDict()
        self.memory_bytes = 0

    def __len__(self) -> int:
        return len(self._payloads)

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._payloads

    def keep(self, payload: HeldPayload) -> None:
        """payload: valid, and durably stored."""
        if payload.payload.digest in self._payloads:
            return
        self._payloads[payload.payload.digest] = payload
        self.memory_bytes += payload.memory_bytes
        while self.memory_bytes > HELD_BYTES_MAX and len(self._payloads) > 1:
            _, oldest = self._payloads.popitem(last=False)
            self.memory_bytes -= oldest.memory_bytes

    def clear(self) -> None:
        """Their epoch has ended."""
        self._payloads.clear()
        self.memory_bytes = 0

    def find(self, digests: Sequence[Digest], epoch: Epoch) -> tuple[list[Digest], list[Digest]]:
        """Those of `digests` that are in the store and may be ordered in `epoch`, and those that are not here.

        One of an earlier epoch is valid no more: a leader that orders it gets no vote here.
        """
        epochs = {digest: self._store.payload_epoch(digest) for digest in digests}
        here = [digest for digest, found in epochs.items() if found == epoch]
        return here, [digest for digest, found in epochs.items() if found is None]

    def report(self, digests: Sequence[Digest], *, order: bool) -> Iterator[PayloadsHeld]:
        """What to tell the core of payloads in the store: those that may end the epoch apart from the others."""
        ending = {digest: (self._payloads.get(digest) or self._read(digest)).ending for digest in digests}
        for kind in (False, True):
            found = tuple(digest for digest, is_ending in ending.items() if is_ending is kind)
            if found:
                yield PayloadsHeld(digests=found, order=order, ending=kind)

    def take(self, digests: Sequence[Digest]) -> Iterator[HeldPayload]:
        """These payloads, which were reported held before, in this order; they are not kept any longer."""
        for digest in digests:
            held = self._payloads.pop(digest, None)
            if held is not None:
                self.memory_bytes -= held.memory_bytes
                yield held
                continue
            bare = self._read(digest)
            bodies = {s.digest: load_body(header, self._store.blob) for s, header in catalogues(bare.statements)}
            yield HeldPayload(payload=bare.payload, statements=bare.statements, bodies=bodies)

    def _read(self, digest: Digest) -> HeldPayload:
        """From the store, without bodies."""
        encoded = self._store.payload(digest)
        assert encoded is not None, "the engine commits only what was reported held, and held is on disk"
        payload = parse_payload(encoded)
        return HeldPayload(payload=payload, statements=parse_statements(payload))
