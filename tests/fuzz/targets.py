"""All fuzz targets, by name."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.bridges import BRIDGES
from tests.fuzz.catalogues import CATALOGUES
from tests.fuzz.chains import CHAINS
from tests.fuzz.edges import EDGES
from tests.fuzz.formats import FORMATS
from tests.fuzz.rights import RIGHTS
from tests.fuzz.target import Target

_ALL = (FORMATS, RIGHTS, EDGES, CATALOGUES, BRIDGES, CHAINS)
TARGETS: dict[str, Target] = {target.name: target for group in _ALL for target in group}
assert len(TARGETS) == sum(map(len, _ALL)), "every name is one target's"

CORPUS = Path(__file__).parent / "corpus"
"""Inputs that once broke something, by target: kept as tests."""


def kept(target: Target) -> list[Path]:
    folder = CORPUS / target.name
    return sorted(folder.iterdir()) if folder.is_dir() else []
