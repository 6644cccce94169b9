"""Checks catalogues' bodies beside the loop, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from ledger.catalogue import CatalogueHeader, CheckedBody, check_catalogue

_ONE = trio.CapacityLimiter(1)
"""Threads take turns at the interpreter: beside twenty that check, the loop would get a twentieth of it for its votes,
and none of the twenty would be done sooner."""


async def check_body(header: CatalogueHeader, manifest: bytes, chunks: Sequence[bytes]) -> CheckedBody:
    """As `check_catalogue`, on a thread, when its turn comes. Raises: what that raises."""
    async with _ONE:
        return await trio.to_thread.run_sync(check_catalogue, header, manifest, chunks)
