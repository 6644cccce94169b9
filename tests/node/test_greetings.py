"""Greetings: of two processes with one key the second stops, whoever it meets first; a restart never does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.errors import InvalidSignature
from consensus.types import Height, Signature
from node.config import load_config
from node.greetings import TWINS_LOGGED, KeyInUse, OldStart
from node.wire import START_BYTES, Hello, decode, encode
from tests.node.nodes import GENESIS, Bench, key, make_folder

FIRST, SECOND = b"a" * START_BYTES, b"b" * START_BYTES


def hello(member: str, generation: int, start: bytes = FIRST) -> Hello:
    bare = Hello(
        consortium=GENESIS.digest, boot_generation=generation, start=start, height=Height(0), version="1",
        signature=Signature(bytes(64)),
    )  # fmt: skip
    return replace(bare, signature=Signature(key(member, "consensus").sign(bare.signing_bytes())))


@pytest.fixture
def court(tmp_path: Path) -> Iterator[Bench]:
    node = Bench(make_folder(tmp_path / "court", "court"))
    yield node
    node.close()


def sent_to(node: Bench, member: str) -> list[Hello]:
    said = [decode(frame) for to, frame in node.said.consensus if to == member]
    return [message for message in said if isinstance(message, Hello)]


def test_start_that_greets_again_after_a_lost_connection_is_welcome(court: Bench) -> None:
    for _ in range(3):
        court.loop.greetings.received("label", hello("label", 4))
    assert sent_to(court, "label") == []
    assert court.loop.generations == {"label": 4}


def test_restart_is_welcome(court: Bench) -> None:
    for generation, start in ((4, FIRST), (5, SECOND)):
        court.loop.greetings.received("label", hello("label", generation, start))
    assert sent_to(court, "label") == [hello("label", 5, SECOND)], "its own again, which stops only an older one"
    assert court.loop.generations == {"label": 5}


@pytest.mark.parametrize("later", [hello("label", 3), hello("label", 4, SECOND)], ids=["older", "same number"])
def test_second_process_is_told_of_the_first_by_its_own_signature(court: Bench, later: Hello) -> None:
    court.loop.greetings.received("label", hello("label", 4))
    with pytest.raises(OldStart, match="two processes"):
        court.loop.greetings.received("label", later)
    assert sent_to(court, "label") == [hello("label", 4), replace(later, second=True)]
    assert court.loop.generations == {"label": 4}
    assert court.loop.greetings.known("label") == hello("label", 4), "which is what a second connection is told"
    for _ in range(2):
        court.loop.greetings.received("label", hello("label", 4))
    assert sent_to(court, "label")[2:] == [replace(later, second=True)], "the first, connected again, is told once"


@pytest.mark.parametrize("ahead", [-1, 0, 7])
def test_first_process_learns_of_the_second_and_goes_on(
    court: Bench, ahead: int, caplog: pytest.LogCaptureFixture
) -> None:
    other = replace(hello("court", court.generation + ahead), second=True)
    for _ in range(2 * TWINS_LOGGED):
        court.loop.greetings.received("label", other)
    assert caplog.text.count("two processes share this node's key") == TWINS_LOGGED, "a peer cannot fill the disk"
    own = court.loop.greetings.own(Height(0))
    assert own is not None
    court.loop.greetings.received("label", replace(own, second=True))
    assert caplog.text.count("two processes share") == TWINS_LOGGED, "of itself there is nothing to say"


@pytest.mark.parametrize("ahead", [0, 1, 7])
def test_node_that_hears_of_another_start_of_its_own_stops_and_then_doubts_its_votes(court: Bench, ahead: int) -> None:
    other = hello("court", court.generation + ahead)
    with pytest.raises(KeyInUse, match="shar"):
        court.loop.greetings.received("label", other)
    assert court.voting.next_boot_generation() == court.generation + ahead + 1, "newer than the other"
    head = court.store.head()
    assert not court.voting.load(head.block, head.finalization).trusted


def test_repeated_greetings_of_this_start_or_an_earlier_one_change_nothing(court: Bench) -> None:
    court.voting.next_boot_generation()
    for repeated in (court.loop.greetings.own(Height(9)), hello("court", court.generation - 1)):
        court.loop.greetings.received("label", repeated)
    head = court.store.head()
    assert court.voting.load(head.block, head.finalization).trusted


def test_node_that_lost_its_votes_counts_on_where_it_stopped_and_goes_on(tmp_path: Path) -> None:
    config = make_folder(tmp_path / "court", "court")
    shutil.rmtree(config.voting_path)
    node = Bench(config)
    try:
        node.loop.greetings.received("label", hello("court", 6))
        assert [greeting.boot_generation for greeting in sent_to(node, "label")] == [7]
        node.loop.greetings.received("society", hello("court", 6))
        assert node.loop.greetings.generation == 7
        assert node.voting.next_boot_generation() == 8
    finally:
        node.close()


def test_nobody_else_can_make_a_node_believe_in_a_twin(court: Bench) -> None:
    forged = replace(hello("court", 99), signature=hello("label", 99, SECOND).signature)
    for greeting in (forged, hello("society", 99)):
        with pytest.raises(InvalidSignature):
            court.loop.greetings.received("label", greeting)


def test_copy_of_a_folder_stops_at_the_first_peer_that_knows_the_original(tmp_path: Path, court: Bench) -> None:
    folder = make_folder(tmp_path / "label", "label").directory
    copy = shutil.copytree(folder, tmp_path / "copy")
    with ExitStack() as stack:
        original, twin = (Bench(load_config(each / "config.toml")) for each in (folder, copy))
        stack.callback(original.close)
        stack.callback(twin.close)
        assert original.generation == twin.generation
        for node in (original, twin, original):
            node.loop.connected("court")
            court.said.consensus.clear()
            court.loop.frame("label", encode(sent_to(node, "court")[-1]))
            answers = sent_to(court, "label")
            if node is original:
                # Nothing the first time; then that there is another. It goes on.
                assert [answer.second for answer in answers] in ([], [True])
                for answer in answers:
                    original.loop.frame("court", encode(answer))
                continue
            with pytest.raises(KeyInUse):
                twin.loop.frame("court", encode(answers[0]))
