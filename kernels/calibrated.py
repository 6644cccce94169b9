"""Whether a GPU was ever calibrated on this host, in one look: `stretto hash` imports this (see catalog.walk)."""

from __future__ import annotations

import os


def state_path() -> str:
    """Folder of the calibrations, where a user's programs keep state by the XDG base directory specification."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111  pathlib takes 8 ms
    return f"{home}/stretto/gpu"


def is_any_calibrated() -> bool:
    """False: no GPU can be used, and nothing that knows of GPUs need be imported."""
    try:
        return any(name.endswith(".json") for name in os.listdir(state_path()))  # noqa: PTH208
    except OSError:
        return False
