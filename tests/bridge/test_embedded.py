"""The chain inside this process: it answers as a node does, and its blocks can be anchored."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from bridge.anchoring import first_anchor
from bridge.artifacts import calldata, creation, decoded, named_error
from bridge.embedded import CHAIN_ID, FUNDED, EmbeddedChain
from bridge.errors import NoEndpoint, RpcError
from bridge.signer import KeySigner, sign_transaction
from bridge.transaction import Fees, Transaction
from tests.contracts.deployed import EPOCH, GENESIS
from tests.contracts.log import Log, numbered
from tests.contracts.signers import Checkpoint, make_signers

PAYER = KeySigner(b"\x01" * 32)
VALIDATORS, RECOVERY = make_signers(4), make_signers(4, "recovery")
LOG = Log(numbered(5))
FEES = Fees(10**10, 10**9)


class Bench:
    """An embedded chain with a bridge on it, spoken to through the relayer's endpoints."""

    def __init__(self) -> None:
        self.chain = EmbeddedChain(funded=[PAYER.address])
        self.endpoints = self.chain.endpoints("trial")
        arguments = (GENESIS, numbered(1)[0], EPOCH, VALIDATORS.addresses, RECOVERY.addresses)
        self.bridge = self.send(None, creation("CheckpointBridge", *arguments), 4_000_000)["contractAddress"]

    def ask(self, method: str, *params: Any) -> Any:
        return self.endpoints.ask(method, *params)

    def send(self, to: str | None, call: bytes, gas: int, *, nonce: int | None = None) -> dict[str, Any]:
        if nonce is None:
            nonce = int(self.ask("eth_getTransactionCount", "0x" + PAYER.address.hex(), "latest"), 16)
        made = Transaction(
            chain_id=CHAIN_ID, nonce=nonce, to=bytes.fromhex(to[2:]) if to else None, call=call, gas=gas, fees=FEES
        )
        hash_ = self.ask("eth_sendRawTransaction", "0x" + sign_transaction(PAYER, made).hex())
        return dict(self.ask("eth_getTransactionReceipt", hash_))

    def call(self, call: bytes) -> Any:
        return self.ask("eth_call", {"to": self.bridge, "data": "0x" + call.hex()}, "latest")

    @property
    def submission(self) -> bytes:
        signed = VALIDATORS.signed(GENESIS, Checkpoint(EPOCH, 5, LOG.root()))
        return calldata("CheckpointBridge", "submit", signed.abi, LOG.consistency(1, 5))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_transaction_is_a_block_at_once_and_final(bench: Bench) -> None:
    receipt = bench.send(bench.bridge, bench.submission, 200_000)
    assert receipt["status"] == "0x1"
    for tag in ("latest", "finalized", receipt["blockNumber"]):
        assert bench.ask("eth_getBlockByNumber", tag, False)["hash"] == receipt["blockHash"]
    size = bytes.fromhex(bench.call(calldata("CheckpointBridge", "size"))[2:])
    assert decoded("CheckpointBridge", "size", size) == 5
    assert bench.ask("eth_getTransactionByHash", receipt["transactionHash"])["input"] == "0x" + bench.submission.hex()


def test_estimate_is_enough_and_not_much_more(bench: Bench) -> None:
    call = {"from": "0x" + PAYER.address.hex(), "to": bench.bridge, "data": "0x" + bench.submission.hex()}
    estimate = int(bench.ask("eth_estimateGas", call), 16)
    used = int(bench.send(bench.bridge, bench.submission, estimate)["gasUsed"], 16)
    assert used <= estimate <= used * 5 // 4


def test_block_of_it_can_be_anchored(bench: Bench) -> None:
    receipt = bench.send(bench.bridge, bench.submission, 200_000)
    anchor = first_anchor(bench.endpoints, CHAIN_ID, bytes.fromhex(bench.bridge[2:]), 3, first=0, last=2)
    assert (anchor.size, anchor.root) == (5, LOG.root())
    assert f"0x{anchor.block.hex()}" == receipt["blockHash"]
    assert anchor.check().epoch == EPOCH


def test_contracts_error_reaches_the_caller_by_name(bench: Bench) -> None:
    with pytest.raises(RpcError) as refused:
        bench.call(calldata("CheckpointBridge", "checkIncluded", bytes(32), 9, 77, []))
    assert refused.value.is_revert
    assert named_error(refused.value.data) == "UnknownCheckpoint(77)"
    with pytest.raises(RpcError):
        bench.ask("eth_estimateGas", {"to": bench.bridge, "data": "0x12345678"})


def test_transaction_that_fails_is_mined_and_says_so(bench: Bench) -> None:
    receipt = bench.send(
        bench.bridge, calldata("CheckpointBridge", "submit", ((1, 0, bytes(32), bytes(32)), [], []), []), 100_000
    )
    assert receipt["status"] == "0x0"
    assert receipt["logs"] == []


def test_bad_transactions_and_unknown_methods_are_refused_and_the_chain_goes_on(bench: Bench) -> None:
    for raw in ("0x", "0x02", "0x02c0", "nothing"):
        with pytest.raises(RpcError):
            bench.chain.ask("eth_sendRawTransaction", [raw])
    with pytest.raises(RpcError, match="does not exist"):
        bench.chain.ask("eth_mining", [])
    with pytest.raises((RpcError, NoEndpoint), match="nonce"):
        bench.send(bench.bridge, bench.submission, 200_000, nonce=7)
    assert bench.chain.ask("eth_getTransactionReceipt", ["0x" + "00" * 32]) is None
    assert bench.chain.ask("eth_getBlockByNumber", ["0x63", False]) is None
    assert bench.send(bench.bridge, bench.submission, 200_000)["status"] == "0x1"


def test_logs_are_found_by_address_topic_and_range(bench: Bench) -> None:
    bench.send(bench.bridge, bench.submission, 200_000)
    query = {"address": bench.bridge, "fromBlock": "0x0", "toBlock": "latest"}
    found = bench.ask("eth_getLogs", query)
    assert len(found) == 3
    topic = found[-1]["topics"][0]
    assert len(bench.ask("eth_getLogs", {**query, "topics": [topic]})) == 2
    assert len(bench.ask("eth_getLogs", {**query, "topics": [[topic], None]})) == 2
    assert bench.ask("eth_getLogs", {**query, "topics": [topic, "0x" + (5).to_bytes(32, "big").hex()]}) == found[-1:]
    assert bench.ask("eth_getLogs", {**query, "address": "0x" + "00" * 20}) == []
    assert bench.ask("eth_getLogs", {**query, "fromBlock": "0x2"}) == found[-1:]


def test_each_chain_has_its_own_id_and_coins() -> None:
    chains = {id_: EmbeddedChain(id_, funded=[PAYER.address]) for id_ in (137, 32769)}
    for id_, chain in chains.items():
        assert chain.ask("eth_chainId", []) == hex(id_)
        assert int(chain.ask("eth_getBalance", ["0x" + PAYER.address.hex(), "latest"]), 16) == FUNDED
        assert chain.ask("eth_getBalance", ["0x" + "11" * 20, "latest"]) == "0x0"


def test_recursion_limit_is_python_s_own_again_and_nothing_is_imported_before_it_is_needed() -> None:
    program = (
        "import sys\nbefore = sys.getrecursionlimit()\nfrom bridge.embedded import EmbeddedChain\n"
        "assert not {'eth', 'eth_tester', 'web3', 'py_ecc'} & {*sys.modules}\nEmbeddedChain()\n"
        "assert sys.getrecursionlimit() == before == 1000\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
