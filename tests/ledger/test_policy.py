"""Trust policies: who must have signed a checkpoint, and all the ways in which too few did."""

from __future__ import annotations

import dataclasses

import pytest

from consensus.errors import InvalidSignature, MalformedMessage
from ledger.checkpoint import Checkpoint, checkpoint_note, cosignature, cosigner_key, log_key, log_signature
from ledger.note import Note, NoteSignature
from ledger.policy import Group, Log, Policy, PolicyNotMet, Witness, consortium_policy, parse_policy
from tests.ledger.keys import TestKey

ORIGIN = "log.example/music"
MEMBERS = ("court", "label", "platform", "society")
CHECKPOINT = Checkpoint(origin=ORIGIN, size=10, root=bytes(range(32)))
POLICY = consortium_policy(
    origin=ORIGIN,
    validators=[(m, TestKey(f"{m}/log").public, TestKey(f"{m}/cosign").public) for m in MEMBERS],
    quorum=3,
    comment="Music rights\nGenesis 00",
)


def log_line(member: str, checkpoint: Checkpoint = CHECKPOINT) -> NoteSignature:
    key = TestKey(f"{member}/log")
    return log_signature(checkpoint, public_key=key.public, sign=key.sign)


def cosign_line(member: str, checkpoint: Checkpoint = CHECKPOINT, timestamp_s: int = 1_790_000_000) -> NoteSignature:
    key = TestKey(f"{member}/cosign")
    return cosignature(checkpoint, member_id=member, timestamp_s=timestamp_s, public_key=key.public, sign=key.sign)


def note_by(*cosigners: str, logs: tuple[str, ...] = ("court",)) -> Note:
    return checkpoint_note(CHECKPOINT, [log_line(m) for m in logs], [cosign_line(m) for m in cosigners])


def test_quorum_of_distinct_validators_is_accepted_and_one_fewer_is_not() -> None:
    acceptance = POLICY.check(note_by("court", "label", "society", logs=MEMBERS))
    assert acceptance.checkpoint == CHECKPOINT
    assert acceptance.log_signatures == 4
    assert acceptance.cosigners == tuple((m, 1_790_000_000) for m in ("court", "label", "society"))
    with pytest.raises(PolicyNotMet, match=r"VALIDATORS \(3 of 4\) is not met: cosigned by court, society"):
        POLICY.check(note_by("court", "society"))
    with pytest.raises(PolicyNotMet, match="cosigned by nobody"):
        POLICY.check(note_by())


def test_one_validator_cannot_be_counted_twice() -> None:
    """The same key at two times is two lines by one key: no note."""
    twice = [cosign_line("court"), cosign_line("court", timestamp_s=1_790_000_001), cosign_line("label")]
    with pytest.raises(MalformedMessage, match="one line per key"):
        checkpoint_note(CHECKPOINT, [log_line("court")], twice)


def test_cosignature_by_a_stranger_does_not_count_and_does_not_harm() -> None:
    note = note_by("court", "label", "stranger")
    with pytest.raises(PolicyNotMet, match="cosigned by court, label"):
        POLICY.check(note)
    assert len(POLICY.check(note_by("court", "label", "stranger", "platform")).cosigners) == 3


def test_stranger_under_a_member_name_does_not_count() -> None:
    key = TestKey("impostor")
    line = cosignature(CHECKPOINT, member_id="society", timestamp_s=1, public_key=key.public, sign=key.sign)
    with pytest.raises(PolicyNotMet, match="cosigned by court, label"):
        POLICY.check(
            checkpoint_note(CHECKPOINT, [log_line("court")], [cosign_line("court"), cosign_line("label"), line])
        )


def test_invalid_signature_of_a_known_key_refuses_the_whole_note() -> None:
    other = dataclasses.replace(CHECKPOINT, size=11)
    for lines, logs in (
        (
            [cosign_line("court"), cosign_line("label"), cosign_line("society"), cosign_line("platform", other)],
            ["court"],
        ),
        ([cosign_line("court"), cosign_line("label"), cosign_line("society")], ["court", "other"]),
    ):
        log_lines = [log_line("court"), log_line("label", other)][: len(logs)]
        with pytest.raises(InvalidSignature):
            POLICY.check(checkpoint_note(CHECKPOINT, log_lines, lines))


def test_note_without_a_log_signature_is_refused() -> None:
    with pytest.raises(PolicyNotMet, match="no log key"):
        POLICY.check(note_by("court", "label", "society", logs=()))


def test_checkpoint_of_another_origin_is_refused() -> None:
    other = Checkpoint(origin="log.example/other", size=10, root=bytes(32))
    lines = [cosign_line(m, other) for m in MEMBERS]
    with pytest.raises(PolicyNotMet, match=r"its origin is log.example/other, the policy knows log.example/music"):
        POLICY.check(checkpoint_note(other, [log_line("court", other)], lines))


def test_file_names_every_validator_and_round_trips() -> None:
    text = POLICY.encode().decode()
    assert text.startswith("# Music rights\n# Genesis 00\nlog log.example/music+")
    assert text.endswith("group VALIDATORS 3 court label platform society\nquorum VALIDATORS\n")
    parsed = parse_policy(POLICY.encode())
    assert parsed == dataclasses.replace(POLICY, comment="")
    assert parse_policy(parsed.encode()) == parsed


LOG = log_key(ORIGIN, TestKey("l").public).encode()
X1, X2, X3, Y1, Y2 = (
    cosigner_key(ORIGIN, name, TestKey(name).public).encode() for name in ("x1", "x2", "x3", "y1", "y2")
)
NESTED = f"""# Two levels, after the example of c2sp.org/tlog-policy
log {LOG} https://log.example/
\twitness X1  {X1}\t https://x1.example
witness X2 {X2}

witness X3 {X3}
group X 2 X1 X2 X3
witness Y1 {Y1}
witness Y2 {Y2}
  # another comment
group Y any Y1 Y2
group X-and-Y all X Y
quorum X-and-Y
"""


