"""`stretto consensus`: why it moves or stalls, as one node sees it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import click

from cli.output import Exit, deadline_option, json_option, node_option, print_json, print_table, say

if TYPE_CHECKING:
    from node.rpc.answers import NodeStatus
    from node.rpc.types import PeerLive

PATIENCE_VIEWS = 2
"""Work that waits for this many views' timeouts with nothing becoming final is stuck, not slow."""
CLOCK_BEHIND_MS = 1_000
"""Blocks may be a little ahead of any clock; by so much, the clock is wrong."""
STOOD_STILL_MS = 2_000


class State(StrEnum):
    """How consensus is, in a word."""

    MOVES = "moves"
    QUIET = "quiet"
    """Nothing waits to be ordered, and what is needed to order it is there."""
    STALLS = "stalls"
    RECOVERS = "recovers"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """reason: one line in words."""

    state: State
    reason: str

    @property
    def healthy(self) -> bool:
        return self.state in (State.MOVES, State.QUIET)


@click.group("consensus")
def consensus_group() -> None:
    """See why consensus moves or stalls.

    \b
    Example:
      stretto consensus status --node 127.0.0.1:5101
      stretto consensus status --json
    """


@consensus_group.command("status")
@node_option
@deadline_option(10)
@json_option
def status_command(*, node: str, deadline_s: float, as_json: bool) -> int:
    """Show each validator as one node sees it, and say in a line why consensus moves or stalls.

    Lag is in views behind the highest that this node has heard of; timeouts are views a validator led and that were
    given up. Ask several nodes: each sees its own connections.
    Exit code 0: it moves, or is quiet for want of work; 1: it stalls, recovers, or the node process is not running.

    \b
    Example:
      stretto consensus status --node 127.0.0.1:5102
    """
    from cli.connect import connected

    with connected(node, deadline_s) as client:
        status = client.status()
    diagnosis = diagnose(status)
    if as_json:
        print_json(_as_json(status, diagnosis))
    else:
        _print(status, diagnosis)
    return Exit.OK if diagnosis.healthy else Exit.REFUSED


# ---- why -------------------------------------------------------------------------------------------------------------


def diagnose(status: NodeStatus) -> Diagnosis:
    """What holds consensus up, the weightiest reason first; from what one node sees."""
    live = status.live
    if not live.consensus_running:
        return _stopped(status)
    for diagnosis in (_unconnected(status), _recovering(status), _stuck(status)):
        if diagnosis is not None:
            return diagnosis
    spare = _spare(status)
    if live.pending_statements or live.pending_payloads or live.missing_payloads:
        waiting = f"{_count(live.pending_statements, 'statement')} and {_count(live.pending_payloads, 'payload')}"
        work = f"{waiting} {'waits' if live.pending_statements + live.pending_payloads == 1 else 'wait'}"
        return Diagnosis(State.MOVES, f"view {live.view}, led by {live.leader}; {work}; {spare}")
    return Diagnosis(State.QUIET, f"nothing waits to be ordered, all is final; {spare}")


def _stopped(status: NodeStatus) -> Diagnosis:
    if status.live.process_silent:
        reason = "the node process is there and does not answer: it is frozen, or waits for its disk"
    else:
        reason = "the node process is not running: only its reader answers, from the store"
    if status.disk is not None and status.disk.is_full:
        reason += f"; its disk is full ({status.disk.free_bytes // 2**20} MiB free)"
    return Diagnosis(State.STOPPED, reason)


def _unconnected(status: NodeStatus) -> Diagnosis | None:
    """No quorum can be reached: nothing becomes final, whether or not something waits."""
    away = [peer for peer in status.live.peers if not peer.connected]
    here = _size(status) - len(away)
    if here >= _quorum(status):
        return None
    reason = f"{_waits_for(status, away)} not connected; {_no_quorum(status, here)}"
    if status.live.waiting_ms:
        reason += f"; nothing final for {_seconds(status.live.waiting_ms)}"
    return Diagnosis(State.STALLS, reason)


def _recovering(status: NodeStatus) -> Diagnosis | None:
    if not status.live.recovering:
        return None
    reason = (
        f"follows without voting: its voting state is lost or doubtful; it votes again once {_quorum(status)} others "
        "have answered and a later block is final"
    )
    away = [peer for peer in status.live.peers if not peer.connected]
    if _size(status) - 1 - len(away) < _quorum(status):
        reason += f"; {_waits_for(status, away)} not connected"
    return Diagnosis(State.RECOVERS, reason)


