"""Makes tests/vectors/anchors: blocks of real anvil nodes, as their RPC tells them, each with an accepted checkpoint.

Run where there is Node.js: python -m tests.ledger.make_anchors
A contract of its own stands for CheckpointBridge where the fork is too old for it: it emits whatever event it is told
to, and an anchor shows no more than that some contract did.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from contracts.toolchain import install
from ledger.anchor import EVENT_TOPIC
from tests.contracts.chain import Anvil
from tests.contracts.deployed import deploy_all

FOLDER = Path(__file__).parents[1] / "vectors" / "anchors"
FORKS = {"berlin": 1, "london": 1, "shanghai": 137, "cancun": 137, "prague": 1}
"""15, 16, 17, 20 and 21 fields in a header; and the chain's id."""
TRANSFERS = 18
GAS_PRICE = hex(2 * 10**9)


def emitter() -> bytes:
    """Creation code of a contract that logs its input: the first two words as topics, two more as data."""
    run = bytes.fromhex("6080600060003760205160005160406040a200")
    assert len(run) == 19
    return bytes.fromhex("6013600c60003960136000f3") + run


def block_with(chain: Anvil, transactions: list[dict[str, Any]]) -> dict[str, Any]:
    chain._ask("evm_setAutomine", False)
    hashes = [
        chain._ask("eth_sendTransaction", {"from": chain.accounts[i % 5], **one}) for i, one in enumerate(transactions)
    ]
    chain._ask("evm_mine")
    receipts = [chain._ask("eth_getTransactionReceipt", one) for one in hashes]
    blocks = {one["blockHash"] for one in receipts}
    assert len(blocks) == 1, "one block took all of them"
    chain._ask("evm_setAutomine", True)
    return {
        "block": chain._ask("eth_getBlockByHash", receipts[0]["blockHash"], False),
        "receipts": chain._ask("eth_getBlockReceipts", receipts[0]["blockNumber"]),
    }


def fees(kind: int, fork: str) -> dict[str, Any]:
    if kind == 2 and fork != "berlin":
        return {"maxFeePerGas": GAS_PRICE, "maxPriorityFeePerGas": "0x1"}
    listed = {"accessList": []} if kind else {}
    return {"gasPrice": GAS_PRICE, **listed}


def transfers(chain: Anvil, fork: str, count: int) -> list[dict[str, Any]]:
    return [
        {"to": chain.accounts[9], "value": hex(i + 1), "gas": hex(21_000), **fees(i % 3, fork)} for i in range(count)
    ]


def vector(fork: str, chain_id: int, program: Path) -> dict[str, Any]:
    chain = Anvil(program, chain_id=chain_id, hardfork=fork)
    try:
        if fork in ("cancun", "prague"):
            world = deploy_all(chain)
            world.log.extend([bytes([i]) * 32 for i in range(6)])
            signed, size = world.signed(), world.log.size
            data = world.bridge._made.encode_abi("submit", args=(signed.abi, world.log.consistency(1, size)))
            contract, root = world.bridge.address, signed.checkpoint.root
        else:
            creation = {
                "from": chain.accounts[0],
                "data": "0x" + emitter().hex(),
                "gas": hex(200_000),
                "gasPrice": GAS_PRICE,
            }
            hash_ = chain._ask("eth_sendTransaction", creation)
            chain._ask("evm_mine")
            contract = chain._ask("eth_getTransactionReceipt", hash_)["contractAddress"]
            size, root = 7, bytes(range(32))
            words = [EVENT_TOPIC, size.to_bytes(32, "big"), root, (1).to_bytes(32, "big")]
            data = "0x" + b"".join(words).hex()
        sent = {"to": contract, "data": data, "gas": hex(1_000_000), **fees(2, fork)}
        before = transfers(chain, fork, TRANSFERS)
        told = block_with(chain, [*before[: TRANSFERS // 2], sent, *before[TRANSFERS // 2 :]])
    finally:
        chain.close()
    return {
        "source": f"anvil, hard fork {fork}, chain id {chain_id}: a block of {TRANSFERS + 1} transactions",
        "chain": chain_id, "contract": contract.lower(), "size": size, "root": "0x" + root.hex(), **told,
    }  # fmt: skip


def main() -> None:
    program = install(tools=True) / "node_modules" / ".bin" / "anvil"
    FOLDER.mkdir(parents=True, exist_ok=True)
    for fork, chain_id in FORKS.items():
        made = vector(fork, chain_id, program)
        (FOLDER / f"{fork}.json").write_text(json.dumps(made, indent=1) + "\n")
        print(fork, len(made["receipts"]), "receipts")


if __name__ == "__main__":
    main()
