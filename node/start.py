"""What a node process starts from: the genesis, the voting state, and a configuration that fits both."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consensus.errors import LocalError, PeerError, RequestError
from consensus.events import Restored
from consensus.types import ZERO_DIGEST
from ledger.genesis import Genesis, parse_genesis
from node.config import NodeConfig, load_config
from node.rosters import Rosters
from node.store.chain import ChainStore
from node.store.errors import VotingStateMissing
from node.store.voting import VotingStore

log = logging.getLogger(__name__)


class UnknownSelf(LocalError):
    """config.toml names a member other than the one whose key this node has. known: whose it is."""

    def __init__(self, member: str, known: str) -> None:
        super().__init__(
            f"config.toml: member: expected {known!r}, whose key keys/peer.pem is in the genesis, got {member!r}"
        )
        self.known = known


class GenesisUnreadable(LocalError):
    """genesis.json cannot be used. reason: why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}; every node of a consortium needs the same genesis.json, byte for byte")
        self.path = path
        self.reason = reason


def load_genesis(path: Path) -> Genesis:
    """Reads a genesis file. Raises: GenesisUnreadable."""
    try:
        return parse_genesis(path.read_bytes())
    except OSError as error:
        raise GenesisUnreadable(path, error.strerror or "cannot be read") from error
    except (PeerError, RequestError, LocalError, ValueError) as error:
        raise GenesisUnreadable(path, str(error)) from error


@contextmanager
def open_voting(path: Path, store: ChainStore) -> Iterator[tuple[VotingStore, Restored]]:
    """The voting state, and what of it the engine starts from. Missing state is replaced by one that is not trusted."""
    try:
        voting = VotingStore.open(path)
    except VotingStateMissing as error:
        log.warning("%s; this node follows, and votes again once it is safe", error)
        VotingStore.create(path, trusted=False)
        voting = VotingStore.open(path)
    with voting:
        voting.begin_epoch(store.rosters.epoch)
        yield voting, restored_state(store, voting)


def restored_state(store: ChainStore, voting: VotingStore) -> Restored:
    """Where the epoch stands that goes on above the last block in the store."""
    head, epoch = store.head(), store.rosters.epoch
    following = store.next_roster
    return voting.load(
        head.block,
        head.finalization if head.block.epoch == epoch else None,
        epoch=epoch,
        next_committee=ZERO_DIGEST if following is None else following.digest,
    )


def check_members(config: NodeConfig, rosters: Rosters, peer_key: bytes) -> None:
    """Says what of the configuration does not fit the members known so far, some of whom may yet be admitted.

    peer_key: this node's public key in the network. Raises: UnknownSelf, where that is another member's.
    """
    roster = rosters.current
    known = roster.member_by_peer_key(peer_key)
    if known is not None and known.id != config.member:
        raise UnknownSelf(config.member, known.id)
    for peer in config.peers:
        if roster.member(peer) is None:
            # Misspelt, it would never be dialled, silently.
            log.warning("config.toml: peers.%s: no member of epoch %d; dialled once it is one", peer, roster.epoch)


def read_addresses(config: NodeConfig, addresses: dict[str, str]) -> None:
    """Takes over peers' addresses that config.toml holds now: those of new members may have been added meanwhile."""
    try:
        renewed = load_config(config.directory / "config.toml")
    except LocalError as error:
        log.warning("%s; the addresses read before stay in use", error)
        return
    addresses.clear()
    addresses.update(renewed.peers)
