"""Claims' rights and derived leaves in the store. The tables came after schema 1: a store without them has neither.

A claim that nothing has happened to has no row, so plain claims cost nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator

import lmdb

from consensus.errors import MalformedMessage
from ledger.apply import Applied, DerivedEntry
from ledger.rights import ClaimId, ClaimRights
from node.store.errors import StoreCorrupt
from node.store.schema import DerivedRecord, Tables, key, number
from node.store.view import View

# ---- reading ---------------------------------------------------------------------------------------------------------


def rights_of(view: View, claim: ClaimId) -> ClaimRights | None:
    """None where nothing has happened to the claim since it was recorded. Raises: StoreCorrupt."""
    data = None if view.tables.rights is None else view.get(view.tables.rights, claim.encode())
    if data is None:
        return None
    try:
        return ClaimRights.decode(data)
    except MalformedMessage as error:
        what = f"rights of claim {claim.statement.hex()} at {claim.position}"
        raise StoreCorrupt(view.path, what, str(error)) from error


def issuer_of(view: View, claim: ClaimId, index: int | None) -> str | None:
    """Who made the claim; None where there is none. index: leaf of its statement, where that is on record."""
    record = None if index is None else view.recorded(index)
    return record.issuer if record is not None and claim.position < record.claims else None


def stays_due(view: View, time_ms: int) -> Iterator[tuple[int, ClaimId]]:
    """(until_ms, claim) of every stay that lapses at `time_ms` or before, ascending. Read while the view lives."""
    if view.tables.stays is None:
        return
    for stored, _ in view.items(view.tables.stays):
        until_ms = number(stored)
        if until_ms > time_ms:
            return
        yield until_ms, ClaimId.decode(stored[8:])


def open_stays(view: View) -> int:
    """How many stays will lapse."""
    return 0 if view.tables.stays is None else view.entries_in(view.tables.stays)


def derived_count(view: View) -> int:
    return 0 if view.tables.derived is None else view.entries_in(view.tables.derived)


def derived_at(view: View, index: int) -> DerivedRecord | None:
    """The derived leaf at an index; None where a statement is there, or nothing."""
    data = None if view.tables.derived is None else view.get(view.tables.derived, key(index))
    return None if data is None else DerivedRecord.decode(data)


def index_of_derived(view: View, entry: bytes) -> int | None:
    """Leaf index of the derived leaf with this entry."""
    data = None if view.tables.derived_index is None else view.get(view.tables.derived_index, entry)
    return None if data is None else number(data)


# ---- writing ---------------------------------------------------------------------------------------------------------


def derived_record(leaf: DerivedEntry) -> DerivedRecord:
    return DerivedRecord(
        height=leaf.height, block_time_ms=leaf.block_time_ms, cause=leaf.cause, preimage=leaf.preimage
    )  # fmt: skip


def stay_key(rights: ClaimRights) -> bytes | None:
    """Where the stays' table has it; None where no time ends a stay."""
    stay = rights.stay
    return key(stay.until_ms) + rights.claim.encode() if stay is not None and stay.until_ms else None


def write(txn: lmdb.Transaction, tables: Tables, applied: Applied) -> None:
    """What a block adds to derived leaves and changes of rights, within the commit's transaction."""
    if not applied.derived and not applied.rights:
        return
    assert tables.derived is not None, "the writer made every table when it opened the store"
    assert tables.derived_index is not None, "the writer made every table when it opened the store"
    for leaf in applied.derived:
        txn.put(key(leaf.index), derived_record(leaf).encode(), append=True, db=tables.derived)
        txn.put(leaf.digest, key(leaf.index), db=tables.derived_index)
    for rights in applied.rights:
        _write_rights(txn, tables, rights)


def _write_rights(txn: lmdb.Transaction, tables: Tables, rights: ClaimRights) -> None:
    assert tables.rights is not None, "the writer made every table when it opened the store"
    assert tables.stays is not None, "the writer made every table when it opened the store"
    name = rights.claim.encode()
    before = txn.get(name, db=tables.rights)
    ended = None if before is None else stay_key(ClaimRights.decode(bytes(before)))
    if ended is not None:
        txn.delete(ended, db=tables.stays)
    begun = stay_key(rights)
    if begun is not None:
        txn.put(begun, b"", db=tables.stays)
    txn.put(name, rights.encode(), db=tables.rights)
