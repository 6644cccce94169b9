"""python -m tests.model.run: has Spin search the model of the voting rules, and every mutant of it, to the end.

The right rules must hold, each mutant must be refuted, each witness must be reachable. Needs the commands
`spin`, `gcc`, `bash`. Exit status 1 where an outcome is not the expected one, 2 where a command lacks.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

MODEL = Path(__file__).with_name("simplex.pml")
TOOLS = ("spin", "gcc", "bash")
WORKERS = 2
MEMORY_MB_MAX = 1800
"""Of each search; two run at a time."""
DEPTH_MAX = 200
SECONDS_MAX = 900

LEMMAS = {
    1: "two blocks of one view are notarized",
    2: "a view is both final and nullified",
    3: "a block notarized above a final one does not descend from it",
    4: "two final blocks are not on one chain",
}


class Expected(Enum):
    HOLDS = "holds"
    REFUTED = "refuted"
    REACHABLE = "reachable"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One search. flags: of the model, beside VIEWS. lemma: the one a mutant breaks first. says: what is left out."""

    name: str
    says: str
    views: int = 2
    flags: tuple[str, ...] = ()
    expected: Expected = Expected.HOLDS
    lemma: int | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """states: distinct ones stored. depth: of the longest path, in Spin's steps. seconds: of CPU.

    memory_mb: what the search took. exhaustive: Spin stored every state whole and had none left to visit.
    trace: in words; of a refuted check only.
    """

    check: Check
    states: int
    depth: int
    seconds: float
    memory_mb: float
    exhaustive: bool
    broken: int | None
    found: bool
    trace: tuple[str, ...]

    @property
    def as_expected(self) -> bool:
        if self.check.expected is Expected.HOLDS:
            return not self.found and self.exhaustive
        return self.found and self.broken == self.check.lemma


def _mutant(flag: str, lemma: int, says: str, *more: str) -> Check:
    name = flag.lower().replace("_", " ")
    return Check(name=name, says=says, flags=(flag, *more), expected=Expected.REFUTED, lemma=lemma)


RULES = (
    Check(name="the rules, 2 views", says="views entered in order"),
    Check(name="the rules, 2 views, any order", says="as after a restart", flags=("ANY_ORDER", "SORTED")),
)
RULES_IN_FULL = (
    Check(
        name="the rules, 4 views, in turn",
        says="schedules sorted by view, which hides nothing",
        views=4,
        flags=("ANY_ORDER", "SORTED", "IN_TURN"),
    ),
    Check(name="the rules, 3 views, any order", says="as after a restart", views=3, flags=("ANY_ORDER", "SORTED")),
)
HARMLESS = (
    Check(
        name="notarize after nullify",
        says="a validator may notarize a block in a view it nullified",
        flags=("NOTARIZE_AFTER_NULLIFY", "ANY_ORDER", "SORTED"),
    ),
    Check(
        name="nullify after finalize, in order",
        says="as the mutant below, but who voted to finalize a view has left it",
        flags=("NULLIFY_AFTER_FINALIZE",),
    ),
)
MUTANTS = (
    _mutant("QUORUM_LESS_ONE", 1, "two votes of four make a certificate"),
    _mutant("TWO_BYZANTINE", 1, "two validators of four are Byzantine"),
    _mutant("DOUBLE_NOTARIZE", 1, "a validator notarizes both blocks of a view"),
    _mutant("NO_PARENT_CHECK", 3, "nobody checks that the parent is notarized"),
    _mutant("NO_NULLIFICATION_CHECK", 3, "nobody checks that the views between are nullified"),
    _mutant("FINALIZE_AFTER_NULLIFY", 2, "a validator finalizes a view it nullified"),
    _mutant("NULLIFY_AFTER_FINALIZE", 2, "a validator nullifies a view it voted to finalize", "ANY_ORDER"),
    _mutant("FINALIZE_UNSEEN", 4, "a validator finalizes a block that is not notarized"),
)
MUTANTS_IN_TURN = tuple(
    replace(mutant, name=f"{mutant.name}, in turn", flags=tuple(dict.fromkeys((*mutant.flags, "ANY_ORDER", "IN_TURN"))))
    for mutant in MUTANTS
    if mutant.name != "two byzantine"
)
"""That sorting schedules by view hides nothing, seen where there is something to hide."""
WITNESSES = tuple(
    Check(name=f"witness {number}", says=says, views=views, flags=(f"WITNESS={number}",), expected=Expected.REACHABLE)
    for number, views, says in (
        (1, 3, "every view final, each block on the one before"),
        (2, 3, "a final block over a nullified view"),
        (3, 2, "a view notarized and nullified, and a final block on that notarization"),
    )
)
QUICK = (*RULES, *MUTANTS)
FULL = (*RULES_IN_FULL, *RULES, *HARMLESS, *MUTANTS, *MUTANTS_IN_TURN, *WITNESSES)


def missing_tools() -> tuple[str, ...]:
    return tuple(tool for tool in TOOLS if shutil.which(tool) is None)


