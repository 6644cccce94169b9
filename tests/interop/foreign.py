"""The js-libp2p client as a process, and what it takes to have one: Node.js, npm, and the packages of the lock file."""

from __future__ import annotations

import hashlib
import json
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGES = Path(".stretto") / "interop"
NODE_MAJOR_MIN = 20
INSTALL_S = 120


class Unavailable(Exception):
    """This machine cannot run it. The sentence says why."""


def install() -> Path:
    """A folder with the client and its packages, made once for each lock file. Raises: Unavailable."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Unavailable("Node.js with npm is not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").partition(".")[0]) < NODE_MAJOR_MIN:
        raise Unavailable(f"Node.js is {version}: expected {NODE_MAJOR_MIN} or newer")
    files = sorted([*HERE.glob("*.mjs"), *HERE.glob("package*.json")])
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = (PACKAGES / lock).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, folder)
    if not (folder / "installed").exists():
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"npm ci did not end within {INSTALL_S} s") from None
        if ended.returncode:
            raise Unavailable(f"npm ci failed: {ended.stderr.strip()[-300:]}")
        (folder / "installed").touch()
    return folder


class ForeignClient:
    """One client, connected to one node. Events arrive in order; each is taken by who first waits for its like."""

    def __init__(self, folder: Path, *, seed: bytes, address: str, topic: str) -> None:
        """seed: the peer key's 32 bytes. address: the node's, /ip4/…/tcp/…/p2p/…"""
        given = {"seed": seed.hex(), "address": address, "topic": topic}
        self._process = subprocess.Popen(
            ["node", str(folder / "client.mjs"), json.dumps(given)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._seen: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._events.put(json.loads(line))
        self._events.put({"event": "ended"})

    def tell(self, **asked: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()

    def wait(
        self, event: str, fits: Callable[[dict[str, Any]], bool] = lambda _: True, *, seconds: float = 30.0
    ) -> Any:
        """The first event of that name for which `fits`, also one that came before. Fails the test when time is up."""
        for found in [each for each in self._seen if each["event"] == event and fits(each)]:
            return found
        deadline = time.monotonic() + seconds
        while True:
            try:
                found = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {event} within {seconds:g} s; so far: {self._seen}") from None
            if found["event"] == "ended":
                assert self._process.stderr is not None
                raise AssertionError(f"the client ended: {self._process.stderr.read()[-2000:]}")
            self._seen.append(found)
            if found["event"] == event and fits(found):
                return found

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
