"""The contracts as they were built: how calls to them are encoded, and what their answers and errors mean."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final

from bridge.imports import quietly

CONTRACTS: Final = ("CheckpointBridge", "MusicNFT")


@cache
def artifact(name: str) -> dict[str, Any]:
    """contracts/artifacts/NAME.json."""
    return dict(json.loads((files("contracts") / "artifacts" / f"{name}.json").read_text()))


@cache
def _encoder(name: str) -> Any:
    return quietly("web3").Web3().eth.contract(abi=artifact(name)["abi"])


def checksummed(address: bytes | str) -> str:
    """An address with EIP-55's capitals. Raises: ValueError."""
    return str(quietly("web3").Web3.to_checksum_address(address))


def calldata(name: str, method: str, *arguments: Any) -> bytes:
    """A call of a contract's method: selector and arguments."""
    return bytes.fromhex(_encoder(name).encode_abi(method, args=arguments)[2:])


def creation(name: str, *arguments: Any) -> bytes:
    """What a deploying transaction carries: the code and the constructor's arguments."""
    found = artifact(name)
    contract = quietly("web3").Web3().eth.contract(abi=found["abi"], bytecode=found["bytecode"])
    return bytes.fromhex(contract.constructor(*arguments).data_in_transaction[2:])


def decoded(name: str, method: str, output: bytes) -> Any:
    """What a method gave: one value, or a tuple of several. Raises: ValueError."""
    item = next(item for item in artifact(name)["abi"] if item.get("name") == method and item["type"] == "function")
    values = _decode([_type(each) for each in item["outputs"]], output)
    return values[0] if len(values) == 1 else values


def decoded_call(name: str, method: str, data: bytes) -> Any:
    """The arguments of a call, as a tuple. Raises: ValueError where it is no call of that method."""
    item = next(item for item in artifact(name)["abi"] if item.get("name") == method and item["type"] == "function")
    if data[:4] != _selector(item):
        raise ValueError(f"no call of {method}")
    return _decode([_type(each) for each in item["inputs"]], data[4:])


def topic(name: str, event: str) -> bytes:
    """An event's first topic: keccak-256 of its signature."""
    item = next(item for item in artifact(name)["abi"] if item.get("name") == event and item["type"] == "event")
    return bytes(quietly("eth_utils.abi").event_abi_to_log_topic(item))


def named_error(data: bytes) -> str:
    """What a contract reverted with, such as StaleEpoch(3, 4)."""
    item = _errors().get(data[:4])
    if item is None:
        return f"0x{data[:36].hex()}" if data else "no reason given"
    try:
        arguments = _decode([_type(each) for each in item["inputs"]], data[4:])
    except ValueError:
        return str(item["name"])
    shown = (f"0x{each.hex()}" if isinstance(each, bytes) else str(each) for each in arguments)
    return f"{item['name']}({', '.join(shown)})"


@cache
def _errors() -> dict[bytes, Any]:
    return {_selector(item): item for name in CONTRACTS for item in artifact(name)["abi"] if item["type"] == "error"}


def _selector(item: Any) -> bytes:
    return bytes(quietly("eth_utils.abi").function_abi_to_4byte_selector(item))


def _decode(types: list[str], data: bytes) -> tuple[Any, ...]:
    abi = quietly("eth_abi")
    try:
        return tuple(abi.decode(types, data))
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("eth_abi", "builtins"):
            raise
        raise ValueError(f"not ABI-encoded {types}: {error}") from error


def _type(item: Any) -> str:
    if not item["type"].startswith("tuple"):
        return str(item["type"])
    return f"({','.join(_type(each) for each in item['components'])}){item['type'].removeprefix('tuple')}"


def code_differs(name: str, code: bytes) -> str:
    """Why deployed `code` is not that of the artifact, or an empty string. Constructor's immutables are left out."""
    found = artifact(name)
    expected = bytearray(bytes.fromhex(found["deployed_bytecode"][2:]))
    given = bytearray(code)
    if len(given) != len(expected):
        return (
            f"{len(given)} bytes of code, expected {len(expected)}" if given else "no code: nothing is deployed there"
        )
    for start, length in found["immutable_bytes"]:
        given[start : start + length] = expected[start : start + length] = bytes(length)
    return "" if given == expected else "other code than the artifact's"
