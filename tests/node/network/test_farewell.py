"""A removed member's node: no stream is left to it but the word that it was removed, and that only now and then."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from node.network import StreamClass
from node.network import farewell as module
from node.network.farewell import FRAMES_MAX, Farewells
from node.network.frames import encode_frame
from node.network.transport import StreamBroken
from tests.node.network.town import found, until

PROOFS = (b"proof 1", b"proof 2" * 1000)


async def test_removed_node_is_told_once_and_then_refused() -> None:
    async with found(3) as town:
        told: list[tuple[str, bytes]] = []
        gone = town.peer_id("m2")
        town["m0"].on_farewell(lambda peer_id: PROOFS if peer_id == gone else (), lambda _member, _frame: None)
        town["m2"].on_farewell(lambda _peer_id: (), lambda member, frame: told.append((member, frame)))
        del town.members[gone]
        await until(lambda: len(told) == 2)
        assert told == [("m0", PROOFS[0]), ("m0", PROOFS[1])]
        await until(lambda: "m2" not in town["m0"].connected())
        refused = town["m0"].counters().refused_connections
        await until(lambda: town["m0"].counters().refused_connections > refused)
        assert len(told) == 2, "not again so soon"
        for cls in (StreamClass.CONSENSUS, StreamClass.PAYLOAD, StreamClass.SYNC):
            town["m2"].send("m0", cls, b"let me in")
        await trio.sleep(0.2)
        await town.hears("m0", "m1")
        assert town["m0"].connected() == {"m1"}
        assert town["m0"].counters().handler_errors == 0


async def test_liar_that_tells_to_no_end_is_not_listened_to() -> None:
    class Endless:
        """A stream of ever more frames."""

        async def read(self) -> bytes:
            return encode_frame(b"x") * 10

    told: list[bytes] = []
    farewells = Farewells()
    farewells.use(lambda _peer_id: (), lambda _member, frame: told.append(frame))
    await farewells.reader(lambda: {"liar": "label"})(Endless(), "liar")  # type: ignore[arg-type]
    assert len(told) == FRAMES_MAX


def test_stranger_is_told_nothing() -> None:
    farewells = Farewells()
    farewells.use(lambda peer_id: (b"proof",) if peer_id == "former" else (), lambda _member, _frame: None)
    assert not farewells.is_due("stranger")


async def test_former_member_is_told_again_after_a_while(autojump_clock: MockClock) -> None:
    class Deaf:
        """A connection on which no stream opens."""

        peer_id = "former"
        aborted = 0

        async def open_stream(self, _protocol: str) -> object:
            raise StreamBroken("deaf")

        async def abort(self) -> None:
            self.aborted += 1

    farewells = Farewells()
    farewells.use(lambda _peer_id: (b"proof",), lambda _member, _frame: None)
    connection = Deaf()
    assert farewells.is_due("former")
    await farewells.say(connection)  # type: ignore[arg-type]
    assert connection.aborted == 1
    assert not farewells.is_due("former")
    await trio.sleep(module.EVERY_S)
    assert farewells.is_due("former")
