"""The committed artifacts are what the committed sources give, byte for byte, where there is Node.js to build them."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from contracts.build import (
    ARTIFACTS,
    CODE_BYTES_MAX,
    DEPLOYABLE,
    FIXTURES,
    SETTINGS,
    build,
    compile_contracts,
    differences,
    sources,
)
from contracts.toolchain import HERE, CompilationFailed, Unavailable, install


@pytest.mark.timeout(900)
def test_rebuilt_artifacts_are_the_committed_ones() -> None:
    try:
        installed = install()
    except Unavailable as error:
        pytest.skip(f"the contracts were not rebuilt: {error}")
    assert differences(build(installed, sources())) == [], "make contracts WRITE=1"


@pytest.mark.timeout(900)
def test_changed_source_is_noticed() -> None:
    try:
        installed = install()
    except Unavailable as error:
        pytest.skip(f"the contracts were not rebuilt: {error}")
    texts = sources()
    texts["src/Quorum.sol"] = texts["src/Quorum.sol"].replace("(count - 1) / 3", "(count - 1) / 2")
    assert "CheckpointBridge.json is not what the sources give" in differences(build(installed, texts))
    with pytest.raises(CompilationFailed, match="ParserError"):
        compile_contracts(installed, {"src/No.sol": "no Solidity"})


@pytest.mark.parametrize("name", DEPLOYABLE)
def test_artifact_names_its_sources_and_compiler(name: str) -> None:
    """Checked without a compiler too, so that a forgotten rebuild is seen on every machine."""
    artifact = json.loads((ARTIFACTS / f"{name}.json").read_text())
    assert artifact["sources_sha256"] == {
        path: hashlib.sha256(text.encode()).hexdigest() for path, text in sources().items()
    }
    assert artifact["compiler"]["settings"] == SETTINGS
    pinned = json.loads((HERE / "package.json").read_text())["dependencies"]
    assert artifact["compiler"]["version"].partition("+")[0] == pinned["solc"]
    assert artifact["library"]["@openzeppelin/contracts"] == pinned["@openzeppelin/contracts"]
    assert 0 < len(artifact["deployed_bytecode"]) // 2 - 1 <= CODE_BYTES_MAX


def test_contracts_of_the_tests_are_built_from_the_same_sources() -> None:
    known = json.loads(FIXTURES.read_text())["sources_sha256"]
    assert {path: digest for path, digest in known.items() if path.startswith("src/")} == {
        path: hashlib.sha256(text.encode()).hexdigest() for path, text in sources().items()
    }


def test_lock_file_pins_every_package_and_names_no_registry() -> None:
    packages = json.loads((HERE / "package-lock.json").read_text())["packages"]
    assert all("integrity" in each and "resolved" not in each for path, each in packages.items() if path)
    assert not [path for path, each in packages.items() if "GPL" in each.get("license", "")]


def test_nobody_owns_or_upgrades_the_contracts() -> None:
    for path, text in sources().items():
        assert "pragma solidity 0.8.37;" in text, path
        assert re.match(r"// SPDX-License-Identifier: Apache-2\.0\n", text), path
        assert not re.search(
            r"\b(Ownable|AccessControl|initializer|delegatecall|selfdestruct|tx\.origin|_burn)\b", text
        ), path
