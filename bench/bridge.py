"""What anchoring costs in gas, and how four relayers share the work: `make bench-bridge`; writes bench/out/bridge.json.

Gas does not depend on the machine: whole transactions on py-evm under Cancun's rules, the intrinsic 21,000 and calldata
included. tests/contracts/test_gas.py holds them to contracts/gas.json. The relayers are processes on three anvil nodes
with a block a second; `make bridge-campaign` is the same under kills, reorganisations and faulty endpoints.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from ledger.merkle import leaf_hash, node_hash
from tests.contracts.chain import Chain, Contract, PyEvm, deploy
from tests.contracts.deployed import EPOCH, GENESIS, Deployed, deploy_all, deploy_bridge
from tests.contracts.leaves import DISPUTED, NOBODY, Status
from tests.contracts.log import Log, numbered
from tests.contracts.music import Music
from tests.contracts.signers import Checkpoint, make_signers, recorded

OUT = Path("bench/out/bridge.json")
SIZES = (4, 7, 16, 50)
"""Validators."""
BEFORE, AFTER = 100_003, 100_104
"""Leaves of two checkpoints: the proof between them is of a usual length."""
RESEARCH = {
    "submit n=4": 107_064, "submit n=7": 117_928, "submit n=16": 150_520, "submit n=50": 275_140,
    "rotate n=4": 59_000, "rotate n=7": 72_000, "rotate n=16": 111_000, "rotate n=50": 260_000,
    "inclusion proof 2^20": 50_932, "inclusion proof 2^30": 61_802, "mint 2^20": 180_000, "mint 2^30": 174_000,
    "pay cold": 105_000, "pay warm": 53_000, "pay in tokens cold": 168_000, "pay in tokens warm": 83_000,
    "withdraw": 30_000, "withdraw tokens": 56_000,
    "deploy CheckpointBridge n=7": 1_480_000, "deploy MusicNFT": 3_050_000,
    "report fork n=4": 75_000, "report fork n=50": 281_000, "submit again n=4": 36_000, "submit again n=50": 89_000,
}  # fmt: skip
"""Figures of prototypes, for comparison: those of the hash-committed set came without a consistency proof."""


def bridges(chain: Chain, log: Log) -> dict[str, int]:
    """Submissions, rotations and fork proofs for each size of the set."""
    found: dict[str, int] = {}
    for n in SIZES:
        validators, recovery = make_signers(n), make_signers(4, "recovery")
        bridge, receipt = deploy_bridge(chain, validators, recovery)
        found[f"deploy CheckpointBridge n={n}"] = receipt.gas_used

        def signed(size: int, epoch: int = EPOCH, by: Any = validators, **other: Any) -> Any:
            return by.signed(GENESIS, Checkpoint(**{"epoch": epoch, "size": size, "root": log.root(size), **other}))

        bridge.do("submit", signed(BEFORE).abi, log.consistency(1, BEFORE))
        last, proof = signed(AFTER), log.consistency(BEFORE, AFTER)
        found[f"submit n={n}"] = bridge.do("submit", last.abi, proof).gas_used
        found[f"submit again n={n}"] = bridge.do("submit", last.abi, proof).gas_used
        following = make_signers(n, "next")
        boundary = signed(log.size, successor=following.hash(EPOCH + 1))
        proof = log.consistency(AFTER, log.size)
        found[f"rotate n={n}"] = bridge.do("rotate", boundary.abi, following.addresses, proof).gas_used
        forged = signed(AFTER, EPOCH + 1, following, root=b"\x01" * 32)
        found[f"report fork n={n}"] = bridge.do("reportFork", recorded(last.checkpoint).abi, forged.abi).gas_used
    return found


def narrow_tree(first: bytes, second: bytes, height: int) -> tuple[bytes, list[bytes]]:
    """Root of a full tree of 2^height leaves of which only the first two are known, and the hashes beside them."""
    beside = [leaf_hash(entry) for entry in numbered(height, "beside")][1:]
    root: bytes = node_hash(leaf_hash(first), leaf_hash(second))
    for hash_ in beside:
        root = node_hash(root, hash_)
    return root, beside


def mints(world: Deployed) -> dict[str, int]:
    """By a leaf of 2^20 and of 2^30: the leaf is the log's second."""
    found: dict[str, int] = {}
    for height in (20, 30):
        before = world.chain.snapshot()
        music = Music(world)
        first, entry, size = world.log.entries[0], music.terms.entry(GENESIS), 2**height
        root, beside = narrow_tree(first, entry, height)
        signed = world.validators.signed(GENESIS, Checkpoint(EPOCH, size, root))
        world.bridge.do("submit", signed.abi, [leaf_hash(entry), *beside])
        path = [leaf_hash(first), *beside]
        alone = world.bridge.do("checkIncluded", entry, 1, size, path)
        found[f"inclusion proof 2^{height}"] = alone.gas_used
        minted = world.nft.do("mint", music.terms.abi, (size, 1, path), sender=music.minter)
        found[f"mint 2^{height}"] = minted.gas_used
        world.chain.revert(before)
    return found


