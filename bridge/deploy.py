"""Puts a consortium's contracts on a chain: CheckpointBridge, then MusicNFT over it. Nothing can be changed later."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.artifacts import checksummed, code_differs, creation, named_error
from bridge.checkpoints import SET_MIN, check_first_entry, check_signed
from bridge.config import ChainConfig, ConfigError, read_toml
from bridge.contract import Receipt
from bridge.endpoints import Endpoints, data, number
from bridge.errors import CheckpointRefused, ContractRefuses, RpcError, WrongContract
from bridge.journal import Attempt, Journal
from bridge.node_client import Node
from bridge.sender import Sender
from bridge.signer import Signer
from bridge.transaction import created_address
from consensus.errors import LocalError
from ledger.chain_checkpoint import VALIDATORS_BRIDGED_MAX, bridge_set, set_commitment
from ledger.roster import Roster

MINE_S: Final = 600.0
POLL_S: Final = 1.0
GAS_MARGIN: Final = 1.1


class NotReady(LocalError):
    """A bridge cannot be deployed yet, or not with what was given."""


class NotMined(LocalError):
    """A deployment did not come into a block in time; the same command takes it up again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """What the constructor is told. Addresses are ascending, 20 bytes each."""

    consortium: bytes
    first_entry: bytes
    epoch: int
    validators: tuple[bytes, ...]
    recovery: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """Where the contracts are. gas: of both, where both were deployed now."""

    bridge: bytes
    nft: bytes
    start_block: int
    gas: int


def check_set(name: str, addresses: Sequence[bytes]) -> tuple[bytes, ...]:
    """Ascending. Raises: LocalError."""
    if not SET_MIN <= len(set(addresses)) <= VALIDATORS_BRIDGED_MAX or len(set(addresses)) != len(addresses):
        raise LocalError(
            f"{name}: expected {SET_MIN} to {VALIDATORS_BRIDGED_MAX} different addresses, got {len(addresses)}"
        )
    if bytes(20) in addresses:
        raise LocalError(f"{name}: the zero address is nobody's")
    return tuple(sorted(addresses))


def genesis_from(node: Node, roster: Roster, recovery: tuple[bytes, ...]) -> Genesis:
    """For a bridge that begins in the roster's epoch: the log's first entry, proved by what its quorum signed.

    Raises: CheckpointRefused, NodeRefuses, NotReady, SetNotBridgeable.
    """
    found, log = node.latest(), node.log()
    if log.consortium != roster.consortium:
        raise CheckpointRefused(
            "WrongConsortium", f"the node is of {log.consortium.hex()}, the genesis {roster.consortium.hex()}"
        )
    if found is None or log.first_entry is None:
        raise NotReady("the log has no checkpoint for chains yet: record a statement first, then wait some seconds")
    if found.current_epoch != roster.epoch:
        raise NotReady(
            f"the consortium is in epoch {found.current_epoch}, the rosters given lead to {roster.epoch}:"
            " `stretto epochs export`, then --epochs FILE"
        )
    validators = bridge_set(roster)
    point = found.signed.checkpoint
    commitment = set_commitment(roster.epoch, validators)
    check_signed(found.signed, consortium=roster.consortium, epoch=roster.epoch, validator_set=commitment)
    check_first_entry(log.first_entry, point, node.consistency(1, point.size))
    if shared := set(validators) & set(recovery):
        raise CheckpointRefused("SharedSigner", f"0x{min(shared).hex()} is a validator and in the recovery quorum")
    return Genesis(
        consortium=roster.consortium,
        first_entry=log.first_entry,
        epoch=roster.epoch,
        validators=validators,
        recovery=recovery,
    )


