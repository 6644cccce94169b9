"""The node process: puts the parts together, runs them under one nursery, and stops them in order."""

from __future__ import annotations

import hashlib
import logging
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path

import trio

from consensus.engine import Engine
from consensus.errors import LocalError, PeerError
from consensus.events import Restored
from consensus.types import Digest
from ledger.ed25519 import verify_strict
from ledger.genesis import Genesis, parse_genesis
from node.acquire import Acquirer, answer_fetch
from node.config import NodeConfig, load_config
from node.intake import Door
from node.keys import load_private_key, seed_bytes
from node.logs import configure_logs
from node.loop import Clock, Loop
from node.network.network import Network
from node.network.peer_id import peer_id_of
from node.network.values import SYNC_BODY_BYTES_MAX, NetworkSettings, StreamClass
from node.rpc.submit import SubmitServer
from node.signer import Signer
from node.store.chain import ChainStore
from node.store.errors import VotingStateMissing
from node.store.voting import VotingStore
from node.wire import decode_fetch, encode_contents

log = logging.getLogger(__name__)

STATUS_REFRESH_S = 0.2
READER_RESTART_S = 1.0
READER_STOP_S = 5.0
ANSWER_BYTES_MAX = SYNC_BODY_BYTES_MAX - 64 * 1024
"""Contents in one answer to a fetch: what fits a SYNC frame, with room for protobuf's own bytes."""


class UnknownSelf(LocalError):
    """config.toml names a member that is no validator of the genesis."""

    def __init__(self, member: str, genesis: Genesis) -> None:
        known = ", ".join(m.id for m in genesis.validator_members())
        super().__init__(f"config.toml: member: expected one of the genesis's validators ({known}), got {member!r}")


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
    except (PeerError, LocalError, ValueError) as error:
        raise GenesisUnreadable(path, str(error)) from error