def nested_note(*cosigners: str) -> Note:
    lines = []
    for name in cosigners:
        key = TestKey(name)
        lines.append(cosignature(CHECKPOINT, member_id=name, timestamp_s=1, public_key=key.public, sign=key.sign))
    log = TestKey("l")
    return checkpoint_note(CHECKPOINT, [log_signature(CHECKPOINT, public_key=log.public, sign=log.sign)], lines)


@pytest.mark.parametrize(
    ("cosigners", "met"),
    [
        (("x1", "x2", "y1"), True),
        (("x1", "x3", "y2"), True),
        (("x1", "x2", "x3", "y1", "y2"), True),
        (("x1", "x2", "x3"), False),
        (("x1", "y1", "y2"), False),
        (("y1", "y2"), False),
        ((), False),
    ],
)
def test_nested_groups(cosigners: tuple[str, ...], met: bool) -> None:
    policy = parse_policy(NESTED.encode())
    if met:
        assert {name.lower() for name, _ in policy.check(nested_note(*cosigners)).cosigners} == set(cosigners)
    else:
        with pytest.raises(PolicyNotMet, match="X-and-Y"):
            policy.check(nested_note(*cosigners))


def test_quorum_may_be_one_witness_or_none() -> None:
    one = parse_policy(f"log {LOG}\nwitness X1 {X1}\nquorum X1\n".encode())
    assert one.check(nested_note("x1")).cosigners == (("X1", 1),)
    with pytest.raises(PolicyNotMet):
        one.check(nested_note("x2"))
    none = parse_policy(f"log {LOG}\nquorum none\n".encode())
    assert none.check(nested_note()).cosigners == ()
    witnesses_only = parse_policy(f"witness X1 {X1}\nquorum X1\n".encode())
    assert witnesses_only.check(nested_note("x1")).log_signatures == 0


def test_names_are_opaque_octets() -> None:
    data = f"witness \xff {X1}\nquorum \xff\n".encode("latin-1")
    assert parse_policy(data).encode() == data


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "quorum"),
        (f"log {LOG}\n", "quorum"),
        ("quorum none\nquorum none\n", "line 2"),
        ("quorum X1\n", "line 1"),
        (f"quorum X1\nwitness X1 {X1}\n", "line 1"),
        (f"witness X1 {X1}\nwitness X1 {X2}\nquorum X1\n", "name"),
        (f"witness X1 {X1}\nwitness X2 {X1}\nquorum X1\n", "witness"),
        (f"log {LOG}\nlog {LOG}\nquorum none\n", "log"),
        (f"witness none {X1}\nquorum none\n", "name"),
        (f"log {X1}\nquorum none\n", "log"),
        (f"witness X1 {LOG}\nquorum X1\n", "witness"),
        (f"witness X1 {X1}\ngroup g 0 X1\nquorum g\n", "group g"),
        (f"witness X1 {X1}\ngroup g 2 X1\nquorum g\n", "group g"),
        (f"witness X1 {X1}\ngroup g 01 X1\nquorum g\n", "threshold"),
        (f"witness X1 {X1}\ngroup g most X1\nquorum g\n", "threshold"),
        (f"witness X1 {X1}\ngroup g 2 X1 X1\nquorum g\n", "group g"),
        (f"witness X1 {X1}\ngroup g any\nquorum g\n", "line 2"),
        (f"group g any X1\nwitness X1 {X1}\nquorum g\n", "line 1"),
        ("group g any g\nquorum g\n", "line 1"),
        ("group g any none\nquorum g\n", "line 1"),
        (f"witness X1 {X1}\ngroup X1 any X1\nquorum X1\n", "name"),
        (f"log {LOG} a b\nquorum none\n", "line 1"),
        ("trust me\nquorum none\n", "line 1"),
        ("Quorum none\n", "line 1"),
        ("quorum none", "form"),
        ("quorum none\r\n", "form"),
        ("#" * 262_144 + "\nquorum none\n", "length"),
    ],
)
def test_almost_a_policy_is_refused(text: str, field: str) -> None:
    with pytest.raises(MalformedMessage) as refusal:
        parse_policy(text.encode())
    assert refusal.value.field == field


def test_keys_that_collide_in_name_and_key_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collision of 4 bytes can be ground; here the hash is made to collide."""
    logs = tuple(Log(key=log_key(ORIGIN, TestKey(name).public)) for name in ("a", "b"))
    assert len(Policy(logs=logs, witnesses=(), groups=(), quorum="none").logs) == 2
    for log in logs:
        log.key.__dict__["key_id"] = b"same"
    with pytest.raises(MalformedMessage, match="one name and key ID"):
        Policy(logs=logs, witnesses=(), groups=(), quorum="none")


def test_comment_cannot_smuggle_a_line() -> None:
    policy = dataclasses.replace(POLICY, comment="first\nquorum none")
    assert parse_policy(policy.encode()).quorum == "VALIDATORS"
    with pytest.raises(MalformedMessage, match="comment"):
        dataclasses.replace(POLICY, comment="first\rquorum none")


def test_group_needs_distinct_members() -> None:
    witness = Witness(name="w", key=cosigner_key(ORIGIN, "w", TestKey("w").public))
    with pytest.raises(MalformedMessage, match="each listed once"):
        Policy(logs=(), witnesses=(witness,), groups=(Group(name="g", threshold=2, members=("w", "w")),), quorum="g")
