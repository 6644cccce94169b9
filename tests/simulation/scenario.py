"""One seeded run: trouble for a while, then good weather, in which everything must become final and quiet."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.consensus.toys import committee_of, payload
from tests.simulation.byzantine import Byzantine, appetite_of
from tests.simulation.checks import Violation
from tests.simulation.trace import Trace
from tests.simulation.world import Node, Weather, World

DELTA_MS = 40
PRECISION_MS = 50
TROUBLE_MS = 2500
HEAL_MS = 30_000
HEAL_VIEWS_PER_VALIDATOR = 6
QUIET_MS = 5_000
SET_BACK_MS = 200_000
KINDS = ("honest", "honest", "rollback", "byzantine", "byzantine", "byzantine", "twins", "dead")


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
    skew_ms: int
    reconnects: bool
    """Whether healing tells everybody that connections stand again; else they find out by themselves."""


@dataclass(frozen=True)
class Outcome:
    height: int
    view: int
    messages: int
    crashes: int
    trace: Trace


def scenario_of(seed: int) -> Scenario:
    rng = random.Random(f"scenario {seed}")
    size = rng.choice((4, 4, 4, 4, 5, 6, 7))
    kind = rng.choice(KINDS)
    count = 0 if kind in HONEST_KINDS else (size - 1) // 3
    return Scenario(
        seed=seed,
        size=size,
        kind=kind,
        faulty=frozenset(rng.sample(range(size), count)),
        weather=Weather(
            delay_ms=rng.choice(((1, 3), (1, 15), (5, 60))),
            drop=rng.choice((0.0, 0.02, 0.1, 0.3)),
            duplicate=rng.choice((0.0, 0.1)),
            straggle=rng.choice((0.0, 0.02, 0.1)),
            crash=0.01 if kind == "rollback" else rng.choice((0.0, 0.0, 0.002, 0.01)),
            sign_ms=rng.choice((0, 0, 5)),
            rollback=0.5 if kind == "rollback" else 0.0,
        ),
        partitions=rng.random() < 0.4,
        skew_ms=rng.choice((0, 0, 10, PRECISION_MS // 2)),
        reconnects=rng.random() < 0.5,
    )


def run_scenario(seed: int) -> Outcome:
    """Raises: SimulationFailure."""
    scenario = scenario_of(seed)
    world = _build(scenario)
    try:
        _trouble(world, scenario)
        _heal(world, scenario)
    except Violation as violation:
        raise SimulationFailure(seed, f"{violation} [{scenario}]", world.trace.lines()) from violation
    except (AssertionError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise SimulationFailure(seed, f"the engine broke: {error!r} [{scenario}]", world.trace.lines()) from error
    return Outcome(
        height=max(node.disk.head.height for node in world.nodes.values()),
        view=world.top_view(),
        messages=world.messages,
        crashes=sum(node.life - 1 for node in world.nodes.values()),
        trace=world.trace,
    )


def _build(scenario: Scenario) -> World:
    committee = committee_of(scenario.size, delta_ms=DELTA_MS, block_interval_ms=10, precision_ms=PRECISION_MS)
    world = World(committee, scenario.seed, scenario.faulty)
    world.weather = scenario.weather
    for node in world.nodes.values():
        node.skew_ms = world.random.randint(-scenario.skew_ms, scenario.skew_ms)
    for index in sorted(scenario.faulty):
        if scenario.kind == "byzantine":
            Byzantine(world, index, appetite_of(world.random))
    for index in world.nodes:
        world.start(index)
    everyone = frozenset(range(scenario.size))
    for index in sorted(scenario.faulty):
        if scenario.kind == "twins":
            others = sorted(everyone - {index})
            world.random.shuffle(others)
            half = len(others) // 2
            overlap = world.random.randint(0, 1)
            world.add_twins(index, (frozenset(others[: half + overlap]), frozenset(others[half:])))
    return world


def _trouble(world: World, scenario: Scenario) -> None:
    rng = world.random
    for number in range(rng.randint(3, 25)):
        author = rng.choice(sorted(world.honest))
        world.at(rng.randint(0, TROUBLE_MS), lambda a=author, n=number: world.submit(a, payload(n)))
    if scenario.partitions:
        for _ in range(rng.randint(1, 4)):
            side = frozenset(rng.sample(range(scenario.size), rng.randint(1, scenario.size - 1)))
            groups = (side, frozenset(range(scenario.size)) - side)
            start = rng.randint(0, TROUBLE_MS)
            world.at(start, lambda g=groups: _partition(world, g))
            world.at(start + rng.randint(50, 800), lambda: _partition(world, ()))
    if scenario.skew_ms:
        # A clock far off makes its owner faulty; where others are faulty already, all clocks are set back together.
        nodes = list(world.nodes.values())
        chosen = [rng.choice(nodes)] if scenario.kind in HONEST_KINDS else nodes
        world.at(rng.randint(0, TROUBLE_MS), lambda: _set_back(chosen))
    world.run(TROUBLE_MS)


def _set_back(nodes: list[Node]) -> None:
    for node in nodes:
        node.skew_ms -= SET_BACK_MS


def _partition(world: World, groups: tuple[frozenset[int], ...]) -> None:
    world.weather.groups = groups


def _heal(world: World, scenario: Scenario) -> None:
    """All up, good network: what is submitted now must be final everywhere within some views; then silence."""
    world.weather = Weather()
    for index, node in world.nodes.items():
        if node.engine is None:
            world.start(index)
    if scenario.reconnects:
        world.reconnect()
    for index, node in world.nodes.items():
        for digest in node.disk.pending():  # a mempool spreads again what is long in waiting
            world.submit(index, digest)

    def settled() -> bool:
        return not any(node.disk.pending() for node in world.nodes.values())

    if not world.run(world.now_ms + HEAL_MS, settled):
        raise Violation(f"what was submitted in trouble is not final after {HEAL_MS} ms: {_statuses(world)}")
    view = world.top_view()
    new = {payload(1000 + k) for k in range(3)}
    for digest in sorted(new):
        world.submit(world.random.choice(sorted(world.honest)), digest)
    if not world.run(world.now_ms + HEAL_MS, lambda: world.have_all(new)):
        raise Violation(f"no progress within {HEAL_MS} ms after healing: {_statuses(world)}")
    took = world.top_view() - view
    if took > HEAL_VIEWS_PER_VALIDATOR * scenario.size:
        raise Violation(f"progress after healing took {took} views")
    _check_caught_up(world)
    if scenario.kind in (*HONEST_KINDS, "dead"):
        _check_quiet(world)


def _check_caught_up(world: World) -> None:
    top = max(node.disk.head.height for node in world.nodes.values())

    def level() -> bool:
        return all(node.disk.head.height >= top for node in world.nodes.values())

    if not level() and not world.run(world.now_ms + HEAL_MS, level):
        raise Violation(f"somebody never caught up with height {top}: {_statuses(world)}")


def _check_quiet(world: World) -> None:
    world.run(world.now_ms + QUIET_MS)
    before = world.messages
    world.run(world.now_ms + QUIET_MS)
    if world.messages > before:
        raise Violation(f"{world.messages - before} messages on an idle chain: {_statuses(world)}")
    heads = {node.disk.head.digest for node in world.nodes.values()}
    if len(heads) > 1:
        raise Violation(f"an idle chain is not final everywhere: {_statuses(world)}")


def _statuses(world: World) -> str:
    return "; ".join(f"v{i}: {n.engine.status() if n.engine else 'down'}" for i, n in world.nodes.items())
