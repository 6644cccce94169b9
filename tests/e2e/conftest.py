"""One devnet for the whole session: starting four nodes takes seconds, and every test leaves all four running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.running import RunningDevnet


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDevnet]:
    devnet = RunningDevnet(tmp_path_factory.mktemp("net") / "d")
    try:
        devnet.up()
        yield devnet
    finally:
        devnet.close()
