"""Rights as bytes: one encoding, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.errors import MalformedMessage
from consensus.types import Digest
from ledger.rights import ClaimId, ClaimRights, LiveMint, OpenDispute, Stay, Superseded
from ledger.rights_content import MintsFate

digests = st.binary(min_size=32, max_size=32).map(Digest)
rights_values = st.builds(
    ClaimRights,
    claim=st.builds(ClaimId, digests, st.integers(0, 16_383)),
    holder=st.sampled_from(["label", "society"]),
    head=digests,
    revoked=st.booleans(),
    superseded=st.none() | st.builds(Superseded, digests, st.sampled_from(MintsFate)),
    disputes=st.lists(st.builds(OpenDispute, digests, st.just("rival"), st.booleans()), max_size=3).map(tuple),
    stay=st.none() | st.builds(Stay, digests, st.integers(0, 2**63)),
    editions=st.integers(0, 2**32 - 1),
    mints=st.lists(st.builds(LiveMint, digests, *[st.integers(0, 2**48)] * 4), max_size=3).map(tuple),
)


@given(rights_values)
def test_rights_come_back_from_their_encoding(rights: ClaimRights) -> None:
    assert ClaimRights.decode(rights.encode()) == rights


@given(rights_values, st.data())
def test_other_bytes_are_no_rights(rights: ClaimRights, data: st.DataObject) -> None:
    good = rights.encode()
    cut = data.draw(st.integers(0, len(good) - 1))
    with pytest.raises(MalformedMessage, match="rights"):
        ClaimRights.decode(good[:cut])
    for wrong in (b"", b"\x80", b"\xf6", b"\x8a" + b"\x00" * 10, good + b"\x00"):
        with pytest.raises(MalformedMessage, match="rights"):
            ClaimRights.decode(wrong)


@given(st.tuples(digests, st.integers(0, 2**32 - 1)), st.tuples(digests, st.integers(0, 2**32 - 1)))
def test_claim_ids_sort_as_their_bytes(one: tuple[Digest, int], other: tuple[Digest, int]) -> None:
    a, b = ClaimId(*one), ClaimId(*other)
    assert (a < b) == (a.encode() < b.encode())
    assert ClaimId.decode(a.encode()) == a
