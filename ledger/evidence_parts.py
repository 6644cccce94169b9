"""What lies in an evidence file, under which names, and how the small proofs in it are written.

`build_bundle` writes these files and `verify_bundle` reads them; every name that may occur is here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from consensus.errors import MalformedMessage
from consensus.types import Digest
from ledger.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from ledger.note import decode_base64, encode_base64, parse_decimal

MANIFEST: Final = "manifest.json"
MANIFEST_SIGNATURE: Final = "manifest.sig"
"""64 bytes: Ed25519 over manifest.json by the exporting member's export key."""
VERIFY: Final = "VERIFY.md"
LIMITS: Final = "LIMITS.md"
SUMMARY: Final = "claim.json"
STATEMENT: Final = "statement.cose"
CLAIM: Final = "claim.cbor"
CATALOGUE_PROOF: Final = "catalogue-proof.txt"
LOG_PROOF: Final = "proof.tlog-proof"
CHECKPOINT: Final = "checkpoint"
POLICY: Final = "policy"
GENESIS: Final = "genesis.json"
EPOCHS: Final = "epochs.cbor"
"""Proof of later committees (`ledger.epochs.encode_epochs`): only where one of epoch 1 or later is needed."""
PAYLOAD_HEADER: Final = "payload-header.bin"
PAYLOAD_PROOF: Final = "payload-proof.txt"
FINALIZATION: Final = "finalization.bin"
PYTHON_PROGRAM: Final = "verify.py"
GO_PROGRAM: Final = "verify.go"

ANCHORS_MAX: Final = 8
"""One for each chain."""
_ANCHOR: Final = re.compile(r"anchor-([1-9][0-9]{0,15})\.json")

BLOCKS_MAX: Final = 1000
"""Headers from the block that carried the statement to one with a finalization of its own. Usually 1 to 3."""
_BLOCK: Final = re.compile(r"block-[0-9]{3}\.bin")

_BEFORE_BLOCKS: Final = (
    MANIFEST, MANIFEST_SIGNATURE, VERIFY, LIMITS, SUMMARY, STATEMENT, CLAIM, CATALOGUE_PROOF, LOG_PROOF, CHECKPOINT,
    POLICY, GENESIS, EPOCHS, PAYLOAD_HEADER, PAYLOAD_PROOF,
)  # fmt: skip
_AFTER_BLOCKS: Final = (FINALIZATION, PYTHON_PROGRAM, GO_PROGRAM)
_CATALOGUE: Final = frozenset({CLAIM, CATALOGUE_PROOF})
"""Only where one claim of a catalogue is offered, and then both."""

_PATH_HASHES_MAX: Final = 20
"""Enough for 16,384 claims or 1,024 statements, with room."""
_COUNT_MAX: Final = 2**_PATH_HASHES_MAX
_PROOF_HEADER: Final = "stretto/inclusion-proof@v1"
_PROOF_BYTES_MAX: Final = 2048


def block_name(position: int) -> str:
    """position: 0 for the block that carried the statement, then its descendants. SHA-256 of the file = its digest."""
    return f"block-{position:03}.bin"


def anchor_name(chain: int) -> str:
    """chain: EIP-155 id. Anchors are not in the manifest: they prove themselves, and may be added after the export."""
    return f"anchor-{chain}.json"


def is_anchor(name: str) -> bool:
    return _ANCHOR.fullmatch(name) is not None


def anchor_chains(names: Iterable[str]) -> tuple[int, ...]:
    """Chains whose anchors are among these files, in their order."""
    return tuple(int(found[1]) for found in map(_ANCHOR.fullmatch, names) if found)


def _malformed(field: str, expected: str) -> MalformedMessage:
    return MalformedMessage("evidence", field, expected)


def ordered_names(
    blocks: int, *, catalogue: bool, epochs: bool = False, chains: Collection[int] = ()
) -> tuple[str, ...]:
    """Names of a complete evidence file, in their order.

    catalogue: whether one claim of a catalogue is offered. epochs: whether a later committee than the first is needed.
    chains: those of which there is an anchor.
    """
    absent = (frozenset() if catalogue else _CATALOGUE) | (frozenset() if epochs else {EPOCHS})
    before = tuple(name for name in _BEFORE_BLOCKS if name not in absent)
    return (*before, *map(block_name, range(blocks)), *_AFTER_BLOCKS, *map(anchor_name, sorted(chains)))


