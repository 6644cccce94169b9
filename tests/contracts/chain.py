"""An EVM chain to test on: py-evm in this process, or an anvil node. Both take and give bytes; web3 encodes them."""

from __future__ import annotations

import ast
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import eth  # noqa: F401  imported, as the next, for what it does then: see below
import py_ecc  # noqa: F401
import pytest
from eth_abi.abi import decode
from eth_utils.abi import function_abi_to_4byte_selector
from web3 import Web3
from web3._utils.events import get_event_data

sys.setrecursionlimit(1000)
"""Python's own limit again. Those two raise it a hundredfold when they are imported, for the whole process: then deeply
nested JSON is no RecursionError any more, but the end of the stack, and of every test that follows."""

CHAIN_ID = 32769
"""Zilliqa's; the leaves of these tests are bound to it."""
GAS = 16_000_000
"""For every transaction: below the cap of 2^24 that Ethereum puts on one."""
COMMITTED = Path(__file__).parents[2] / "contracts" / "artifacts"


def artifacts() -> Path:
    """The folder of the contracts under test: tests/contracts/mutants.py changes it from run to run."""
    return Path(os.environ.get("STRETTO_ARTIFACTS", COMMITTED))


def fixtures() -> Path:
    """The contracts that only tests deploy."""
    return Path(os.environ.get("STRETTO_FIXTURES", Path(__file__).parent / "fixtures.json"))


def mutant() -> int:
    """Which check the contracts leave out, if tests/contracts/mutants.py built them: they read it as the coinbase."""
    return int(os.environ.get("STRETTO_MUTANT", "0"))


class Reverted(Exception):
    """A call was undone. data: what the contract said: a selector and arguments."""

    def __init__(self, data: bytes) -> None:
        super().__init__(named_error(data))
        self.data = data


@dataclass(frozen=True)
class Receipt:
    gas_used: int
    contract: str | None
    logs: Sequence[Any]
    output: bytes = b""


class Chain(Protocol):
    accounts: Sequence[str]

    def send(self, sender: str, to: str | None, data: bytes, value: int) -> Receipt: ...
    def call(self, sender: str, to: str, data: bytes, value: int) -> bytes: ...
    def balance(self, account: str) -> int: ...
    def now(self) -> int: ...
    def travel(self, timestamp: int) -> None: ...
    def snapshot(self) -> Any: ...
    def revert(self, snapshot: Any) -> None: ...
    def close(self) -> None: ...


class PyEvm:
    """py-evm through eth-tester, with the rules of Cancun, which is what the contracts are compiled for."""

    def __init__(self, chain_id: int = CHAIN_ID) -> None:
        from eth.vm.forks.cancun import CancunVM
        from eth_tester import EthereumTester, PyEVMBackend

        backend = PyEVMBackend(vm_configuration=((0, CancunVM),))
        type(backend.chain).chain_id = chain_id  # eth-tester's own would fail every check of the chain in a leaf
        self._tester = EthereumTester(backend)
        if mutant():
            raise NotImplementedError("mutants run on anvil")
        self.accounts = self._tester.get_accounts()

    def send(self, sender: str, to: str | None, data: bytes, value: int) -> Receipt:
        transaction = self._transaction(sender, to, data, value)
        hash_ = self._tester.send_transaction(transaction)
        found = self._tester.get_transaction_receipt(hash_)
        if not found["status"]:
            # In the state before: what the failed transaction said is not kept.
            self.call(sender, to or "", data, value)
            raise Reverted(b"")
        return Receipt(found["gas_used"], found["contract_address"], [self._log(log) for log in found["logs"]])

    def call(self, sender: str, to: str, data: bytes, value: int) -> bytes:
        from eth_tester.exceptions import TransactionFailed

        try:
            return bytes.fromhex(self._tester.call(self._transaction(sender, to, data, value))[2:])
        except TransactionFailed as error:
            said = str(error.args[0])  # eth-tester hands bytes on as their repr, and a string as it is
            raise Reverted(ast.literal_eval(said) if said.startswith(("b'", 'b"')) else said.encode()) from None

    def balance(self, account: str) -> int:
        return int(self._tester.get_balance(account))

    def now(self) -> int:
        return int(self._tester.get_block_by_number("latest")["timestamp"])

    def travel(self, timestamp: int) -> None:
        self._tester.time_travel(timestamp)

    def snapshot(self) -> Any:
        return self._tester.take_snapshot()

    def revert(self, snapshot: Any) -> None:
        self._tester.revert_to_snapshot(snapshot)

    def close(self) -> None:
        pass

    @staticmethod
    def _transaction(sender: str, to: str | None, data: bytes, value: int) -> dict[str, Any]:
        made = {"from": sender, "data": "0x" + data.hex(), "value": value, "gas": GAS, "gas_price": 10**10}
        return {**made, "to": to} if to else made

    @staticmethod
    def _log(log: Any) -> dict[str, Any]:
        return {"address": log["address"], "topics": list(log["topics"]), "data": log["data"]}