class NetworkOutbox:
    """The loop's three ways out, on the network's streams."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def send_consensus(self, member_id: str, frame: bytes) -> None:
        self._network.send(member_id, StreamClass.CONSENSUS, frame)

    def broadcast_consensus(self, frame: bytes) -> None:
        self._network.broadcast(StreamClass.CONSENSUS, frame)

    def broadcast_payload(self, frame: bytes) -> None:
        self._network.broadcast(StreamClass.PAYLOAD, frame)


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


async def run_node(config: NodeConfig) -> None:
    """Runs a node until SIGTERM or SIGINT. Raises: LocalError where this machine has a problem."""
    genesis = load_genesis(config.genesis_path)
    member = genesis.member(config.member)
    if member is None or not member.validator:
        raise UnknownSelf(config.member, genesis)
    signer = Signer(config, genesis, member)
    peer_seed = seed_bytes(load_private_key(config.key_path("peer")))
    config.chain_path.mkdir(parents=True, exist_ok=True)
    with (
        ChainStore.open(config.chain_path, genesis, map_bytes=config.store_bytes_max) as store,
        open_voting(config.voting_path, store) as (voting, restored),
    ):
        generation = voting.next_boot_generation()
        engine = Engine(
            committee=genesis.committee(),
            me=signer.index,
            verify=verify_strict,
            restored=restored,
            seed=hashlib.sha256(b"stretto/engine" + signer.public_key + generation.to_bytes(8, "big")).digest(),
        )
        peers = {peer_id_of(m.keys.peer): m.id for m in genesis.validator_members() if m.id != member.id}
        topic = f"stretto/{genesis.digest.hex()[:16]}/payloads" if config.gossip else None
        network = Network(
            NetworkSettings(listen=config.listen, peers=config.peers, gossip_topic=topic), peer_seed, lambda: peers
        )
        async with trio.open_nursery() as nursery:
            await _Node(config, genesis, store, network, nursery).run(voting, engine, signer, generation)


class _Node:
    """The running parts of one node and the tasks between them."""

    def __init__(
        self, config: NodeConfig, genesis: Genesis, store: ChainStore, network: Network, nursery: trio.Nursery
    ) -> None:
        self.config = config
        self.genesis = genesis
        self.store = store
        self.network = network
        self.nursery = nursery

    async def run(self, voting: VotingStore, engine: Engine, signer: Signer, generation: int) -> None:
        """Starts everything, serves until a stop signal, and stops in order: door, tasks; the stores close last."""
        self.loop = loop = Loop(
            genesis=self.genesis,
            store=self.store,
            voting=voting,
            engine=engine,
            signer=signer,
            outbox=NetworkOutbox(self.network),
            clock=Clock(),
            boot_generation=generation,
            fetch=self._fetch,
            publish=self._publish,
            version=version("stretto"),
        )
        self.acquirer = Acquirer(
            genesis=self.genesis,
            store=self.store,
            network=self.network,
            nursery=self.nursery,
            held=loop.held,
            reject=loop.reject,
        )
        self.network.set_responder(self._respond)
        self.network.on_connect(loop.connected)
        await self.nursery.start(self.network.run)
        loop.start()
        self.nursery.start_soon(self._pump)
        self.nursery.start_soon(loop.run_timers)
        door = Door(loop, self.nursery, self.network.connected)
        self.nursery.start_soon(door.run)
        self.nursery.start_soon(_refresh, door)
        server = SubmitServer(socket=self.config.submit_socket, genesis=self.genesis, intake=door)
        await trio.to_thread.run_sync(server.start)
        try:
            async with reader_process(self.config):
                head = self.store.head()
                log.info("node of %s up: height %d, %d leaves", self.config.member, head.block.height, head.size)
                await _stop_signal()
                log.info("stopping")
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(server.stop)
            self.nursery.cancel_scope.cancel()

    async def _pump(self) -> None:
        async for inbound in self.network.inbound:
            if inbound.cls is StreamClass.CONSENSUS:
                self.loop.frame(inbound.member_id, inbound.frame)
                continue
            try:
                self.acquirer.pushed(inbound.frame, inbound.member_id)
            except PeerError as error:
                self.loop.reject(inbound.member_id, error)

    async def _respond(self, _member: str, frame: bytes) -> bytes:
        return encode_contents(answer_fetch(self.store, decode_fetch(frame), ANSWER_BYTES_MAX))

    def _fetch(self, digests: Iterable[Digest], holders: Sequence[str]) -> None:
        self.acquirer.fetch(digests, holders)

    def _publish(self, frame: bytes) -> None:
        if self.config.gossip:
            self.nursery.start_soon(self.network.publish, frame)


async def _refresh(door: Door) -> None:
    while True:
        door.refresh()
        await trio.sleep(STATUS_REFRESH_S)


async def _stop_signal() -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            return


@asynccontextmanager
async def reader_process(config: NodeConfig) -> AsyncIterator[None]:
    """Keeps the reader process running beside this one; it ends when its standard input does: it is never orphaned."""
    command = [sys.executable, "-m", "node.rpc.reader", "--config", str(config.directory / "config.toml")]

    async def keep() -> None:
        while True:
            process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE)
            try:
                code = await process.wait()
            finally:
                if process.returncode is None:
                    process.terminate()
                    with trio.CancelScope(shield=True), trio.move_on_after(READER_STOP_S):
                        await process.wait()
                    if process.returncode is None:
                        process.kill()
            log.error("the reader process ended with code %d: starting it again", code)
            await trio.sleep(READER_RESTART_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep)
        yield
        nursery.cancel_scope.cancel()


def main(config_path: Path, *, verbose: bool = False) -> None:
    """Entry of `stretto node run`. Raises: LocalError."""
    config = load_config(config_path)
    configure_logs(config.member, verbose=verbose)
    try:
        trio.run(run_node, config)
    except* LocalError as group:
        # One sentence for the operator: which part failed is in it.
        leaf: BaseException = group
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        log.critical("stopped: %s", leaf)
        raise leaf from None
