"""The house rules a machine can check: file sizes, generated code at the edge, pins, licences, documentation."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "bench",
    "bridge",
    "catalog",
    "cli",
    "consensus",
    "contracts",
    "kernels",
    "ledger",
    "node",
    "protos",
    "tests",
)
LINES_MAX = 500
LONG_FILES: dict[str, str] = {}
"""Files over LINES_MAX, each with the reason why it is one module."""

OWN_PB2 = re.compile(r"\b(stretto|peer)_pb2")
"""Our generated modules; libp2p has its own, which its guards must read."""
PB2_EDGE = re.compile(
    r"^(node/wire\.py|node/rpc/\w+\.py|cli/client\.py|bridge/(node_client|mint_node)\.py|docker/healthcheck\.py"
    r"|tests/.*|bench/.*)$"
)
"""The only places that may name generated protobuf code (design D2)."""


def tracked(*suffixes: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:  # an unpacked archive: take what is there, less what is built
        names = [str(p.relative_to(ROOT)) for package in PACKAGES for p in (ROOT / package).rglob("*")]
        names = [n for n in names if "_pb2" not in n]
    else:
        names = listed.stdout.splitlines()
    return [ROOT / n for n in names if n.endswith(suffixes) and (ROOT / n).is_file()]


def test_no_source_file_is_over_500_lines_without_a_listed_reason() -> None:
    long = {
        str(p.relative_to(ROOT)): len(p.read_text().splitlines())
        for p in tracked(".py", ".proto", ".go", ".cu", ".sol")
    }
    over = {name: lines for name, lines in long.items() if lines > LINES_MAX}
    assert set(over) == set(LONG_FILES), f"over {LINES_MAX} lines: {over}; listed: {LONG_FILES}"


def test_generated_protobuf_code_is_named_only_at_the_edge() -> None:
    offenders = [
        str(p.relative_to(ROOT))
        for p in tracked(".py")
        if OWN_PB2.search(p.read_text()) and p.name != "hatch_build.py" and not PB2_EDGE.match(str(p.relative_to(ROOT)))
    ]
    assert offenders == []


def test_generated_protobuf_code_is_not_committed() -> None:
    assert [p.name for p in tracked(".py", ".pyi") if "_pb2" in p.name] == []


def test_generated_code_is_not_newer_than_the_protobuf_runtime() -> None:
    source = (ROOT / "protos" / "stretto_pb2.py").read_text()
    gencode = re.search(r"# Protobuf Python Version: (\d+)\.(\d+)\.(\d+)", source)
    assert gencode is not None
    runtime = tuple(int(part) for part in importlib.metadata.version("protobuf").split(".")[:3])
    assert tuple(int(part) for part in gencode.groups()) <= runtime


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is(package: str) -> None:
    silent = [
        str(p.relative_to(ROOT))
        for p in tracked(".py")
        if p.is_relative_to(ROOT / package)
        and p.read_text().strip()
        and ast.get_docstring(ast.parse(p.read_text())) is None
    ]
    assert silent == []


def test_core_draws_no_random_number_and_reads_no_clock() -> None:
    banned = {"time", "random", "secrets", "os", "socket", "threading", "logging", "datetime"}
    for package, names in (("consensus", banned), ("ledger", banned - {"datetime"})):
        for path in (p for p in tracked(".py") if p.is_relative_to(ROOT / package)):
            for node in ast.walk(ast.parse(path.read_text())):
                imported = (
                    [a.name for a in node.names] if isinstance(node, ast.Import)
                    else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                )  # fmt: skip
                assert not names & {name.split(".")[0] for name in imported}, path


def test_ledger_never_asks_for_the_current_time() -> None:
    for path in (p for p in tracked(".py") if p.is_relative_to(ROOT / "ledger")):
        assert not re.search(r"\b(now|today|utcnow)\(", path.read_text()), path


def test_no_dependency_is_under_the_agpl() -> None:
    for distribution in importlib.metadata.distributions():
        metadata = distribution.metadata
        licences = [metadata.get("License-Expression", ""), *(metadata.get_all("Classifier") or [])]
        assert not any("AGPL" in text or "Affero" in text for text in licences if text), metadata["Name"]


def test_tests_do_not_sleep_in_pure_packages() -> None:
    for folder in ("consensus", "ledger", "simulation"):
        for path in (p for p in tracked(".py") if p.is_relative_to(ROOT / "tests" / folder)):
            assert "sleep(" not in path.read_text(), path
