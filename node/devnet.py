"""Nodes on one machine, four unless told otherwise: a label, a court, a society, a platform; each with its own process,
keys, store, ports.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from consensus.errors import LocalError
from consensus.types import EpochParameters
from ledger.errors import MalformedGenesis
from ledger.genesis import Genesis, Role, parse_genesis
from node.ceremony import Founder, found
from node.config import NodeConfig, load_config
from node.ports import free_ports

INSTITUTIONS = (
    ("label", "Aurora Records", Role.LABEL),
    ("court", "Harbour City Internet Court", Role.COURT),
    ("society", "Society of Composers and Authors", Role.SOCIETY),
    ("platform", "Northlight Streaming", Role.PLATFORM),
)
_FURTHER = (
    ("publisher", "Meridian Music Publishing", Role.LABEL),
    ("archive", "National Sound Archive", Role.SOCIETY),
    ("appeals", "Harbour City Court of Appeal", Role.COURT),
)
STOP_S = 5.0
"""Between SIGTERM and SIGKILL."""
_LOG_TAIL_BYTES = 4096


class NotADevnet(LocalError):
    """The folder holds no devnet."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"{directory} holds no devnet: make one with `stretto devnet init --dir {directory}`")
        self.directory = directory


class NodeEnded(LocalError):
    """A node process ended by itself. member: whose. log: the end of what it said."""

    def __init__(self, member: str, log_path: Path, tail: str) -> None:
        super().__init__(f"the node of {member} ended by itself; its log {log_path} ends with: {tail}")
        self.member = member
        self.log_path = log_path