def search(check: Check) -> Result:
    """Raises: subprocess.CalledProcessError, TimeoutExpired if Spin or the compiler fails."""
    flags = [f"-D{flag}" for flag in (f"VIEWS={check.views}", *check.flags)]
    # A refutation is shown by its shortest trace: breadth first. Depth first needs far less memory for all states.
    order = ["-DBFS"] if check.expected is Expected.REFUTED else []
    # Small searches take less time than an optimising compiler.
    build = [
        "gcc",
        "-O0" if check.views == 2 else "-O2",
        "-w",
        "-DSAFETY",
        "-DNOREDUCE",
        "-DNOFAIR",
        f"-DMEMLIM={MEMORY_MB_MAX}",
        *order,
    ]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(MODEL, folder)  # Spin writes the trail beside its model
        _run(folder, "spin", "-a", *flags, MODEL.name)
        _run(folder, *build, "-o", "pan", "pan.c")
        timed = ("bash", "-c", 'TIMEFORMAT="cpu %U %S"; time "$@" 2>&1', "timed")
        table = "-w24" if check.views > 2 else "-w20"
        report = _run(folder, *timed, "./pan", f"-m{DEPTH_MAX}", table, "-n", ok=(0, 1))
        found = "errors: 0" not in report
        shown = _run(folder, "./pan", "-r", ok=(0, 1)) if found else ""
    steps = re.findall(r"@ (\w+)((?: \d+)*)", shown)
    broken = [int(numbers) for what, numbers in steps if what == "broken"]
    told = [(what, [int(n) for n in numbers.split()]) for what, numbers in steps if what != "broken"]
    incomplete = (
        "Search not completed",
        "max search depth too small",
        "out of memory",
        "hash-compact",
        "Bit statespace",
    )
    return Result(
        check=check,
        states=int(_figure(report, r"(\d+) states, stored")),
        depth=int(_figure(report, r"depth reached (\d+)")),
        seconds=_figure(report, r"cpu ([\d.]+) ") + _figure(report, r"cpu [\d.]+ ([\d.]+)"),
        memory_mb=_figure(report, r"([\d.]+)\s+total actual memory usage"),
        exhaustive="Full statespace search" in report and not any(sign in report for sign in incomplete),
        broken=broken[0] if broken else None,
        found=found,
        trace=tuple(
            tell(told, 2 if "TWO_BYZANTINE" in check.flags else 1, 2 if "QUORUM_LESS_ONE" in check.flags else 3)
        ),
    )


def _run(folder: str, *command: str, ok: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    if done.returncode not in ok:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout + done.stderr


def _figure(report: str, pattern: str) -> float:
    match = re.search(pattern, report)
    assert match is not None, f"Spin's report has no {pattern}: {report}"
    return float(match[1])


# ---- traces in words -------------------------------------------------------------------------------------------------


def block_name(block: int) -> str:
    """As in the model: 0 is the genesis block, then A and B of view 1, A and B of view 2, ..."""
    return "genesis" if block == 0 else f"{'BA'[block % 2]}{(block + 1) // 2}"


def tell(steps: list[tuple[str, list[int]]], byzantine: int, quorum: int) -> list[str]:
    """Every vote, and every certificate as soon as the votes of the honest and of the Byzantine suffice for it."""
    voters: dict[tuple[str, str], set[int]] = {}
    lines = []
    for kind, (who, what, *parent) in steps:
        thing = f"view {what}" if kind == "nullify" else f"block {block_name(what)}"
        on = f", whose parent is {block_name(parent[0])}" if parent else ""
        lines.append(f"validator {who} votes to {kind} {thing}{on}")
        those = voters.setdefault((kind, thing), set())
        before = len(those)
        those.add(who)
        if before + byzantine < quorum <= len(those) + byzantine:
            made = {"notarize": "notarized", "nullify": "nullified", "finalize": "final"}[kind]
            names = " and ".join(str(voter) for voter in sorted(those))
            lines.append(f"    {thing} is {made}, by {names} and {'both' if byzantine == 2 else 'the'} Byzantine")
    return lines


def describe(result: Result) -> list[str]:
    check = result.check
    verdict = check.expected.value if result.as_expected else "NOT AS EXPECTED"
    how = "every state" if result.exhaustive else "up to the first"
    took = f"depth {result.depth}, {result.seconds:.1f} s of CPU, {result.memory_mb:.0f} MB"
    figures = f"{result.states:>10,} states ({how}), {took}"
    lines = [f"{verdict:<10} {check.name:<34} {figures}", f"{'':<10}   {check.says}"]
    if result.broken is not None and "IN_TURN" not in check.flags:
        lines += [
            f"{'':<14} {number:>2}. {line}" if line[0] != " " else f"{'':<18}{line}"
            for number, line in _numbered(result)
        ]
        lines.append(f"{'':<14} so {LEMMAS[result.broken]}")
    return lines


def _numbered(result: Result) -> list[tuple[int, str]]:
    number, lines = 0, []
    for line in result.trace:
        number += line[0] != " "
        lines.append((number, line))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 views, and the mutants")
    options = parser.parse_args()
    if lacking := missing_tools():
        sys.stderr.write(f"the model needs {' and '.join(lacking)}: apt-get install {' '.join(lacking)}\n")
        return 2
    with ThreadPoolExecutor(WORKERS) as pool:
        good = True
        for result in pool.map(search, QUICK if options.quick else FULL):
            sys.stdout.write("\n".join(describe(result)) + "\n")
            good = good and result.as_expected
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
