"""Fixtures of the command line's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands import Stretto


@pytest.fixture
def stretto(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stretto:
    """A command line that sees none of this machine's own configuration."""
    for name in ("STRETTO_GENESIS", "STRETTO_EPOCHS", "STRETTO_NODE", "STRETTO_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no configuration here"))
    return Stretto(capfdbinary)
