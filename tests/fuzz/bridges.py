"""Targets of what RPC endpoints answer, and of a relayer's configuration."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from bridge.artifacts import calldata, decoded, decoded_call, named_error
from bridge.config import ConfigError, load_config
from bridge.contract import receipt_of
from bridge.endpoints import head_of
from bridge.errors import EndpointLimited, MalformedAnswer, RpcError
from bridge.jsonrpc import result_of
from tests.bridge.service import Ledger
from tests.bridge.test_config import FULL
from tests.fuzz.target import Target, holds

BRIDGE = b"\x0b" * 20
_TOPIC = "0x" + "aa" * 32
_RECEIPT = {
    "blockNumber": "0x10", "blockHash": _TOPIC, "gasUsed": "0x5208", "effectiveGasPrice": "0x3b9aca00", "status": "0x1",
    "logs": [{"address": "0x" + BRIDGE.hex(), "topics": [_TOPIC]}, {"address": "0x" + "01" * 20, "topics": []}],
    "contractAddress": None,
}  # fmt: skip
_BLOCK = {"number": "0x10", "hash": _TOPIC, "timestamp": "0x64", "baseFeePerGas": "0x7"}
_ERROR = {"code": 3, "message": "execution reverted", "data": {"data": "0x08c379a0"}}
READ = (ValueError, TypeError, KeyError, RecursionError)
"""What a form may raise for nonsense: `Endpoints` makes MalformedAnswer of these, and of nothing else."""


def _answer(data: bytes) -> object:
    try:
        return result_of("rpc.example", 7, 200, "", data)
    except (MalformedAnswer, RpcError) as error:
        holds(str(error).isprintable(), "a stranger's words are one line")
        holds(len(str(error)) < 2000, "and few")
        raise


def _output(data: bytes) -> object:
    return [decoded("CheckpointBridge", method, data) for method in ("size", "rootAt", "frozen", "validatorSet")]


def _revert(data: bytes) -> object:
    said = named_error(data)
    holds(said.isprintable() and said, "an error has a name")
    return said


def _call(data: bytes) -> object:
    return decoded_call("CheckpointBridge", "submit", data)


def _calls() -> list[bytes]:
    ledger = Ledger()
    ledger.grow(3)
    found = ledger.latest()
    assert found is not None
    return [calldata("CheckpointBridge", "submit", found.signed.abi, list(ledger.consistency(1, 4)))]


def _config(data: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bridge.toml"
        path.write_bytes(data)
        return load_config(path)


BRIDGES = (
    Target(
        name="rpc-answer",
        run=_answer,
        seeds=lambda: [b'{"jsonrpc":"2.0","id":7,"result":"0x1"}', b'{"id":7,"result":null}'],
        errors=(MalformedAnswer, RpcError, EndpointLimited),
    ),
    Target(
        name="rpc-block",
        run=lambda data: head_of(json.loads(data)),
        seeds=lambda: [json.dumps(_BLOCK).encode()],
        errors=READ,
    ),
    Target(
        name="rpc-receipt",
        run=lambda data: receipt_of(json.loads(data), BRIDGE),
        seeds=lambda: [json.dumps(_RECEIPT).encode(), b"null"],
        errors=READ,
    ),
    Target(name="contract-output", run=_output, seeds=lambda: [bytes(31) + b"\x01"], errors=(ValueError,)),
    Target(name="contract-call", run=_call, seeds=_calls, errors=(ValueError,)),
    Target(name="contract-revert", run=_revert, seeds=lambda: [bytes.fromhex("08c379a0") + bytes(64), b"", bytes(4)]),
    Target(name="bridge-config", run=_config, seeds=lambda: [FULL.encode()], errors=(ConfigError,)),
)
