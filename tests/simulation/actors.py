"""Each Byzantine actor alone, in good weather, and the mutant that only it brings to light: so that each one matters.

python -m tests.simulation.actors: the table. In the same runs one that commits no crime must not betray the mutant.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from tests.simulation.byzantine import Appetite
from tests.simulation.mutants import MUTANTS
from tests.simulation.run import spare_collector
from tests.simulation.scenario import SimulationFailure, focused, run_scenario
from tests.simulation.world import Weather

SEEDS_MAX = 200


@dataclass(frozen=True)
class Actor:
    """mutant: by name. changes: how often members vote in these runs."""

    appetite: Appetite
    mutant: str
    changes: int = 0
    drop: float = 0.0
    """Probability that a message is lost, where the actor needs views that fail."""
    isolates: bool = False
    """Whether a node is cut off, and then has to ask."""
    keeps_back: str = ""
    """What the network keeps from an honest one, where that gives the actor its chance (`deprivation`)."""
    is_cramped: bool = False
    """Whether the engine's limits are a handful, where the actor must reach them."""


ACTORS: dict[str, Actor] = {
    "equivocator": Actor(Appetite(equivocate=1.0, double_vote=1.0, split=0.5), "double_notarize"),
    "withholder": Actor(Appetite(withhold=0.5), "no_view_timer"),
    "split sender": Actor(Appetite(split=1.0, is_plausible=True), "blocks_are_never_asked_for"),
    "bogus-parent proposer": Actor(Appetite(bogus_parent=1.0), "no_parent_check", drop=0.3),
    "stale-parent proposer": Actor(Appetite(stale_parent=1.0), "no_nullification_check"),
    "nullify-and-finalize": Actor(Appetite(nullify_and_finalize=1.0), "accuse_by_kind_only"),
    "forger: all by one key": Actor(Appetite(forge=0.3), "unchecked_certificates"),
    "forger: too few signers": Actor(Appetite(forge=0.3), "few_signers_suffice"),
    "forger: one signer twice": Actor(Appetite(forge=0.3), "repeated_signers"),
    "forger: strangers sign": Actor(Appetite(forge=0.3), "strangers_sign"),
    "forger: another consortium": Actor(Appetite(forge=0.3), "consortium_not_signed"),
    "replayer of earlier epochs": Actor(
        Appetite(replay=0.3, is_plausible=True), "any_epoch_counts", changes=4, drop=0.1
    ),
    "stonewaller": Actor(Appetite(stonewall=1.0), "ask_one_holder_only", isolates=True),
    "late proposer": Actor(Appetite(late=1.0), "notarize_after_nullify"),
    "future-view spammer": Actor(Appetite(far_views=0.5), "far_votes_are_kept"),
    "flooder": Actor(Appetite(flood=0.6), "unasked_blocks_are_kept", keeps_back="blocks", is_cramped=True),
    "bad-signature payload": Actor(Appetite(bad_payload=1.0), "payload_signature_unchecked"),
    "invalid statement": Actor(Appetite(bad_statement=1.0), "statements_unchecked"),
    "body withheld": Actor(Appetite(hidden_body=1.0), "bodies_are_waived"),
    "body not as signed": Actor(Appetite(false_body=1.0), "bodies_unchecked"),
    "boundary out of the blue": Actor(Appetite(boundary=1.0), "boundary_out_of_the_blue", changes=2),
    "payloads after the change": Actor(
        Appetite(boundary=1.0, is_plausible=True), "payloads_after_the_change", changes=4
    ),
    "clock liar": Actor(Appetite(backdate=1.0), "block_time_may_go_back"),
}


def first_caught(actor: Actor, mutant: str | None, seeds_max: int, *, guilty: bool = True) -> int | None:
    """The first seed at which the mutant (None: the unbroken node) breaks a property; None where none does."""
    breaks: AbstractContextManager[object] = nullcontext()
    for seed in range(seeds_max):
        scenario = replace(
            focused(seed, "byzantine"), weather=Weather(drop=actor.drop), partitions=False, skew_ms=0,
            changes=actor.changes, is_cramped=actor.is_cramped, real_signatures=False, is_patient=not actor.changes,
            changes_again=False, isolates=actor.isolates, keeps_back=actor.keeps_back,
        )  # fmt: skip
        breaks = MUTANTS[mutant].breaks() if mutant is not None else nullcontext()
        with breaks:
            try:
                run_scenario(seed, scenario=scenario, appetite=actor.appetite if guilty else Appetite())
            except SimulationFailure:
                return seed
    return None


def weigh(name: str) -> tuple[str, int | None, bool]:
    """(actor, first seed at which it betrays its mutant, whether an innocent one does so up to there)."""
    spare_collector()
    actor = ACTORS[name]
    seed = first_caught(actor, actor.mutant, SEEDS_MAX)
    innocent = first_caught(actor, actor.mutant, SEEDS_MAX if seed is None else seed + 1, guilty=False)
    return name, seed, innocent is not None


def main() -> int:
    worthless = 0
    sys.stdout.write(f"{'actor':<28} {'mutant':<34} {'first seed':<11} without the actor\n")
    with ProcessPoolExecutor(os.cpu_count() or 1) as pool:
        for name, seed, innocent in pool.map(weigh, sys.argv[1:] or list(ACTORS)):
            worthless += seed is None or innocent
            found = "none" if seed is None else str(seed)
            line = (
                f"{name:<28} {ACTORS[name].mutant:<34} {found:<11} {'caught all the same' if innocent else 'survives'}"
            )
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    return 1 if worthless else 0


if __name__ == "__main__":
    sys.exit(main())