def money(music: Music) -> dict[str, int]:
    """Income and what comes of it. Cold: nobody is owed anything yet; warm: everybody is."""
    music.mint()
    coin, _ = deploy(music.world.chain, "PlainToken")
    found: dict[str, int] = {}
    music.nft.do("offer", music.terms.abi, 5_000, sender=music.minter)
    bought = music.nft.do("buy", music.terms.abi, 5_000, sender=music.collector, value=5_000)
    found["buy"] = bought.gas_used
    for account in (music.creator, music.curator, music.platform):
        last = music.nft.do("withdraw", NOBODY, account, sender=account)
        found["withdraw"] = last.gas_used
    found["pay cold"] = music.pay(10_000).gas_used
    found["pay warm"] = music.pay(10_000).gas_used
    found["pay in tokens cold"] = music.pay_token(coin, 10_000).gas_used
    found["pay in tokens warm"] = music.pay_token(coin, 10_000).gas_used
    found["withdraw tokens"] = music.nft.do("withdraw", coin.address, music.curator, sender=music.curator).gas_used
    found["show status"] = shown(music).gas_used
    return found


def shown(music: Music) -> Any:
    status = Status(mint=music.terms.entry(GENESIS), seq=1, state=DISPUTED)
    index = music.record(status.entry(GENESIS))
    return music.nft.do("showStatus", status.abi, music.world.place(index))


def measure() -> dict[str, int]:
    """Gas by operation, as on any machine."""
    chain = PyEvm()
    log = Log([*numbered(1), *numbered(AFTER + 50, "more")])
    found = bridges(chain, log)
    _, receipt = deploy(chain, "MusicNFT", _some_bridge(chain).address)
    found["deploy MusicNFT"] = receipt.gas_used
    found |= mints(deploy_all(chain).fresh())
    return found | money(Music(deploy_all(chain).fresh()))


def _some_bridge(chain: Chain) -> Contract:
    return deploy_bridge(chain, make_signers(4), make_signers(4, "recovery"))[0]


def relaying(checkpoints: int, relayers: int) -> dict[str, Any]:
    """Four relayers, three chains, nothing in their way. Raises: contracts.toolchain.Unavailable without Node.js."""
    from tests.bridge.anvils import SLOTS
    from tests.bridge.campaign import Plan, run

    plan = Plan(checkpoints=checkpoints, relayers=relayers, rotations=2, kills=0, reorganisations=0, faults=False)
    before, cpu = os.getloadavg(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        found = run(plan, Path(folder), lambda line: print(line, file=sys.stderr, flush=True))
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        **found,
        "relayers": relayers,
        "checkpoints": checkpoints,
        "block_seconds": 1,
        "blocks_to_finalized": 2 * SLOTS,
        "cpu_seconds": round(spent.ru_utime + spent.ru_stime - cpu.ru_utime - cpu.ru_stime, 1),
        "load_average": {"before": before, "after": os.getloadavg()},
    }


def main() -> int:
    """0: measured. 1: a relayer paid for nothing, or something was lost. 3: no Node.js for the relayers' part."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.bridge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--gas-only", action="store_true", help="without relayers: needs no Node.js")
    parser.add_argument("--snapshot", type=Path, help="also write the gas to this file, such as contracts/gas.json")
    parser.add_argument("--checkpoints", type=int, default=20)
    parser.add_argument("--relayers", type=int, default=4)
    arguments = parser.parse_args()
    document: dict[str, Any] = {"what": "gas of whole transactions, py-evm, Cancun", "gas": measure()}
    if arguments.snapshot:
        arguments.snapshot.write_text(json.dumps(document["gas"], indent=1) + "\n")
    code = 0 if arguments.gas_only else _relay(document, arguments)
    kept = json.loads(OUT.read_text()) if OUT.exists() else {}  # the relayers' figures, where only gas was measured
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({**kept, **document}, indent=1) + "\n")
    if arguments.json:
        print(json.dumps(document))
    else:
        _print(document)
    return code


def _relay(document: dict[str, Any], arguments: argparse.Namespace) -> int:
    from contracts.toolchain import Unavailable
    from tests.bridge.campaign import failures

    try:
        document["relay"] = relaying(arguments.checkpoints, arguments.relayers)
    except Unavailable as error:
        print(f"stretto: relayers were not measured: {error}", file=sys.stderr)
        return 3
    wrong = failures(document["relay"])
    if wrong:
        print(f"stretto: {'; '.join(wrong)}", file=sys.stderr)
    return int(bool(wrong))


def _print(document: dict[str, Any]) -> None:
    print("| operation | gas | prototypes |\n| --- | ---: | ---: |")
    for name, gas in document["gas"].items():
        print(f"| {name} | {gas:,} | {RESEARCH[name]:,} |" if name in RESEARCH else f"| {name} | {gas:,} | |")
    if "relay" not in document:
        return
    relay = document["relay"]
    print("\n| chain | mined | useful | duplicate | seconds to finalized |\n| --- | ---: | ---: | ---: | ---: |")
    for name, each in relay["chains"].items():
        seconds = relay["seconds_to_finalized"].get(name, "")
        print(f"| {name} | {each['mined']} | {each['useful']} | {each['duplicate']} | {seconds} |")
    print(f"\nlost: {relay['lost']}; {relay['seconds']} s; load {relay['load_average']}")


if __name__ == "__main__":
    sys.exit(main())
