"""The faults, one function each: it hurts the field under load, heals it, and says what it saw."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import datetime
from functools import partial

from node.devnet import DevnetNode, NodeEnded
from tests.campaign.audit import Witness
from tests.campaign.disks import small_disk
from tests.campaign.field import Field, make_twin
from tests.campaign.load import Load
from tests.campaign.patience import JUDGED_LOAD_PER_CORE, Deadline, Expectation, factor, load_per_core, until
from tests.campaign.proxy import CUT, PASS, STALL

GAP_P95_S = 1.0
"""The aim for the time without a final statement once the leader is killed."""
GAP_WINDOW_S = 3.0
"""After a fault, so long the load is watched for its longest silence."""
NOTICED = re.compile("two processes share|look for a twin")
"""What a node says that noticed a second process with a member's key."""

CONNECTED = re.compile(r'"connected to ([a-z0-9-]+) ')
TWINS_S = 40.0
"""How long two processes with one key run beside each other at most."""
SETTLE_S = 1.5
"""What was under way when a quorum was lost may still become final; on a busy machine the news of it takes longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a fault works on."""

    field: Field
    load: Load
    witness: Witness
    stack: ExitStack
    """Undone at the end of the scene, whatever happens."""

    @property
    def tolerated(self) -> int:
        return (len(self.field.members) - 1) // 3

    def others(self, *members: str) -> tuple[str, ...]:
        return tuple(member for member in self.field.members if member not in members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """what: in words. gap_s: longest time without a final statement, None where silence was to be expected."""

    what: str
    gap_s: float | None = None
    silent: frozenset[str] = dataclass_field(default_factory=frozenset)
    """Whose log may hold a critical line."""
    gaps_s: tuple[float, ...] = ()


def gap_of(scene: Scene, fault: Callable[[], object], window_s: float = GAP_WINDOW_S) -> float:
    """Does it, and measures the longest silence from then on."""
    begun = time.monotonic()
    fault()
    time.sleep(window_s)
    return scene.load.longest_gap_s(begun, begun + window_s)


def _back(scene: Scene, *members: str) -> str:
    seconds = scene.field.start(*members)
    scene.load.until_more(5, 15, to=members)
    return f"{' and '.join(members)} up again after {seconds:.1f} s and records"


# ---- kills -----------------------------------------------------------------------------------------------------------


def leader_killed(scene: Scene) -> Seen:
    victim = scene.field.leader()
    gap = gap_of(scene, lambda: scene.field.kill(victim))
    return Seen(what=f"kill -9 of {victim}, who led; {_back(scene, victim)}", gap_s=gap)


def follower_killed(scene: Scene) -> Seen:
    leader = scene.field.leader()
    victim = scene.others(leader)[-1]
    gap = gap_of(scene, lambda: scene.field.kill(victim))
    return Seen(what=f"kill -9 of {victim}, who did not lead; {_back(scene, victim)}", gap_s=gap)


def f_killed(scene: Scene) -> Seen:
    leader = scene.field.leader()
    victims = (leader, *scene.others(leader))[: scene.tolerated]
    gap = gap_of(scene, lambda: scene.field.kill(*victims), 5.0)
    return Seen(what=f"kill -9 of {' and '.join(victims)} at once; {_back(scene, *victims)}", gap_s=gap)


def all_killed(scene: Scene) -> Seen:
    scene.field.kill(*scene.field.members)
    seconds = scene.field.up()
    first = scene.load.until_more(1, 15)
    return Seen(what=f"kill -9 of all; up together after {seconds:.1f} s, first final statement {first:.1f} s later")


def all_restarted(scene: Scene) -> Seen:
    scene.field.stop(*scene.field.members)
    seconds = scene.field.up()
    first = scene.load.until_more(1, 15)
    what = f"all stopped in order; up after {seconds:.1f} s, first final statement {first:.1f} s later"
    return Seen(what=what)


def leader_killed_often(scene: Scene, times: int = 20) -> Seen:
    """The measured gap: whoever leads, killed again and again."""
    gaps, highest = [], 0.0
    for _ in range(times):
        victim = scene.field.leader()
        highest = max(highest, load_per_core())
        gaps.append(gap_of(scene, partial(scene.field.kill, victim)))
        scene.field.start(victim)
        scene.load.until_more(8, 15)
        time.sleep(1.0)
    ordered = sorted(gaps)
    p50, p95 = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    what = f"{times} leaders killed one after the other: p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms"
    if p95 >= GAP_P95_S and highest <= JUDGED_LOAD_PER_CORE:
        raise Expectation(f"{what}; all, ms: {[round(gap * 1000) for gap in gaps]}")
    return Seen(what=what, gap_s=max(gaps), gaps_s=tuple(gaps))


# ---- freezes ---------------------------------------------------------------------------------------------------------


def _frozen(scene: Scene, victim: str, seconds: float) -> Seen:
    gap = gap_of(scene, lambda: scene.field[victim].send_signal(signal.SIGSTOP), seconds)
    scene.field[victim].send_signal(signal.SIGCONT)
    back = scene.load.until_more(5, 20, to=(victim,))
    return Seen(what=f"SIGSTOP of {victim} for {seconds:.0f} s; it records again {back:.1f} s after SIGCONT", gap_s=gap)


def leader_frozen(scene: Scene) -> Seen:
    return _frozen(scene, scene.field.leader(), 4.0)


def follower_frozen_long(scene: Scene) -> Seen:
    """Longer than any connection lives without an answer."""
    return _frozen(scene, scene.others(scene.field.leader())[0], 20.0)


def too_many_frozen(scene: Scene) -> Seen:
    """So many at once that no quorum is left: nothing may become final until they are back, and then it does."""
    victims = scene.others(scene.field.leader())[: scene.tolerated + 1]
    for victim in victims:
        scene.field[victim].send_signal(signal.SIGSTOP)
    time.sleep(SETTLE_S * factor())
    settled = time.monotonic()
    time.sleep(6.5)
    if scene.load.since(settled):
        raise Expectation(f"statements were acknowledged while {', '.join(victims)} stood still")
    for victim in victims:
        scene.field[victim].send_signal(signal.SIGCONT)
    back = scene.load.until_more(5, 30, to=victims)
    return Seen(
        what=f"SIGSTOP of {' and '.join(victims)}: nothing final for 6.5 s; they record {back:.1f} s after SIGCONT"
    )


def f_frozen(scene: Scene) -> Seen:
    leader = scene.field.leader()
    victims = (leader, *scene.others(leader))[: scene.tolerated]

    def freeze() -> None:
        for victim in victims:
            scene.field[victim].send_signal(signal.SIGSTOP)

    gap = gap_of(scene, freeze, 8.0)
    for victim in victims:
        scene.field[victim].send_signal(signal.SIGCONT)
    back = scene.load.until_more(5, 30, to=victims)
    return Seen(what=f"SIGSTOP of {' and '.join(victims)} for 8 s; they record {back:.1f} s after SIGCONT", gap_s=gap)


# ---- partitions ------------------------------------------------------------------------------------------------------


def _split(scene: Scene, small: tuple[str, ...], mode: str, seconds: float) -> Seen:
    """`small` on one side, the rest on the other. Only a side with a quorum may go on."""
    field, load = scene.field, scene.load
    assert field.wires is not None, "this field has wires"
    large = scene.others(*small)
    begun = time.monotonic()
    field.wires.split(small, large, mode=mode)
    time.sleep(SETTLE_S * factor())
    settled = time.monotonic()
    time.sleep(seconds - SETTLE_S)
    end = time.monotonic()
    if load.since(settled, to=small):
        raise Expectation(f"{', '.join(small)} acknowledged statements without a quorum")
    goes_on = len(large) >= field.genesis.quorum
    gap = None
    if goes_on:
        gap = load.longest_gap_s(begun, end)
        if not load.since(settled, to=large):
            raise Expectation(f"{', '.join(large)} are a quorum and made nothing final")
    elif load.since(settled):
        raise Expectation("statements were acknowledged though no side has a quorum")
    field.wires.heal()
    back = load.until_more(5, 30, to=small)
    how = "went on" if goes_on else "made nothing final either"
    what = f"{len(small)} | {len(large)} ({mode}) for {end - begun:.0f} s; the larger side {how}"
    return Seen(what=f"{what}; the smaller one records again {back:.1f} s after healing", gap_s=gap)


def one_cut_off(scene: Scene) -> Seen:
    return _split(scene, (scene.field.leader(),), CUT, 6.0)


def one_stalled(scene: Scene) -> Seen:
    return _split(scene, (scene.field.leader(),), STALL, 6.0)


def halves_cut(scene: Scene) -> Seen:
    return _split(scene, scene.field.members[: len(scene.field.members) // 2], CUT, 6.0)


def halves_stalled(scene: Scene) -> Seen:
    return _split(scene, scene.field.members[: len(scene.field.members) // 2], STALL, 6.0)


def f_cut_off(scene: Scene) -> Seen:
    return _split(scene, scene.field.members[-scene.tolerated :], CUT, 6.0)


def slow_wires(scene: Scene) -> Seen:
    """100 ms each way on every wire, more than half of delta for a round trip."""
    field = scene.field
    assert field.wires is not None, "this field has wires"
    pairs = [(a, b) for a in field.members for b in field.members if a < b]
    gap = gap_of(scene, partial(field.wires.set, pairs, PASS, 100.0), 8.0)
    field.wires.heal()
    scene.load.until_more(5, 15)
    return Seen(what="100 ms each way on every wire for 8 s; it goes on, slower", gap_s=gap)


def flapping_wires(scene: Scene) -> Seen:
    """One wire after the other is cut and healed: never two at once, so that a quorum stays possible."""
    field = scene.field
    assert field.wires is not None, "this field has wires"
    pairs = [(a, b) for a in field.members for b in field.members if a < b]
    begun = time.monotonic()
    for pair in (pairs * 4)[:16]:
        field.wires.set([pair], CUT)
        time.sleep(0.3)
        field.wires.set([pair], PASS)
        time.sleep(0.2)
    gap = scene.load.longest_gap_s(begun, time.monotonic())
    scene.load.until_more(10, 20)
    return Seen(what="16 times one wire cut for 0.3 s, every 0.5 s another", gap_s=gap)


# ---- data ------------------------------------------------------------------------------------------------------------


def data_lost(scene: Scene) -> Seen:
    """An empty data directory: the log comes from the others, votes only once that is safe."""
    field, victim = scene.field, scene.field.members[-1]
    field.stop(victim)
    with scene.witness.aside():
        shutil.rmtree(field[victim].config.directory / "data")
    mark = field.log_mark(victim)
    up = field.start(victim)
    doubts = field.logged(victim, "no voting state here", mark)
    if not doubts:
        raise Expectation(f"{victim} did not notice that its votes are gone")
    votes_again = until(lambda: field.logged(victim, "this node votes again", mark), f"{victim} to vote again", 30)
    votes = (_time_of(votes_again[0]) - _time_of(doubts[0])).total_seconds()
    _back_at_work(scene, victim)
    what = f"data folder of {victim} removed; up after {up:.1f} s, it followed without voting"
    return Seen(what=f"{what} and voted again {votes:.1f} s after its start")


def _time_of(line: str) -> datetime:
    return datetime.fromisoformat(json.loads(line)["time"])


def rolled_back(scene: Scene, times: int = 3) -> Seen:
    """An older copy of the data folder put back, as a restored virtual machine would: it must not vote twice."""
    field, witness = scene.field, scene.witness
    notes = []
    for round_ in range(times):
        victim = field.members[-1 - round_ % len(field.members)]
        data = field[victim].config.directory / "data"
        copy = data.with_name("data-old")
        # Frozen, its files are what a power cut would leave: LMDB promises that this is a whole state.
        field[victim].send_signal(signal.SIGSTOP)
        shutil.copytree(data, copy, ignore=shutil.ignore_patterns("lock.mdb"))
        field[victim].send_signal(signal.SIGCONT)
        time.sleep(0.4 if round_ == 0 else 3.0)  # a moment: the same views may still be open; longer: they are final
        field.kill(victim)
        witness.look(victim, field[victim].config.voting_path)
        with witness.aside():
            shutil.rmtree(data)
            copy.rename(data)
        mark = field.log_mark(victim)
        field.start(victim)
        _back_at_work(scene, victim)
        doubted = field.logged(victim, "without voting", mark)
        notes.append(f"{victim} {'stopped voting until safe' if doubted else 'caught up'}")
    return Seen(
        what=f"older data folder restored {times} times: {', '.join(notes)}; no vote contradicts an earlier one"
    )


def disk_full(scene: Scene) -> Seen:
    """One node's data on a file system that fills up."""
    field, victim = scene.field, scene.field.members[-1]
    field.stop(victim)
    disk = scene.stack.enter_context(small_disk(field[victim].config.directory))
    scene.stack.callback(field.stop, victim)
    field.start(victim)
    scene.load.until_more(5, 15, to=(victim,))
    field.expect_end(victim)
    mark = field.log_mark(victim)
    begun = time.monotonic()
    disk.fill()
    until(lambda: field[victim].pid() is None or _reap(field, victim), f"{victim} to end with its disk full", 60)
    ended = time.monotonic() - begun
    said = field.logged(victim, '"critical"', mark)
    if len(said) != 1 or "Free space" not in said[0]:
        raise Expectation(f"{victim} ended without one clear line: {said}")
    gap = gap_of(scene, lambda: None)
    disk.free()
    what = (
        f"data of {victim} on a disk that filled up ({disk.kind}): it ended by itself {ended:.1f} s later, saying why"
    )
    return Seen(what=f"{what}; with room again: {_back(scene, victim)}", gap_s=gap, silent=frozenset({victim}))


def two_with_one_key(scene: Scene) -> Seen:
    """A fail-over pair of which both run: one member's keys, two processes, each with a voting state of its own."""
    field, load, victim = scene.field, scene.load, scene.field.members[-1]
    field.stop(victim)
    twin = make_twin(field, victim)
    scene.witness.also(victim, twin.config.voting_path)
    scene.stack.callback(twin.stop, kill=True)
    marks = {member: field.log_mark(member) for member in field.members}
    both = {victim: field[victim], "its twin": twin}

    def noticed() -> tuple[list[str], list[str]]:
        """By which of the two, by which others."""
        logs = {victim: field.log_since(field[victim], marks[victim]), "its twin": field.log_since(twin, 0)}
        others = [m for m in scene.others(victim) if NOTICED.search(field.log_since(field[m], marks[m]))]
        return [name for name, text in logs.items() if NOTICED.search(text)], others

    field.start(victim, wait=False)
    field.expect_end(victim)
    begun, deadline = time.monotonic(), Deadline(TWINS_S)
    twin.start()
    load.until_more(20, 30, to=scene.others(victim))
    # Who is dialled by its peers keeps them, and the other dials them itself after a while: only then do they meet. A
    # node that stops lets calls under way end first.
    while not deadline.is_over() and not (any(map(_gone, both.values())) and len(noticed()[0]) == 2 and noticed()[1]):
        time.sleep(0.2)
    end = time.monotonic()
    gap = load.longest_gap_s(begun, end)
    ended = [name for name, node in both.items() if _gone(node)]
    own, told = noticed()
    reached = sorted(set(CONNECTED.findall(field.log_since(twin, 0))))
    twin.stop(kill=True)
    field.stop(victim)
    field.start(victim)
    _back_at_work(scene, victim)
    names = [", ".join(some) for some in (reached, own, told, ended)]
    what = (
        f"{victim} run twice for {end - begun:.0f} s, the twin reached {names[0] or 'nobody'}; noticed by: "
        f"{names[1] or 'neither'} of the two, and by {names[2] or 'none of the others'}; ended by itself: "
        f"{names[3] or 'neither'}"
    )
    if len(ended) != 1 or len(own) != 2 or not told:
        raise Expectation(f"one of the two should end, both and the others notice: {what}")
    return Seen(what=what, gap_s=gap, silent=frozenset({victim}))


def _gone(node: DevnetNode) -> bool:
    try:
        node.check_running()
    except NodeEnded:
        return True
    return False


def _reap(field: Field, member: str) -> bool:
    return _gone(field[member])


def _back_at_work(scene: Scene, member: str) -> None:
    scene.load.until_more(5, 75, to=(member,))
