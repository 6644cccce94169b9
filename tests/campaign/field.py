"""A devnet of real processes to be hurt: started, killed, frozen, cut off; it remembers what ought to be running."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

from cli.client import NodeClient, NodeError, NodeUnreachable
from cli.devnet import wait_until_up
from node.config import load_config
from node.devnet import Devnet, DevnetNode, init_devnet, institutions, load_devnet
from node.ports import free_ports
from node.rpc.answers import NodeStatus
from tests.campaign.patience import factor, until
from tests.campaign.proxy import CUT, PASS

UP_S = 60.0
COMPLAINT = re.compile(r'"level": ?"critical"|Traceback')


class Wires:
    """The proxy process and what its wires are set to."""

    def __init__(self, members: Iterable[str], targets: list[tuple[str, str, int]]) -> None:
        self._members = tuple(members)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.proxy"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self.ports = dict(zip(((near, far) for near, far, _ in targets), self._tell(targets), strict=True))

    def _tell(self, document: object) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(document) + "\n")
        self._process.stdin.flush()
        answer: list[int] = json.loads(self._process.stdout.readline())
        return answer

    def split(self, *groups: Iterable[str], mode: str = CUT) -> None:
        """Wires between members of different groups get `mode`; those within a group stay whole."""
        sides = [tuple(group) for group in groups]
        self.set([(a, b) for one, other in combinations(sides, 2) for a in one for b in other], mode)

    def set(self, pairs: Iterable[tuple[str, str]], mode: str, delay_ms: float = 0.0) -> None:
        self._tell([list(pairs), mode, delay_ms])

    def heal(self) -> None:
        self.set(combinations(self._members, 2), PASS)

    def close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Field:
    """`count` nodes in `directory`; with wires where `proxied`."""

    def __init__(self, directory: Path, count: int, *, proxied: bool) -> None:
        self.genesis = init_devnet(directory, members=institutions(count))
        self.devnet: Devnet = load_devnet(directory)
        self.members = tuple(node.member for node in self.devnet.nodes)
        self.wires: Wires | None = None
        self._clients: dict[str, NodeClient] = {}
        self._pids: dict[str, int] = {}
        self._read: dict[str, int] = {}
        if proxied:
            self._put_wires()

    def _put_wires(self) -> None:
        ports = {node.member: int(node.config.listen.rpartition("/")[2]) for node in self.devnet.nodes}
        targets = [(near, far, ports[far]) for near in self.members for far in self.members if near != far]
        self.wires = Wires(self.members, targets)
        for node in self.devnet.nodes:
            path = node.config.directory / "config.toml"
            head, _, _ = path.read_text().partition("[peers]")
            peers = "".join(
                f'{far} = "/ip4/127.0.0.1/tcp/{port}"\n'
                for (near, far), port in self.wires.ports.items()
                if near == node.member
            )
            path.write_text(f"{head}[peers]\n{peers}")
        self.devnet = load_devnet(self.devnet.directory)

    def __getitem__(self, member: str) -> DevnetNode:
        return self.devnet.node(member)

    # ---- processes ---------------------------------------------------------------------------------------------------

    def up(self) -> float:
        """Starts all and waits until they work together; gives the seconds it took."""
        return self.start(*self.members)

    def start(self, *members: str, wait: bool = True) -> float:
        begun = time.monotonic()
        for member in members:
            self._pids[member] = self[member].start()
        if wait:
            wait_until_up(self.devnet, [self[member] for member in members], UP_S * factor())
        return time.monotonic() - begun

    def kill(self, *members: str) -> None:
        """kill -9, all at once."""
        for member in members:
            self._pids.pop(member, None)
            self[member].send_signal(signal.SIGKILL)
        for member in members:
            self[member].wait_end()

    def stop(self, *members: str) -> None:
        """In good order."""
        for member in members:
            self._pids.pop(member, None)
            self[member].stop()

    def expect_end(self, member: str) -> None:
        """From now on this node may end by itself."""
        self._pids.pop(member, None)

    @property
    def running(self) -> tuple[str, ...]:
        """Those that ought to be running."""
        return tuple(member for member in self.members if member in self._pids)

    def died(self) -> list[str]:
        """Who ended without being told to."""
        gone = []
        for member, pid in self._pids.items():
            with contextlib.suppress(Exception):
                self[member].check_running()  # reaps a child that ended
            if self[member].pid() != pid:
                gone.append(f"{member}: {self[member].log_tail()}")
        return gone

    def client(self, member: str) -> NodeClient:
        if member not in self._clients:
            self._clients[member] = NodeClient(self[member].config.rpc, deadline_s=2.0)
        return self._clients[member]

    def status(self, member: str) -> NodeStatus | None:
        """None where it does not answer."""
        try:
            return self.client(member).status()
        except (NodeError, NodeUnreachable):
            return None

    def leader(self) -> str:
        """Who leads now, as the first that answers sees it. Raises: Expectation."""

        def asked() -> str:
            statuses = (self.status(member) for member in self.running)
            return next((status.live.leader for status in statuses if status and status.live.leader), "")

        return until(asked, "a node to say who leads", 10)

    # ---- logs --------------------------------------------------------------------------------------------------------

    def new_log(self, member: str) -> str:
        """What a node logged since this was asked last."""
        data = self[member].log_path.read_bytes() if self[member].log_path.exists() else b""
        start, self._read[member] = self._read.get(member, 0), len(data)
        return data[start:].decode(errors="replace")

    def log_mark(self, member: str) -> int:
        return self[member].log_path.stat().st_size if self[member].log_path.exists() else 0

    def logged(self, member: str, text: str, mark: int = 0) -> list[str]:
        """Messages since `mark` that contain `text`."""
        data = self[member].log_path.read_bytes()[mark:] if self[member].log_path.exists() else b""
        return [line for line in data.decode(errors="replace").splitlines() if text in line]

    @staticmethod
    def log_since(node: DevnetNode, mark: int) -> str:
        return node.log_path.read_bytes()[mark:].decode(errors="replace") if node.log_path.exists() else ""

    # ---- the end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Ends every process of this field, by its id."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        for node in self.devnet.nodes:
            node.send_signal(signal.SIGCONT)
            node.send_signal(signal.SIGKILL)
        for node in self.devnet.nodes:
            node.wait_end()
        if self.wires is not None:
            self.wires.close()


def make_twin(field: Field, member: str) -> DevnetNode:
    """A second folder with the keys, genesis and data of a stopped node, listening elsewhere: a bad fail-over pair."""
    original = field[member].config
    directory = field.devnet.directory / f"{member}-twin"
    if directory.exists():
        shutil.rmtree(directory)
    shutil.copytree(
        original.directory, directory, ignore=shutil.ignore_patterns("submit.sock", "node.pid", "log", "lock.mdb")
    )
    (directory / "log").mkdir()
    listen, rpc = free_ports(2)
    path = directory / "config.toml"
    text = path.read_text().replace(original.listen, f"/ip4/127.0.0.1/tcp/{listen}", 1)
    text = re.sub(r"\[metrics\]\n(#.*\n)?listen.*\n", "", text)  # its port is the other one's
    path.write_text(text.replace(f'rpc = "{original.rpc}"', f'rpc = "127.0.0.1:{rpc}"'))
    return DevnetNode(config=load_config(path))
