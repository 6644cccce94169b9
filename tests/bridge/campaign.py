"""Relayers under fire: python -m tests.bridge.campaign --help

Three real anvil nodes with the three chain ids and a block a second; relayer processes that are killed (SIGKILL)
between journalling and sending and between sending and recording; reorganisations of depth 1 to 8; and of three
endpoints of each chain always one that lies, lags, swallows transactions, is dead, slow, or answers 429. What counts is
read from the chains afterwards: every transaction that was paid for, and whether it changed the contract.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.artifacts import calldata, decoded, topic
from bridge.deploy import Deployed
from bridge.journal import OPEN, Journal, State
from bridge.signer import create_keystore
from tests.bridge.anvils import CHAINS, SLOTS, AnvilNode
from tests.bridge.servers import MODES, Proxy
from tests.bridge.service import Ledger, LedgerService
from tests.bridge.world import deployed_on
from tests.contracts.signers import make_signers

DEPTHS = tuple(range(1, 9))
NAME = "CheckpointBridge"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much, and how hard. turn_s: far above what a round takes on a busy machine."""

    checkpoints: int = 50
    relayers: int = 4
    chains: tuple[str, ...] = tuple(CHAINS)
    rotations: int = 2
    kills: int = 16
    """Of all relayers together, about."""
    kill_within: int = 12
    """Transactions of one relayer: after some number of them up to this one it is killed."""
    reorganisations: int = 8
    """Of each chain."""
    faults: bool = True
    turn_s: float = 8.0
    poll_s: float = 0.7
    deadline_s: float = 1500.0
    seed: int = 1


@dataclass
class Chain:
    node: AnvilNode
    deployed: Deployed
    proxies: list[Proxy]

    def read(self, method: str, block: str = "latest") -> Any:
        call = {"to": "0x" + self.deployed.bridge.hex(), "data": "0x" + calldata(NAME, method).hex()}
        return decoded(NAME, method, bytes.fromhex(self.node.ask("eth_call", call, block)[2:]))


@dataclass
class Relayer:
    """A process that is started again whenever it was killed."""

    index: int
    config: Path
    journal: Path
    chance: random.Random
    process: subprocess.Popen[bytes] | None = None
    kills: Counter[str] = field(default_factory=Counter)
    crashes: int = 0
    restart_at: float = 0.0

    def start(self, when: str) -> None:
        environment = {**os.environ, "STRETTO_KILL": when}
        command = [sys.executable, "-m", "tests.bridge.relayer_process", str(self.config)]
        with self.config.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stderr=log, stdout=log)
        self.when = when


