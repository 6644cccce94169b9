"""C2SP tlog-proofs: what a stranger checks, and the malformed ones of transparency-dev/formats in our words."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import InvalidSignature, MalformedMessage
from consensus.types import Digest
from ledger.checkpoint import Checkpoint, checkpoint_note, cosignature, log_signature
from ledger.merkle import Frontier, InvalidProof, inclusion_proof
from ledger.note import Note
from ledger.policy import Policy, PolicyNotMet, consortium_policy
from ledger.tlog_proof import PATH_HASHES_MAX, TlogProof, parse_tlog_proof
from tests.ledger.keys import TestKey

ORIGIN = "log.example/music"
MEMBERS = ("court", "label", "platform", "society")
ENTRIES = [bytes([i]) * 32 for i in range(21)]
_, _FULL = Frontier().extend(ENTRIES)
NODES = {(node.level, node.index): node.hash for node in _FULL}


def policy(origin: str = ORIGIN) -> Policy:
    validators = [(m, TestKey(f"{m}/log").public, TestKey(f"{m}/cosign").public) for m in MEMBERS]
    return consortium_policy(origin=origin, validators=validators, quorum=3)


def checkpoint_of(size: int, origin: str = ORIGIN, cosigners: tuple[str, ...] = MEMBERS) -> Note:
    checkpoint = Checkpoint(origin=origin, size=size, root=Frontier().extend(ENTRIES[:size])[0].root())
    log = TestKey("court/log")
    lines = []
    for member in cosigners:
        key = TestKey(f"{member}/cosign")
        lines.append(cosignature(checkpoint, member_id=member, timestamp_s=9, public_key=key.public, sign=key.sign))
    return checkpoint_note(checkpoint, [log_signature(checkpoint, public_key=log.public, sign=log.sign)], lines)


def proof_of(index: int, size: int = 20) -> TlogProof:
    path = inclusion_proof(index, size, lambda level, i: NODES[level, i])
    return TlogProof(index=index, path=path, note=checkpoint_of(size))


def test_entry_is_proven_by_parsed_bytes_alone() -> None:
    for index in range(20):
        proof = parse_tlog_proof(proof_of(index).encode())
        acceptance = proof.check(ENTRIES[index], policy())
        assert acceptance.checkpoint.size == 20
        assert [name for name, _ in acceptance.cosigners] == list(MEMBERS)


@pytest.mark.parametrize("step", [-1, 1])
def test_neighbouring_index_is_refused(step: int) -> None:
    proof = proof_of(7)
    with pytest.raises(InvalidProof):
        dataclasses.replace(proof, index=7 + step).check(ENTRIES[7], policy())
    with pytest.raises(InvalidProof):
        proof.check(ENTRIES[7 + step], policy())


def test_path_from_a_larger_or_smaller_tree_is_refused() -> None:
    for size in (19, 21):
        with pytest.raises(InvalidProof):
            dataclasses.replace(proof_of(18, 20), path=proof_of(18, size).path).check(ENTRIES[18], policy())


def test_wrong_origin_is_refused() -> None:
    proof = dataclasses.replace(proof_of(7), note=checkpoint_of(20, origin="log.example/other"))
    assert proof.check(ENTRIES[7], policy("log.example/other")).checkpoint.size == 20
    with pytest.raises(PolicyNotMet, match="origin"):
        proof.check(ENTRIES[7], policy())


def test_quorum_less_one_is_refused() -> None:
    proof = dataclasses.replace(proof_of(7), note=checkpoint_of(20, cosigners=MEMBERS[:2]))
    with pytest.raises(PolicyNotMet, match="cosigned by court, label"):
        proof.check(ENTRIES[7], policy())
    assert dataclasses.replace(proof, note=checkpoint_of(20, cosigners=MEMBERS[:3])).check(ENTRIES[7], policy())


def test_every_flipped_byte_is_refused() -> None:
    data = proof_of(7).encode()
    first_signature_line = data.rindex(b"\n\n")
    for position in range(len(data)):
        flipped = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        try:
            acceptance = parse_tlog_proof(flipped).check(ENTRIES[7], policy())
        except (MalformedMessage, InvalidSignature, InvalidProof, PolicyNotMet):
            continue
        # Only a name or key ID became another: the line is a stranger's and no longer counts.
        assert len(acceptance.cosigners) == 3, position
        assert position > first_signature_line


@given(
    index=st.integers(0, 2**40),
    path=st.lists(st.binary(min_size=32, max_size=32).map(Digest), max_size=PATH_HASHES_MAX),
    extra=st.none() | st.binary(min_size=1, max_size=100),
)
def test_proof_round_trips(index: int, path: list[Digest], extra: bytes | None) -> None:
    proof = TlogProof(index=index, path=tuple(path), note=checkpoint_of(3), extra=extra)
    assert parse_tlog_proof(proof.encode()) == proof


GOOD = dataclasses.replace(proof_of(7), extra=b"extra data").encode().decode()


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "form"),
        (GOOD.replace("c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2"), "first line"),
        (GOOD.replace("c2sp.org/tlog-proof@v1\n", ""), "first line"),
        (GOOD.replace("index 7\n", ""), "index"),
        (GOOD.replace("index 7", "index 07"), "index"),
        (GOOD.replace("index 7", "index -7"), "index"),
        (GOOD.replace("index 7", "index  7"), "index"),
        (GOOD.replace("index 7", "index 9223372036854775808"), "index"),
        (GOOD.replace("index 7", "Index 7"), "index"),
        (GOOD.replace("extra ", "extra  "), "extra"),
        (GOOD.replace("index 7\n", "index 7\nextra AAAA\n"), "path"),
        (GOOD.replace("index 7\n", "index 7\nAAAA\n"), "path"),
        (GOOD.replace("index 7\n", "index 7\nnot base64\n"), "path"),
        (GOOD.replace("index 7\n", "index 7\n" + "A" * 43 + "=\n"), None),
        (GOOD.replace("index 7\n", "index 7\n" + ("A" * 43 + "=\n") * 64), "path"),
        (GOOD.replace("index 7\n", "index 7\n\n"), "lines"),
        (GOOD.replace("\n\n", "\n"), "form"),
        (GOOD.replace("extra ", "exträ "), "form"),
        (GOOD + "\n", "signatures"),
        (GOOD.split("\n\n", maxsplit=1)[0] + "\n\n", "form"),
        ("x" * 200_000, "length"),
    ],
)
def test_almost_a_proof_is_refused(text: str, field: str | None) -> None:
    if field is None:  # one hash too many is well formed; the arithmetic refuses it
        with pytest.raises(InvalidProof):
            parse_tlog_proof(text.encode()).check(ENTRIES[7], policy())
        return
    with pytest.raises(MalformedMessage) as refusal:
        parse_tlog_proof(text.encode())
    assert refusal.value.field == field


def test_note_that_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="checkpoint"):
        TlogProof(index=0, path=(), note=Note(text=b"hello\n", signatures=checkpoint_of(3).signatures))
