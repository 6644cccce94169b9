"""How `stretto catalog submit` deals with a node that is busy, refuses, or has recorded something already."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from catalog.signing import Part
from catalog.submission import Submission
from catalog.submitted import Fate
from cli import catalog_submit
from cli.catalog_submit import _fate, _patiently
from cli.client import NodeClient
from cli.output import CliError, Exit
from consensus.types import Digest
from node.rpc.answers import RecordedStatement
from node.rpc.types import Refusal, SubmissionResult, SubmissionState

OURS = Submission(statement=b"ours")
DIGEST = Digest(hashlib.sha256(b"ours").digest())
PART = Part(
    file="001.stretto", openings=None, statement=DIGEST.hex(), client_ref="r", claims=1, first="a", last="a"
)  # fmt: skip
FINAL = SubmissionResult(digest=DIGEST, state=SubmissionState.FINAL, index=7, height=2, block_time_ms=3)
AGAIN = SubmissionResult(digest=DIGEST, state=SubmissionState.DUPLICATE, index=7, height=2, block_time_ms=3)


def refused(code: str, *, value: str = "", retry_after_ms: int | None = None) -> SubmissionResult:
    refusal = Refusal(code=code, field="f", value=value, expected="e", retry_after_ms=retry_after_ms)
    return SubmissionResult(digest=DIGEST, state=SubmissionState.REFUSED, refusal=refusal)


@dataclass
class Node:
    """Answers in order, and says what is on record."""

    answers: list[SubmissionResult]
    recorded: bytes = b"ours"
    asked: int = field(default=0)

    def submit(self, *_: Any, **__: Any) -> SubmissionResult:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def statement(self, *, index: int, min_size: int) -> RecordedStatement:
        assert min_size == index + 1
        digest = Digest(hashlib.sha256(self.recorded).digest())
        return RecordedStatement(raw=self.recorded, digest=digest, index=index, height=2, block_time_ms=3)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every pause made, in seconds, without making it: the clock goes on by them alone."""
    made: list[float] = []
    monkeypatch.setattr(catalog_submit.time, "sleep", made.append)
    monkeypatch.setattr(catalog_submit.time, "monotonic", lambda: sum(made))
    return made


def patiently(node: Node, until: float) -> SubmissionResult:
    return _patiently(cast("NodeClient", node), OURS, wait=True, until=until)


def test_a_busy_node_is_waited_for_as_long_as_it_asks(pauses: list[float]) -> None:
    node = Node([refused("OVERLOADED", retry_after_ms=1500), refused("OVERLOADED", retry_after_ms=10), FINAL])
    assert patiently(node, until=60) == FINAL
    assert pauses == [1.5, 3.0]


def test_a_node_that_stays_busy_ends_at_the_deadline(pauses: list[float]) -> None:
    with pytest.raises(CliError, match="the node is busy") as caught:
        patiently(Node([refused("OVERLOADED", retry_after_ms=900)]), until=10)
    assert caught.value.exit is Exit.RETRY
    assert sum(pauses) <= 10


def test_a_refusal_is_not_tried_again(pauses: list[float]) -> None:
    node = Node([refused("MALFORMED_CLAIM")])
    assert patiently(node, until=60).refusal is not None
    assert (node.asked, pauses) == (1, [])


@pytest.mark.parametrize(
    ("result", "recorded", "fate", "index", "said"),
    [
        (FINAL, b"ours", Fate.FINAL, 7, None),
        (AGAIN, b"ours", Fate.FINAL, 7, None),
        (AGAIN, b"another", Fate.FINAL, 7, "the same claims are on record as statement"),
        (refused("CLIENT_REF_USED", value="used by leaf 12"), b"", Fate.OTHER, 12, "CLIENT_REF_USED"),
        (refused("ROLE_FORBIDS"), b"", Fate.REFUSED, None, "ROLE_FORBIDS: f: expected e, got nothing"),
        (SubmissionResult(digest=DIGEST, state=SubmissionState.ACCEPTED), b"", Fate.ACCEPTED, None, None),
    ],
)
def test_each_answer_has_its_fate(
    result: SubmissionResult, recorded: bytes, fate: Fate, index: int | None, said: str | None
) -> None:
    sent = _fate(cast("NodeClient", Node([result], recorded)), OURS, PART, result)
    assert (sent.fate, sent.index) == (fate, index)
    assert (sent.reason or "").startswith(said or "")
    assert (sent.reason is None) == (said is None)
