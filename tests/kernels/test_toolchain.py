"""Where the GPU toolchain cannot be built that is said, with what to do; where it is out of date it is built anew."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels.driver import toolchain
from tests.kernels.driver.toolchain import Toolchain, compiler_key, driver_key, main, missing, unable


@pytest.fixture(autouse=True)
def ask_again() -> Iterator[None]:
    missing.cache_clear()
    yield
    missing.cache_clear()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(toolchain, "FOLDER", tmp_path)
    return tmp_path


def test_another_machine_goes_on_without_where_that_is_allowed(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(toolchain.platform, "machine", lambda: "aarch64")
    assert (missing() or "").endswith("on aarch64 is not x86_64 Linux: no GPU toolchain here")
    assert main(["--if-possible"]) == 0
    assert "tests of the GPU path are skipped; `make gpu-verify` tries again" in capsys.readouterr().err
    assert main([]) == 1
    assert list(elsewhere.iterdir()) == []


def test_a_machine_without_a_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "c++" else f"/usr/bin/{name}")
    assert unable() == "no c++ (apt-get install g++)"


def test_what_was_made_of_something_else_counts_as_missing(elsewhere: Path) -> None:
    chain = Toolchain(folder=elsewhere)
    assert missing() == "the GPU toolchain is not built: make gpu-verify"
    for part, key in (("pycuda", compiler_key()), ("driver", driver_key())):
        missing.cache_clear()
        assert missing() is not None
        chain.made(part, key)
    missing.cache_clear()
    assert missing() is None
    chain.made("driver", "another")
    missing.cache_clear()
    assert missing() is not None


def test_the_key_of_the_driver_is_made_of_its_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = driver_key()
    copy = tmp_path / "driver"
    shutil.copytree(toolchain.HERE, copy)
    monkeypatch.setattr(toolchain, "HERE", copy)
    assert driver_key() == before
    (copy / "device.cpp").write_text("// changed\n")
    assert driver_key() != before
