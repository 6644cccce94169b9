"""Breaks every check of the contracts, one at a time: the tests must notice each. python -m tests.contracts.mutants --help

A mutant is the sources with one `if (...) revert ...;` taken out, or one rule changed. It is compiled, and the contract
tests run on it: on anvil where that can be had (ten times as fast), else on py-evm. Those that it noticed
are kept, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import track

from contracts.build import ARTIFACTS, FIXTURES, build, sources
from contracts.toolchain import INSTALLED, CompilationFailed, Unavailable, install

HERE = Path(__file__).parent
RESULTS = INSTALLED / "mutants.json"
TESTS_S = 900
CHECK = re.compile(r"^ *if \((?:[^\n]|\n(?! *if))*?\) revert \w+\([^;]*\);", re.MULTILINE)
"""One statement: a condition and what it reverts with."""
UNSEEN = {
    ("src/Rfc9162.sol", "Sha256Unavailable"): "no chain to test on lacks the precompile",
}
"""Checks that no test can see missing, and why."""
RULES = (
    ("src/Quorum.sol", "count - (count - 1) / 3", "2 * ((count - 1) / 3) + 1", "quorum is 2f + 1"),
    ("src/Quorum.sol", "SIGNERS_MIN = 4", "SIGNERS_MIN = 3", "three signers are a set"),
    ("src/Quorum.sol", "SIGNERS_MAX = 64", "SIGNERS_MAX = 65", "65 signers are a set"),
    ("src/Quorum.sol", "57A4501DDFE92F46681B20A0", "57A4501DDFE92F46681B20A1", "s may be half the order plus one"),
    ("src/Quorum.sol", "abi.encode(epoch, signers)", "abi.encode(signers)", "a set's name lacks its epoch"),
    ("src/Rfc9162.sol", "mstore8(input, 0x00)", "mstore8(input, 0x01)", "a leaf hashes like a node"),
    ("src/CheckpointBridge.sol", "7 days", "8 days", "the previous set counts for eight days"),
    ("src/CheckpointBridge.sol", "        previousSetUntil = 0;\n", "", "recovery keeps the previous set's time"),
    ("src/CheckpointBridge.sol", "        previousSet = 0;\n", "", "recovery keeps the previous set"),
    ("src/CheckpointBridge.sol", "        frozen = false;\n", "", "recovery does not end a freeze"),
    ("src/CheckpointBridge.sol", "        frozen = true;\n", "", "a fork does not freeze"),
    ("src/CheckpointBridge.sol", "        size = checkpoint.size;\n", "", "the size stays"),
    ("src/CheckpointBridge.sol", "x.epoch == y.epoch && ", "", "two ends may be of two epochs"),
    ("src/CheckpointBridge.sol", " || x.size != y.size)", ")", "two boundaries with one successor are no fork"),
    ("src/CheckpointBridge.sol", "x.size == y.size && ", "", "roots of two sizes are a fork"),
    ("src/CheckpointBridge.sol", " && checkpoint.successor == 0;\n            if", ";\n            if", "recorded boundary"),
    ("src/CheckpointBridge.sol", " && checkpoint.size == size;", ";", "a boundary may be behind the head"),
    ("src/CheckpointBridge.sol", "known != 0 && ", "", "every new size is a fork"),
    ("src/CheckpointBridge.sol", ", keccak256(\"1\"), genesis_)", ", keccak256(\"1\"), bytes32(0))", "domain without genesis"),
    ("src/Accounts.sol", "        owed[asset][msg.sender] = 0;\n", "", "withdrawals can be repeated"),
    ("src/Accounts.sol", "        _paidIn[id][asset][escrow.round][msg.sender] = 0;\n", "", "refunds can be repeated"),
    ("src/Accounts.sol", "        escrow.amount -= amount;\n", "", "a refund stays in escrow"),
    ("src/Accounts.sol", "        escrow.amount = 0;\n", "", "releases can be repeated"),
    ("src/Accounts.sol", "        ++escrow.round;\n", "", "released income can be asked back"),
    ("src/Accounts.sol", "asset, address to) external nonReentrant", "asset, address to) external", "withdraw re-entered"),
    ("src/Accounts.sol", "IERC20(asset).balanceOf(address(this)) - before", "amount", "tokens count as they were sent"),
    ("src/Accounts.sol", "if (account == address(0)) return 0;", "", "shares go to nobody"),
    ("src/Accounts.sol", "uint256 i = 1; i < terms.payees", "uint256 i = 2; i < terms.payees", "second payee gets nothing"),
    ("src/MusicNFT.sol", "uint256 amount) external nonReentrant", "uint256 amount) external", "payToken re-entered"),
    ("src/MusicNFT.sol", "        firstCollector[id] = msg.sender;\n", "", "buyer is not the first collector"),
    ("src/MusicNFT.sol", "if (offers[id] != 0) delete offers[id];", "", "offers outlive the minter's ownership"),
    ("src/MusicNFT.sol", "        _requireActive(id, status.state);\n", "", "disputed terms are minted"),
    ("src/MusicNFT.sol", "        known.seq = status.seq;\n", "", "a status can be replayed"),
    ("src/MusicNFT.sol", "paid, address(0));", "paid, msg.sender);", "the buyer has a discount"),
    ("src/MusicNFT.sol", "        _requireMinted(id);\n    }", "    }", "income for what was not minted"),
    ("src/MusicNFT.sol", "uint256(Terms.mintEntry(genesis, terms));\n        _req", "uint256(terms.claim);\n        _req", "id"),
    ("src/Terms.sol", 'STATUS_KIND = "stretto/status/v1"', 'STATUS_KIND = "stretto/mint/v1"', "one kind for two leaves"),
)  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    path: str
    name: str
    text: str
    """Of the whole source file."""
    hints: tuple[str, ...] = ()
    """Strings in tests that look like they would notice."""

    @property
    def key(self) -> str:
        return f"{self.path}: {self.name}"


def mutants(texts: dict[str, str]) -> Iterator[Mutant]:
    for path, text in texts.items():
        for found in CHECK.finditer(text):
            error = found[0].rpartition("revert ")[2].partition("(")[0]
            if (path, error) in UNSEEN:
                continue
            line = text[: found.start()].count("\n") + 1
            without = text[: found.start()] + text[found.end() :]
            yield Mutant(path, f"line {line} without {error}", without, (f'"{error}', f"{error}("))
    for path, old, new, name in RULES:
        if texts[path].count(old) < 1:
            raise SystemExit(f"rule '{name}': {path} does not have {old!r}")
        yield Mutant(path, name, texts[path].replace(old, new, 1))


def likely_tests(mutant: Mutant) -> list[str]:
    """Tests that name the error: most mutants end with them, in seconds."""
    found = []
    for path in sorted(HERE.glob("test_*.py")):
        text = path.read_text()
        for node in ast.parse(text).body:
            segment = ast.get_source_segment(text, node) or ""
            if any(hint in segment for hint in mutant.hints):
                if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                    found.append(f"{path}::{node.name}")
                elif not isinstance(node, ast.FunctionDef):
                    found.append(str(path))
    return found


def passes(tests: list[str], folder: Path, evm: str) -> bool:
    """Whether all of them pass on the artifacts in `folder`."""
    environment = {
        **os.environ, "STRETTO_ARTIFACTS": str(folder), "STRETTO_FIXTURES": str(folder / "fixtures" / "fixtures.json"),
        "STRETTO_EVM": evm,
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    command += ["--deselect", str(HERE / "test_artifacts.py")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TESTS_S, check=False)
    if ended.returncode not in (0, 1):
        raise SystemExit(f"the tests did not run:\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}")
    return ended.returncode == 0


def survives(mutant: Mutant, texts: dict[str, str], installed: Path, evm: str) -> str:
    """"killed", "does not compile" or "survived"."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        try:
            built = build(installed, {**texts, mutant.path: mutant.text}, warnings=True)
        except CompilationFailed:
            return "does not compile"
        for path, text in built.items():
            # A folder of its own, as every file beside the artifacts is taken for one.
            place = folder / "fixtures" / path.name if path == FIXTURES else folder / path.relative_to(ARTIFACTS)
            place.parent.mkdir(exist_ok=True)
            place.write_text(text)
        likely = likely_tests(mutant) if mutant.hints else []
        if likely and not passes(likely, folder, evm):
            return "killed"
        return "survived" if passes([str(HERE)], folder, evm) else "killed"


