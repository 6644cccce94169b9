"""Builds the contracts, and compares what comes out with the committed artifacts: python -m contracts.build --help."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Final

from contracts.toolchain import HERE, CompilationFailed, Unavailable, install, solc, solc_version

SOURCES: Final = HERE / "src"
ARTIFACTS: Final = HERE / "artifacts"
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


def compile_contracts(installed: Path, texts: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The compiler's output for each contract in `texts`, by name. Raises: CompilationFailed."""
    wanted = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "evm.deployedBytecode.immutableReferences"]
    request = {
        "language": "Solidity",
        "sources": {path: {"content": text} for path, text in texts.items()},
        "settings": {**SETTINGS, "outputSelection": {path: {"*": wanted} for path in texts}},
    }
    output = solc(installed, request)
    return {name: found for path in texts for name, found in output["contracts"].get(path, {}).items()}


def build(installed: Path, texts: dict[str, str]) -> dict[str, str]:
    """Each artifact's JSON text by file name. Raises: CompilationFailed."""
    compiled = compile_contracts(installed, texts)
    library = json.loads((HERE / "package.json").read_text())["dependencies"]["@openzeppelin/contracts"]
    found: dict[str, str] = {}
    for name in DEPLOYABLE:
        evm = compiled[name]["evm"]
        code = evm["deployedBytecode"]
        if len(code["object"]) // 2 > CODE_BYTES_MAX:
            raise CompilationFailed(f"{name} has {len(code['object']) // 2} bytes, the limit is {CODE_BYTES_MAX}")
        artifact = {
            "contract": name,
            "licence": "Apache-2.0",
            "compiler": {"name": "solc", "version": solc_version(installed), "settings": SETTINGS},
            "library": {"@openzeppelin/contracts": library},
            "sources_sha256": {path: hashlib.sha256(text.encode()).hexdigest() for path, text in texts.items()},
            "abi": compiled[name]["abi"],
            "bytecode": "0x" + evm["bytecode"]["object"],
            "deployed_bytecode": "0x" + code["object"],
            # Where constructor arguments stand in the deployed code: to be left out when it is compared.
            "immutable_bytes": sorted(
                (span["start"], span["length"]) for spans in code["immutableReferences"].values() for span in spans
            ),
        }
        found[f"{name}.json"] = json.dumps(artifact, indent=1) + "\n"
    return found


def differences(built: dict[str, str]) -> list[str]:
    """A sentence for each committed artifact that is not what was built."""
    present = {path.name for path in ARTIFACTS.glob("*.json")}
    found = [f"{name} is not built from anything" for name in sorted(present - set(built))]
    for name, text in built.items():
        if name not in present:
            found.append(f"{name} is missing")
        elif (ARTIFACTS / name).read_text() != text:
            found.append(f"{name} is not what the sources give")
    return found


def main() -> int:
    """0: built, and the same or written. 1: other artifacts, or sources that do not compile. 3: no Node.js or registry."""
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
    found = differences(built)
    if arguments.write:
        ARTIFACTS.mkdir(exist_ok=True)
        for name, text in built.items():
            (ARTIFACTS / name).write_text(text)
    sizes = {name: len(json.loads(text)["deployed_bytecode"]) // 2 - 1 for name, text in built.items()}
    if arguments.json:
        print(json.dumps({"bytes": sizes, "differences": found, "written": arguments.write}))
    else:
        for name, size in sizes.items():
            print(f"{name}: {size} bytes of code")
        print("\n".join(found) or "the committed artifacts are what the sources give")
    return int(bool(found) and not arguments.write)


if __name__ == "__main__":
    sys.exit(main())