def _stuck(status: NodeStatus) -> Diagnosis | None:
    """Everybody needed is connected, work waits, and nothing becomes final."""
    live = status.live
    if not live.waiting_ms or live.waiting_ms <= PATIENCE_VIEWS * live.view_timeout_ms:
        return None
    since = f"nothing final for {_seconds(live.waiting_ms)}"
    for reason in (_behind(status), _unheard(status), _own_trouble(status), _lacking(status)):
        if reason is not None:
            return Diagnosis(State.STALLS, f"{reason}; {since}")
    views = live.view - live.finalized_view - 1
    return Diagnosis(State.STALLS, f"{since}, {views} views given up since, a quorum is heard; {_leader(status)}")


def _behind(status: NodeStatus) -> str | None:
    view = status.live.view
    ahead = [peer for peer in status.live.peers if peer.last_view > view + 1]
    if not ahead:
        return None
    furthest = max(ahead, key=lambda peer: peer.last_view)
    return f"this node is {furthest.last_view - view} views behind {furthest.member} and catches up"


def _unheard(status: NodeStatus) -> str | None:
    view = status.live.view
    silent = [peer for peer in status.live.peers if not peer.connected or peer.last_view < view]
    here = _size(status) - len(silent)
    if here >= _quorum(status):
        return None
    return f"{_waits_for(status, silent)} not heard in view {view}; {_no_quorum(status, here)}"


def _lacking(status: NodeStatus) -> str | None:
    """What is asked for and has not come, or what else the engine says it waits for."""
    live = status.live
    if live.missing_payloads:
        return f"waits for {_count(live.missing_payloads, 'payload')} proposed or ordered and not held here"
    if live.missing_block:
        return f"waits for the block {live.missing_block[:16]}, which it asks the others for"
    if live.missing_certificate:
        return f"waits for the certificate of view {live.missing_certificate}, which it asks the others for"
    return live.waits_for or None


def _own_trouble(status: NodeStatus) -> str | None:
    """What is wrong with this node's machine, where a quorum of others is heard."""
    live = status.live
    if live.clock_behind_ms >= CLOCK_BEHIND_MS:
        behind = _seconds(live.clock_behind_ms)
        return (
            f"this machine's clock is {behind} behind the last final block: it takes the others' blocks for future ones"
        )
    if live.stood_still_ms >= STOOD_STILL_MS:
        return f"this node stood still for {_seconds(live.stood_still_ms)} lately: a slow disk, or too little CPU"
    return None


def _leader(status: NodeStatus) -> str:
    live = status.live
    leader = next((peer for peer in live.peers if peer.member == live.leader), None)
    missing = leader is not None and not leader.connected
    said = f"{live.leader} leads view {live.view}{' and is not connected' if missing else ''}"
    late = max(live.peers, key=lambda peer: peer.timeouts, default=None)
    if late is not None and late.timeouts > 1:
        said += f"; {late.member} led {late.timeouts} views that were given up"
    return said


def _waits_for(status: NodeStatus, peers: list[PeerLive]) -> str:
    names = ", ".join(peer.member for peer in peers)
    return f"waits for {len(peers)} of {_size(status)} validators: {names}"


def _no_quorum(status: NodeStatus, here: int) -> str:
    return f"no quorum ({_quorum(status)} needed, {here} here)"


def _spare(status: NodeStatus) -> str:
    away = [peer.member for peer in status.live.peers if not peer.connected]
    spare = _size(status) - len(away) - _quorum(status)
    if not away:
        return f"all {_size(status)} validators connected"
    more = f"{spare} more may fail" if spare else "not one more may fail"
    return f"{', '.join(away)} not connected, {more}"


def _size(status: NodeStatus) -> int:
    """Validators, this one included."""
    return len(status.live.peers) + 1


def _quorum(status: NodeStatus) -> int:
    return status.live.quorum or _size(status) - (_size(status) - 1) // 3


# ---- showing ---------------------------------------------------------------------------------------------------------


def _highest(status: NodeStatus) -> int:
    """The highest view in which others can be expected to have voted: nobody has to in one that has just begun."""
    return max((status.live.view - 1, *(peer.last_view for peer in status.live.peers)))


