"""What a node process starts from: the genesis, the voting state, and a configuration that fits both."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consensus.errors import LocalError, PeerError, RequestError
from consensus.events import Restored
from ledger.genesis import Genesis, Member, parse_genesis
from node.config import NodeConfig
from node.store.chain import ChainStore
from node.store.errors import VotingStateMissing
from node.store.voting import VotingStore

log = logging.getLogger(__name__)


class UnknownSelf(LocalError):
    """config.toml names a member that is no validator of the genesis."""

    def __init__(self, member: str, genesis: Genesis) -> None:
        known = ", ".join(m.id for m in genesis.validator_members())
        super().__init__(f"config.toml: member: expected one of the genesis's validators ({known}), got {member!r}")


class UnknownPeer(LocalError):
    """config.toml names the address of somebody who is no validator: a misspelt id would never be dialled, silently."""

    def __init__(self, peer: str, genesis: Genesis) -> None:
        known = ", ".join(m.id for m in genesis.validator_members())
        super().__init__(f"config.toml: peers.{peer}: expected one of the genesis's validators ({known})")
        self.peer = peer


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
    head = store.head()
    try:
        voting = VotingStore.open(path)
    except VotingStateMissing as error:
        log.warning("%s; this node follows, and votes again once it is safe", error)
        VotingStore.create(path, trusted=False)
        voting = VotingStore.open(path)
    with voting:
        yield voting, voting.load(head.block, head.finalization)


def check_members(config: NodeConfig, genesis: Genesis) -> Member:
    """This node's member. Raises: UnknownSelf, UnknownPeer, where the configuration and the genesis do not fit."""
    member = genesis.member(config.member)
    if member is None or not member.validator:
        raise UnknownSelf(config.member, genesis)
    validators = {m.id for m in genesis.validator_members()}
    for peer in config.peers:
        if peer not in validators:
            raise UnknownPeer(peer, genesis)
    return member