@dataclass(frozen=True, slots=True, kw_only=True)
class DevnetNode:
    """One node of a devnet; it may be running or not."""

    config: NodeConfig

    @property
    def member(self) -> str:
        return self.config.member

    @property
    def log_path(self) -> Path:
        return self.config.directory / "log" / "node.log"

    @property
    def _pid_path(self) -> Path:
        return self.config.directory / "node.pid"

    def pid(self) -> int | None:
        """Process id of the running node; None where it does not run. Never somebody else's process with that id."""
        try:
            recorded = json.loads(self._pid_path.read_text())
            pid, started = int(recorded["pid"]), int(recorded["started"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return pid if _start_time(pid) == started else None

    def start(self, *, outlives: bool = False, verb: Sequence[str] = ("run",)) -> int:
        """Starts the node as a process of its own, its log appended to log/node.log. Gives the process id.

        outlives: whether it goes on when this process ends. Else the kernel ends it then, also where nothing here can
        (a test run that is killed); call it on the main thread (`end_with_parent` says why). verb: `stretto node` VERB,
        with options.
        """
        running = self.pid()
        if running is not None:
            return running
        config = self.config.directory / "config.toml"
        command = [sys.executable, "-m", "cli.main", "node", *verb, "--config", str(config)]
        if not outlives:
            command += ["--parent", str(os.getpid())]
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=_environment()
            )
        started = _start_time(process.pid)
        self._pid_path.write_text(json.dumps({"pid": process.pid, "started": started}))
        return process.pid

    def stop(self, *, kill: bool = False) -> bool:
        """Ends the node, gently or (kill) as a power cut would. Gives whether it ran."""
        if not self.send_signal(signal.SIGKILL if kill else signal.SIGTERM):
            return False
        self.wait_end()
        return True

    def send_signal(self, number: signal.Signals) -> bool:
        """Sends a signal to the running node; gives whether it runs."""
        pid = self.pid()
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return True

    def wait_end(self) -> None:
        """Waits until the node has ended; ends it hard after STOP_S."""
        pid = self.pid()
        deadline = time.monotonic() + STOP_S
        while pid is not None and self._alive(pid):
            if time.monotonic() > deadline:
                self.send_signal(signal.SIGKILL)
                deadline += STOP_S
            time.sleep(0.02)
        self._pid_path.unlink(missing_ok=True)

    def _alive(self, pid: int) -> bool:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # our own child stays a zombie until it is waited for
        return self.pid() == pid

    def check_running(self) -> None:
        """Raises: NodeEnded, with the end of its log, where it should run and does not."""
        pid = self.pid()
        if pid is None or not self._alive(pid):
            raise NodeEnded(self.member, self.log_path, self.log_tail())

    def log_tail(self) -> str:
        """The last lines of the node's log."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, self.log_path.stat().st_size - _LOG_TAIL_BYTES))
                return "\n".join(file.read().decode(errors="replace").splitlines()[-3:])
        except OSError:
            return "(no log)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Devnet:
    """The nodes of a devnet in the genesis's order."""

    directory: Path
    nodes: tuple[DevnetNode, ...]

    @property
    def genesis_path(self) -> Path:
        return self.directory / "genesis.json"

    def node(self, member: str) -> DevnetNode:
        return next(n for n in self.nodes if n.member == member)

    def stop(self) -> tuple[str, ...]:
        """Ends every running node; gives whose ran."""
        # All at once: each takes a moment to close its stores.
        running = [node for node in self.nodes if node.send_signal(signal.SIGTERM)]
        for node in running:
            node.wait_end()
        return tuple(node.member for node in running)


def _environment() -> dict[str, str]:
    # Four nodes and four readers share few cores: one thread each for BLAS and the like is plenty.
    return {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _start_time(pid: int) -> int | None:
    """Clock ticks since boot at which process `pid` started; with the id it names a process for good (proc(5))."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # Killed, its first thread is a zombie while another still waits for the disk, and holds the store's lock.
    return None if fields[0] == "Z" and int(fields[17]) <= 1 else int(fields[19])


def institutions(count: int) -> tuple[tuple[str, str, Role], ...]:
    """The first `count` institutions of a larger devnet: (member id, name, role) each; the four come first."""
    named = (*INSTITUTIONS, *_FURTHER)
    numbered = ((f"label-{i}", f"Label {i}", Role.LABEL) for i in range(len(named), count))
    return (*named[:count], *numbered)


def init_devnet(
    directory: Path, *, port: int | None = None, members: Sequence[tuple[str, str, Role]] = INSTITUTIONS
) -> Genesis:
    """Founds a devnet. port: the nodes listen from here upwards, gRPC 1,000 and metrics 2,000 above; None
    takes free ones.

    members: id, name and role of each, such as `institutions(7)`; consensus wants four at least.
    Raises: FolderInUse.
    """
    count = len(members)
    offsets = (*range(count), *range(1000, 1000 + count), *range(2000, 2000 + count))
    ports = list(free_ports(3 * count)) if port is None else [port + offset for offset in offsets]
    founders = [
        Founder(
            id=member,
            name=name,
            role=role,
            listen=f"/ip4/127.0.0.1/tcp/{ports[i]}",
            rpc=f"127.0.0.1:{ports[count + i]}",
            metrics=f"127.0.0.1:{ports[2 * count + i]}",
        )
        for i, (member, name, role) in enumerate(members)
    ]
    return found(
        directory.resolve(),
        name="Stretto devnet",
        origin=f"devnet.stretto.example/{secrets.token_hex(4)}",
        founders=founders,
        parameters=EpochParameters(),
    )


def load_devnet(directory: Path) -> Devnet:
    """Raises: NotADevnet, ConfigError."""
    directory = directory.resolve()
    try:
        genesis = parse_genesis((directory / "genesis.json").read_bytes())
    except (OSError, MalformedGenesis) as error:
        raise NotADevnet(directory) from error
    nodes = [directory / member.id for member in genesis.validator_members()]
    if not all((node / "config.toml").is_file() for node in nodes):
        raise NotADevnet(directory)
    return Devnet(
        directory=directory, nodes=tuple(DevnetNode(config=load_config(node / "config.toml")) for node in nodes)
    )
