"""Checkpoints that contradict each other, kept as files: what must reach every member when a chain shows a fork."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.checkpoints import SignedCheckpoint


def keep(
    folder: Path,
    *,
    chain: str,
    chain_id: int,
    bridge: bytes,
    reason: str,
    checkpoints: Sequence[SignedCheckpoint | None],
) -> Path:
    """Writes them, once for each pair. None: one that the contract has recorded, whose signatures were not found."""
    document: dict[str, Any] = {
        "what": "checkpoints of one consortium that contradict each other",
        "chain": chain,
        "chain_id": chain_id,
        "bridge": "0x" + bridge.hex(),
        "reason": reason,
        "checkpoints": [None if each is None else each.as_json() for each in checkpoints],
    }
    data = (json.dumps(document, indent=1) + "\n").encode()
    name = hashlib.sha256(json.dumps([chain_id, document["checkpoints"]]).encode()).hexdigest()[:16]
    path = folder / f"{chain}-{name}.json"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return path
