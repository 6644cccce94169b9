"""`stretto hash` and `stretto catalog scan` on a calibrated GPU, made of software: same results, whatever it does."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import pytest

from cli import sum_gpu
from cli.output import Exit
from tests.cli.commands import Ended
from tests.kernels.driver.running import CHAIN, SECONDS_MAX, launches_of, needs_toolchain, run
from tests.kernels.driver.toolchain import ROOT

pytestmark = needs_toolchain

GPU0 = "GPU-e0e1e2e3-e4e5-e6e7-e8e9-eaebecedee00"
HASH = ("-SP", "cli/start.py", "hash", "--threads", "2")
SCAN = ("-m", "cli.main", "catalog", "scan", "--threads", "2", "--no-fingerprints")


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A calibration by which the GPU wins from 200,000 bytes on, with two threads."""
    state = tmp_path_factory.mktemp("state")
    run("remembered", module="dispatching", XDG_STATE_HOME=str(state))
    return (state / "stretto" / "gpu" / f"{GPU0}.json").read_bytes()


@pytest.fixture
def state(tmp_path: Path, calibrated: bytes) -> Path:
    """A state folder of its own: a GPU that lies leaves a mark there."""
    folder = tmp_path / "state" / "stretto" / "gpu"
    folder.mkdir(parents=True)
    (folder / f"{GPU0}.json").write_bytes(calibrated)
    return folder


@pytest.fixture(scope="module")
def proof_launches(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Launches of the known answers, before a device is used."""
    return launches_of(tmp_path_factory.mktemp("log"), "known", module="exercise")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 1.5 MB: small ones, one of several batches, one that cannot be read."""
    folder = tmp_path_factory.mktemp("files")
    rng = random.Random(4)
    for number, size in enumerate([0, 1, 1024, 1025, *(rng.randrange(90_000) for _ in range(16)), 700_001, 150_000]):
        (folder / f"{number:02}").write_bytes(rng.randbytes(size))
    (folder / "07 gone").symlink_to(folder / "nowhere")
    return folder


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 1.4 MB of noise as WAV, and a file that is not audio."""
    folder = tmp_path_factory.mktemp("music")
    rng = random.Random(5)
    for number, frames in enumerate((10_000, 20_000, 30_000, 40_000, 50_000, 60_000, 130_000)):
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setparams((2, 2, 44_100, 0, "NONE", ""))
            file.writeframes(rng.randbytes(4 * frames))
    (folder / "note.txt").write_text("no music")
    return folder


def stretto(*arguments: object, state_home: Path, **settings: str) -> Ended:
    """A process in which there is a GPU, made of software."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, check=False, cwd=ROOT, timeout=SECONDS_MAX,
        env=CHAIN.environment(XDG_STATE_HOME=str(state_home), **settings),
    )  # fmt: skip
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return Ended(done.returncode, done.stdout, done.stderr.decode())


def gpu_lines(ended: Ended) -> list[str]:
    return [line for line in ended.err.splitlines() if GPU0 in line]


# ---- stretto hash ----------------------------------------------------------------------------------------------------


def hashed(files: Path, home: Path, *arguments: object, **settings: str) -> tuple[Ended, Ended]:
    """(on the processor, where a GPU was calibrated)."""
    cpu = stretto(*HASH, *arguments, files, state_home=home / "empty")
    gpu = stretto(*HASH, *arguments, files, state_home=home / "state", **settings)
    assert gpu.out == cpu.out
    assert gpu.code == cpu.code == Exit.LEFT_OUT
    assert gpu_lines(cpu) == []
    assert [line for line in gpu.err.splitlines() if GPU0 not in line] == cpu.err.splitlines()
    return cpu, gpu


@pytest.mark.usefixtures("state")
def test_hash_prints_the_same_in_the_same_order_and_says_that_a_gpu_took_part(files: Path, tmp_path: Path) -> None:
    cpu, gpu = hashed(files, tmp_path)
    assert cpu.out.count(b"\n") == 22
    (said,) = gpu_lines(gpu)
    assert said.startswith(f"stretto: BLAKE3 by GPU {GPU0}: faster here for batches from 200000 bytes on")


