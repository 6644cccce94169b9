"""Which start of a node is which: numbered on disk, named by chance, signed; where there are two, one must stop.

A copy of a node's folder that runs beside it, or an older one that was restored, would vote twice in its member's name
(design D4; pitfall 2 of a fail-over pair). Peers remember the newest greeting of every member, and send it back to
whoever greets as an older start, or as another one of the same number. It is signed with the member's own key, so that
nobody else can make a node believe that it has a twin.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import replace

from consensus.errors import InvalidSignature, LocalError, MalformedMessage, PeerError
from consensus.types import Height
from ledger.ed25519 import verify_strict
from ledger.roster import Roster
from node.signer import Signer
from node.store.voting import VotingStore
from node.wire import START_BYTES, Hello, NodeMessage

log = logging.getLogger(__name__)

TWINS_LOGGED = 20
"""So often a node says that another process has its key; peers may repeat it for ever."""


class OldStart(PeerError):
    """A member greets with an older start of its node than before, or another of that number. known, got: numbers."""

    def __init__(self, member: str, known: int, got: int) -> None:
        after = f"after start {known}" if known != got else "while another process is that start too"
        super().__init__(
            f"{member} greets as start {got} {after}: an older state was restored there, or two processes "
            "share its key; its operator must look"
        )
        self.known = known
        self.got = got


class KeyInUse(LocalError):
    """Another start, newer or of the same number, greeted with this node's key. own, other: their numbers."""

    def __init__(self, own: int, other: int) -> None:
        super().__init__(
            f"this is start {own}, and another process greeted peers as start {other} with the same key: two processes "
            "share it, or an older copy of the data folder was restored. This node stops before it votes twice. End "
            "the other process if there is one, then start this node again: it follows, and votes once that is safe"
        )
        self.own = own
        self.other = other


class Greetings:
    """Greets peers, and remembers the newest greeting of each."""

    def __init__(
        self,
        *,
        roster: Roster,
        signer: Signer | None,
        voting: VotingStore,
        boot_generation: int,
        version: str,
        send: Callable[[str, NodeMessage], None],
        is_doubting: Callable[[], bool],
    ) -> None:
        """signer: None where this node has no seat, and so nothing to greet with.

        is_doubting: whether this node follows without voting until it knows that to be safe.
        """
        self._roster = roster
        self._signer = signer
        self._voting = voting
        self._is_doubting = is_doubting
        self.generation = boot_generation
        """Number of this start."""
        self._start = secrets.token_bytes(START_BYTES)
        self._version = version
        self._send = send
        self._height = Height(0)
        self._newest: dict[str, Hello] = {}
        self._seconds: dict[str, Hello] = {}
        """By member: of a second process with its key, for the first one, when that greets again."""
        self._twins_seen = 0
        self.generations: dict[str, int] = {}
        """By member: the highest number of a start it greeted with."""

    def begin(self, roster: Roster, signer: Signer | None) -> None:
        """The next epoch has begun. Who has a seat in it with another key starts to count anew."""
        for member in list(self._newest):
            old, new = self._roster.member(member), roster.member(member)
            if old is None or new is None or old.keys.consensus != new.keys.consensus:
                del self._newest[member]
                self._seconds.pop(member, None)
                self.generations.pop(member, None)
        self._roster = roster
        self._signer = signer

    def own(self, height: Height) -> Hello | None:
        """This start's greeting; None from a node without a seat. height: where the log stands."""
        self._height = height
        if self._signer is None:
            return None
        return self._signer.hello(self.generation, self._start, height, self._version)

    def known(self, member: str) -> Hello | None:
        """The newest greeting of a member: what a second process with its key is to hear."""
        return self._newest.get(member)

    def received(self, sender: str, hello: Hello) -> None:
        """A greeting of `sender`, or one in this node's name that `sender` got and sends back.

        Raises: MalformedMessage, InvalidSignature, OldStart (PeerError); KeyInUse, where this node must stop.
        """
        member = self._roster.member(sender)
        assert member is not None, "the loop hears only members"
        if hello.consortium != self._roster.consortium:
            raise MalformedMessage("hello", "consortium", "the digest of the same genesis")
        if verify_strict(member.keys.consensus, hello.signing_bytes(), hello.signature):
            self._of_peer(sender, hello)
        elif self._is_own(hello):
            self._in_own_name(sender, hello)
        else:
            raise InvalidSignature(sender, "its greeting")

    def _is_own(self, hello: Hello) -> bool:
        signer = self._signer
        return signer is not None and verify_strict(signer.public_key, hello.signing_bytes(), hello.signature)

    def _of_peer(self, sender: str, hello: Hello) -> None:
        known = self._newest.get(sender)
        if known is None or hello.boot_generation > known.boot_generation:
            self._newest[sender] = hello
            self.generations[sender] = hello.boot_generation
            if known is not None:
                # To who greeted, it is nothing new. An older start that still runs, and is the one connected, stops.
                self._send(sender, hello)
        elif (hello.boot_generation, hello.start) != (known.boot_generation, known.start):
            # Of two with one number the first stays: where a copy was restored, the second is the copy.
            # One of the two is connected, and which is not known here: the second stops, the first is told of it.
            self._send(sender, known)
            self._seconds[sender] = replace(hello, second=True)
            self._send(sender, self._seconds[sender])
            raise OldStart(sender, known.boot_generation, hello.boot_generation)
        elif sender in self._seconds:
            self._send(sender, self._seconds.pop(sender))

    def _in_own_name(self, sender: str, hello: Hello) -> None:
        same = (hello.boot_generation, hello.start) == (self.generation, self._start)
        if same:
            return
        if hello.second:
            self._twins_seen += 1
            if self._twins_seen <= TWINS_LOGGED:
                log.error(
                    "two processes share this node's key: start %d greeted %s beside this one, %d, and was told to "
                    "stop; see that it has, and find out where it ran", hello.boot_generation, sender, self.generation,
                )  # fmt: skip
            return
        if hello.boot_generation < self.generation:
            return  # of an earlier start: whoever repeats it proves nothing
        # On disk before anything else, so that whoever starts this node again gets one that doubts its votes.
        self._voting.doubt(hello.boot_generation)
        if not self._is_doubting():
            raise KeyInUse(self.generation, hello.boot_generation)
        # With its votes this node lost the count of its starts. It does not vote, so it need not stop: it counts on.
        self.generation = self._voting.next_boot_generation()
        greeting = self.own(self._height)
        assert greeting is not None, "it has just been greeted in its own name"
        self._send(sender, greeting)
