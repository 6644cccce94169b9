"""The same scan on real Ray processes, of which some are killed: the manifest is the local one, byte for byte."""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from catalog.cluster.start import TEMPORARY
from cli.output import Exit
from tests.catalog.audio_files import KINDS, encoded
from tests.catalog.cluster.processes import Process, descendants, listening, still_running

pytest.importorskip("ray", reason="Ray is not installed here: pip install 'stretto[ray]'", exc_type=ImportError)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds the processes it started in /proc: Linux"),
]

FILES = 120
WAIT_S = 120
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FILES sound files of all kinds, and three that are not."""
    root = tmp_path_factory.mktemp("music")
    for number in range(FILES):
        path = root / f"disc {number % 7}" / f"{number:03} {KINDS[number % len(KINDS)].name}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(KINDS[number % len(KINDS)]))
    (root / "disc 1" / "empty.wav").touch()
    (root / "disc 2" / "cut.flac").write_bytes(encoded(KINDS[-5])[:5000])
    (root / "notes.txt").write_text("nothing to hear")
    return root


@pytest.fixture(scope="module")
def local(music: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the scan writes without Ray."""
    out = tmp_path_factory.mktemp("local")
    subprocess.run(scan_command("local", music, out), check=False, timeout=WAIT_S, capture_output=True)
    found = written(out)
    assert found["manifest.jsonl"].count(b"\n") == 1 + FILES
    assert found["left_out.jsonl"].count(b"\n") == 3
    return found


def scan_command(engine: str, music: Path, out: Path) -> list[str]:
    threads = [] if "//" in engine else ["--threads", "3"]
    return [sys.executable, "-m", "cli.main", "catalog", "scan", str(music), "--into", str(out),
            "--engine", engine, *threads, "--json"]  # fmt: skip


def written(out: Path) -> dict[str, bytes]:
    """What must not depend on who read the files."""
    return {name: (out / name).read_bytes() for name in ("manifest.jsonl", "left_out.jsonl", "fingerprints.jsonl")
            if (out / name).exists()}  # fmt: skip


def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "run.json").read_bytes())
    return found


class Watched:
    """A process, and all that it ever started."""

    def __init__(self, command: list[str], **environment: str) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | environment, start_new_session=True,
        )  # fmt: skip
        self.seen: set[Process] = set()
        self.addresses: set[str] = set()

    def look(self) -> set[Process]:
        below = descendants(self.process.pid)
        if not below <= self.seen:
            self.seen |= below
            self.addresses |= listening(below)
        return below

    def until(self, wanted: Callable[[set[Process]], set[Process]]) -> list[Process]:
        """Waits for processes such as `wanted` picks."""
        deadline = time.monotonic() + WAIT_S
        while not (found := wanted(self.look())):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "no such process came to be"
            time.sleep(0.02)
        return sorted(found, key=lambda one: one.pid)

    def end(self) -> tuple[int, str, str]:
        """Waits for its end. Returns exit code, stdout, stderr."""
        deadline = time.monotonic() + WAIT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "it does not end"
            self.look()
            time.sleep(0.1)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        return self.process.returncode, self.process.stdout.read(), self.process.stderr.read()

    def assert_all_gone(self) -> None:
        """Within a few seconds: the last ones notice that their parent has ended."""
        deadline = time.monotonic() + 15
        while left := still_running(self.seen):
            assert time.monotonic() < deadline, left
            time.sleep(0.1)


@contextmanager
def watched(command: list[str], **environment: str) -> Iterator[Watched]:
    one = Watched(command, **environment)
    try:
        yield one
    finally:
        for left in (one.look() | still_running(one.seen)) if one.process.poll() is None else still_running(one.seen):
            os.kill(left.pid, signal.SIGKILL)
        one.process.kill()
        one.process.wait()


def at_work(processes: set[Process]) -> set[Process]:
    return {one for one in processes if one.command == "ray::Worker.examine"}


def at_work_on_second_node(processes: set[Process]) -> set[Process]:
    raylets = sorted((one.started, one.pid) for one in processes if Path(one.command).name == "raylet")
    return {one for one in at_work(processes) if len(raylets) == 2 and one.parent == raylets[1][1]}


def assert_on_loopback(addresses: set[str]) -> None:
    assert addresses, "it does listen somewhere"
    assert all(ipaddress.ip_address(address).is_loopback for address in addresses), addresses


def test_a_worker_killed_in_the_middle_leaves_the_manifest_as_it_would_have_been(
    music: Path, local: dict[str, bytes], tmp_path: Path
) -> None:
    with watched(scan_command("ray", music, tmp_path)) as scan:
        victim = scan.until(at_work)[0]
        os.kill(victim.pid, signal.SIGKILL)
        code, output, errors = scan.end()
        assert code == Exit.LEFT_OUT, errors
        assert "was lost (its process ended): its files are done again" in errors
        assert json.loads(output)["tracks"] == FILES, "Ray says nothing between our lines"
        assert_on_loopback(scan.addresses)
        scan.assert_all_gone()
    assert written(tmp_path) == local
    assert not list(TEMPORARY.glob(f"stretto-ray-*/r/session_*_{scan.process.pid}")), "nothing is left behind"
    (node,) = report(tmp_path)["engine"]["nodes"]
    assert node["workers_lost"] == 1
    assert node["files"] == FILES + 3


def test_a_node_lost_in_the_middle_leaves_the_manifest_as_it_would_have_been(
    music: Path, local: dict[str, bytes], tmp_path: Path
) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    raylets = [sys.executable, "-m", "tests.catalog.cluster.raylets", "1", "2"]
    with watched(raylets, **LOOPBACK, **token) as nodes:
        assert nodes.process.stdout is not None
        assert nodes.process.stdin is not None
        address = nodes.process.stdout.readline().strip()
        with watched(scan_command(f"ray://{address}", music, tmp_path), **LOOPBACK, **token) as scan:
            nodes.until(at_work_on_second_node)
            nodes.process.stdin.write("remove 1\n")
            nodes.process.stdin.flush()
            code, _, errors = scan.end()
        assert code == Exit.LEFT_OUT, errors
        # Whichever is noticed first: that its workers do not answer, or that it is no longer there.
        assert "the connection to it broke" in errors or "it left the cluster" in errors
        assert nodes.process.stdout.readline() == "removed\n"
        nodes.process.stdin.close()
        assert nodes.end()[0] == 0
        nodes.assert_all_gone()
    assert written(tmp_path) == local
    assert len(report(tmp_path)["engine"]["nodes"]) == 2


def test_an_interrupted_scan_leaves_no_process_and_goes_on_where_it_stopped(
    music: Path, local: dict[str, bytes], tmp_path: Path
) -> None:
    with watched(scan_command("ray", music, tmp_path)) as scan:
        scan.until(at_work)
        time.sleep(0.5)
        os.killpg(scan.process.pid, signal.SIGINT)
        code, _, errors = scan.end()
        assert code == Exit.INTERRUPTED, errors
        assert "the same command goes on from there" in errors
        scan.assert_all_gone()
    assert not (tmp_path / "manifest.jsonl").exists()
    done = report(tmp_path)["files"]["read"]
    subprocess.run(scan_command("local", music, tmp_path), check=False, timeout=WAIT_S, capture_output=True)
    assert report(tmp_path)["files"]["read"] == FILES + 3 - done, "another engine goes on with what this one has done"
    assert written(tmp_path) == local
