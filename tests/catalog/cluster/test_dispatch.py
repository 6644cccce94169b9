"""The work on machines that fail when told to: every file is accounted for, as this machine sees it.

The same on real Ray processes: test_ray.py.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from catalog.cluster import dispatch
from catalog.cluster.dispatch import RayScan
from catalog.cluster.queue import DEATHS_MAX
from catalog.cluster.start import WorkersLost
from catalog.cluster.worker import Answer, Hello, Worker
from catalog.engine import Work
from catalog.manifest import TrackRecord
from catalog.record import record_of
from catalog.scan import Cause, LeftOut, scan
from catalog.tools import NO_TOOLS, Tools
from kernels.pipeline import Hashed
from kernels.sources import Source, digest_on_cpu
from tests.catalog.audio_files import KINDS, encoded
from tests.catalog.cluster.fake_ray import FakeRay, RayTaskError, Reference

FILES = 24


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """FILES sound files under two folders, of few kinds, and a broken one."""
    root = tmp_path / "music"
    for number in range(FILES):
        path = root / f"disc {number % 2}" / f"{number:02} {KINDS[number % 3].name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(KINDS[number % 3]))
    (root / "disc 1" / "broken.wav").write_bytes(b"RIFF")
    return root


@pytest.fixture(autouse=True)
def _small_batches_without_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.cluster.worker.find_tools", lambda: NO_TOOLS)
    monkeypatch.setattr("catalog.cluster.queue.BATCH_FILES_MAX", 3)


def work_on(path: Path, root: Path) -> Work:
    return Work(path=path, root=root, size_bytes=0)


class Run:
    """What came of a scan."""

    def __init__(self, ray: FakeRay, music: Path, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.said: list[str] = []
        found = (work_on(path, music) for path in scan([music]) if isinstance(path, Path))
        self.scan = RayScan(ray, found, NO_TOOLS, say=self.said.append, clock=clock)
        self.results = [(work.path, result) for work, result in self.scan.results()]

    @property
    def lines(self) -> dict[Path, bytes]:
        """Of the manifest."""
        return {path: one.encode() for path, one in self.results if isinstance(one, TrackRecord)}

    @property
    def left_out(self) -> dict[Path, str]:
        return {path: one.reason for path, one in self.results if isinstance(one, LeftOut)}


def record(path: Path, root: Path) -> TrackRecord:
    found = record_of(path, root, tools=NO_TOOLS)
    assert isinstance(found, TrackRecord)
    return found


def expected(music: Path) -> dict[Path, bytes]:
    sound = (path for path in scan([music]) if isinstance(path, Path) and path.name != "broken.wav")
    return {path: record(path, music).encode() for path in sound}


def assert_complete(run: Run, music: Path, *, without: frozenset[Path] = frozenset()) -> None:
    """Each file once, with the record that this machine makes of it."""
    assert len(run.results) == FILES + 1
    assert run.lines == {path: one for path, one in expected(music).items() if path not in without}
    assert set(run.left_out) == {music / "disc 1" / "broken.wav", *without}


def examining(path: Path) -> Callable[[Reference], bool]:
    return lambda call: call.method == "examine" and any(item.path == path for item in call.arguments[0])


def test_every_file_comes_back_once_as_this_machine_would_record_it(music: Path) -> None:
    ray = FakeRay([("one", {"CPU": 2.0}), ("two", {"CPU": 3.0})])
    run = Run(ray, music)
    assert_complete(run, music)
    assert run.said == []
    assert sorted(actor.node_id for actor in ray.actors) == ["one"] * 2 + ["two"] * 3
    assert sum(node.files for node in run.scan.nodes.values()) == FILES + 1
    assert {actor.number for actor in ray.killed} == {actor.number for actor in ray.actors}, "none goes on afterwards"


def test_an_empty_folder_needs_no_worker(tmp_path: Path) -> None:
    ray = FakeRay([("one", {"CPU": 2.0})])
    assert Run(ray, tmp_path).results == []
    assert ray.actors == []


def test_workers_take_a_gpu_where_there_is_one_and_a_processor_otherwise(music: Path) -> None:
    ray = FakeRay([("rich", {"CPU": 3.0, "GPU": 2.0}), ("plain", {"CPU": 1.0}), ("head", {"node:x": 1.0})])
    assert_complete(Run(ray, music), music)
    taken = sorted((a.node_id, a.options["num_cpus"], a.options["num_gpus"]) for a in ray.actors)
    assert taken == [("plain", 1, 0), ("rich", 1, 0), ("rich", 1, 1), ("rich", 1, 1)]


def test_a_dead_workers_files_are_done_again_by_another_in_its_place(music: Path) -> None:
    victims = []

    def before(call: Reference) -> None:
        if call.method == "examine" and not victims:
            victims.append(call)
            call.actor.dead = "Worker unexpectedly exits with a connection error"

    ray = FakeRay([("one", {"CPU": 2.0})], before)
    run = Run(ray, music)
    assert_complete(run, music)
    assert run.scan.files_redone == 3
    assert len(ray.actors) == 3
    assert run.said == ["a worker on one was lost (its process ended): its files are done again"]


def test_a_file_that_kills_its_workers_is_left_out_by_name(music: Path) -> None:
    killer = sorted((music / "disc 0").iterdir())[7]

    def before(call: Reference) -> None:
        if examining(killer)(call):
            call.actor.dead = "Worker unexpectedly exits"

    run = Run(FakeRay([("one", {"CPU": 2.0})], before), music)
    assert_complete(run, music, without=frozenset({killer}))
    assert run.left_out[killer] == f"{DEATHS_MAX} workers were lost while they read it (its process ended)"
    assert run.scan.nodes["one"].excluded is None, "the machine is not to blame for the file"


def test_a_node_that_goes_takes_no_file_along(music: Path) -> None:
    def before(call: Reference) -> None:
        if call.method == "examine" and call.actor.node_id == "two":
            ray.gone.add("two")
            call.actor.dead = "The actor's node was terminated"

    ray = FakeRay([("one", {"CPU": 1.0}), ("two", {"CPU": 2.0})], before)
    run = Run(ray, music)
    assert_complete(run, music)
    assert run.said == ["two gets no more work: it left the cluster"]
    assert run.scan.nodes["two"].files == 0


def test_a_node_that_comes_later_gets_work(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "NODES_S", 0.0)

    def before(call: Reference) -> None:
        if call.method == "examine" and len(ray.machines) == 1:
            ray.machines.append(("late", {"CPU": 2.0}))

    ray = FakeRay([("one", {"CPU": 1.0})], before)
    run = Run(ray, music)
    assert_complete(run, music)
    assert run.scan.nodes["late"].files > 0


def test_a_node_whose_workers_keep_ending_gets_no_more(music: Path) -> None:
    def before(call: Reference) -> None:
        if call.actor.node_id == "bad":
            call.actor.dead = "Worker unexpectedly exits"

    ray = FakeRay([("bad", {"CPU": 1.0}), ("good", {"CPU": 1.0})], before)
    run = Run(ray, music)
    assert_complete(run, music)
    assert run.said[-1] == "bad gets no more work: 5 workers in a row ended (its process ended)"
    assert sum(actor.node_id == "bad" for actor in ray.actors) == dispatch.FAILURES_MAX


def test_without_any_worker_left_it_says_why_and_that_it_can_go_on(music: Path) -> None:
    def before(call: Reference) -> None:
        call.actor.dead = "Worker unexpectedly exits"

    with pytest.raises(WorkersLost, match=r"no worker is left: one: 5 workers in a row ended .* goes on from there"):
        Run(FakeRay([("one", {"CPU": 2.0})], before), music)
    with pytest.raises(WorkersLost, match="no node of the cluster has a processor to give"):
        Run(FakeRay([("head", {})]), music)


def test_a_worker_that_never_answers_is_given_up(music: Path) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 50.0
        return now[0]

    ray = FakeRay([("one", {"CPU": 2.0})])
    first = ray.wait

    def wait(references: list[Reference], *, num_returns: int, timeout: float):  # type: ignore[no-untyped-def]
        for reference in references:
            if reference.method == "examine" and not any(actor.stuck for actor in ray.actors):
                reference.actor.stuck = True
        return first(references, num_returns=num_returns, timeout=timeout)

    ray.wait = wait  # type: ignore[method-assign]
    run = Run(ray, music, clock)
    assert_complete(run, music)
    assert any("it gave no answer for" in line for line in run.said)


# ---- machines that see something else --------------------------------------------------------------------------------


def test_a_machine_without_the_storage_is_named_and_gets_no_work(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Worker.hello

    def hello(self: Worker, probe, **kwargs) -> Hello:  # type: ignore[no-untyped-def]
        return (
            real(self, probe, **kwargs)
            if self not in blind
            else Hello(host="two", pid=1, blind="it cannot read x", backend="CPU")
        )

    blind: set[Worker] = set()
    monkeypatch.setattr(Worker, "hello", hello)

    def before(call: Reference) -> None:
        if call.actor.node_id == "two":
            blind.add(call.actor.target)

    ray = FakeRay([("one", {"CPU": 1.0}), ("two", {"CPU": 2.0})], before)
    run = Run(ray, music)
    assert_complete(run, music)
    assert run.said == ["two gets no more work: it cannot read x"]
    assert run.scan.nodes["two"].files == 0


def test_a_worker_knows_that_it_sees_something_else(music: Path, tmp_path: Path) -> None:
    path = sorted((music / "disc 0").iterdir())[0]
    probe = dispatch.probe_of(dispatch.Item.of(work_on(path, music)), NO_TOOLS)
    worker = Worker(fingerprints=True)
    assert worker.hello(probe, measure=False, gpu=False).blind is None
    aside = tmp_path / "aside"
    path.rename(aside)
    assert "no such file; mount the same storage at the same path" in str(
        worker.hello(probe, measure=False, gpu=False).blind
    )
    content, times = aside.read_bytes(), aside.stat()
    path.write_bytes(content[:-1] + b"!")
    assert "it sees another" in str(worker.hello(probe, measure=False, gpu=False).blind), "another time"
    path.write_bytes(b"!" + content[1:])
    os.utime(path, ns=(times.st_mtime_ns, times.st_mtime_ns))
    assert "it sees another" in str(worker.hello(probe, measure=False, gpu=False).blind), "another beginning"


def test_a_worker_with_other_decoders_would_write_another_manifest(
    music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sorted((music / "disc 0").iterdir())[0]
    probe = dispatch.probe_of(dispatch.Item.of(work_on(path, music)), NO_TOOLS)
    assert Worker(fingerprints=True).hello(probe, measure=False, gpu=False).blind is None
    monkeypatch.setattr("catalog.cluster.worker.find_tools", lambda: Tools(flac="/usr/bin/flac"))
    blind = Worker(fingerprints=True).hello(probe, measure=False, gpu=False).blind
    assert str(blind).startswith("with its programs it would write another manifest: ")
    assert str(blind).endswith("install the same ones")


def test_what_a_worker_cannot_read_but_this_machine_can_is_read_here(
    music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Worker.examine

    def examine(self: Worker, batch):  # type: ignore[no-untyped-def]
        answer = real(self, batch)
        return Answer(results=(None,) * len(batch), cpu_s=answer.cpu_s) if self in blind else answer

    blind: set[Worker] = set()
    monkeypatch.setattr(Worker, "examine", examine)

    def before(call: Reference) -> None:
        if call.actor.node_id == "two":
            blind.add(call.actor.target)

    run = Run(FakeRay([("one", {"CPU": 1.0}), ("two", {"CPU": 1.0})], before), music)
    assert_complete(run, music)
    (line,) = run.said
    assert line.startswith("two gets no more work: it sees other files than this machine (")


def test_a_file_of_another_age_on_the_worker_is_not_taken_from_it(music: Path) -> None:
    path = sorted((music / "disc 0").iterdir())[0]
    item = dispatch.Item.of(work_on(path, music))
    assert Worker(fingerprints=True).examine((item,)).results == (record(path, music),)
    os.utime(path, ns=(1, 1))
    assert Worker(fingerprints=True).examine((item,)).results == (None,)


def test_a_worker_vouches_for_what_the_bytes_say_and_not_for_what_it_may_not_read(
    music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = dispatch.Item.of(work_on(music / "disc 1" / "broken.wav", music))
    (found,) = Worker(fingerprints=True).examine((item,)).results
    assert isinstance(found, LeftOut)
    assert found.cause is Cause.CONTENT
    for cause in (Cause.MOMENT, Cause.DEVICE):
        denied = LeftOut(item.path, "permission denied", cause)
        monkeypatch.setattr("catalog.cluster.worker.record_of", lambda *_, denied=denied, **__: denied)
        assert Worker(fingerprints=True).examine((item,)).results == (None,)


def test_a_fault_of_our_own_ends_the_scan_as_it_would_here(music: Path) -> None:
    def before(call: Reference) -> None:
        if call.method == "examine":
            raise RayTaskError(ZeroDivisionError("by zero"))

    with pytest.raises(ZeroDivisionError):
        Run(FakeRay([("one", {"CPU": 1.0})], before), music)


def test_a_lost_workers_machine_is_not_measured(music: Path) -> None:
    victims = []

    def before(call: Reference) -> None:
        if call.method == "examine" and call.actor.node_id == "two" and not victims:
            victims.append(call)
            call.actor.dead = "Worker unexpectedly exits"

    run = Run(FakeRay([("one", {"CPU": 1.0}), ("two", {"CPU": 1.0})], before), music)
    reasons = {one.source: one.reason for one in run.scan.energies}
    assert reasons["RAPL of two"] == "the worker that measured it was lost"
    assert reasons["RAPL of one"] != reasons["RAPL of two"]


# ---- GPUs ------------------------------------------------------------------------------------------------------------


class PretendedHasher:
    """A `kernels.dispatch.Hasher` whose GPU is the processor. wrong: gives digests that nothing has."""

    uses_gpu = True
    why = "GPU-0: faster here"

    def __init__(self, *, wrong: bool = False) -> None:
        self.hashed = 0
        self._wrong = wrong

    def hash(self, sources: Iterable[Source]) -> Iterator[Hashed]:
        for index, source in enumerate(sources):
            self.hashed += 1
            digest = digest_on_cpu(source)
            yield Hashed(index, bytes(32) if self._wrong else digest, "GPU-0")


def worker_with_gpu(monkeypatch: pytest.MonkeyPatch, hasher: PretendedHasher, path: Path, music: Path) -> Worker:
    monkeypatch.setattr("catalog.cluster.worker.open_best", lambda **_: hasher)
    worker = Worker(fingerprints=True)
    probe = dispatch.probe_of(dispatch.Item.of(work_on(path, music)), NO_TOOLS)
    assert worker.hello(probe, measure=False, gpu=True) == Hello(
        host=platform.node(), pid=os.getpid(), blind=None, backend="GPU-0: faster here"
    )
    return worker


def test_a_workers_gpu_hashes_whole_batches_and_the_records_are_the_same(
    music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted((music / "disc 0").iterdir())[:3]
    hasher = PretendedHasher()
    worker = worker_with_gpu(monkeypatch, hasher, paths[0], music)
    gone = work_on(music / "gone.wav", music)
    items = (*(dispatch.Item.of(work_on(path, music)) for path in paths), dispatch.Item.of(gone))
    answer = worker.examine(items)
    assert answer.results == (*(record(path, music) for path in paths), None)
    assert answer.on_gpu == hasher.hashed == 3


def test_what_the_gpu_said_is_what_is_recorded(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sorted((music / "disc 0").iterdir())[0]
    worker = worker_with_gpu(monkeypatch, PretendedHasher(wrong=True), path, music)
    (found,) = worker.examine((dispatch.Item.of(work_on(path, music)),)).results
    assert isinstance(found, TrackRecord)
    assert found.blake3 == bytes(32), "the processor did not hash it once more; kernels.dispatch compares samples"
    assert found.sha256 == record(path, music).sha256


def test_a_gpu_that_was_never_calibrated_leaves_the_work_to_the_processor(
    music: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = sorted((music / "disc 0").iterdir())[0]
    worker = Worker(fingerprints=True)
    probe = dispatch.probe_of(dispatch.Item.of(work_on(path, music)), NO_TOOLS)
    hello = worker.hello(probe, measure=False, gpu=True)
    assert hello.backend == "CPU: no GPU was calibrated here (stretto gpu calibrate)"
    answer = worker.examine((dispatch.Item.of(work_on(path, music)),))
    assert (answer.results, answer.on_gpu) == ((record(path, music),), 0)
