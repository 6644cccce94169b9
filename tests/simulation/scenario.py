"""One seeded run: trouble for a while, then good weather, in which everything must become final and quiet."""

from __future__ import annotations

import random
from contextlib import nullcontext
from dataclasses import dataclass, replace

from consensus.engine import Engine
from consensus.errors import StrettoError
from consensus.types import Digest
from tests.simulation.bounds import cramped
from tests.simulation.byzantine import Appetite, Byzantine, appetite_of
from tests.simulation.checks import Violation
from tests.simulation.clients import Clients
from tests.simulation.consortium import PARAMETERS, genesis_of
from tests.simulation.deprivation import Deprivation, OfBlocks, OfCertificates, OfTheBoundary
from tests.simulation.forgetting import Forgetting
from tests.simulation.litigants import Litigants
from tests.simulation.machine import Machine
from tests.simulation.politics import Politics
from tests.simulation.recorder import Recorder
from tests.simulation.trace import Trace
from tests.simulation.world import Weather, World

TROUBLE_MS = 1800
HEAL_MS = 30_000
HEAL_VIEWS_PER_VALIDATOR = 6
QUIET_MS = 5_000
SET_BACK_MS = 200_000
KINDS = (
    "honest",
    "honest",
    "rollback",
    "undetected",
    "byzantine",
    "byzantine",
    "byzantine",
    "byzantine",
    "twins",
    "dead",
)
HONEST_KINDS = ("honest", "rollback")


class SimulationFailure(AssertionError):
    """A run that broke a property, with all that is needed to see why and to run it again."""

    def __init__(self, seed: int, reason: str, lines: list[str]) -> None:
        trace = "\n".join(lines)
        super().__init__(f"seed {seed}: {reason}\nrun again: python -m tests.simulation.run --seed {seed}\n{trace}")
        self.seed = seed
        self.reason = reason


@dataclass(frozen=True)
class Scenario:
    """size: validators. faulty: those that are not honest. kind: how they are not."""

    seed: int
    size: int
    kind: str
    faulty: frozenset[int]
    weather: Weather
    partitions: bool
    isolates: bool
    """Whether a node is cut off while it has something to order, which the others then make final and are quiet."""
    skew_ms: int
    forgets: bool
    """Whether a validator loses its votes when that is most dangerous (`forgetting`)."""
    keeps_back: str
    """What the network keeps from one of the honest (`deprivation`): certificates, blocks, the boundary; or nothing."""
    reconnects: bool
    """Whether healing tells everybody that connections stand again; else they find out by themselves."""
    changes: int
    """How often members vote on a change of the committee."""
    is_cramped: bool
    """Whether the engine's limits are a handful, so that they are reached."""
    real_signatures: bool
    is_patient: bool
    """Whether clients wait for what was accepted, and so submit nothing again that might wake whoever sleeps."""
    changes_again: bool
    """Whether members also vote on a change in good weather."""
    argues: bool
    """Whether claims' rights are argued about (`litigants`)."""


@dataclass(frozen=True)
class Outcome:
    height: int
    view: int
    epoch: int
    leaves: int
    messages: int
    crashes: int
    heal_views: int
    """Views it took, after healing, to make new statements final everywhere."""
    mints: int
    transitions: int
    """Of claims' rights, by statement."""
    lapses: int
    """Stays that ended by time."""
    trace: Trace