@pytest.mark.usefixtures("state")
def test_hash_asks_the_gpu_for_the_digests(files: Path, tmp_path: Path, proof_launches: int) -> None:
    log = tmp_path / "launches"
    hashed(files, tmp_path, STANDIN_LOG=str(log))
    assert log.read_text().count("launch ") > proof_launches


@pytest.mark.parametrize(("beyond", "lines"), [(0, 1), (2, 0)], ids=["enough", "too little"])
def test_hash_uses_the_gpu_only_where_there_is_enough_to_hash(
    beyond: int, lines: int, files: Path, tmp_path: Path, state: Path
) -> None:
    worth_from = sum(path.stat().st_size for path in files.iterdir() if path.exists()) + beyond
    assert worth_from > sum_gpu.LOOK_BYTES
    path = state / f"{GPU0}.json"
    known = json.loads(path.read_bytes())
    path.write_text(json.dumps(known | {"open_s": worth_from / 1e9}))  # a nanosecond is saved with each byte
    _, gpu = hashed(files, tmp_path)
    assert len(gpu_lines(gpu)) == lines


@pytest.mark.usefixtures("state")
def test_hash_with_a_journal_keeps_the_same_entries_and_uses_them(files: Path, tmp_path: Path) -> None:
    settled = "import sys; from catalog import digest_journal; digest_journal.SETTLED_NS = -(10**12)"
    command = ("-c", f"{settled}; from cli import start; start.start(sys.argv[1:])", *HASH[2:])
    cpu = stretto(*command, "--resume", tmp_path / "cpu", files, state_home=tmp_path / "empty")
    gpu = stretto(*command, "--resume", tmp_path / "gpu", files, state_home=tmp_path / "state")
    assert len(gpu_lines(gpu)) == 1
    assert gpu.out == cpu.out
    again = stretto(*command, "--resume", tmp_path / "gpu", files, state_home=tmp_path / "state")
    assert (again.out, gpu_lines(again)) == (cpu.out, []), "nothing is left that were worth its start"
    assert (tmp_path / "gpu").read_bytes() == (tmp_path / "cpu").read_bytes()


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize("arguments", [("--json",), ("--format", "sha256sum")], ids=["json", "sha256sum"])
def test_hash_with_sha256_stays_with_the_processors(arguments: tuple[str, ...], files: Path, tmp_path: Path) -> None:
    cpu = stretto("-m", "cli.main", *HASH[2:], *arguments, files, state_home=tmp_path / "empty")
    gpu = stretto("-m", "cli.main", *HASH[2:], *arguments, files, state_home=tmp_path / "state")
    assert (gpu.out, gpu.err) == (cpu.out, cpu.err)


@pytest.mark.parametrize("later", [1, 8])
def test_a_wrong_digest_costs_hash_the_gpu_and_no_digest(
    later: int, files: Path, tmp_path: Path, state: Path, proof_launches: int
) -> None:
    _, gpu = hashed(files, tmp_path, STANDIN_CORRUPTS_FROM_LAUNCH=str(proof_launches + later))
    (_, said) = gpu_lines(gpu)
    assert "WRONG DIGEST" in said
    assert "disabled until `stretto gpu calibrate` passes" in said
    assert (state / f"{GPU0}.disabled").exists()
    _, after = hashed(files, tmp_path)
    assert gpu_lines(after) == [], "it stays out"


def test_a_gpu_that_fails_the_known_answers_hashes_nothing(files: Path, tmp_path: Path, state: Path) -> None:
    _, gpu = hashed(files, tmp_path, STANDIN_CORRUPTS_FROM_LAUNCH="1")
    (said,) = gpu_lines(gpu)
    assert "known answers are right" in said
    assert (state / f"{GPU0}.disabled").exists()


