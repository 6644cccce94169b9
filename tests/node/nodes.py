"""Loops for tests: real stores, a real engine and real signatures; the clock and the network are the test's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consensus.types import Digest
from ledger.genesis import Genesis
from ledger.member import ED25519_PURPOSES
from node.ceremony import CONFIG
from node.config import NodeConfig, load_config
from node.cores import make_core
from node.keys import write_key
from node.loop import Loop
from node.rpc.types import SubmissionResult, SubmissionState
from node.signer import KeyRing, Signer
from node.start import open_voting
from node.store.chain import ChainStore
from node.store.voting import VotingStore
from node.wire import NodeMessage, decode
from tests.ledger.builders import Consortium, chain_key, make_consortium, private_key
from tests.ledger.keys import TestChainKey

CONSORTIUM: Consortium = make_consortium()
GENESIS: Genesis = CONSORTIUM.genesis
MEMBERS = tuple(member.id for member in GENESIS.validator_members())
WALL_MS = 1_800_000_000_000
"""Where the fake wall clock starts."""


def make_folder(folder: Path, member: str) -> NodeConfig:
    """A node's folder as `devnet init` makes it, with the keys of `tests.ledger.builders`."""
    shutil.copytree(Path(_template(member).name) / member, folder)
    return load_config(folder / "config.toml")


@cache
def _template(*members: str) -> tempfile.TemporaryDirectory[str]:
    """A folder for each member, made once: what costs time in them are the fsyncs of making stores."""
    template = tempfile.TemporaryDirectory(prefix="stretto-test-")
    for member in members:
        folder = Path(template.name) / member
        (folder / "keys").mkdir(parents=True)
        for name in ED25519_PURPOSES:
            write_key(folder / "keys" / f"{name}.pem", private_key(member, name))
        write_chain_key(folder / "keys" / "chain.pem", chain_key(member))
        (folder / "genesis.json").write_bytes(GENESIS.raw)
        listen = "/ip4/127.0.0.1/tcp/4101"
        peers = "".join(f'{other} = "{listen}"\n' for other in MEMBERS if other != member)
        config = CONFIG.format(member=member, listen=listen, rpc="127.0.0.1:5101", metrics="", peers=peers)
        (folder / "config.toml").write_text(config)
        (folder / "log").mkdir()
        VotingStore.create(folder / "data" / "voting")
        ChainStore.open(folder / "data" / "chain", GENESIS).close()
    return template


def write_chain_key(path: Path, key: TestChainKey) -> None:
    write_key(path, derive_private_key(int.from_bytes(key.secret, "big"), SECP256K1()))


def make_signer(config: NodeConfig, genesis: Genesis = GENESIS) -> Signer:
    """Of epoch 0."""
    signer = KeyRing(config).signer(genesis.roster)
    assert signer is not None
    return signer


class FakeClock:
    """Both clocks of a node, moved by the test."""

    def __init__(self) -> None:
        self.now_ms = 0

    def monotonic_ms(self) -> int:
        return self.now_ms

    def wall_ms(self) -> int:
        return WALL_MS + self.now_ms


class Said:
    """An outbox that remembers. to: the member, or "*" for all."""

    def __init__(self, journal: list[str] | None = None) -> None:
        self.consensus: list[tuple[str, bytes]] = []
        self.payloads: list[bytes] = []
        self._journal = [] if journal is None else journal

    def _say(self, to: str, frame: bytes) -> None:
        self.consensus.append((to, frame))
        self._journal.append(f"send {type(decode(frame)).__name__}")

    def send_consensus(self, member_id: str, frame: bytes) -> None:
        self._say(member_id, frame)

    def broadcast_consensus(self, frame: bytes) -> None:
        self._say("*", frame)

    def broadcast_payload(self, frame: bytes) -> None:
        self.payloads.append(frame)
        self._journal.append("send payload")

    def messages(self) -> list[NodeMessage]:
        return [decode(frame) for _, frame in self.consensus]


class Results:
    """What a submitter was told, in order."""

    def __init__(self) -> None:
        self.all: list[SubmissionResult] = []

    def __call__(self, result: SubmissionResult) -> None:
        self.all.append(result)

    @property
    def states(self) -> list[SubmissionState]:
        return [result.state for result in self.all]

    @property
    def last(self) -> SubmissionResult:
        return self.all[-1]


class Bench:
    """One node's parts, opened from its folder as the process opens them."""

    def __init__(
        self,
        config: NodeConfig,
        *,
        clock: FakeClock | None = None,
        said: Said | None = None,
        fetch: Callable[[Iterable[Digest], Sequence[str]], None] | None = None,
        store: type[ChainStore] = ChainStore,
        genesis: Genesis = GENESIS,
        hear_first: int = 0,
    ) -> None:
        self.config = config
        self.clock = FakeClock() if clock is None else clock
        self.said = Said() if said is None else said
        self.fetched: list[tuple[tuple[Digest, ...], tuple[str, ...]]] = []
        self.published: list[bytes] = []
        self._stack = ExitStack()
        self.keys = KeyRing(config)
        self.store = self._stack.enter_context(store.open(config.chain_path, genesis))
        self.voting, self.restored = self._stack.enter_context(open_voting(config.voting_path, self.store))
        self.generation = self.voting.next_boot_generation()
        self.loop = Loop(
            store=self.store,
            voting=self.voting,
            restored=self.restored,
            keys=self.keys,
            make_core=partial(make_core, seed=bytes(32)),  # every run is the same
            outbox=self.said,
            clock=self.clock,  # type: ignore[arg-type]  two methods are all there is to a clock
            boot_generation=self.generation,
            fetch=fetch or self._fetch,
            publish=self.published.append,
            version="0.0.0-test",
            hear_first=hear_first,
        )

    @property
    def signer(self) -> Signer:
        """Of the current epoch, where this node has a seat in it."""
        assert self.loop.signer is not None
        return self.loop.signer

    def _fetch(self, digests: Iterable[Digest], holders: Sequence[str]) -> None:
        self.fetched.append((tuple(digests), tuple(holders)))

    def close(self) -> None:
        self._stack.close()


def key(member: str, purpose: str) -> Ed25519PrivateKey:
    return private_key(member, purpose)
