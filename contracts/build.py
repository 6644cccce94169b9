"""Builds the contracts, and compares what comes out with the committed artifacts: python -m contracts.build --help."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from contracts.toolchain import HERE, CompilationFailed, Unavailable, install, solc, solc_version

SOURCES: Final = HERE / "src"
ARTIFACTS: Final = HERE / "artifacts"
FIXTURES: Final = HERE.parent / "tests" / "contracts" / "fixtures.json"
"""Contracts that only tests deploy, compiled, so that the tests need no compiler either."""
DEPLOYABLE: Final = ("CheckpointBridge", "MusicNFT")
CODE_BYTES_MAX: Final = 24_576
"""Of a contract's deployed code. Source: EIP-170."""
SETTINGS: Final[dict[str, Any]] = {
    "evmVersion": "cancun",  # the newest fork that all three chains have
    "optimizer": {"enabled": True, "runs": 1000},
    "viaIR": False,
    # No hash of the metadata at the end of the code: the bytes depend on the code alone.
    "metadata": {"bytecodeHash": "none"},
}


def sources(folder: Path = SOURCES) -> dict[str, str]:
    """Text by path as the compiler names it, such as src/MusicNFT.sol."""
    return {f"src/{path.name}": path.read_text() for path in sorted(folder.glob("*.sol"))}


def fixture_sources() -> dict[str, str]:
    """As `sources`, of the contracts that only tests deploy."""
    return {f"fixtures/{path.name}": path.read_text() for path in sorted((FIXTURES.parent / "solidity").glob("*.sol"))}


def compile_contracts(
    installed: Path, texts: dict[str, str], *, warnings: bool = False, only: frozenset[str] = frozenset({"*"})
) -> dict[str, dict[str, Any]]:
    """The compiler's output for each contract in `texts`, or for `only` these, by name. Raises: CompilationFailed."""
    wanted = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "evm.deployedBytecode.immutableReferences"]
    request = {
        "language": "Solidity",
        "sources": {path: {"content": text} for path, text in texts.items()},
        "settings": {**SETTINGS, "outputSelection": {path: dict.fromkeys(only, wanted) for path in texts}},
    }
    output = solc(installed, request, warnings=warnings)
    return {name: found for path in texts for name, found in output["contracts"].get(path, {}).items()}


def build(installed: Path, texts: dict[str, str], *, warnings: bool = False) -> dict[Path, str]:
    """Each artifact's JSON text by its place, and that of the tests' contracts. Raises: CompilationFailed.

    warnings: whether the compiler may have some.
    """
    others = fixture_sources()
    compiled = compile_contracts(installed, {**texts, **others}, warnings=warnings)
    version = solc_version(installed)
    found = {ARTIFACTS / f"{name}.json": _artifact(name, compiled[name], texts, version) for name in DEPLOYABLE}
    names = sorted(re.findall(r"^contract (\w+)", "\n".join(others.values()), re.MULTILINE))
    fixtures = {
        name: {"abi": compiled[name]["abi"], "bytecode": "0x" + compiled[name]["evm"]["bytecode"]["object"]}
        for name in names
    }
    found[FIXTURES] = (
        json.dumps({"sources_sha256": _hashes({**texts, **others}), "contracts": fixtures}, indent=1) + "\n"
    )
    return found


def _hashes(texts: dict[str, str]) -> dict[str, str]:
    return {path: hashlib.sha256(text.encode()).hexdigest() for path, text in texts.items()}


def _artifact(name: str, output: dict[str, Any], texts: dict[str, str], version: str) -> str:
    code = output["evm"]["deployedBytecode"]
    if len(code["object"]) // 2 > CODE_BYTES_MAX:
        raise CompilationFailed(f"{name} has {len(code['object']) // 2} bytes, the limit is {CODE_BYTES_MAX}")
    library = json.loads((HERE / "package.json").read_text())["dependencies"]["@openzeppelin/contracts"]
    artifact = {
        "contract": name,
        "licence": "Apache-2.0",
        "compiler": {"name": "solc", "version": version, "settings": SETTINGS},
        "library": {"@openzeppelin/contracts": library},
        "sources_sha256": _hashes(texts),
        "abi": output["abi"],
        "bytecode": "0x" + output["evm"]["bytecode"]["object"],
        "deployed_bytecode": "0x" + code["object"],
        # Where constructor arguments stand in the deployed code: to be left out when it is compared.
        "immutable_bytes": sorted(
            [span["start"], span["length"]] for spans in code["immutableReferences"].values() for span in spans
        ),
    }
    return json.dumps(artifact, indent=1) + "\n"


def differences(built: dict[Path, str]) -> list[str]:
    """A sentence for each committed artifact that is not what was built."""
    found = [f"{path.name} is not built from anything" for path in ARTIFACTS.glob("*.json") if path not in built]
    for path, text in built.items():
        if not path.exists():
            found.append(f"{path.name} is missing")
        elif path.read_text() != text:
            found.append(f"{path.name} is not what the sources give")
    return found


def main() -> int:
    """0: built, the same or written. 1: other artifacts, or sources that do not compile. 3: no Node.js or registry."""
    parser = argparse.ArgumentParser(
        prog="python -m contracts.build",
        description="Builds the contracts with npm's solc and compares them with contracts/artifacts.",
        epilog="Example: python -m contracts.build --write",
    )
    parser.add_argument("--write", action="store_true", help="write what differs instead of failing")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    try:
        built = build(install(), sources())
    except Unavailable as error:
        print(f"stretto: the contracts were not built: {error}", file=sys.stderr)
        return 3
    except CompilationFailed as error:
        print(error, file=sys.stderr)
        return 1
    differing = differences(built)
    if arguments.write:
        ARTIFACTS.mkdir(exist_ok=True)
        for path, text in built.items():
            path.write_text(text)
    parsed = {name: json.loads(built[ARTIFACTS / f"{name}.json"]) for name in DEPLOYABLE}
    sizes = {name: len(found["deployed_bytecode"]) // 2 - 1 for name, found in parsed.items()}
    if arguments.json:
        print(json.dumps({"bytes": sizes, "differences": differing, "written": arguments.write}))
    else:
        for name, size in sizes.items():
            print(f"{name}: {size} bytes of code")
        print("\n".join(differing) or "the committed artifacts are what the sources give")
    return int(bool(differing) and not arguments.write)


if __name__ == "__main__":
    sys.exit(main())
