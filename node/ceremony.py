"""Founding a consortium on one machine: keys for every member, one genesis, a folder per node (a devnet's `init`).

A real consortium makes each member's keys on that member's own machine; the folder's layout is the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from consensus.errors import LocalError
from consensus.types import EpochParameters
from ledger.genesis import Genesis, Member, MemberKeys, Role, encode_genesis, parse_genesis
from ledger.member import CHAIN, ED25519_PURPOSES
from node.chain_key import generate_chain_key, load_chain_key
from node.keys import KEY_NAMES, generate_private_key, load_private_key, public_bytes
from node.store.voting import VotingStore

CONFIG = """\
# A Stretto node. Every field is checked at start; a misspelt one is an error.
member = "{member}"
# libp2p: where the other validators reach this node.
listen = "{listen}"
# gRPC: where courts, platforms and the `stretto` command ask. Without TLS only a loopback address is allowed.
rpc = "{rpc}"
{metrics}
[peers]
{peers}
"""


METRICS = """
[metrics]
# Prometheus reads http://{metrics}/metrics; loopback only (docs/operations.md).
listen = "{metrics}"
"""


class FolderInUse(LocalError):
    """The folder holds something already: keys and logs are never overwritten."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"{directory} is not empty: choose another folder, or remove this one yourself first")
        self.directory = directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Founder:
    """One institution of a new consortium and the addresses of its node."""

    id: str
    name: str
    role: Role
    listen: str
    rpc: str
    metrics: str | None = None
    """Where the node's metrics page is served, such as "127.0.0.1:6101"; None serves none."""


def found(
    directory: Path, *, name: str, origin: str, founders: Sequence[Founder], parameters: EpochParameters
) -> Genesis:
    """Makes DIR/genesis.json and DIR/MEMBER/{config.toml,genesis.json,keys/,data/} for each founder.

    The genesis appears last, and whatever fails leaves nothing behind. Raises: FolderInUse, KeyFileError, OSError.
    """
    if directory.exists() and any(directory.iterdir()):
        raise FolderInUse(directory)
    directory.mkdir(parents=True, exist_ok=True)
    # Inside the folder, which may be a mount point: a rename over that would fail.
    draft = directory / ".founding"
    draft.mkdir(mode=0o700)
    try:
        members = tuple(_member(draft / founder.id, founder) for founder in founders)
        encoded = encode_genesis(name=name, origin=origin, parameters=parameters, members=members)
        genesis = parse_genesis(encoded)
        (draft / "genesis.json").write_bytes(encoded)
        for founder in founders:
            node = draft / founder.id
            (node / "genesis.json").write_bytes(encoded)
            (node / "config.toml").write_text(_config(founder, founders))
            (node / "log").mkdir()
            (node / "data" / "chain").mkdir(parents=True)
            # Made here, once: a node whose voting state is missing later knows that it was lost (design D4).
            VotingStore.create(node / "data" / "voting")
        for entry in (*(founder.id for founder in founders), "genesis.json"):
            (draft / entry).rename(directory / entry)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return genesis


def _member(directory: Path, founder: Founder) -> Member:
    keys = directory / "keys"
    keys.mkdir(parents=True, mode=0o700)
    make_keys(keys)
    return Member(
        id=founder.id, name=founder.name, role=founder.role, validator=True, keys=read_public_keys(keys, founder.id)
    )


def make_keys(folder: Path) -> None:
    """Makes the keys that a member's folder lacks. Raises: KeyFileError."""
    for name in KEY_NAMES:
        path = folder / f"{name}.pem"
        if not path.exists():
            generate_chain_key(path) if name == CHAIN else generate_private_key(path)


def read_public_keys(folder: Path, member_id: str) -> MemberKeys:
    """Public halves of the keys in a folder, and the proof that the member has its chain key. Raises: KeyFileError."""
    chain = load_chain_key(folder / f"{CHAIN}.pem")
    public = {name: public_bytes(load_private_key(folder / f"{name}.pem")) for name in ED25519_PURPOSES}
    return MemberKeys(**public, chain=chain.public, chain_proof=chain.prove(member_id))


def _config(founder: Founder, founders: Sequence[Founder]) -> str:
    peers = "\n".join(f'{other.id} = "{other.listen}"' for other in founders if other.id != founder.id)
    metrics = "" if founder.metrics is None else METRICS.format(metrics=founder.metrics)
    return CONFIG.format(member=founder.id, listen=founder.listen, rpc=founder.rpc, metrics=metrics, peers=peers)
