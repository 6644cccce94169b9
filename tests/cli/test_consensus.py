"""`stretto consensus status`: the right reason for every way to stall, none where all is well, and how it is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cli.client import NodeClient
from cli.consensus import State, diagnose
from cli.output import Exit
from consensus.types import Digest
from node.disk import Disk
from node.rosters import Rosters
from node.rpc.answers import NodeStatus
from node.rpc.submit import SubmitServer
from node.rpc.types import NodeLive, PeerLive
from tests.cli.commands import Stretto
from tests.node.rpc.consortium import GENESIS, statement
from tests.node.rpc.intakes import HeldIntake
from tests.node.rpc.readers import ReaderProcess
from tests.node.rpc.stores import GrowingStore

MEMBERS = ("label", "court", "society", "platform")
STUCK_MS = 2_000
"""Longer than two views of 750 ms."""


def peers(**views: int | None) -> tuple[PeerLive, ...]:
    """member -> last view; None for one that is not connected (and was last heard in view 30)."""
    return tuple(
        PeerLive(member=m, connected=view is not None, last_view=30 if view is None else view)
        for m, view in views.items()
    )


ALL = peers(court=41, society=41, platform=41)


def live(**changes: Any) -> NodeLive:
    """The label's node, in view 41, with nothing to do."""
    values: dict[str, Any] = {
        "consensus_running": True,
        "view": 41,
        "leader": "court",
        "finalized_view": 40,
        "recovering": False,
        "pending_statements": 0,
        "pending_payloads": 0,
        "missing_payloads": 0,
        "peers": ALL,
        "quorum": 3,
        "delta_ms": 150,
        "leader_timeout_ms": 450,
        "view_timeout_ms": 750,
        "view_age_ms": 120,
        "boot_generation": 5,
    }
    return NodeLive(**(values | changes))


def status(**changes: Any) -> NodeStatus:
    return NodeStatus(
        member="label",
        role="label",
        genesis=Digest(GENESIS.digest),
        origin=GENESIS.origin,
        version="1",
        height=17,
        block_time_ms=1,
        size=5,
        root=bytes(32),
        claims=5,
        checkpoint_size=5,
        checkpoint_signers=(),
        live=live(**changes),
    )


WORK = {"pending_statements": 3, "pending_payloads": 2}
DOUBT = (
    "follows without voting: its voting state is lost or doubtful; it votes again once 3 others have answered and a "
    "later block is final"
)
STUCK = WORK | {"waiting_ms": STUCK_MS}


