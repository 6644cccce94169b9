"""Real members that come and go: folders of nodes that are to be admitted, and votes signed with members' real keys."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable

from cli.client import NodeClient
from consensus.types import Digest
from ledger.genesis import Member, Role
from ledger.governance import Change
from ledger.statement import sign_statement
from node.ceremony import CONFIG, make_keys, read_public_keys
from node.config import NodeConfig, load_config
from node.devnet import Devnet, DevnetNode
from node.keys import generate_private_key, load_private_key, public_bytes
from node.ports import free_ports
from node.rpc.types import SubmissionResult
from node.store.voting import VotingStore


def newcomer(devnet: Devnet, member: str, *, validator: bool = True) -> tuple[DevnetNode, Member]:
    """The folder of a node whose member is to be admitted, with keys of its own, and the record to vote for."""
    folder = devnet.directory / member
    (folder / "keys").mkdir(parents=True, mode=0o700)
    make_keys(folder / "keys")
    listen, rpc = free_ports(2)
    peers = "\n".join(f'{node.member} = "{node.config.listen}"' for node in devnet.nodes)
    (folder / "config.toml").write_text(
        CONFIG.format(
            member=member, listen=f"/ip4/127.0.0.1/tcp/{listen}", rpc=f"127.0.0.1:{rpc}", metrics="", peers=peers
        )
    )
    shutil.copy(devnet.genesis_path, folder / "genesis.json")
    (folder / "log").mkdir()
    (folder / "data" / "chain").mkdir(parents=True)
    VotingStore.create(folder / "data" / "voting")
    keys = read_public_keys(folder / "keys", member)
    record = Member(id=member, name=member.capitalize(), role=Role.LABEL, validator=validator, keys=keys)
    return DevnetNode(config=load_config(folder / "config.toml")), record


def next_key(config: NodeConfig, purpose: str) -> bytes:
    """Puts the key that is to take over beside the one in use; its public half."""
    return public_bytes(generate_private_key(config.key_path(f"{purpose}.next")))


def vote(config: NodeConfig, change: Change, consortium: Digest) -> bytes:
    """The member's vote, signed with the key in its node's folder."""
    key = load_private_key(config.key_path("statement"))
    return sign_statement(
        change,
        client_ref=f"{change.kind} {change.epoch} {secrets.token_hex(4)}",
        issuer=config.member,
        public_key=public_bytes(key),
        consortium=consortium,
        sign=key.sign,
    )


def cast(voters: Iterable[DevnetNode], change: Change, consortium: Digest) -> list[SubmissionResult]:
    """Each voter submits its vote through its own node."""
    results = []
    for node in voters:
        with NodeClient(node.config.rpc, deadline_s=20) as client:
            results.append(client.submit(vote(node.config, change, consortium)))
    return results