@pytest.mark.parametrize("later", [1, 8])
def test_a_device_lost_half_way_costs_hash_one_line(
    later: int, files: Path, tmp_path: Path, state: Path, proof_launches: int
) -> None:
    _, gpu = hashed(files, tmp_path, STANDIN_FAILS_AT_LAUNCH=str(proof_launches + later))
    (_, said) = gpu_lines(gpu)
    assert "LAUNCH_FAILED" in said
    assert said.endswith("the CPU goes on, and no digest is lost")
    assert not (state / f"{GPU0}.disabled").exists()


# ---- stretto catalog scan --------------------------------------------------------------------------------------------


def scanned(music: Path, home: Path, **settings: str) -> tuple[Ended, dict[str, Any]]:
    """(the scan where a GPU was calibrated, its run report): its results are those of one that knows of none."""
    cpu = stretto(*SCAN, music, "--into", home / "cpu", "--json", state_home=home / "empty")
    gpu = stretto(*SCAN, music, "--into", home / "gpu", "--json", state_home=home / "state", **settings)
    assert gpu.code == cpu.code == Exit.LEFT_OUT
    for name in ("manifest.jsonl", "left_out.jsonl"):
        assert (home / "gpu" / name).read_bytes() == (home / "cpu" / name).read_bytes()
    assert json.loads((home / "cpu" / "run.json").read_bytes())["engine"] == {
        "name": "local", "threads": 2, "backend": "cpu", "why": "threads of this machine hash on its processors",
    }  # fmt: skip
    return gpu, json.loads((home / "gpu" / "run.json").read_bytes())


@pytest.mark.usefixtures("state")
def test_scan_writes_the_same_manifest_and_the_run_report_says_which_backend_and_why(
    music: Path, tmp_path: Path
) -> None:
    ended, report = scanned(music, tmp_path)
    engine = report["engine"]
    assert engine["backend"] == "gpu and cpu"
    assert engine["why"].startswith(f"GPU {GPU0}: faster here for batches from 200000 bytes on")
    assert engine["backends"][GPU0]["files"] > 4
    assert sum(backend["files"] for backend in engine["backends"].values()) == 8
    (known,) = engine["calibrations"]
    assert (known["gpu"], known["threads"], known["crossover_bytes"]) == (GPU0, 2, 200_000)
    assert engine["gpu_digests_compared"] > 0
    assert engine["events"] == gpu_lines(ended) == []
    assert [source["source"] for source in report["energy"]["sources"]] == ["RAPL", "NVML"]


def test_a_wrong_digest_costs_scan_the_gpu_and_no_record(
    music: Path, tmp_path: Path, state: Path, proof_launches: int
) -> None:
    ended, report = scanned(music, tmp_path, STANDIN_CORRUPTS_FROM_LAUNCH=str(proof_launches + 8))
    (said,) = gpu_lines(ended)
    assert "WRONG DIGEST" in said
    assert report["engine"]["events"] == [said.removeprefix("stretto: ")]
    assert report["engine"]["why"].endswith(said.removeprefix("stretto: "))
    assert (state / f"{GPU0}.disabled").exists()


def test_a_gpu_that_was_disabled_is_told_in_the_run_report(music: Path, tmp_path: Path, state: Path) -> None:
    (state / f"{GPU0}.disabled").write_text('{"format": 1, "since": "yesterday", "reason": "it lied"}')
    ended, report = scanned(music, tmp_path)
    assert gpu_lines(ended) == []
    assert report["engine"]["backend"] == "cpu"
    assert report["engine"]["why"] == f"CPU: {GPU0}: disabled since yesterday: it lied"
    assert [source["source"] for source in report["energy"]["sources"]] == ["RAPL"], "an idle GPU is not charged"


@pytest.mark.usefixtures("state")
def test_a_device_lost_half_way_costs_scan_one_line(music: Path, tmp_path: Path, proof_launches: int) -> None:
    ended, report = scanned(music, tmp_path, STANDIN_FAILS_AT_LAUNCH=str(proof_launches + 8))
    (said,) = gpu_lines(ended)
    assert "LAUNCH_FAILED" in said
    assert report["engine"]["events"] == [said.removeprefix("stretto: ")]
    assert report["engine"]["backend"] == "gpu and cpu"
