"""Broken engines, one safety or liveness rule each, that the simulation must catch: this grades the simulation.

python -m tests.simulation.mutants: how many seeds each mutant took.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from unittest.mock import patch

from consensus import certificates, engine, finality, recovery, sync, voting
from consensus.engine import Engine
from consensus.events import Output
from consensus.messages import Proposal
from consensus.pacemaker import Pacemaker
from consensus.payloads import Payloads
from consensus.state import Outbox, State
from consensus.tree import Tree
from consensus.types import Block, Certificate, Committee, ValidatorIndex, View, VoteKind
from consensus.votes import Ballots, VotePool
from tests.simulation.scenario import SimulationFailure, run_scenario

SEEDS_MAX = 100


@contextmanager
def no_ancestry_check() -> Iterator[None]:
    """A block's parent and the nullifications between are taken on trust."""

    def holds(state: State, block: Block) -> bool:
        return block.parent in state.tree.blocks

    with patch.object(voting, "_holds_ancestry", holds):
        yield


@contextmanager
def no_nullification_check() -> Iterator[None]:
    """The parent must be notarized, but views between need not be nullified."""
    with patch.object(Tree, "first_gap", lambda *_: None):
        yield


def _without(kind: VoteKind, cast: VoteKind) -> AbstractContextManager[object]:
    """Allow `kind` in a view in which `cast` was cast."""
    original = Ballots.reason_against

    def reason_against(self: Ballots, asked: VoteKind, view: View) -> str | None:
        reason = original(self, asked, view)
        if asked is kind and self.get(view, cast) is not None and self.get(view, kind) is None:
            return None
        return reason

    return patch.object(Ballots, "reason_against", reason_against)


def finalize_after_nullify() -> AbstractContextManager[object]:
    return _without(VoteKind.FINALIZE, VoteKind.NULLIFY)


def quorum_of_one_less() -> AbstractContextManager[object]:
    return patch.object(Committee, "quorum", property(lambda self: self.size - self.faults_max - 1))


@contextmanager
def double_notarize() -> Iterator[None]:
    """Vote for the leader's second proposal too."""
    notarize, receive = voting.notarize, Engine._on_proposal

    def notarize_again(state: State) -> int | None:
        voted = state.ballots.get(state.view, VoteKind.NOTARIZE)
        if voted is not None and state.leader != state.me:
            for block in state.tree.blocks.values():
                if block.view == state.view and block.digest > voted.block:
                    again = replace(voted, block=block.digest, height=block.height)
                    state.ballots.restore(again)
                    state.out.vote(again)
                    return None
        return notarize(state)

    def on_proposal(self: Engine, sender: ValidatorIndex, proposal: Proposal) -> None:
        receive(self, sender, proposal)
        self._state.add_block(proposal.block)

    with patch.object(engine, "notarize", notarize_again), patch.object(Engine, "_on_proposal", on_proposal):
        yield


@contextmanager
def sign_before_persist() -> Iterator[None]:
    original = Outbox.drain

    def drain(self: Outbox) -> tuple[Output, ...]:
        return tuple(reversed(original(self)))

    with patch.object(Outbox, "drain", drain):
        yield


def amnesia() -> AbstractContextManager[object]:
    """Stored votes are not taken up at restart."""
    return patch.object(Ballots, "restore", lambda *_: None)


def no_recovery() -> AbstractContextManager[object]:
    """A lost voting state is taken for an empty one."""
    return patch.object(recovery.Recovery, "begin", lambda *_: None)


def vote_without_payloads() -> AbstractContextManager[object]:
    return patch.object(Payloads, "missing", lambda *_: ())


def unchecked_votes() -> AbstractContextManager[object]:
    return patch.object(VotePool, "check", lambda *_: None)


@contextmanager
def unchecked_certificates() -> Iterator[None]:
    def check(certificate: Certificate, *_: object) -> None:
        return None

    with (
        patch.object(finality, "check_certificate", check),
        patch.object(sync, "check_certificate", check),
    ):
        yield


@contextmanager
def few_signers_suffice() -> Iterator[None]:
    original = certificates.check_certificate

    def check(certificate: Certificate, committee: Committee, *rest: object) -> None:
        with patch.object(Committee, "quorum", property(lambda _: 1)):
            original(certificate, committee, *rest)  # type: ignore[arg-type]

    with patch.object(finality, "check_certificate", check), patch.object(sync, "check_certificate", check):
        yield


def no_retries() -> AbstractContextManager[object]:
    """Own votes are said once only."""
    return patch.object(Pacemaker, "resend_ms", lambda *_: None)


def no_help() -> AbstractContextManager[object]:
    """Certificates are never sent to those behind."""
    return patch("consensus.serving.help_along", lambda *_: None)


def ask_one_holder_only() -> AbstractContextManager[object]:
    return patch("consensus.requests.Pursuit.holder", property(lambda self: self.holders[0]))


def wall_clock_only() -> AbstractContextManager[object]:
    """A block later than the own clock is refused, also where it is only 1 ms after its parent."""

    def early(state: State, block: Block) -> int:
        return block.timestamp_ms - state.wall_ms - state.committee.parameters.precision_ms

    return patch.object(voting, "_early_by_ms", early)


def no_view_timer() -> AbstractContextManager[object]:
    return patch.object(Pacemaker, "give_up_ms", lambda *_, **__: None)


MUTANTS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    mutant.__name__: mutant
    for mutant in (
        no_ancestry_check, no_nullification_check, finalize_after_nullify, quorum_of_one_less, double_notarize,
        sign_before_persist, amnesia, no_recovery, vote_without_payloads, unchecked_votes, unchecked_certificates,
        few_signers_suffice, no_retries, no_help, ask_one_holder_only, wall_clock_only, no_view_timer,
    )
}  # fmt: skip


def seeds_to_catch(name: str, seeds_max: int = SEEDS_MAX) -> tuple[int, str] | None:
    """How many seeds it takes until the simulation notices, and what it says; None if it does not."""
    for seed in range(seeds_max):
        with MUTANTS[name]():
            try:
                run_scenario(seed)
            except SimulationFailure as failure:
                return seed + 1, failure.reason.split(" [")[0]
    return None


def main() -> int:
    survivors = 0
    for name in sys.argv[1:] or MUTANTS:
        caught = seeds_to_catch(name)
        survivors += caught is None
        verdict = f"caught by seed {caught[0] - 1} (run {caught[0]}): {caught[1]:.110}" if caught else "SURVIVED"
        sys.stdout.write(f"{name:<24} {verdict}\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
