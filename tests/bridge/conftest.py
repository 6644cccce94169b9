"""An anvil that mines at once, for tests of one relayer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.toolchain import Unavailable
from tests.bridge.anvils import AnvilNode, program
from tests.bridge.service import Ledger
from tests.bridge.world import Place, deployed_on, key


@pytest.fixture(scope="session")
def anvil() -> Iterator[AnvilNode]:
    """Mines when it is told to, and when a transaction comes."""
    try:
        program()
    except Unavailable as error:
        pytest.skip(f"anvil comes from npm: {error}")
    node = AnvilNode("zilliqa", block_s=None)
    try:
        yield node
    finally:
        node.close()


@pytest.fixture
def place(anvil: AnvilNode, tmp_path: Path) -> Place:
    """With contracts of its own: anvil does not restore a snapshot from before a reorganisation."""
    for index in range(4):
        anvil.fund(key(index).address)
    ledger = Ledger()
    made = Place(anvil, ledger, deployed_on(anvil, ledger, tmp_path), tmp_path)
    anvil.mine(12)  # no reorganisation of a test reaches down to the deployment
    return made
