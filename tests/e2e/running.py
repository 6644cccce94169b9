"""A devnet of real processes, and statements signed with its members' real keys."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from cli.client import NodeClient
from cli.devnet import wait_until_up
from ledger.genesis import Genesis
from ledger.statement import Content, sign_statement
from node.devnet import Devnet, DevnetNode, init_devnet, load_devnet
from node.keys import load_private_key, public_bytes
from node.rpc.answers import NodeStatus
from node.rpc.types import SubmissionResult
from tests.campaign.patience import Deadline

T = TypeVar("T")
PATIENCE_S = 20.0


def until(condition: Callable[[], T], what: str, within_s: float = PATIENCE_S) -> T:
    """What `condition` gives once that is true. Real processes are watched here, so real time passes: more of it where
    the machine has other work."""
    deadline = Deadline(within_s)
    while not (found := condition()):
        assert not deadline.is_over(), f"not within {deadline.allowed_s():.0f} s: {what}"
        time.sleep(0.02)
    return found


class RunningDevnet:
    """Four node processes with their readers."""

    def __init__(self, directory: Path) -> None:
        self.genesis: Genesis = init_devnet(directory)
        self.devnet: Devnet = load_devnet(directory)
        self._clients: dict[str, NodeClient] = {}
        self._refs = 0

    def up(self) -> None:
        for node in self.devnet.nodes:
            node.start()
        wait_until_up(self.devnet, list(self.devnet.nodes))

    def start(self, member: str) -> None:
        self[member].start()
        wait_until_up(self.devnet, [self[member]])

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        for node in self.devnet.nodes:
            node.stop(kill=True)

    def __getitem__(self, member: str) -> DevnetNode:
        return self.devnet.node(member)

    @property
    def members(self) -> list[str]:
        return [node.member for node in self.devnet.nodes]

    def client(self, member: str) -> NodeClient:
        if member not in self._clients:
            self._clients[member] = NodeClient(self[member].config.rpc)
        return self._clients[member]

    def fresh_client(self, member: str) -> NodeClient:
        """Of the caller's own, with little patience: for another thread."""
        return NodeClient(self[member].config.rpc, deadline_s=2.0)

    # ---- statements --------------------------------------------------------------------------------------------------

    def sign(self, content: Content, *, ref: str = "", issuer: str = "label", key_of: str = "", consortium: bytes = b"",
             member: str = "") -> bytes:  # fmt: skip
        """A statement of `issuer`, by the key of `key_of`'s node where that is another's."""
        self._refs += 1
        key = load_private_key(self[member or key_of or issuer].config.key_path("statement"))
        return sign_statement(
            content,
            client_ref=ref or f"e2e-{self._refs}",
            issuer=issuer,
            public_key=public_bytes(key),
            consortium=consortium or self.genesis.digest,
            sign=key.sign,
        )

    def record(self, member: str, statement: bytes) -> SubmissionResult:
        """Submits through `member`'s node, and waits until it is final there."""
        return self.client(member).submit(statement)

    # ---- where they stand --------------------------------------------------------------------------------------------

    def status(self, member: str) -> NodeStatus:
        return self.client(member).status()

    def agree(self, size: int, *members: str) -> bytes:
        """Waits until the nodes (all, unless named) have `size` leaves; the root, which is the same at all of them."""

        def reached() -> list[NodeStatus]:
            found = [self.status(member) for member in members or self.members]
            return found if all(status.size >= size for status in found) else []

        found = until(reached, f"{size} leaves at {', '.join(members) or 'all nodes'}")
        assert {status.size for status in found} == {size}
        (root,) = {status.root for status in found}
        return root


def processes_of(directory: Path) -> dict[int, str]:
    """Running processes that name a file in `directory` on their command lines: id -> command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if str(directory) in command:
                    found[int(entry.name)] = command
    return found


def reader_of(node: DevnetNode) -> int | None:
    """Process id of the node's reader."""
    found = processes_of(node.config.directory)
    return next((pid for pid, command in found.items() if "node.rpc.reader" in command), None)


def log_lines(node: DevnetNode, containing: str) -> Iterator[str]:
    return (line for line in node.log_path.read_text().splitlines() if containing in line)