@pytest.mark.parametrize(
    ("changes", "state", "reason"),
    [
        ({}, State.QUIET, "nothing waits to be ordered, all is final; all 4 validators connected"),
        (
            WORK | {"waiting_ms": 90},
            State.MOVES,
            "view 41, led by court; 3 statements and 2 payloads wait; all 4 validators connected",
        ),
        (
            {"peers": peers(court=None, society=41, platform=41)},
            State.QUIET,
            "nothing waits to be ordered, all is final; court not connected, not one more may fail",
        ),
        (
            WORK | {"peers": (*ALL, *peers(studio=41, archive=41, radio=None)), "quorum": 5},
            State.MOVES,
            "view 41, led by court; 3 statements and 2 payloads wait; radio not connected, 1 more may fail",
        ),
        (
            {"peers": peers(court=None, society=41, platform=None)},
            State.STALLS,
            "waits for 2 of 4 validators: court, platform not connected; no quorum (3 needed, 2 here)",
        ),
        (
            STUCK | {"peers": peers(court=None, society=41, platform=None)},
            State.STALLS,
            (
                "waits for 2 of 4 validators: court, platform not connected; no quorum (3 needed, 2 here); nothing "
                "final for 2.0 s"
            ),
        ),
        (
            {"pending_payloads": 1},
            State.MOVES,
            "view 41, led by court; 0 statements and 1 payload waits; all 4 validators connected",
        ),
        (
            STUCK | {"peers": peers(court=40, society=41, platform=0)},
            State.STALLS,
            (
                "waits for 2 of 4 validators: court, platform not heard in view 41; no quorum (3 needed, 2 here); "
                "nothing final for 2.0 s"
            ),
        ),
        (
            STUCK | {"peers": peers(court=40, society=41, platform=None)},
            State.STALLS,
            (
                "waits for 2 of 4 validators: court, platform not heard in view 41; no quorum (3 needed, 2 here); "
                "nothing final for 2.0 s"
            ),
        ),
        (
            STUCK | {"peers": peers(court=60, society=58, platform=41)},
            State.STALLS,
            "this node is 19 views behind court and catches up; nothing final for 2.0 s",
        ),
        (
            STUCK | {"missing_payloads": 2},
            State.STALLS,
            "waits for 2 payloads proposed or ordered and not held here; nothing final for 2.0 s",
        ),
        (
            STUCK | {"finalized_view": 35, "peers": peers(court=None, society=41, platform=41)},
            State.STALLS,
            (
                "nothing final for 2.0 s, 5 views given up since, a quorum is heard; court leads view 41 and is not "
                "connected"
            ),
        ),
        (
            STUCK | {"finalized_view": 35},
            State.STALLS,
            "nothing final for 2.0 s, 5 views given up since, a quorum is heard; court leads view 41",
        ),
        (
            STUCK | {"missing_certificate": 38},
            State.STALLS,
            "waits for the certificate of view 38, which it asks the others for; nothing final for 2.0 s",
        ),
        (
            STUCK | {"missing_block": "ab" * 32, "missing_certificate": 38},
            State.STALLS,
            "waits for the block abababababababab, which it asks the others for; nothing final for 2.0 s",
        ),
        (
            STUCK | {"waits_for": "waits for a proposal of court"},
            State.STALLS,
            "waits for a proposal of court; nothing final for 2.0 s",
        ),
        (
            STUCK | {"clock_behind_ms": 12_000},
            State.STALLS,
            (
                "this machine's clock is 12.0 s behind the last final block: it takes the others' blocks for future "
                "ones; nothing final for 2.0 s"
            ),
        ),
        (
            STUCK | {"stood_still_ms": 3_100, "missing_payloads": 2},
            State.STALLS,
            "this node stood still for 3.1 s lately: a slow disk, or too little CPU; nothing final for 2.0 s",
        ),
        (
            STUCK | {"finalized_view": 35, "peers": (replace(ALL[0], timeouts=4), *ALL[1:])},
            State.STALLS,
            (
                "nothing final for 2.0 s, 5 views given up since, a quorum is heard; court leads view 41; court led "
                "4 views that were given up"
            ),
        ),
        (
            {"consensus_running": False, "peers": (), "process_silent": True},
            State.STOPPED,
            "the node process is there and does not answer: it is frozen, or waits for its disk",
        ),
        (
            {"recovering": True},
            State.RECOVERS,
            DOUBT,
        ),
        (
            {"recovering": True, "peers": peers(court=None, society=41, platform=41)},
            State.RECOVERS,
            f"{DOUBT}; waits for 1 of 4 validators: court not connected",
        ),
        (
            {"consensus_running": False, "peers": ()},
            State.STOPPED,
            "the node process is not running: only its reader answers, from the store",
        ),
    ],
)
def test_the_reason_is_said_in_a_line(changes: dict[str, Any], state: State, reason: str) -> None:
    found = diagnose(status(**changes))
    assert (found.state, found.reason) == (state, reason)
    assert found.healthy == (state in (State.MOVES, State.QUIET))


def test_of_a_node_that_does_not_run_a_full_disk_is_the_likely_reason() -> None:
    stopped = replace(
        status(consensus_running=False, peers=()), disk=Disk(store_bytes=1, store_bytes_max=2**40, free_bytes=2**20)
    )
    assert diagnose(stopped).reason.endswith("; its disk is full (1 MiB free)")
    room = Disk(store_bytes=1, store_bytes_max=2**40, free_bytes=2**40)
    assert "full" not in diagnose(replace(stopped, disk=room)).reason
    limited = Disk(store_bytes=2**40, store_bytes_max=2**40, free_bytes=2**40)
    assert "full" in diagnose(replace(stopped, disk=limited)).reason


def test_slow_is_not_stuck_and_an_old_view_alone_is_neither() -> None:
    silent = peers(court=40, society=41, platform=40)
    assert diagnose(status(**WORK, peers=silent, waiting_ms=1_500)).state is State.MOVES
    assert diagnose(status(**WORK, peers=silent, waiting_ms=1_501)).state is State.STALLS
    backed_off = {"waiting_ms": 9_000, "view_timeout_ms": 6_000}
    assert diagnose(status(**WORK, peers=silent, **backed_off)).state is State.MOVES
    assert diagnose(status(peers=silent, view_age_ms=3_600_000)).state is State.QUIET


def test_of_a_node_too_old_to_say_the_quorum_is_counted() -> None:
    away = peers(court=None, society=41, platform=None)
    assert "3 needed, 2 here" in diagnose(status(peers=away, quorum=0)).reason
    assert diagnose(status(peers=away[:1] + ALL[1:], quorum=0)).state is State.QUIET