def scenario_of(seed: int) -> Scenario:
    rng = random.Random(f"scenario {seed}")
    size = rng.choice((4, 4, 4, 4, 5, 6, 7, 8))
    kind = rng.choice(KINDS)
    count = 0 if kind in HONEST_KINDS else (size - 1) // 3
    is_rough = kind in ("rollback", "undetected")
    scenario = Scenario(
        seed=seed,
        size=size,
        kind=kind,
        faulty=frozenset(rng.sample(range(size), count)),
        weather=Weather(
            delay_ms=rng.choice(((1, 3), (1, 15), (5, 60))),
            drop=rng.choice((0.0, 0.02, 0.1, 0.3)),
            duplicate=rng.choice((0.0, 0.1)),
            straggle=rng.choice((0.0, 0.02, 0.1)),
            crash=0.01 if is_rough else rng.choice((0.0, 0.0, 0.002, 0.01)),
            down_ms=rng.choice(((1, 400), (1, 400), (0, 3))),
            sign_ms=rng.choice((0, 0, 5)),
            rollback=0.5 if kind == "rollback" else 0.0,
        ),
        partitions=rng.random() < 0.4,
        isolates=False,
        forgets=False,
        keeps_back="",
        skew_ms=rng.choice((0, 0, 10, PARAMETERS.precision_ms // 2)),
        reconnects=rng.random() < 0.5,
        changes=rng.choice((0, 0, 1, 2, 4)),
        is_cramped=rng.random() < 0.15,
        real_signatures=rng.random() < 0.03,
        is_patient=False,
        changes_again=False,
        argues=seed % 8 == 1,
    )
    # Who loses its seat cannot order any more what it accepted: then clients must submit it elsewhere.
    return replace(
        scenario,
        is_patient=not scenario.changes and rng.random() < 0.5,
        changes_again=scenario.changes > 0 and seed % 2 == 1,
    )


def focused(seed: int, focus: str) -> Scenario:  # noqa: PLR0911, PLR0912 - one return for each focus
    """The seed's scenario, turned to what `focus` names."""
    if not focus:
        return scenario_of(seed)
    scenario = replace(scenario_of(seed), argues=False)
    rng = random.Random(f"focus {seed}")
    match focus:
        case "byzantine" | "clocks" | "payloads" | "spam":
            return _with_faulty(replace(scenario, kind="byzantine"), rng)
        case "flood":
            return _with_faulty(replace(scenario, kind="byzantine", is_cramped=True), rng)
        case "membership":
            return replace(scenario, changes=4, is_patient=False)
        case "restarts":
            rough = replace(scenario.weather, crash=0.04, rollback=0.0, down_ms=(0, 3))
            return replace(scenario, kind="honest", faulty=frozenset(), weather=rough, changes=4, is_patient=False)
        case "split":
            calm = Weather(delay_ms=scenario.weather.delay_ms)
            alone = replace(scenario, kind="byzantine", weather=calm, partitions=False, skew_ms=0, is_patient=True)
            return _with_faulty(replace(alone, changes=0, changes_again=False, is_cramped=False), rng)
        case "isolation" | "stonewalling":
            kind = "honest" if focus == "isolation" else "byzantine"
            alone = replace(scenario, kind=kind, weather=Weather(delay_ms=scenario.weather.delay_ms), is_patient=True)
            quiet = replace(alone, partitions=False, isolates=True, reconnects=False, changes=0, changes_again=False)
            return _with_faulty(quiet, rng)
        case "certificates" | "blocks" | "gap":
            calm = Weather(delay_ms=min(scenario.weather.delay_ms, (1, 15)))
            alone = replace(scenario, kind="honest", faulty=frozenset(), weather=calm, partitions=False, skew_ms=0)
            match focus:
                case "certificates":
                    return replace(
                        alone, keeps_back=focus, is_patient=True, reconnects=False, changes=0, changes_again=False
                    )
                case "blocks":
                    return replace(alone, keeps_back=focus, is_cramped=True, changes=0, changes_again=False)
                case _:
                    return replace(alone, keeps_back="boundary", is_patient=False, changes=4)
        case "desertion":
            calm = replace(scenario.weather, crash=0.0)
            alone = replace(scenario, kind="deserters", weather=calm, changes=0, is_patient=True, changes_again=True)
            return _with_faulty(alone, rng)
        case "replay" | "boundary":
            return replace(_with_faulty(replace(scenario, kind="byzantine"), rng), changes=4, is_patient=False)
        case "rollback":
            rough = replace(scenario.weather, crash=0.02, rollback=0.7, down_ms=rng.choice(((0, 3), (1, 60))))
            return replace(scenario, kind="rollback", faulty=frozenset(), weather=rough)
        case "doubt":
            calm = Weather(delay_ms=(1, 3))
            alone = replace(scenario, kind="rollback", faulty=frozenset(), weather=calm, partitions=False, forgets=True)
            return replace(alone, size=4, changes=0, changes_again=False, is_patient=False, is_cramped=False)
        case "undetected":
            rough = replace(scenario.weather, crash=0.02, rollback=0.0, down_ms=(0, 3), delay_ms=(5, 60))
            return replace(_with_faulty(replace(scenario, kind="undetected"), rng), weather=rough, is_cramped=False)
        case "n is not 3f + 1":
            return _with_faulty(replace(scenario, kind="byzantine", size=rng.choice((5, 6, 8)), partitions=True), rng)
        case "cramped":
            return replace(scenario, is_cramped=True)
        case "rights":
            return replace(scenario, argues=True, changes=max(scenario.changes, 1), is_patient=False)
        case _:
            raise ValueError(f"no such focus: {focus}")


def _with_faulty(scenario: Scenario, rng: random.Random) -> Scenario:
    count = 0 if scenario.kind in HONEST_KINDS else (scenario.size - 1) // 3
    faulty = frozenset(rng.sample(range(scenario.size), count))
    return replace(scenario, faulty=faulty, weather=replace(scenario.weather, rollback=0.0))


def run_scenario(
    seed: int,
    *,
    scenario: Scenario | None = None,
    appetite: Appetite | None = None,
    recorder: Recorder | None = None,
) -> Outcome:
    """scenario, appetite: in place of what the seed says. Raises: SimulationFailure."""
    chosen = scenario_of(seed) if scenario is None else scenario
    with cramped() if chosen.is_cramped else nullcontext():
        run = Run(chosen, appetite, recorder)
        try:
            return run.play()
        except Violation as violation:
            raise SimulationFailure(seed, f"{violation} [{chosen}]", run.world.trace.lines()) from violation
        except (
            StrettoError,
            AssertionError,
            ArithmeticError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:
            raise SimulationFailure(seed, f"a node broke: {error!r} [{chosen}]", run.world.trace.lines()) from error


class Run:
    """A scenario on its way."""

    def __init__(self, scenario: Scenario, appetite: Appetite | None, recorder: Recorder | None) -> None:
        self.scenario = scenario
        committee = genesis_of(scenario.size, scenario.argues).roster.committee()
        self.world = World(
            committee, scenario.seed, frozenset() if scenario.kind in ("undetected", "deserters") else scenario.faulty,
            consortium=True, argues=scenario.argues, real_signatures=scenario.real_signatures, lying=scenario.faulty,
        )  # fmt: skip
        if recorder is not None:
            self.world.recorder = recorder
        self.clients = Clients(self.world)
        self.politics = Politics(self.world, scenario.faulty)
        self.litigants = Litigants(self.world, scenario.seed)
        self._appetite = appetite
        self._deserted: set[int] = set()

    def play(self) -> Outcome:
        world = self.world
        self._build()
        self._trouble()
        heal_views = self._heal()
        for node in world.nodes.values():
            node.check_bounds()
        return Outcome(
            height=max(node.disk.head.height for node in world.nodes.values()),
            view=world.top_view(),
            epoch=world.checks.top_term.epoch,
            mints=world.checks.claims.minted,
            transitions=world.checks.claims.transitions,
            lapses=world.checks.claims.lapsed,
            leaves=max(node.disk.books.size for node in world.nodes.values()),
            messages=world.messages,
            crashes=world.crashes,
            heal_views=heal_views,
            trace=world.trace,
        )

    def _build(self) -> None:
        scenario, world = self.scenario, self.world
        world.weather = scenario.weather
        for node in world.nodes.values():
            node.skew_ms = world.random.randint(-scenario.skew_ms, scenario.skew_ms)
        skew_ms = max(node.skew_ms for node in world.nodes.values())
        world.checks.latest_clock_ms = lambda: world.wall_ms + skew_ms
        for number in sorted(scenario.faulty):
            if scenario.kind == "byzantine":
                Byzantine(world, number, self._appetite or appetite_of(world.random))
        for number in world.nodes:
            world.start(number)
        everyone = frozenset(world.checks.top_term.members)
        for number in sorted(scenario.faulty):
            if scenario.kind == "twins":
                others = sorted(everyone - {number})
                world.random.shuffle(others)
                half = len(others) // 2
                overlap = world.random.randint(0, 1)
                world.add_twins(number, (frozenset(others[: half + overlap]), frozenset(others[half:])))

    # ---- trouble -----------------------------------------------------------------------------------------------------

    def _trouble(self) -> None:
        scenario, world, rng = self.scenario, self.world, self.world.random
        # Clients that wait are done early: the chain is to be idle, and who is behind alone, when the weather turns.
        last_ms = TROUBLE_MS // 3 if scenario.is_patient else TROUBLE_MS
        for _ in range(rng.randint(3, 14) if not scenario.forgets else 60):
            world.at(rng.randint(0, last_ms), self.clients.submit_any)
        if scenario.argues:
            for _ in range(self.litigants.random.randint(8, 40)):
                world.at(self.litigants.random.randint(0, last_ms), self.litigants.act)
        forgetting = Forgetting(world, rng) if scenario.forgets else None
        deprivation = self._deprive()
        for _ in range(scenario.changes):
            vote = self.politics.propose if rng.random() < 0.75 else self.politics.propose_in_vain
            world.at(rng.randint(0, TROUBLE_MS), vote)
        if scenario.kind == "undetected":
            for _ in range(6):
                world.at(rng.randint(0, TROUBLE_MS), lambda: world.back_up(sorted(scenario.faulty)))
        if scenario.partitions:
            everyone = sorted(world.checks.top_term.members)
            for _ in range(rng.randint(1, 4)):
                side = frozenset(rng.sample(everyone, rng.randint(1, len(everyone) - 1)))
                groups = (side, frozenset(everyone) - side)
                start = rng.randint(0, TROUBLE_MS)
                world.at(start, lambda g=groups: self._partition(g))  # type: ignore[misc]
                world.at(start + rng.randint(50, 800), lambda: self._partition(()))
        if scenario.isolates:
            honest = sorted(world.honest & set(world.checks.top_term.seats))
            world.at(rng.randint(0, last_ms), lambda: self._isolate(rng.choice(honest)))
        if scenario.skew_ms:
            # A clock far off makes its owner faulty; where others are faulty already, all clocks are set back together.
            nodes = list(world.nodes.values())
            chosen = [rng.choice(nodes)] if scenario.kind in HONEST_KINDS else nodes
            world.at(rng.randint(0, TROUBLE_MS), lambda: _set_back(chosen))
        world.run(TROUBLE_MS)
        if forgetting is not None:
            forgetting.end()
        if deprivation is not None:
            deprivation.end()

    def _deprive(self) -> Deprivation | None:
        world, rng = self.world, self.world.random
        match self.scenario.keeps_back:
            case "certificates":
                # Clients that wait are done by then.
                return OfCertificates(
                    world, rng, rng.randint(TROUBLE_MS // 2, TROUBLE_MS - 300), self.clients.submit_any
                )
            case "blocks":
                return OfBlocks(world, rng)
            case "boundary":
                return OfTheBoundary(world)
            case _:
                return None

    def _partition(self, groups: tuple[frozenset[int], ...]) -> None:
        self.world.weather.groups = groups

    def _isolate(self, number: int) -> None:
        """Once it waits for something to be ordered: so that it has a reason to speak when it is back."""
        if self.world.nodes[number].disk.pending():
            self._partition((frozenset({number}), frozenset(self.world.checks.top_term.members) - {number}))
        elif self.world.now_ms < TROUBLE_MS:
            self.world.at(self.world.now_ms + 1, lambda: self._isolate(number))

    def _is_somebody_left_in_silence(self) -> bool:
        """Whether a node is behind and waits for nothing, where nobody submits anything more: it has no reason to ask.

        Here a cut swallows messages; a real line breaks or delivers late, and whoever is back is greeted. But who was
        told by others' votes that it is behind must ask.
        """
        if self.scenario.keeps_back == "certificates":
            return False
        top = max(node.disk.head.height for node in self.world.nodes.values())
        behind = [node for node in self.world.nodes.values() if node.disk.head.height < top]
        return self.scenario.is_patient and any(not node.disk.pending() for node in behind)

    # ---- good weather ------------------------------------------------------------------------------------------------

    def _heal(self) -> int:
        """All up, good network: all that was accepted must become final everywhere, then what comes new, then silence.

        Returns how many views the new took.
        """
        world, scenario = self.world, self.scenario
        world.weather = Weather()
        for number, node in world.nodes.items():
            if node.engine is None:
                world.start(number)
        if scenario.reconnects or self._is_somebody_left_in_silence():
            world.reconnect()
        self.clients.spread_again(submits=not scenario.is_patient)
        if not world.run(world.now_ms + HEAL_MS, lambda: self.clients.are_served(self._members)):
            raise Violation(f"what was submitted in trouble is not on record after {HEAL_MS} ms: {self._statuses()}")
        if scenario.argues and not scenario.is_patient:
            self.litigants.argue()
        view = world.top_view()
        self.clients.submit_new(3)
        if not world.run(world.now_ms + HEAL_MS, lambda: self.clients.are_served(self._members)):
            raise Violation(f"no progress within {HEAL_MS} ms after healing: {self._statuses()}")
        took = world.top_view() - view
        if took > HEAL_VIEWS_PER_VALIDATOR * scenario.size:
            raise Violation(f"progress after healing took {took} views")
        if scenario.changes_again:
            self._change_once_more()
        self._check_caught_up()
        self._check_removed()
        if scenario.kind in (*HONEST_KINDS, "dead"):
            self._check_quiet()
        return took

    def _members(self) -> list[Machine]:
        """Nodes of those that are members in the newest epoch, and are there: they must get everything."""
        members = self.world.checks.top_term.members
        return [n for n in self.world.nodes.values() if n.number in members and n.number not in self._deserted]

    def _change_once_more(self) -> None:
        """In good weather a change that a quorum votes for passes, and all members go on in the next epoch."""
        world = self.world
        epoch = world.checks.top_term.epoch
        if not self.politics.propose():
            return
        if self.scenario.kind == "deserters":
            self._await_desertion()

        def arrived() -> bool:
            return all(node.epoch > epoch for node in self._members())

        if not world.run(world.now_ms + HEAL_MS, arrived):
            raise Violation(f"a change did not take effect within {HEAL_MS} ms: {self._statuses()}")
        self.clients.submit_new(2)
        if not world.run(world.now_ms + HEAL_MS, lambda: self.clients.are_served(self._members)):
            raise Violation(f"no progress within {HEAL_MS} ms after a change: {self._statuses()}")

    def _await_desertion(self) -> None:
        """Whoever is to propose the boundary stops for good just then, and nothing else is going on."""
        world = self.world
        deciding = [n for n in world.nodes.values() if n.disk.next_roster is not None]
        # Before any of them stops: it may be one that decides.
        leaders = [n.seats[n.engine.status().leader] for n in deciding if isinstance(n.engine, Engine)]
        for leader in leaders:
            if leader in self.scenario.faulty and leader not in self._deserted:
                self._deserted.add(leader)
                world.stop(leader)
        if not leaders:
            world.at(world.now_ms + 1, self._await_desertion)

    def _check_caught_up(self) -> None:
        world = self.world
        top = max(node.disk.head.height for node in world.nodes.values())

        def level() -> bool:
            return all(node.disk.head.height >= top for node in self._members())

        if not level() and not world.run(world.now_ms + HEAL_MS, level):
            raise Violation(f"somebody never caught up with height {top}: {self._statuses()}")

    def _check_removed(self) -> None:
        """Whoever was voted out gets to know it, with proof, and then is silent."""
        world = self.world
        gone = [node for node in world.nodes.values() if node not in self._members() and node.is_honest]

        def know() -> bool:
            return all(node.number not in node.disk.term.members for node in gone)

        if not know() and not world.run(world.now_ms + HEAL_MS, know):
            raise Violation(f"somebody never learnt that it was voted out: {self._statuses()}")

    def _check_quiet(self) -> None:
        world = self.world
        world.run(world.now_ms + QUIET_MS)
        before = world.messages - world.polls
        world.run(world.now_ms + QUIET_MS)
        said = world.messages - world.polls - before
        if said:
            raise Violation(f"{said} messages on an idle chain: {self._statuses()}")
        heads: set[Digest] = {node.disk.head.digest for node in self._members()}
        if len(heads) > 1:
            raise Violation(f"an idle chain is not final everywhere: {self._statuses()}")

    def _statuses(self) -> str:
        return "; ".join(
            f"v{i} in epoch {n.epoch}: {n.engine.status() if n.engine else 'down'}" for i, n in self.world.nodes.items()
        )


def _set_back(nodes: list[Machine]) -> None:
    for node in nodes:
        node.skew_ms -= SET_BACK_MS
