"""Valid payloads kept in memory until they are executed; what there is no room for is read back from the store."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from consensus.types import Digest
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

    def is_ending(self, digest: Digest) -> bool:
        """Whether a payload held here holds a governance statement."""
        held = self._payloads.get(digest) or self._read(digest)
        return held.ending

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
