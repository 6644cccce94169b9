"""The node process: puts the parts together, runs them under one nursery, and stops them in order."""

from __future__ import annotations

import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import trio

from consensus.errors import LocalError, PeerError
from consensus.events import Restored
from consensus.types import Digest
from ledger.roster import Roster
from node.acquire import Acquirer, answer_fetch
from node.config import NodeConfig, load_config
from node.cores import make_core
from node.former import FormerMembers
from node.intake import Door
from node.keys import public_bytes, seed_bytes
from node.logs import configure_logs
from node.loop import Loop
from node.network.network import Network
from node.network.values import SYNC_BODY_BYTES_MAX, NetworkSettings, StreamClass
from node.outside import Clock
from node.peers import PeerIds
from node.reader_process import reader_process
from node.rosters import Rosters
from node.rpc.submit import SubmitServer
from node.signer import KeyRing, load_member_key
from node.start import check_members, load_genesis, open_voting, read_addresses
from node.store.chain import ChainStore
from node.store.voting import VotingStore
from node.sync_phase import SyncPhase
from node.sync_pin import Pinning, read_pin
from node.wire import decode_fetch, encode, encode_contents

log = logging.getLogger(__name__)

STATUS_REFRESH_S = 0.2
WATCH_S = 0.25
Watch = Callable[[SyncPhase], bool]
"""Called every WATCH_S; gives whether the node is to end."""
FRAMES_AT_ONCE = 16
"""Taken from the inbox together, if they are there: for the engine they make one step."""
NEWCOMER_DIAL_S = 0.5
SWITCH_INTERVAL_S = 0.001
"""How long a thread that checks statements or serves gRPC may keep the interpreter from the loop, which has votes to
cast; Python's own 5 ms add up over the hops of a block (docs/performance.md)."""
ANSWER_BYTES_MAX = SYNC_BODY_BYTES_MAX - 64 * 1024
"""Contents in one answer to a fetch: what fits a SYNC frame, with room for protobuf's own bytes."""


class NetworkOutbox:
    """The loop's three ways out, on the network's streams."""

    def __init__(self, network: Network, rosters: Rosters) -> None:
        self._network = network
        self._rosters = rosters

    def _is_validator(self, member_id: str) -> bool:
        return self._rosters.current.validator_index(member_id) is not None

    def send_consensus(self, member_id: str, frame: bytes) -> None:
        self._network.send(member_id, StreamClass.CONSENSUS, frame)

    def broadcast_consensus(self, frame: bytes) -> None:
        self._network.broadcast(StreamClass.CONSENSUS, frame, among=self._is_validator)

    def broadcast_payload(self, frame: bytes) -> None:
        self._network.broadcast(StreamClass.PAYLOAD, frame)


async def run_node(config: NodeConfig, watch: Watch | None = None) -> None:
    """Runs a node until SIGTERM or SIGINT. Raises: LocalError where this machine has a problem.

    watch: called now and then; once it says so, the node ends.
    """
    # From the first moment: one that comes while the node still starts stops it as soon as it has, in good order.
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        await _run_node(config, signals, watch)


async def _run_node(config: NodeConfig, signals: AsyncIterator[int], watch: Watch | None) -> None:
    genesis = load_genesis(config.genesis_path)
    keys = KeyRing(config)
    config.chain_path.mkdir(parents=True, exist_ok=True)
    with (
        ChainStore.open(config.chain_path, genesis, map_bytes=config.store_bytes_max) as store,
        open_voting(config.voting_path, store) as (voting, restored),
    ):
        generation = voting.next_boot_generation()
        pin = None if config.sync_checkpoint is None else read_pin(config.sync_checkpoint, genesis.origin)
        pinning = Pinning(config.chain_path, store, pin)
        peer_key = load_member_key(config, "peer", store.rosters.current)
        check_members(config, store.rosters, public_bytes(peer_key))
        peers = PeerIds(store.rosters, config.member)
        topic = f"stretto/{genesis.digest.hex()[:16]}/payloads" if config.gossip else None
        # Who has no seat yet is in nobody's configuration: it must not wait to be dialled.
        newcomer = {} if keys.signer(store.rosters.current) else {"fallback_dial_s": NEWCOMER_DIAL_S}
        addresses = dict(config.peers)
        network = Network(
            NetworkSettings(listen=config.listen, peers=addresses, gossip_topic=topic, **newcomer),
            seed_bytes(peer_key),
            peers,
        )
        async with trio.open_nursery() as nursery:
            node = _Node(config, store, network, nursery, pinning)
            node.on_epoch = lambda: read_addresses(config, addresses)
            if watch is not None:
                nursery.start_soon(node.be_watched, watch)
            await node.run(voting, restored, keys, generation, signals)