class Deployer:
    """Raises what `Endpoints` and `Sender` raise, NotMined and WrongContract."""

    def __init__(
        self,
        config: ChainConfig,
        endpoints: Endpoints,
        signer: Signer,
        journal: Journal,
        *,
        say: Callable[[str], None],
        mine_s: float = MINE_S,
    ) -> None:
        """say: called with what happens, line by line."""
        self.config, self.endpoints, self._say, self._mine_s = config, endpoints, say, mine_s
        self._sender = Sender(config, endpoints, signer, journal, to=None)

    def deploy(self, genesis: Genesis) -> Deployed:
        """Both contracts. A wrong chain id at any endpoint stops it: here that costs money.

        Called again after it was interrupted it goes on with what it had sent.
        """
        wrong = self.endpoints.verify_all()
        if wrong:
            raise wrong[0]
        validators, recovery = list(genesis.validators), list(genesis.recovery)
        told = (genesis.consortium, genesis.first_entry, genesis.epoch, validators, recovery)
        call = creation("CheckpointBridge", *told)
        bridge, first = self._create("CheckpointBridge", call)
        nft, second = self._create("MusicNFT", creation("MusicNFT", bridge))
        return Deployed(bridge=bridge, nft=nft, start_block=first.block, gas=first.gas_used + second.gas_used)

    def _create(self, name: str, call: bytes) -> tuple[bytes, Receipt]:
        """Its address, and the transaction that put it there."""
        attempt = self._attempt(f"deploy {name}", call)
        address = created_address(self._sender.account, attempt.nonce)
        self._say(f"{name}: 0x{attempt.hash.hex()} puts it at {checksummed(address)}")
        receipt = self._await(name, attempt)
        code = self.endpoints.agree("eth_getCode", "0x" + address.hex(), "latest", form=data)
        if found := code_differs(name, code):
            raise WrongContract(self.config.name, checksummed(address), "code", f"that of {name}", found)
        return address, receipt

    def _attempt(self, kind: str, call: bytes) -> Attempt:
        """What was signed before for the same, if it may be or is mined; else a new one. Broadcast unless mined."""
        head = self.endpoints.common_head()
        nonce = self._sender.nonce(head.number)
        earlier = self._sender.journal.of_call(self.config.id, self._sender.account, kind, call)
        for attempt in reversed(earlier):
            if self._sender.receipt(attempt) is not None:
                return attempt
        usable = [each for each in earlier if each.nonce == nonce]
        if usable:
            attempt = usable[-1]
        else:
            attempt = self._sender.attempt(
                kind=kind, epoch=0, size=0, root=b"", call=call, gas=round(self._estimate(call) * GAS_MARGIN),
                nonce=nonce, market=self._sender.market(head),
            )  # fmt: skip
        self._sender.broadcast(attempt)
        return attempt

    def _estimate(self, call: bytes) -> int:
        request = {"from": "0x" + self._sender.account.hex(), "data": "0x" + call.hex()}
        try:
            return int(self.endpoints.ask("eth_estimateGas", request, form=number))
        except RpcError as error:
            raise ContractRefuses(self.config.name, named_error(error.data) if error.data else error.message) from error

    def _await(self, name: str, attempt: Attempt) -> Receipt:
        until = time.monotonic() + self._mine_s
        while time.monotonic() < until:
            receipt = self._sender.receipt(attempt)
            if receipt is not None:
                if not receipt.succeeded:
                    raise ContractRefuses(self.config.name, f"{name}'s constructor failed in block {receipt.block}")
                self._say(f"{name}: in block {receipt.block}, {receipt.gas_used:,} gas")
                return receipt
            if self._sender.told_s(attempt) > self.config.replace_s:
                self._sender.broadcast(attempt)
            time.sleep(min(POLL_S, self.config.poll_s))
        raise NotMined(
            f"chain {self.config.name}: {name} is not mined after {self._mine_s:g} s; run the same again later"
        )


def write_addresses(path: Path, chain: str, deployed: Deployed) -> None:
    """Adds a chain to the file that bridge.toml names as `deployed`. Raises: ConfigError where it is there already."""
    known = read_toml(path).get("chains", {}) if path.exists() else {}
    if chain in known:
        raise ConfigError(path, f"chains.{chain}", known[chain], "no addresses yet: take them out to deploy anew")
    entries = {
        **known,
        chain: {
            "bridge": checksummed(deployed.bridge),
            "nft": checksummed(deployed.nft),
            "start_block": deployed.start_block,
        },
    }
    part = path.with_name(path.name + ".part")
    with part.open("w") as file:
        file.write(addresses_toml(entries))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def addresses_toml(chains: dict[str, dict[str, str | int]]) -> str:
    """As bridge.toml takes it."""
    tables = []
    for name, table in chains.items():
        lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        tables.append("\n".join([f"[chains.{name}]", *lines]))
    return "# Written by `stretto bridge deploy`.\n" + "\n\n".join(tables) + "\n"
