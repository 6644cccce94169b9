"""One chain for all contract tests; every test starts from what its fixtures deployed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from contracts.toolchain import Unavailable, install
from tests.contracts.chain import Anvil, Chain, PyEvm
from tests.contracts.deployed import Deployed, deploy_all
from tests.contracts.music import Music


@pytest.fixture(scope="session")
def chain() -> Iterator[Chain]:
    made: Chain
    if os.environ.get("STRETTO_EVM") == "anvil":
        try:
            made = Anvil(install(tools=True) / "node_modules" / ".bin" / "anvil")
        except Unavailable as error:
            pytest.skip(str(error))
    else:
        made = PyEvm()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def _deployed(chain: Chain) -> Deployed:
    return deploy_all(chain)


@pytest.fixture
def world(_deployed: Deployed) -> Iterator[Deployed]:
    """Bridge, token contract and log as they were deployed; what a test does to them is undone."""
    snapshot = _deployed.chain.snapshot()
    yield _deployed.fresh()
    _deployed.chain.revert(snapshot)


@pytest.fixture
def music(world: Deployed) -> Music:
    """A token's terms, not minted yet."""
    return Music(world)


@pytest.fixture
def minted(music: Music) -> Music:
    music.mint()
    return music