class _Node:
    """The running parts of one node and the tasks between them."""

    def __init__(
        self, config: NodeConfig, store: ChainStore, network: Network, nursery: trio.Nursery, pinning: Pinning
    ) -> None:
        self.config = config
        self.store = store
        self.network = network
        self.nursery = nursery
        self.pinning = pinning
        self.on_epoch: Callable[[], None] = lambda: None

    async def run(
        self, voting: VotingStore, restored: Restored, keys: KeyRing, generation: int, signals: AsyncIterator[int]
    ) -> None:
        """Starts everything, serves until a stop signal, and stops in order: door, tasks; the stores close last."""
        self.loop = loop = Loop(
            store=self.store,
            voting=voting,
            restored=restored,
            keys=keys,
            make_core=make_core,
            outbox=NetworkOutbox(self.network, self.store.rosters),
            clock=Clock(),
            boot_generation=generation,
            fetch=self._fetch,
            publish=self._publish,
            version=version("stretto"),
            hear_first=_hear_first(keys, self.store.rosters.current),
        )
        self.acquirer = Acquirer(
            rosters=self.store.rosters,
            store=self.store,
            network=self.network,
            nursery=self.nursery,
            held=loop.held,
            reject=loop.reject,
        )
        self.sync = SyncPhase(
            store=self.store,
            network=self.network,
            pinning=self.pinning,
            reject=loop.reject,
            pause=loop.pause,
            resume=loop.resume,
        )
        loop.on_epoch = self.on_epoch
        loop.on_greeting, loop.stands_still = self.sync.greeted, self.sync.line
        self.network.set_responder(self._respond)
        self.network.on_connect(loop.connected)
        self.network.on_second(self._words_for_second)
        self.network.on_farewell(FormerMembers(self.store), loop.told)
        await self.nursery.start(self.network.run)
        _settle()  # it was the last large import
        loop.start()
        self.nursery.start_soon(self._pump)
        self.nursery.start_soon(loop.run_timers)
        self.nursery.start_soon(self.sync.run)
        # What was taken on trust below a pinned checkpoint is not served before it is proven.
        if not await self._is_proven(signals):
            self.nursery.cancel_scope.cancel()
            return
        door = Door(loop, self.nursery, self.network.connected, self._counters)
        self.nursery.start_soon(door.run)
        self.nursery.start_soon(_refresh, door)
        server = SubmitServer(socket=self.config.submit_socket, rosters=self.store.rosters, intake=door)
        await trio.to_thread.run_sync(server.start)
        try:
            config_path = str(self.config.directory / "config.toml")
            async with reader_process([sys.executable, "-m", "node.rpc.reader", "--config", config_path]):
                head = self.store.head()
                log.info("node of %s up: height %d, %d leaves", self.config.member, head.block.height, head.size)
                await anext(signals)
                log.info("stopping")
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(server.stop)
            self.nursery.cancel_scope.cancel()

    async def be_watched(self, watch: Watch) -> None:
        """Ends the node when `watch` says so."""
        while not (hasattr(self, "sync") and watch(self.sync)):
            await trio.sleep(WATCH_S)
        log.info("stopping: it has joined, and was told to end then")
        self.nursery.cancel_scope.cancel()

    async def _is_proven(self, signals: AsyncIterator[int]) -> bool:
        """Waits for it; False where a stop signal came first."""
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                await anext(signals)
                log.info("stopping before the pinned checkpoint was proven")
                nursery.cancel_scope.cancel()

            nursery.start_soon(stop)
            await self.sync.proven.wait()
            nursery.cancel_scope.cancel()
        return self.sync.proven.is_set()

    async def _pump(self) -> None:
        inbox = self.network.inbound
        while True:
            frames = [await inbox.receive()]
            with suppress(trio.WouldBlock):
                while len(frames) < FRAMES_AT_ONCE:
                    frames.append(inbox.receive_nowait())
            self.loop.frames([(each.member_id, each.frame) for each in frames if each.cls is StreamClass.CONSENSUS])
            for each in frames:
                if each.cls is not StreamClass.CONSENSUS:
                    try:
                        self.acquirer.pushed(each.frame, each.member_id)
                    except PeerError as error:
                        self.loop.reject(each.member_id, error)

    async def _respond(self, member: str, frame: bytes) -> bytes:
        try:
            fetch = decode_fetch(frame)
        except PeerError as error:
            # Raised, it would be logged with its traceback, each time.
            self.loop.reject(member, error)
            return encode_contents((None,))
        if self.pinning.is_open:
            return encode_contents((None,) * max(1, len(getattr(fetch, "digests", ()))))
        return encode_contents(answer_fetch(self.store, fetch, ANSWER_BYTES_MAX))

    def _words_for_second(self, member: str) -> tuple[bytes, ...]:
        """What a second process with a connected member's key is told: the greeting of the first."""
        known = self.loop.greetings.known(member)
        return () if known is None else (encode(known, self.loop.epoch.epoch),)

    def _counters(self) -> Mapping[str, int]:
        return asdict(self.network.counters()) | self.sync.counters()

    def _fetch(self, digests: Iterable[Digest], holders: Sequence[str]) -> None:
        self.acquirer.fetch(digests, holders)

    def _publish(self, frame: bytes) -> None:
        if self.config.gossip:
            self.nursery.start_soon(self.network.publish, frame)