def check_names(names: Iterable[str]) -> None:
    """Raises: MalformedMessage unless these are the names of a complete evidence file, in their order."""
    found = list(names)
    blocks = sum(1 for name in found if _BLOCK.fullmatch(name))
    if not 1 <= blocks <= BLOCKS_MAX:
        raise _malformed("blocks", f"1 to {BLOCKS_MAX} block headers, got {blocks}")
    chains = anchor_chains(found)
    if len(chains) > ANCHORS_MAX:
        raise _malformed("anchors", f"at most {ANCHORS_MAX}, got {len(chains)}")
    expected = ordered_names(blocks, catalogue=CLAIM in found, epochs=EPOCHS in found, chains=chains)
    for name in expected:
        if name not in found:
            raise _malformed(name, "this file: it is missing")
    for name in found:
        if name not in expected:
            raise _malformed(name, "no such file; evidence holds nothing else")
    if tuple(found) != expected:
        raise _malformed("order", f"the files in the order {', '.join(expected)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionProof:
    """That something is the leaf `index` of a small tree of `count` leaves: a catalogue's or a payload's.

    Invariants: 0 <= index < count; at most 20 hashes of 32 bytes.
    """

    index: int
    count: int
    path: tuple[Digest, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count <= _COUNT_MAX:
            raise _malformed("inclusion proof", f"an index below the count, at most {_COUNT_MAX}")
        if len(self.path) > _PATH_HASHES_MAX or any(len(item) != HASH_BYTES for item in self.path):
            raise _malformed("inclusion proof", f"at most {_PATH_HASHES_MAX} hashes of {HASH_BYTES} bytes")

    def encode(self) -> bytes:
        """Lines as in a C2SP tlog-proof; the root is not in it, it stands where it was signed."""
        lines = [_PROOF_HEADER, f"index {self.index}", f"count {self.count}", *map(encode_base64, self.path)]
        return "".join(f"{line}\n" for line in lines).encode("ascii")

    def check(self, entry: bytes, count: int, root: bytes) -> None:
        """Raises: InvalidProof or MalformedMessage unless `entry` is at `index` under this root of `count` leaves."""
        if self.count != count:
            raise _malformed("inclusion proof", f"a tree of {count} leaves, as signed, got {self.count}")
        verify_inclusion(leaf=leaf_hash(entry), index=self.index, size=count, proof=self.path, root=root)


def parse_inclusion_proof(data: bytes) -> InclusionProof:
    """Inverse of `InclusionProof.encode`. Raises: MalformedMessage."""
    if len(data) > _PROOF_BYTES_MAX or not data.isascii() or not data.endswith(b"\n"):
        raise _malformed("inclusion proof", f"lines of ASCII, at most {_PROOF_BYTES_MAX} bytes")
    lines = data.decode("ascii").split("\n")[:-1]
    if len(lines) < 3 or lines[0] != _PROOF_HEADER:
        raise _malformed("inclusion proof", f"{_PROOF_HEADER}, then index, count and hashes")
    if not lines[1].startswith("index ") or not lines[2].startswith("count "):
        raise _malformed("inclusion proof", "lines `index N` and `count N` after the header")
    return InclusionProof(
        index=parse_decimal("inclusion proof", "index", lines[1].removeprefix("index "), _COUNT_MAX),
        count=parse_decimal("inclusion proof", "count", lines[2].removeprefix("count "), _COUNT_MAX),
        path=tuple(Digest(decode_base64("inclusion proof", "path", line)) for line in lines[3:]),
    )


def block_contents(files: Mapping[str, bytes]) -> tuple[bytes, ...]:
    """The block headers' bytes, the carrying block first."""
    return tuple(content for name, content in files.items() if _BLOCK.fullmatch(name))
