"""The texts and programs that travel in every evidence file, as they lie in `evidence_files/`.

They are part of this package's code, read once when it is imported: real files, so that they can be linted, compiled
and run by the tests as a stranger would run them.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

_FILES: Final = files("ledger") / "evidence_files"

VERIFY_MD: Final = (_FILES / "VERIFY.md").read_bytes()
LIMITS_MD: Final = (_FILES / "LIMITS.md").read_bytes()
VERIFY_PY: Final = (_FILES / "verify.py").read_bytes()
VERIFY_GO: Final = (_FILES / "verify.go").read_bytes()
