"""The same scan on real Ray processes, of which some are killed: the manifest is the local one, byte for byte."""

from __future__ import annotations

import ipaddress
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from catalog.cluster.start import TEMPORARY
from tests.catalog.audio_files import KINDS, encoded
from tests.catalog.cluster.processes import Process, descendants, listening, still_running

pytest.importorskip("ray", reason="Ray is not installed here: pip install 'stretto[ray]'", exc_type=ImportError)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds the processes it started in /proc: Linux"),
]

FILES = 400
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
def local(music: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the scan writes without Ray."""
    out = tmp_path_factory.mktemp("local") / "manifest"
    subprocess.run(drive("local", music, out), check=True, timeout=WAIT_S)
    assert out.read_bytes().count(b"\n") == FILES + 2
    return out.read_bytes()


def drive(engine: str, music: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "tests.catalog.cluster.drive", engine, "3", str(music), str(out)]


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
    music: Path, local: bytes, tmp_path: Path
) -> None:
    with watched(drive("ray", music, tmp_path / "out")) as scan:
        victim = scan.until(at_work)[0]
        os.kill(victim.pid, signal.SIGKILL)
        code, output, errors = scan.end()
        assert code == 0, errors
        assert "was lost (its process ended): its files are done again" in errors
        assert output == "", "Ray says nothing between our lines"
        assert len([one for one in scan.seen if one.command.startswith("ray::Worker")]) >= 1
        assert_on_loopback(scan.addresses)
        scan.assert_all_gone()
    assert (tmp_path / "out").read_bytes() == local
    assert not list(TEMPORARY.glob(f"stretto-ray-*/r/session_*_{scan.process.pid}")), "nothing is left behind"


def test_a_node_lost_in_the_middle_leaves_the_manifest_as_it_would_have_been(
    music: Path, local: bytes, tmp_path: Path
) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    raylets = [sys.executable, "-m", "tests.catalog.cluster.raylets", "1", "2"]
    with watched(raylets, **LOOPBACK, **token) as nodes:
        assert nodes.process.stdout is not None
        assert nodes.process.stdin is not None
        address = nodes.process.stdout.readline().strip()
        with watched(drive(f"ray://{address}", music, tmp_path / "out"), **LOOPBACK, **token) as scan:
            nodes.until(at_work_on_second_node)
            nodes.process.stdin.write("remove 1\n")
            nodes.process.stdin.flush()
            code, _, errors = scan.end()
        assert code == 0, errors
        # Whichever is noticed first: that its workers do not answer, or that it is no longer there.
        assert "the connection to it broke" in errors or "it left the cluster" in errors
        assert nodes.process.stdout.readline() == "removed\n"
        nodes.process.stdin.close()
        assert nodes.end()[0] == 0
        nodes.assert_all_gone()
    assert (tmp_path / "out").read_bytes() == local


def test_an_interrupted_scan_leaves_no_process_behind(music: Path, tmp_path: Path) -> None:
    with watched(drive("ray", music, tmp_path / "out")) as scan:
        scan.until(at_work)
        os.killpg(scan.process.pid, signal.SIGINT)
        code, _, errors = scan.end()
        assert code != 0
        assert "KeyboardInterrupt" in errors
        scan.assert_all_gone()
