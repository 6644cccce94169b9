"""The engine still does, step by step, what the transcripts say."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from consensus import pacemaker
from tests.scenarios.scenes import SCENES, play
from tests.scenarios.update import FOLDER


@pytest.mark.parametrize("name", SCENES)
def test_scene_plays_as_written(name: str) -> None:
    written = (FOLDER / f"{name}.txt").read_text()
    assert play(name) == written, "if the change is meant: python -m tests.scenarios.update, and read the difference"


def test_every_transcript_has_its_scene() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(SCENES)


def test_a_changed_rule_shows_in_the_transcript() -> None:
    written = (FOLDER / "dead_leader.txt").read_text()
    with patch.object(pacemaker, "LEADER_DELTAS", pacemaker.LEADER_DELTAS + 1):
        assert play("dead_leader") != written