# ---- the command -----------------------------------------------------------------------------------------------------


class Saying(HeldIntake):
    """A node process that says of itself what it is told to."""

    def __init__(self, said: NodeLive) -> None:
        super().__init__()
        self.said = said

    def status(self) -> NodeLive:
        return self.said


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("court")
    store = GrowingStore(folder / "data" / "chain")
    store.add(statement(1))
    store.close()
    made = ReaderProcess(folder)
    yield made
    assert made.stop() == 0


def running(reader: ReaderProcess, said: NodeLive) -> SubmitServer:
    return SubmitServer(socket=reader.folder / "submit.sock", rosters=Rosters(GENESIS), intake=Saying(said))


def ask(stretto: Stretto, reader: ReaderProcess, *more: str) -> Any:
    """Once the reader has found the node process, which a submission waits for."""
    with NodeClient(reader.address, deadline_s=10) as client:
        client.submit(statement(2), wait=False)
    return stretto("consensus", "status", "--node", reader.address, *more)


def test_a_stall_is_shown_with_everything_that_explains_it(stretto: Stretto, reader: ReaderProcess) -> None:
    mates = (
        PeerLive(
            member="label",
            connected=True,
            last_view=43,
            boot_generation=7,
            rejected=2,
            last_vote="notarize",
            timeouts=3,
        ),
        *peers(society=None),
        PeerLive(member="platform", connected=False, last_view=0),
    )
    own = {"last_vote": "nullify", "missing_certificate": 42, "missing_block": "ab" * 32, "timeouts_in_row": 6,
           "waits_for": "the end of view 41: 2 of 3 nullify votes are here"}  # fmt: skip
    with running(reader, live(**STUCK, **own, missing_payloads=1, peers=mates)):
        ended = ask(stretto, reader)
        shown = ask(stretto, reader, "--json")
    assert ended.code == shown.code == Exit.REFUSED
    lines = [line.split() for line in ended.text.splitlines()]
    assert ["court", "(this", "node)", "-", "41", "nullify", "2", "0", "5", "-"] in lines
    assert ["label", "yes", "43", "notarize", "0", "3", "7", "2"] in lines
    assert ["society", "NO", "30", "-", "13", "0", "-", "0"] in lines
    assert ["platform", "NO", "never", "heard", "-", "-", "0", "-", "0"] in lines
    text = ended.text
    assert "view       41, led by court, for 0.1 s" in text
    assert "final      view 40, height 1, 1 statement\n" in text
    assert "3 statements, 2 payloads; 1 payload missing here; nothing final for 2.0 s" in text
    assert "missing    certificate of view 42, block abababababababab" in text
    assert "waits for  the end of view 41: 2 of 3 nullify votes are here" in text
    assert "6 views given up in a row" in text
    assert "delta 150 ms: a silent leader is given up after 450 ms, a view after 750 ms" in text
    assert "STALLS     waits for 2 of 4 validators: society, platform not connected; no quorum" in text
    document = shown.json
    assert (document["ok"], document["state"], document["lag"], document["quorum"]) == (False, "stalls", 2, 3)
    assert document["validators"][0] == {
        "member": "label", "connected": True, "last_view": 43, "last_vote": "notarize", "lag": 0, "timeouts": 3,
        "boot_generation": 7, "rejected": 2,
    }  # fmt: skip
    assert [peer["lag"] for peer in document["validators"]] == [0, 13, None]
    assert document["diagnosis"] in text


def test_who_has_voted_in_the_view_before_the_one_that_has_just_begun_does_not_lag(
    stretto: Stretto, reader: ReaderProcess
) -> None:
    with running(reader, live(peers=peers(court=40, society=39, platform=40))):
        document = ask(stretto, reader, "--json").json
    assert document["lag"] == 0
    assert [peer["lag"] for peer in document["validators"]] == [0, 1, 0]


def test_where_all_is_well_it_ends_with_0(stretto: Stretto, reader: ReaderProcess) -> None:
    with running(reader, replace(live(), peers=ALL)):
        ended = ask(stretto, reader)
    assert ended.code == Exit.OK
    assert "QUIET      nothing waits to be ordered" in ended.text
    assert "misbehaviour" not in ended.text


def test_without_a_node_process_the_reader_says_so(stretto: Stretto, reader: ReaderProcess) -> None:
    ended = stretto("consensus", "status", "--node", reader.address)
    assert ended.code == Exit.REFUSED
    assert "STOPPED    the node process is not running" in ended.text
    assert "height 1" in ended.text
