"""Real nodes for a relayer to talk to: anvil with one block a second, and the contracts on it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from contracts.toolchain import install

CHAINS = {"zilliqa": (32769, "cancun"), "polygon": (137, "prague"), "ethereum": (1, "prague")}
"""Name -> EIP-155 id and the hard fork that the network has."""
SLOTS = 5
"""Of an epoch: anvil calls final what is two epochs below the head, ten blocks here, deeper than any reorganisation."""


def program() -> Path:
    """Raises: contracts.toolchain.Unavailable."""
    return install(tools=True) / "node_modules" / ".bin" / "anvil"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class RpcFailed(Exception):
    """A JSON-RPC error of the node itself."""


class AnvilNode:
    """block_s: seconds between blocks; None mines each transaction at once."""

    def __init__(self, name: str, *, block_s: float | None = 1, slots: int = SLOTS) -> None:
        self.name = name
        self.id, hardfork = CHAINS[name]
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [
            str(program()), "--port", str(self.port), "--chain-id", str(self.id), "--hardfork", hardfork, "--silent",
            "--slots-in-an-epoch", str(slots), "--accounts", "20", "--no-request-size-limit",
        ]  # fmt: skip
        if block_s is not None:
            command += ["--block-time", str(block_s)]
        # npm starts the program through a script: a group of their own, so that both can be ended.
        self._process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.ask("eth_chainId")
                break
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > deadline:
                    self.close()
                    raise
                time.sleep(0.05)

    def ask(self, method: str, *params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url, body, {"content-type": "application/json"})  # noqa: S310 - ours
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            answer = json.load(response)
        if "error" in answer:
            raise RpcFailed(str(answer["error"]))
        return answer["result"]

    def fund(self, address: bytes, wei: int = 10**20) -> None:
        self.ask("anvil_setBalance", "0x" + address.hex(), hex(wei))

    def mine(self, blocks: int) -> None:
        self.ask("anvil_mine", hex(blocks))

    def reorganise(self, depth: int) -> None:
        """Takes back so many blocks and puts empty ones in their place."""
        self.ask("anvil_reorg", depth, [])

    def head(self) -> int:
        return int(self.ask("eth_blockNumber"), 16)

    def transactions_to(self, address: bytes, first: int = 0) -> list[dict[str, Any]]:
        """Receipts of all transactions to a contract on the canonical chain, with `from` and `nonce`."""
        found = []
        for number in range(first, self.head() + 1):
            block = self.ask("eth_getBlockByNumber", hex(number), True)
            for transaction in block["transactions"]:
                if transaction["to"] is not None and bytes.fromhex(transaction["to"][2:]) == address:
                    receipt = self.ask("eth_getTransactionReceipt", transaction["hash"])
                    found.append({**receipt, "nonce": int(transaction["nonce"], 16)})
        return found

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