def _settle() -> None:
    """Garbage is collected from here on, but what the start made stays: looking at it each time costs 60 ms at once."""
    gc.enable()
    gc.freeze()


def _hear_first(keys: KeyRing, roster: Roster) -> int:
    """How many others a node that votes must have heard before it does; see `Loop.start`."""
    return 0 if keys.signer(roster) is None else roster.quorum - 1


async def _refresh(door: Door) -> None:
    while True:
        door.refresh()
        await trio.sleep(STATUS_REFRESH_S)


def main(
    config_path: Path,
    *,
    verbose: bool = False,
    checkpoint: Path | None = None,
    log_path: Path | None = None,
    watch: Watch | None = None,
) -> None:
    """Entry of `stretto node run` and `join`. checkpoint: to pin, in place of the configuration's.

    Raises: LocalError; whatever else ended the node, logged with its traceback.
    """
    config = load_config(config_path)
    if checkpoint is not None:
        config = replace(config, sync_checkpoint=checkpoint)
    configure_logs(config.member, verbose=verbose, path=log_path)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        trio.run(run_node, config, watch)
    except Exception as error:
        # Several tasks may fail of one cause, or while they are cancelled: the operator needs the cause alone.
        cause = local_cause(error)
        if cause is None:
            log.critical("stopped by a fault of its own: please report it", exc_info=error)
            raise
        log.critical("stopped: %s", cause)
        raise cause from None


def local_cause(error: BaseException) -> LocalError | None:
    """The first error of this machine in `error`, however deep in groups."""
    if isinstance(error, BaseExceptionGroup):
        return next((cause for each in error.exceptions if (cause := local_cause(each)) is not None), None)
    return error if isinstance(error, LocalError) else None
