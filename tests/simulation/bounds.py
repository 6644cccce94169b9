"""The sizes of everything an engine keeps that others can make grow, and what they must stay within (pitfall 15).

`cramped` lowers the engine's limits to a handful, so that short runs reach them and live on behind them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from consensus import engine, finality, follower, payloads, requests, state, tree
from consensus.chain import CHAIN_BLOCKS_MAX
from consensus.engine import Engine
from consensus.follower import Follower
from consensus.types import BLOCK_PAYLOADS_MAX
from consensus.window import WINDOW_BLOCKS_MAX
from tests.simulation.checks import Violation

CRAMPED = {
    (state, "VIEWS_AHEAD_MAX"): 8,
    (engine, "VIEWS_AHEAD_MAX"): 8,
    (finality, "VIEWS_AHEAD_MAX"): 8,
    (state, "VIEWS_BEHIND_MAX"): 16,
    (engine, "VIEWS_BEHIND_MAX"): 16,
    (state, "UNSAVED_MAX"): 16,
    (tree, "BLOCKS_PENDING_MAX"): 24,
    (tree, "FINALIZATIONS_PENDING_MAX"): 4,
    (payloads, "SETTLED_MAX"): 4,
    (payloads, "HELD_SPARE_MAX"): 4,
    (requests, "BLOCK_PURSUITS_MAX"): 4,
    (requests, "PAYLOAD_PURSUITS_MAX"): 4,
}
"""Limits of the engine, by the module that reads them, and what they are in cramped runs."""


@contextmanager
def cramped() -> Iterator[None]:
    with ExitStack() as stack:
        for (module, name), limit in CRAMPED.items():
            stack.enter_context(patch.object(module, name, limit))
        yield


def sizes(core: Engine, final_above: int) -> dict[str, tuple[int, int]]:
    """(size, limit) of each buffer of an engine. final_above: blocks that others have committed above its head."""
    own = core._state
    n = own.committee.size
    views = state.VIEWS_AHEAD_MAX + state.VIEWS_BEHIND_MAX + 1
    open_views = own.view - own.tree.head.view + state.VIEWS_AHEAD_MAX + 1
    return {
        "votes per view": (max((len(votes) for votes in own.pool._votes.values()), default=0), 3 * n),
        "views with votes": (len(own.pool._votes), views),
        "final views with votes": (sum(view <= own.finalized_view for view in own.pool._votes), 0),
        "views ahead with votes": (max(own.pool._votes, default=own.view) - own.view, state.VIEWS_AHEAD_MAX),
        # A certificate of the tree is one a quorum signed, so all views up to the highest have been entered.
        "notarizations": (len(own.tree.notarizations), open_views),
        "nullifications": (len(own.tree.nullifications), open_views),
        "finalizations": (len(own.tree.finalizations), tree.FINALIZATIONS_PENDING_MAX),
        # A Chain's blocks, and those asked for by hash, are taken up also where the tree is full; own ones too.
        "blocks": (
            len(own.tree.blocks),
            max(tree.BLOCKS_PENDING_MAX, 2) + final_above + n * requests.BLOCK_PURSUITS_MAX,
        ),
        "times of blocks": (len(own.tree.seen_ms), len(own.tree.blocks)),
        "own votes": (len(own.ballots._votes), open_views),
        "unsaved certificates": (len(own.out._certificates), state.UNSAVED_MAX),
        "unsaved blocks": (len(own.out._blocks), 2),
        "outputs left over": (len(own.out._others) + len(own.out._signs) + len(own.out._commits), 0),
        "block pursuits": (len(own.requests.blocks), requests.BLOCK_PURSUITS_MAX),
        "payload pursuits": (len(own.requests.payloads), requests.PAYLOAD_PURSUITS_MAX),
        "accusations": (len(own.accused), n * views),
        "equivocated views": (len(own.equivocated), views),
        "refused blocks": (len(own.refused), 1),
        "payloads settled": (len(own.payloads._settled), payloads.SETTLED_MAX),
        "payloads held": (len(own.payloads._held), len(own.payloads._queue) + payloads.HELD_SPARE_MAX + _HELD_SPARE),
        "views left": (len(own.pacemaker._left_ms), 4 * n),
        "recovery replies": (len(own.recovery._replies), n - 1),
    }


_HELD_SPARE = 4096
"""Held payloads are let go at commits only; between two of them the mempool's bound holds."""


def sizes_of_follower(core: Follower) -> dict[str, tuple[int, int]]:
    """(size, limit) of each buffer of a follower."""
    window = core._window
    return {
        "blocks": (len(window._blocks), WINDOW_BLOCKS_MAX + CHAIN_BLOCKS_MAX + 1),
        "finalizations": (len(window._finalizations), WINDOW_BLOCKS_MAX + CHAIN_BLOCKS_MAX + 1),
        "ranges asked for": (len(core._asked), follower.RANGES_MAX),
        "payloads lacking": (len(core._lacking), follower.PAYLOADS_AHEAD_MAX + BLOCK_PAYLOADS_MAX),
        "payloads wanted": (len(core._wanted), follower.PAYLOADS_AHEAD_MAX + 1),
        "spare payloads": (len(core._spare), follower.SPARE_MAX),
        "outputs left over": (len(core._out), 0),
    }


def check_bounds(node: int, core: Engine | Follower, final_above: int) -> None:
    """Raises: Violation."""
    found = sizes(core, final_above) if isinstance(core, Engine) else sizes_of_follower(core)
    for name, (size, limit) in found.items():
        if size > limit:
            raise Violation(f"node {node} keeps {size} {name}, at most {limit}")