class Campaign:
    def __init__(self, plan: Plan, folder: Path, say: Any) -> None:
        self.plan, self.folder, self.say = plan, folder, say
        self.chance = random.Random(plan.seed)
        self.ledger = Ledger()
        self.service = LedgerService(self.ledger)
        self.chains: dict[str, Chain] = {}
        self.relayers: list[Relayer] = []
        self.reorganised: Counter[int] = Counter()
        self.modes: Counter[str] = Counter()
        self.kills_left = plan.kills

    # ---- before ----

    def prepare(self) -> None:
        with ThreadPoolExecutor() as pool:
            for name, chain in pool.map(self._chain, self.plan.chains):
                self.chains[name] = chain
        for index in range(self.plan.relayers):
            self.relayers.append(self._relayer(index))

    def _chain(self, name: str) -> tuple[str, Chain]:
        node = AnvilNode(name)
        deployed = deployed_on(node, self.ledger, self.folder)
        node.mine(2 * SLOTS + 2)  # no reorganisation reaches down to the deployment
        return name, Chain(node, deployed, [Proxy(node.url) for _ in range(3)])

    def _relayer(self, index: int) -> Relayer:
        folder = self.folder / f"relayer-{index}"
        folder.mkdir()
        password = folder / "password"
        password.write_text("for tests\n")
        password.chmod(0o600)
        address = create_keystore(folder / "key.json", password)
        tables = []
        for name, chain in self.chains.items():
            chain.node.fund(address)
            urls = ", ".join(f'"{proxy.url}"' for proxy in chain.proxies)
            tables.append(
                f'[chains.{name}]\nid = {chain.node.id}\nrpc = [{urls}]\nbridge = "0x{chain.deployed.bridge.hex()}"\n'
                f"start_block = {chain.deployed.start_block}\nfee_cap_gwei = 500\ntip_cap_gwei = 5\nseconds_min = 0\n"
                f"poll_s = {self.plan.poll_s}\nturn_s = {self.plan.turn_s}\nreplace_s = 20\n"
                "requests_per_second = 1000\ntimeout_s = 1.5\n"
            )
        config = folder / "bridge.toml"
        config.write_text(
            f'node = "{self.service.address}"\njournal = "journal.sqlite"\nrelayer = {index}\n'
            f'relayers = {self.plan.relayers}\n[signer]\nkeystore = "key.json"\npassword_file = "password"\n'
            + "\n".join(tables)
        )
        return Relayer(index, config, folder / "journal.sqlite", random.Random(self.plan.seed * 100 + index))

    # ---- during ----

    def run(self) -> dict[str, Any]:
        started = time.monotonic()
        for relayer in self.relayers:
            relayer.start(self._when(relayer))
        while self.service.service.asked < 4 * len(self.relayers) * len(self.chains):
            time.sleep(0.2)  # all are there before there is anything to do: else each queues behind all others
        stop = threading.Event()
        faults = threading.Thread(target=self._faults, args=(stop,), daemon=True)
        faults.start()
        try:
            self._drive(started + self.plan.deadline_s)
            stop.set()
            faults.join()
            for chain in self.chains.values():
                for proxy in chain.proxies:
                    proxy.mode = None
            settled = self._settle(started + self.plan.deadline_s)
        finally:
            stop.set()
            for relayer in self.relayers:
                if relayer.process is not None:
                    relayer.process.send_signal(signal.SIGTERM)
            for relayer in self.relayers:
                if relayer.process is not None:
                    try:
                        relayer.process.wait(40)
                    except subprocess.TimeoutExpired:
                        relayer.process.kill()
        return {**self._counted(), "settled": settled, "seconds": round(time.monotonic() - started, 1)}

    def _when(self, relayer: Relayer) -> str:
        if self.kills_left <= 0:
            return ""
        return f"{relayer.chance.choice(['journalled', 'sent'])}:{relayer.chance.randint(1, self.plan.kill_within)}"

    def _revive(self) -> None:
        """Starts killed relayers again, at once or after several turns: another may have taken over by then, or not."""
        now = time.monotonic()
        for relayer in self.relayers:
            if relayer.process is not None and relayer.process.poll() is not None:
                if relayer.process.returncode == -signal.SIGKILL:
                    relayer.kills[relayer.when.partition(":")[0]] += 1
                    self.kills_left -= 1
                else:
                    relayer.crashes += 1
                relayer.process = None
                relayer.restart_at = now + relayer.chance.choice([0.0, 1.0, 3.0, self.plan.turn_s * 1.5])
            if relayer.process is None and now >= relayer.restart_at:
                relayer.start(self._when(relayer))

    def _drive(self, deadline: float) -> None:
        """One checkpoint after the other, each when all chains have the last one; epochs end in between."""
        ends = {self.plan.checkpoints * (i + 1) // (self.plan.rotations + 1) for i in range(self.plan.rotations)}
        last = time.monotonic()
        for number in range(self.plan.checkpoints):
            self.ledger.grow(self.chance.randint(1, 20))
            if number in ends:
                self.ledger.end_epoch(make_signers(4 + number % 3, f"committee {number}"))
            while not self._all_have_it():
                self._revive()
                if time.monotonic() > deadline:
                    return
                time.sleep(0.2)
            now = time.monotonic()
            self.say(f"checkpoint {number + 1} of {self.plan.checkpoints}: {now - last:.1f} s; kills {self._kills()}")
            last = now

    def _all_have_it(self) -> bool:
        return all(
            (chain.read("epoch"), chain.read("size")) == (self.ledger.epoch, self.ledger.entries.size)
            for chain in self.chains.values()
        )

    def _faults(self, stop: threading.Event) -> None:
        """Every few seconds another endpoint of each chain is faulty, in another way; sometimes a chain forgets."""
        plan = self.plan
        depths = {name: [DEPTHS[i % 8] for i in range(plan.reorganisations)] for name in self.chains}
        for each in depths.values():
            self.chance.shuffle(each)
        while not stop.wait(self.chance.uniform(2, 5)):
            for name, chain in self.chains.items():
                if plan.faults:
                    mode, faulty = self.chance.choice(MODES), self.chance.randrange(3)
                    for i, proxy in enumerate(chain.proxies):
                        proxy.mode = mode if i == faulty else None
                    self.modes[mode] += 1
                if depths[name] and self.chance.random() < 0.25:
                    depth = depths[name].pop()
                    chain.node.reorganise(depth)
                    self.reorganised[depth] += 1

    def _settle(self, deadline: float) -> bool:
        """Until everything is final on every chain, in every journal."""
        while time.monotonic() < deadline:
            self._revive()
            if self._all_have_it() and all(self._is_quiet(each) for each in self.relayers):
                return True
            time.sleep(0.5)
        return False

    @staticmethod
    def _is_quiet(relayer: Relayer) -> bool:
        with Journal(relayer.journal, read_only=True) as journal:
            return not any(journal.count(id_, [State.MINED, State.SENT]) for id_, _ in CHAINS.values())

    def _kills(self) -> int:
        return sum(sum(each.kills.values()) for each in self.relayers)

    # ---- after ----

    def _counted(self) -> dict[str, Any]:
        chains = {}
        for name, chain in self.chains.items():
            accepted = {topic(NAME, "CheckpointAccepted"), topic(NAME, "Rotated")}
            paid = chain.node.transactions_to(chain.deployed.bridge)
            useful = [each for each in paid if each["status"] == "0x1" and accepted & _topics(each)]
            chains[name] = {
                "mined": len(paid),
                "useful": len(useful),
                "duplicate": len(paid) - len(useful),
                "behind": self.ledger.entries.size - chain.read("size"),
                "frozen": chain.read("frozen"),
                "gas": sum(int(each["gasUsed"], 16) for each in paid),
                "by_relayer": dict(Counter(each["from"] for each in paid).most_common()),
            }
        states: Counter[str] = Counter()
        seconds: dict[str, float] = {}
        names = {id_: name for name, (id_, _) in CHAINS.items()}
        totals = []
        for relayer in self.relayers:
            with Journal(relayer.journal, read_only=True) as journal:
                for id_ in names:
                    for state in OPEN:
                        states[state] += journal.count(id_, [state])
                totals += journal.totals()
        for total in totals:
            states[total.state] += total.count
        for id_, name in names.items():
            mine = [each for each in totals if each.chain == id_ and each.state == State.USEFUL]
            count = sum(each.count for each in mine)
            if count:
                seconds[name] = round(sum(each.seconds for each in mine) / count, 2)
        kills: Counter[str] = Counter()
        for relayer in self.relayers:
            kills += relayer.kills
        return {
            "chains": chains,
            "journals": dict(states),
            "lost": states[State.LOST] + sum(each["behind"] > 0 for each in chains.values()),
            "seconds_to_finalized": seconds,
            "kills": dict(kills),
            "crashes": sum(each.crashes for each in self.relayers),
            "reorganisations": dict(sorted(self.reorganised.items())),
            "faults": dict(self.modes),
        }

    def close(self) -> None:
        self.service.close()
        for chain in self.chains.values():
            for proxy in chain.proxies:
                proxy.close()
            chain.node.close()


def _topics(receipt: dict[str, Any]) -> set[bytes]:
    return {bytes.fromhex(log["topics"][0][2:]) for log in receipt["logs"]}


def run(plan: Plan, folder: Path, say: Any = lambda _: None) -> dict[str, Any]:
    """What happened, as JSON. Raises: contracts.toolchain.Unavailable without Node.js."""
    campaign = Campaign(plan, folder, say)
    try:
        campaign.prepare()
        return campaign.run()
    finally:
        campaign.close()


def failures(found: dict[str, Any]) -> list[str]:
    """Sentences; none where nothing was paid twice and nothing was lost."""
    chains = found["chains"].items()
    wrong = [f"{name}: {each['duplicate']} paid for nothing" for name, each in chains if each["duplicate"]]
    wrong += [f"{name}: {each['behind']} leaves behind" for name, each in chains if each["behind"]]
    wrong += [f"{name}: frozen" for name, each in chains if each["frozen"]]
    if found["lost"]:
        wrong.append(f"{found['lost']} lost")
    if found["crashes"]:
        wrong.append(f"{found['crashes']} relayers ended by themselves")
    if not found["settled"]:
        wrong.append("not everything became final in time")
    return wrong


def main() -> int:
    """0: nothing paid twice, nothing lost. 1: else."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bridge.campaign",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name in ("checkpoints", "relayers", "kills", "reorganisations", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Plan(), name))
    parser.add_argument("--folder", type=Path, help="where logs and journals stay; else they are removed")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nodes and relayers end with it
    plan = Plan(
        checkpoints=given.checkpoints, relayers=given.relayers, kills=given.kills,
        reorganisations=given.reorganisations, seed=given.seed,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = run(plan, folder, lambda line: print(line, flush=True))
    print(json.dumps(found, indent=1))
    wrong = failures(found)
    print("; ".join(wrong) or "nothing was paid twice, nothing was lost")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
