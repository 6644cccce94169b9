"""Breaks every check of the contracts, one at a time: the tests must notice. python -m tests.contracts.mutants --help

All checks, `if (...) revert ...;`, are broken in one build: each asks the block's coinbase whether it is the one to be
left out. So are changed rules. Tests run on anvil; what they noticed is kept, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.progress import track

from contracts.build import ARTIFACTS, DEPLOYABLE, FIXTURES, compile_contracts, fixture_sources, sources
from contracts.toolchain import INSTALLED, CompilationFailed, Unavailable, install

HERE = Path(__file__).parent
RESULTS = INSTALLED / "mutants.json"
CHECK = re.compile(r"^( *if \()((?:[^\n]|\n(?! *if))*?)(\) revert (\w+)\([^;]*\);)", re.MULTILINE)
"""One statement: a condition and what it reverts with."""
BRIDGE = frozenset({"CheckpointBridge", "ProofHarness"})
TOKEN = frozenset({"MusicNFT", "ReentrantPayee", "CoinRefuser", "ReentrantToken"})
"""What must be compiled again when their sources change."""
BUILT = "built apart: "
UNSEEN = {
    ("src/Rfc9162.sol", "Sha256Unavailable"): "anvil has the precompile; forge takes it away (Fuzz.t.sol)",
}
"""Checks that no test can see missing, and why."""
RULES = (
    ("src/Quorum.sol", "count - (count - 1) / 3", "2 * ((count - 1) / 3) + 1", "a quorum is 2f + 1"),
    ("src/Quorum.sol", "signers.length < SIGNERS_MIN", "signers.length < 3", "three signers are a set"),
    ("src/Quorum.sol", "signers.length > SIGNERS_MAX", "signers.length > 65", "65 signers are a set"),
    ("src/Quorum.sol", "s > S_MAX", "s > S_MAX + 1", "s may be half the order plus one"),
    ("src/Quorum.sol", "return keccak256(abi.encode(epoch, signers));",
     "return keccak256(MUTATED ? abi.encode(signers) : abi.encode(epoch, signers));", "a set's name lacks its epoch"),
    ("src/Rfc9162.sol", "mstore8(input, 0x00)", "mstore8(input, eq(coinbase(), MUTANT))", "a leaf hashes like a node"),
    ("src/CheckpointBridge.sol", "uint64(block.timestamp) + PREVIOUS_SET_SECONDS", "uint64(block.timestamp) + 8 days",
     "the previous set counts for eight days"),
    ("src/CheckpointBridge.sol", "previousSetUntil = 0;", "", "recovery keeps the previous set's time"),
    ("src/CheckpointBridge.sol", "previousSet = 0;", "", "recovery keeps the previous set"),
    ("src/CheckpointBridge.sol", "frozen = false;", "", "recovery does not end a freeze"),
    ("src/CheckpointBridge.sol", "frozen = true;", "", "a fork does not freeze"),
    ("src/CheckpointBridge.sol", "        size = checkpoint.size;", "", "the size stays"),
    ("src/CheckpointBridge.sol", "x.epoch == y.epoch && x.successor != 0", "x.successor != 0", "ends of two epochs"),
    ("src/CheckpointBridge.sol", "(x.successor != y.successor || x.size != y.size)", "x.successor != y.successor",
     "two boundaries with one successor are no fork"),
    ("src/CheckpointBridge.sol", "x.size == y.size && x.root != y.root", "x.root != y.root", "roots of two sizes"),
    ("src/CheckpointBridge.sol", "rootAt[checkpoint.size] == checkpoint.root && checkpoint.successor == 0",
     "rootAt[checkpoint.size] == checkpoint.root", "a recorded checkpoint is evidence of a boundary"),
    ("src/CheckpointBridge.sol", "rootAt[checkpoint.size] == checkpoint.root && checkpoint.size == size",
     "rootAt[checkpoint.size] == checkpoint.root", "a boundary may be behind the last checkpoint"),
    ("src/CheckpointBridge.sol", "known != 0 && known != checkpoint.root", "known != checkpoint.root", "all is a fork"),
    ("src/CheckpointBridge.sol", 'keccak256("1"), genesis_', 'keccak256("1"), MUTATED ? bytes32(0) : genesis_',
     "the domain lacks the genesis"),
    ("src/Accounts.sol", "owed[asset][msg.sender] = 0;", "", "withdrawals can be repeated"),
    ("src/Accounts.sol", "_paidIn[id][asset][escrow.round][msg.sender] = 0;", "", "refunds can be repeated"),
    ("src/Accounts.sol", "escrow.amount -= amount;", "", "a refund stays in escrow"),
    ("src/Accounts.sol", "escrow.amount = 0;", "", "releases can be repeated"),
    ("src/Accounts.sol", "++escrow.round;", "", "released income can be asked back"),
    ("src/Accounts.sol", "address to) external nonReentrant", "address to) external", BUILT + "withdraw is re-entered"),
    ("src/Accounts.sol", "IERC20(asset).balanceOf(address(this)) - before", "amount", "tokens count as they were sent"),
    ("src/Accounts.sol", "if (account == address(0)) return 0;", "if (!(MUTATED) && account == address(0)) return 0;",
     "shares go to nobody"),
    ("src/Accounts.sol", "uint256 i = 1; i < terms.payees", "uint256 i = MUTATED ? 2 : 1; i < terms.payees",
     "the second payee gets nothing"),
    ("src/MusicNFT.sol", "amount) external nonReentrant", "amount) external", BUILT + "payToken is re-entered"),
    ("src/MusicNFT.sol", "firstCollector[id] = msg.sender;", "", "the buyer is not the first collector"),
    ("src/MusicNFT.sol", "if (offers[id] != 0) delete offers[id];",
     "if (!(MUTATED) && offers[id] != 0) delete offers[id];", "offers outlive the minter's ownership"),
    ("src/MusicNFT.sol", "_requireActive(id, status.state);", "", "disputed terms are minted"),
    ("src/MusicNFT.sol", "known.seq = status.seq;", "", "a status can be replayed"),
    ("src/MusicNFT.sol", "paid, address(0));", "paid, MUTATED ? msg.sender : address(0));", "the buyer has a discount"),
    ("src/MusicNFT.sol", "_requireMinted(id);\n    }", "if (!(MUTATED)) _requireMinted(id);\n    }",
     "income for what was not minted"),
    ("src/MusicNFT.sol", "id = uint256(Terms.mintEntry(genesis, terms));",
     "id = MUTATED ? uint256(terms.claim) : uint256(Terms.mintEntry(genesis, terms));",
     "terms are not proved by the id"),
    ("src/Terms.sol", "bytes.concat(STATUS_KIND,", "bytes.concat(MUTATED ? MINT_KIND : STATUS_KIND,",
     "one kind for two leaves"),
)  # fmt: skip
"""File, what stands there, and what is to stand there: an expression for an expression; nothing for a statement; or a
text that says itself when it is another (MUTATED). What can only be built apart says so in its name."""


@dataclass(frozen=True)
class Mutant:
    key: str
    tests: tuple[str, ...]
    """Those that are likely to notice it. Most mutants end with them, in seconds."""
    number: int
    """The coinbase that switches it on."""
    path: str = ""
    text: str = ""
    """Of the whole source file, where it must be built apart."""


def mutants(texts: dict[str, str]) -> Iterator[Mutant]:
    numbers = itertools.count(1)
    for path, text in texts.items():
        for found in CHECK.finditer(text):
            number, line, error = next(numbers), text[: found.start()].count("\n") + 1, found[4]
            if (path, error) not in UNSEEN:
                yield Mutant(f"{path}: line {line} without {error}", naming(f'"{error}', f"{error}("), number)
    for path, old, new, name in RULES:
        number = next(numbers)
        if old not in texts[path]:
            raise SystemExit(f"rule '{name}': {path} does not have {old!r}")
        of_bridge = path.removeprefix("src/").removesuffix(".sol") in ("CheckpointBridge", "Quorum", "Rfc9162")
        names = ("test_bridge_*.py", "test_check*.py", "test_merkle*.py") if of_bridge else ("test_[imf]*.py",)
        tests = tuple(str(each) for name in names for each in sorted(HERE.glob(name)))
        apart = (path, texts[path].replace(old, new, 1)) if name.startswith(BUILT) else ("", "")
        yield Mutant(f"{path}: {name}", tests, number, *apart)


def with_switches(texts: dict[str, str]) -> dict[str, str]:
    """The sources with every check and rule behind a switch. What was pure reads the block now."""
    numbers = itertools.count(1)

    def switch(found: re.Match[str]) -> str:
        return f"{found[1]}block.coinbase != address({next(numbers)}) && ({found[2]}){found[3]}"

    made = {path: re.sub(r"\bpure\b", "view", CHECK.sub(switch, text)) for path, text in texts.items()}
    for path, old, new, name in RULES:
        number = next(numbers)
        mutated = f"block.coinbase == address({number})"
        if name.startswith(BUILT):
            continue
        if "MUTA" in new:
            text = new.replace("MUTATED", mutated).replace("MUTANT", str(number))
        elif not new:
            text = f"if (!({mutated})) {{ {old} }}"
        else:
            text = f"({mutated} ? ({new}) : ({old}))"
        assert old in made[path], f"an earlier rule has changed what '{name}' is to change"
        made[path] = made[path].replace(old, text, 1)
    return made


def naming(*hints: str) -> tuple[str, ...]:
    """Tests, or whole files of them, with one of these strings."""
    found = []
    for path in sorted(HERE.glob("test_*.py")):
        text = path.read_text()
        for node in ast.parse(text).body:
            segment = ast.get_source_segment(text, node) or ""
            if any(hint in segment for hint in hints):
                one = isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
                found.append(f"{path}::{node.name}" if one and isinstance(node, ast.FunctionDef) else str(path))
    return tuple(found)


def lay_out(installed: Path, texts: dict[str, str], folder: Path, only: frozenset[str]) -> None:
    """Artifacts in `folder`: `only` these of the mutated sources, the others as they are committed."""
    compiled = compile_contracts(installed, {**texts, **fixture_sources()}, warnings=True, only=only)
    fixtures = json.loads(FIXTURES.read_text())
    (folder / "fixtures").mkdir(parents=True, exist_ok=True)
    for name in DEPLOYABLE:
        shutil.copy(ARTIFACTS / f"{name}.json", folder)
    for name in only:
        made = {"abi": compiled[name]["abi"], "bytecode": "0x" + compiled[name]["evm"]["bytecode"]["object"]}
        if name in DEPLOYABLE:
            (folder / f"{name}.json").write_text(json.dumps(made))
        else:
            fixtures["contracts"][name] = made
    (folder / "fixtures" / FIXTURES.name).write_text(json.dumps(fixtures))


def passes(tests: tuple[str, ...], folder: Path, number: int) -> bool:
    """Whether all of them pass on the artifacts in `folder`, with the mutant of that number switched on.

    In this process: to start Python and pytest takes longer than most mutants live.
    """
    os.environ["STRETTO_MUTANT"] = str(number)
    os.environ["STRETTO_ARTIFACTS"] = str(folder)
    os.environ["STRETTO_FIXTURES"] = str(folder / "fixtures" / FIXTURES.name)
    os.environ["STRETTO_EVM"] = "anvil"
    arguments = ["-x", "-q", "-p", "no:cacheprovider", *tests]
    for name in ("test_artifacts.py", "test_gas.py"):
        arguments += ["--ignore", str(HERE / name)]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = pytest.main(arguments)
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(f"the tests did not run:\n{said.getvalue()[-3000:]}")
    return code == pytest.ExitCode.OK


def survives(mutant: Mutant, texts: dict[str, str], installed: Path, switched: Path) -> str:
    """ "killed", "does not compile" or "survived"."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) if mutant.path else switched
        try:
            if mutant.path:
                lay_out(installed, {**texts, mutant.path: mutant.text}, folder, TOKEN)
        except CompilationFailed:
            return "does not compile"
        if mutant.tests and not passes(mutant.tests, folder, mutant.number):
            return "killed"
        return "survived" if passes((str(HERE),), folder, mutant.number) else "killed"


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
        installed = install(tools=True)
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
    left = [each for each in wanted if each.key not in results]
    switched = INSTALLED / "switched" / hashlib.sha256(json.dumps(with_switches(texts)).encode()).hexdigest()[:16]
    if left and not (switched / "passed").exists():
        lay_out(installed, with_switches(texts), switched, BRIDGE | TOKEN)
        if not passes((str(HERE),), switched, 0):
            raise SystemExit("the tests fail on contracts of which nothing is left out")
        (switched / "passed").touch()
    for mutant in track(left, "mutants", disable=not sys.stderr.isatty()):
        results[mutant.key] = survives(mutant, texts, installed, switched)
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
