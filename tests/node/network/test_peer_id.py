"""Peer ids of Ed25519 keys, against published ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.crypto.pb import crypto_pb2
from libp2p.peer.id import ID

from node.network import peer_id_of


@given(st.binary(min_size=32, max_size=32))
def test_peer_id_is_the_one_libp2p_derives(key: bytes) -> None:
    serialised = crypto_pb2.PublicKey(key_type=crypto_pb2.KeyType.Ed25519, data=key).SerializeToString()
    assert peer_id_of(key) == str(ID(b"\x00" + bytes([len(serialised)]) + serialised))


def test_peer_id_of_the_published_test_key() -> None:
    # The Ed25519 public key among the test vectors of libp2p's peer id specification (peer-ids/peer-ids.md).
    key = bytes.fromhex("1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e")
    assert peer_id_of(key) == "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"


@pytest.mark.parametrize("size", [0, 31, 33, 36])
def test_anything_but_32_bytes_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        peer_id_of(bytes(size))
