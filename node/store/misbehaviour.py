"""Evidence of misbehaviour in the chain store: the first of each validator and view, bounded per validator.

The table came after schema 1 and changes nothing in it: a store without the table holds no evidence.
"""

from __future__ import annotations

import struct
from typing import Final

import lmdb

from ledger.evidence_report import Verdict
from ledger.misbehaviour import Evidence, MisbehaviourEvidence, parse_misbehaviour, verify_misbehaviour
from node.rosters import Rosters
from node.store.environment import Database

CASES_MAX: Final = 1_000
"""Pieces of evidence kept in all: about 350 KB. Each validator may fill its share only, so that none hides another."""
_KEY: Final = struct.Struct(">QHQ")
"""epoch, validator, view: what there is one piece of evidence for. Of signatures for public chains, CHAIN + size."""
CHAIN: Final = 1 << 63
"""Above every size and every view that is ever reached."""
KEY_BYTES: Final = _KEY.size


def case_key(evidence: Evidence) -> bytes:
    of = evidence.view if isinstance(evidence, MisbehaviourEvidence) else CHAIN | evidence.size
    return _KEY.pack(evidence.epoch, evidence.voter, of)


def may_keep(txn: lmdb.Transaction, database: Database, evidence: Evidence, validators: int) -> bool:
    """Whether it is news, and its validator's share and the whole have room."""
    if txn.get(case_key(evidence), db=database) is not None or count(txn, database) >= CASES_MAX:
        return False
    share, held = max(1, CASES_MAX // validators), 0
    prefix = case_key(evidence)[:10]
    with txn.cursor(db=database) as cursor:
        found = cursor.set_range(prefix)
        while found and bytes(cursor.key()[:10]) == prefix and held < share:
            held += 1
            found = cursor.next()
    return held < share


def keep(txn: lmdb.Transaction, database: Database, evidence: Evidence) -> None:
    txn.put(case_key(evidence), evidence.encode(), overwrite=False, db=database)


def count(txn: lmdb.Transaction, database: Database | None) -> int:
    return 0 if database is None else int(txn.stat(db=database)["entries"])


def page(txn: lmdb.Transaction, database: Database | None, limit: int, after: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """Encoded evidence by epoch, validator and view, at most `limit`; and the next page's `after`, or nothing.

    after: empty, or KEY_BYTES bytes.
    """
    found: list[bytes] = []
    last = b""
    if database is None:
        return (), b""
    with txn.cursor(db=database) as cursor:
        more = cursor.set_range(after) if after else cursor.first()
        if more and after and bytes(cursor.key()) == after:
            more = cursor.next()
        while more and len(found) < limit:
            found.append(bytes(cursor.value()))
            last = bytes(cursor.key())
            more = cursor.next()
    return tuple(found), last if more else b""


def check(txn: lmdb.Transaction, database: Database | None, rosters: Rosters) -> tuple[int, str | None]:
    """How many pieces there are, and what is wrong with the first that proves nothing, or is not where it belongs."""
    if database is None:
        return 0, None
    known = tuple(start.roster for start in rosters.starts)
    with txn.cursor(db=database) as cursor:
        for number, (stored_key, data) in enumerate(cursor):
            report = verify_misbehaviour(bytes(data), rosters.genesis, known=known)
            if report.verdict is not Verdict.VERIFIED:
                return number, "; ".join(c.reason for c in report.checks if c.outcome.name == "FAILED")
            if case_key(parse_misbehaviour(bytes(data))) != bytes(stored_key):
                return number, "stored under another validator or view"
    return count(txn, database), None