def state_of(texts: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()


def main() -> int:
    """0: all noticed. 1: some survived. 3: no compiler."""
    parser = argparse.ArgumentParser(prog="python -m tests.contracts.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="only mutants whose name has this, such as StaleEpoch")
    parser.add_argument("--again", action="store_true", help="forget what earlier runs have found")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    arguments = parser.parse_args()
    try:
        installed, evm = install(tools=True), "anvil"
    except Unavailable as error:
        print(f"stretto: no mutants were made: {error}", file=sys.stderr)
        return 3
    texts = sources()
    state = state_of(texts)
    kept: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() and not arguments.again else {}
    known: dict[str, str] = kept.get("results", {}) if kept.get("state") == state else {}
    # Tests may have been added since: what survived then is tried again.
    results = {key: result for key, result in known.items() if result == "killed"}
    wanted = [each for each in mutants(texts) if arguments.only in each.key]
    for mutant in track([each for each in wanted if each.key not in results], "mutants", disable=not sys.stderr.isatty()):
        results[mutant.key] = survives(mutant, texts, installed, evm)
        RESULTS.write_text(json.dumps({"state": state, "results": results}, indent=1))
    found = {each.key: results[each.key] for each in wanted}
    survived = [key for key, result in found.items() if result == "survived"]
    broken = [key for key, result in found.items() if result == "does not compile"]
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        for key in survived:
            print(f"survived: {key}")
        for key in broken:
            print(f"does not compile: {key}")
        print(f"{len(found)} mutants, {len(survived)} survived, {len(broken)} do not compile")
    return int(bool(survived or broken))


if __name__ == "__main__":
    sys.exit(main())