class Anvil:
    """A node of its own, ended with the tests."""

    def __init__(self, program: Path, *, chain_id: int = CHAIN_ID, hardfork: str = "cancun") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [str(program), "--port", str(port), "--chain-id", str(chain_id), "--hardfork", hardfork, "--silent"]
        # npm starts the program through a script: a group of their own, so that both can be ended.
        self._process = subprocess.Popen([*command, "--balance", "1000000"], start_new_session=True)
        self._url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 30
        while True:
            try:
                self.accounts = [Web3.to_checksum_address(each) for each in self._ask("eth_accounts")]
                break
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        if mutant():
            self._ask("anvil_setCoinbase", f"0x{mutant():040x}")

    def _ask(self, method: str, *params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self._url, body, {"content-type": "application/json"})  # noqa: S310 - ours
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            answer = json.load(response)
        if "error" in answer:
            raise Reverted(bytes.fromhex((answer["error"].get("data") or "0x")[2:]) or str(answer["error"]).encode())
        return answer["result"]

    def send(self, sender: str, to: str | None, data: bytes, value: int) -> Receipt:
        hash_ = self._ask("eth_sendTransaction", self._transaction(sender, to, data, value))
        deadline = time.monotonic() + 30  # anvil mines at once, but says so before it has
        while (found := self._ask("eth_getTransactionReceipt", hash_)) is None:
            assert time.monotonic() < deadline, f"anvil does not mine {hash_}"
            time.sleep(0.002)
        if not int(found["status"], 16):
            self.call(sender, to or "", data, value)
            raise Reverted(b"")
        return Receipt(int(found["gasUsed"], 16), found["contractAddress"], found["logs"])

    def call(self, sender: str, to: str, data: bytes, value: int) -> bytes:
        return bytes.fromhex(self._ask("eth_call", self._transaction(sender, to, data, value), "latest")[2:])

    def balance(self, account: str) -> int:
        return int(self._ask("eth_getBalance", account, "latest"), 16)

    def now(self) -> int:
        return int(self._ask("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def travel(self, timestamp: int) -> None:
        self._ask("evm_setNextBlockTimestamp", timestamp)
        self._ask("evm_mine")

    def snapshot(self) -> Any:
        return self._ask("evm_snapshot")

    def revert(self, snapshot: Any) -> None:
        self._ask("evm_revert", snapshot)

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @staticmethod
    def _transaction(sender: str, to: str | None, data: bytes, value: int) -> dict[str, Any]:
        made = {"from": sender, "data": "0x" + data.hex(), "value": hex(value), "gas": hex(GAS)}
        return {**made, "to": to} if to else made


def artifact(name: str) -> dict[str, Any]:
    """ABI and bytecode of a contract, or of one that only tests deploy."""
    path = artifacts() / f"{name}.json"
    return _read(path) if path.exists() else dict(_read(fixtures())["contracts"][name])


@cache
def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


@cache
def _errors() -> dict[bytes, Any]:
    names = [path.stem for path in COMMITTED.glob("*.json")] + list(_read(fixtures())["contracts"])
    return {
        function_abi_to_4byte_selector(item): item
        for name in names
        for item in artifact(name)["abi"]
        if item["type"] == "error"
    }


def named_error(data: bytes) -> str:
    """Such as StaleEpoch(3, 4)."""
    item = _errors().get(data[:4])
    if item is None:
        return f"unnamed: {data!r}"
    arguments = decode([each["type"] for each in item["inputs"]], data[4:])
    return f"{item['name']}({', '.join(str(each) for each in arguments)})"


@dataclass
class Contract:
    """A deployed contract. Methods are called by name: `do` sends a transaction, `ask` only reads."""

    chain: Chain
    name: str
    address: str
    _made: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._made = Web3().eth.contract(address=Web3.to_checksum_address(self.address), abi=artifact(self.name)["abi"])

    def do(self, method: str, *arguments: Any, sender: str | None = None, value: int = 0) -> Receipt:
        data = bytes.fromhex(self._made.encode_abi(method, args=arguments)[2:])
        return self.chain.send(sender or self.chain.accounts[0], self.address, data, value)

    def ask(self, method: str, *arguments: Any, sender: str | None = None, value: int = 0) -> Any:
        data = bytes.fromhex(self._made.encode_abi(method, args=arguments)[2:])
        answer = self.chain.call(sender or self.chain.accounts[0], self.address, data, value)
        item = next(item for item in artifact(self.name)["abi"] if item.get("name") == method)
        values = decode([_type(each) for each in item["outputs"]], answer)
        return values[0] if len(values) == 1 else values

    def events(self, receipt: Receipt, name: str) -> list[Any]:
        """Arguments of this contract's events of that name."""
        event = self._made.events[name]
        item = event._get_event_abi()
        topic = bytes.fromhex(event.topic[2:]) if hasattr(event, "topic") else None
        found = []
        for log in receipt.logs:
            topics = [each if isinstance(each, bytes) else bytes.fromhex(each[2:]) for each in log["topics"]]
            if log["address"].lower() != self.address.lower() or topics[0] != topic:
                continue
            data = log["data"] if isinstance(log["data"], bytes) else bytes.fromhex(log["data"][2:])
            entry: Any = {
                "address": self.address, "topics": topics, "data": data, "logIndex": 0, "transactionIndex": 0,
                "transactionHash": bytes(32), "blockHash": bytes(32), "blockNumber": 0,
            }  # fmt: skip
            found.append(get_event_data(Web3().codec, item, entry)["args"])
        return found


def _type(item: Any) -> str:
    if not item["type"].startswith("tuple"):
        return str(item["type"])
    return f"({','.join(_type(each) for each in item['components'])}){item['type'].removeprefix('tuple')}"


def deploy(chain: Chain, name: str, *arguments: Any) -> tuple[Contract, Receipt]:
    found = artifact(name)
    constructor = Web3().eth.contract(abi=found["abi"], bytecode=found["bytecode"]).constructor(*arguments)
    receipt = chain.send(chain.accounts[0], None, bytes.fromhex(constructor.data_in_transaction[2:]), 0)
    assert receipt.contract is not None
    return Contract(chain, name, Web3.to_checksum_address(receipt.contract)), receipt


class reverts:  # noqa: N801 - reads as a sentence: with reverts("ZeroRoot")
    """The block must end with this error of a contract, with these arguments if there are some."""

    def __init__(self, name: str, *arguments: Any) -> None:
        self._expected = f"{name}({', '.join(str(each) for each in arguments)})" if arguments else name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if error is None:
            pytest.fail(f"nothing reverted: expected {self._expected}")
        if not isinstance(error, Reverted):
            return False
        found = str(error)
        assert found == self._expected or found.partition("(")[0] == self._expected, (
            f"expected {self._expected}: {found}"
        )
        return True