def _own_lag(status: NodeStatus) -> int:
    return max(0, _highest(status) - status.live.view)


def _lag(peer: PeerLive, top: int) -> int | None:
    """Views behind; None where nothing was heard, which says nothing of where it stands."""
    return top - peer.last_view if peer.last_view else None


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.1f} s"


def _print(status: NodeStatus, diagnosis: Diagnosis) -> None:
    live = status.live
    if live.consensus_running:
        top = _highest(status)
        rows: list[tuple[object, ...]] = [
            (
                f"{status.member} (this node)",
                "-",
                live.view,
                live.last_vote or "-",
                _own_lag(status),
                live.timeouts,
                live.boot_generation or "-",
                "-",
            )
        ]
        rows += [
            (
                peer.member,
                "yes" if peer.connected else "NO",
                peer.last_view or "never heard",
                peer.last_vote or "-",
                "-" if lag is None else lag,
                peer.timeouts,
                peer.boot_generation or "-",
                peer.rejected,
            )
            for peer, lag in ((peer, _lag(peer, top)) for peer in live.peers)
        ]
        print_table(("validator", "connected", "last view", "last vote", "lag", "timeouts", "start", "rejected"), rows)
        say(f"view       {live.view}, led by {live.leader}, for {_seconds(live.view_age_ms)}")
    view = f"view {live.finalized_view}, " if live.consensus_running else ""
    say(f"final      {view}height {status.height}, {_count(status.size, 'statement')}")
    if live.consensus_running:
        say(
            f"waiting    {_count(live.pending_statements, 'statement')}, {_count(live.pending_payloads, 'payload')}; "
            f"{_count(live.missing_payloads, 'payload')} missing here"
            + (f"; nothing final for {_seconds(live.waiting_ms)}" if live.waiting_ms else "")
        )
        lacking = [f"certificate of view {live.missing_certificate}"] if live.missing_certificate else []
        lacking += [f"block {live.missing_block[:16]}"] if live.missing_block else []
        say(f"missing    {', '.join(lacking) or 'no certificate, no block'}")
        if live.waits_for:
            say(f"waits for  {live.waits_for}")
        say(
            f"timeouts   delta {live.delta_ms} ms: a silent leader is given up after {live.leader_timeout_ms} ms, "
            f"a view after {live.view_timeout_ms} ms; {live.timeouts_in_row} views given up in a row"
        )
    if status.misbehaviours:
        say(f"evidence   {status.misbehaviours} of misbehaviour: see 'stretto misbehaviour list'")
    say(f"{diagnosis.state.upper():<10} {diagnosis.reason}")


def _as_json(status: NodeStatus, diagnosis: Diagnosis) -> dict[str, Any]:
    live = status.live
    top = _highest(status)
    return {
        "ok": diagnosis.healthy,
        "state": diagnosis.state,
        "diagnosis": diagnosis.reason,
        "member": status.member,
        "consensus_running": live.consensus_running,
        "recovering": live.recovering,
        "boot_generation": live.boot_generation,
        "view": live.view,
        "view_age_ms": live.view_age_ms,
        "last_vote": live.last_vote,
        "epoch": live.epoch,
        "leader": live.leader,
        "finalized_view": live.finalized_view,
        "height": status.height,
        "quorum": _quorum(status),
        "lag": _own_lag(status),
        "pending_statements": live.pending_statements,
        "pending_payloads": live.pending_payloads,
        "missing_payloads": live.missing_payloads,
        "waiting_ms": live.waiting_ms,
        "delta_ms": live.delta_ms,
        "leader_timeout_ms": live.leader_timeout_ms,
        "view_timeout_ms": live.view_timeout_ms,
        "timeouts": live.timeouts,
        "timeouts_in_row": live.timeouts_in_row,
        "missing_certificate": live.missing_certificate or None,
        "missing_block": live.missing_block or None,
        "waits_for": live.waits_for or None,
        "clock_behind_ms": live.clock_behind_ms,
        "stood_still_ms": live.stood_still_ms,
        "misbehaviours": status.misbehaviours,
        "validators": [
            {
                "member": peer.member,
                "connected": peer.connected,
                "last_view": peer.last_view,
                "last_vote": peer.last_vote,
                "lag": _lag(peer, top),
                "timeouts": peer.timeouts,
                "boot_generation": peer.boot_generation,
                "rejected": peer.rejected,
            }
            for peer in live.peers
        ],
    }
