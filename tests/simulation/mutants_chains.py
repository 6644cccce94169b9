"""Broken nodes: what they sign for public chains."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from ledger.chain_checkpoint import NO_SUCCESSOR, ChainCheckpoint, successor_of
from node.rosters import Rosters
from tests.simulation import chains
from tests.simulation.chains import ShelfStore
from tests.simulation.mutation import Mutant, instead, nothing

Derive = Callable[..., ChainCheckpoint | None]


def _derives(made: Derive) -> AbstractContextManager[object]:
    return instead(chains, "derive", made)


def ends_are_signed_before_they_are_known() -> AbstractContextManager[object]:
    """As soon as the change has passed, without the successor; and again, with it, when the boundary has come."""
    original = chains.derive
    return _derives(lambda rosters, size, root, **_: original(rosters, size, root, is_open=False))


def the_newest_set_is_the_successor() -> AbstractContextManager[object]:
    """Of whatever epoch's end: right for a while, and another one after the next change."""
    original = chains.derive

    def derive(rosters: Rosters, size: int, root: bytes, *, is_open: bool) -> ChainCheckpoint | None:
        made = original(rosters, size, root, is_open=is_open)
        if made is None or made.successor == NO_SUCCESSOR:
            return made
        return replace(made, successor=successor_of(rosters.current))

    return _derives(derive)


MUTANTS: tuple[Mutant, ...] = (
    Mutant("chains_before_the_watermark", "chains", lambda: instead(ShelfStore, "cover_cosigned", nothing)),
    Mutant("chain_ends_not_recorded", "chains", lambda: instead(ShelfStore, "record_chain_end", nothing), "membership"),
    Mutant("chain_ends_signed_twice", "chains", ends_are_signed_before_they_are_known, "membership"),
    Mutant("newest_set_is_successor", "chains", the_newest_set_is_the_successor, "membership"),
)  # fmt: skip
