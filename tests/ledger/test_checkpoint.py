"""Checkpoints and their two signatures, against a published cosignature and against every near miss."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import InvalidSignature, MalformedMessage
from ledger.checkpoint import (
    Checkpoint,
    check_cosignature,
    checkpoint_note,
    cosignature,
    cosignature_message,
    cosigner_key,
    log_key,
    log_signature,
    parse_checkpoint,
)
from ledger.merkle import SIZE_MAX
from ledger.note import SignatureType, VerifierKey, check_note_signature, parse_note
from tests.ledger.keys import TestKey

CHECKPOINT = Checkpoint(origin="log.example/music", size=1789, root=bytes(range(32)))
LOG = TestKey("court/log")
COSIGN = TestKey("court/cosign")
TIME_S = 1_790_000_000


def cosigned(checkpoint: Checkpoint = CHECKPOINT) -> bytes:
    line = cosignature(checkpoint, member_id="court", timestamp_s=TIME_S, public_key=COSIGN.public, sign=COSIGN.sign)
    return line.encode()


def test_body_is_three_lines() -> None:
    assert CHECKPOINT.body() == b"log.example/music\n1789\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"


def test_cosignature_message_is_that_of_the_specification() -> None:
    """Source: c2sp.org/tlog-cosignature, "Ed25519 signed message" (CC BY 4.0)."""
    body = b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    message = cosignature_message(parse_checkpoint(body), 1679315147)
    assert message == b"cosignature/v1\ntime 1679315147\n" + body


def test_both_signatures_verify_under_their_keys() -> None:
    signature = log_signature(CHECKPOINT, public_key=LOG.public, sign=LOG.sign)
    line = cosignature(CHECKPOINT, member_id="court", timestamp_s=TIME_S, public_key=COSIGN.public, sign=COSIGN.sign)
    note = parse_note(checkpoint_note(CHECKPOINT, [signature], [line]).encode())
    assert [s.name for s in note.signatures] == ["log.example/music", "log.example/music/court"]
    check_note_signature(note.text, note.signatures[0], log_key(CHECKPOINT.origin, LOG.public))
    key = cosigner_key(CHECKPOINT.origin, "court", COSIGN.public)
    assert check_cosignature(parse_checkpoint(note.text), note.signatures[1], key) == TIME_S


@pytest.mark.parametrize(
    "change", [{"size": 1788}, {"size": 1790}, {"root": bytes(32)}, {"origin": "log.example/other"}]
)
def test_cosignature_over_another_checkpoint_is_refused(change: dict[str, object]) -> None:
    line = cosignature(CHECKPOINT, member_id="court", timestamp_s=TIME_S, public_key=COSIGN.public, sign=COSIGN.sign)
    key = cosigner_key(CHECKPOINT.origin, "court", COSIGN.public)
    assert check_cosignature(CHECKPOINT, line, key) == TIME_S
    with pytest.raises(InvalidSignature):
        check_cosignature(dataclasses.replace(CHECKPOINT, **change), line, key)  # type: ignore[arg-type]


def test_cosignature_with_another_time_is_refused() -> None:
    line = cosignature(CHECKPOINT, member_id="court", timestamp_s=TIME_S, public_key=COSIGN.public, sign=COSIGN.sign)
    key = cosigner_key(CHECKPOINT.origin, "court", COSIGN.public)
    later = dataclasses.replace(line, signature=(TIME_S + 1).to_bytes(8, "big") + line.signature[8:])
    with pytest.raises(InvalidSignature):
        check_cosignature(CHECKPOINT, later, key)


def test_cosignature_time_is_bounded() -> None:
    for timestamp_s in (-1, 2**63):
        with pytest.raises(MalformedMessage):
            cosignature(CHECKPOINT, member_id="a", timestamp_s=timestamp_s, public_key=COSIGN.public, sign=COSIGN.sign)
    beyond = cosignature_message(CHECKPOINT, 2**63)
    line = cosignature(CHECKPOINT, member_id="a", timestamp_s=0, public_key=COSIGN.public, sign=COSIGN.sign)
    forged = dataclasses.replace(line, signature=(2**63).to_bytes(8, "big") + COSIGN.sign(beyond))
    with pytest.raises(InvalidSignature):
        check_cosignature(CHECKPOINT, forged, cosigner_key(CHECKPOINT.origin, "a", COSIGN.public))


def test_log_signature_is_no_cosignature_and_the_other_way_round() -> None:
    """One key under both types would still be two keys: the type is in the key ID and in what is signed."""
    name = f"{CHECKPOINT.origin}/court"
    as_log = VerifierKey(name=name, type=SignatureType.ED25519, key=COSIGN.public)
    as_cosigner = cosigner_key(CHECKPOINT.origin, "court", COSIGN.public)
    line = cosignature(CHECKPOINT, member_id="court", timestamp_s=TIME_S, public_key=COSIGN.public, sign=COSIGN.sign)
    assert as_log.key_id != as_cosigner.key_id
    with pytest.raises(InvalidSignature):
        check_note_signature(CHECKPOINT.body(), line, as_log)
    signature = log_signature(CHECKPOINT, public_key=COSIGN.public, sign=COSIGN.sign)
    with pytest.raises(InvalidSignature):
        check_cosignature(CHECKPOINT, signature, as_cosigner)
    with pytest.raises(InvalidSignature):
        check_cosignature(CHECKPOINT, line, as_log)


def test_note_for_strangers_holds_at_most_sixteen_signatures_or_one_of_the_log() -> None:
    signers = [TestKey(f"validator {i}") for i in range(9)]
    logs = [log_signature(CHECKPOINT, public_key=s.public, sign=s.sign) for s in signers]
    cosignatures = [
        cosignature(CHECKPOINT, member_id=f"m{i}", timestamp_s=TIME_S, public_key=s.public, sign=s.sign)
        for i, s in enumerate(signers)
    ]
    assert len(checkpoint_note(CHECKPOINT, logs[:8], cosignatures[:8]).signatures) == 16
    assert checkpoint_note(CHECKPOINT, logs, cosignatures).signatures == (logs[0], *cosignatures)


@given(
    origin=st.from_regex(r"[a-z]{1,9}\.example(/[a-z0-9]{1,8})?", fullmatch=True),
    size=st.integers(0, SIZE_MAX),
    root=st.binary(min_size=32, max_size=32),
)
def test_checkpoint_round_trips(origin: str, size: int, root: bytes) -> None:
    checkpoint = Checkpoint(origin=origin, size=size, root=root)
    assert parse_checkpoint(checkpoint.body()) == checkpoint


ROOT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "lines"),
        (f"log\n1\n{ROOT}", "lines"),
        (f"log\n1\n{ROOT}\nextension\n", "lines"),
        (f"log\n1\n{ROOT}\n\n", "lines"),
        (f"\n1\n{ROOT}\n", "key name"),
        (f"lo g\n1\n{ROOT}\n", "key name"),
        (f"log\n01\n{ROOT}\n", "size"),
        (f"log\n\n{ROOT}\n", "size"),
        (f"log\n-1\n{ROOT}\n", "size"),
        (f"log\n+1\n{ROOT}\n", "size"),
        (f"log\n1 \n{ROOT}\n", "size"),
        (f"log\n１\n{ROOT}\n", "size"),
        (f"log\n{2**63}\n{ROOT}\n", "size"),
        (f"log\n{'9' * 400}\n{ROOT}\n", "size"),
        (f"log\n1\n{ROOT[:-4]}\n", "root"),
        (f"log\n1\n{ROOT[:-2]}9=\n", "root"),
        (f"log\n1\n {ROOT}\n", "root"),
        (f"{'l' * 500}\n1\n{ROOT}\n", "length"),
    ],
)
def test_almost_a_checkpoint_is_refused(text: str, field: str) -> None:
    parse_checkpoint(f"log\n1\n{ROOT}\n".encode())
    with pytest.raises(MalformedMessage) as refusal:
        parse_checkpoint(text.encode())
    assert refusal.value.field == field


def test_checkpoint_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="UTF-8"):
        parse_checkpoint(b"log\xff\n1\n" + ROOT.encode() + b"\n")
