"""Targets of what comes in by network, gRPC and files: frames, messages, gossip, requests, configuration, audio."""

from __future__ import annotations

import io
import itertools
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import soundfile
import trio
from google.protobuf.message import DecodeError
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamError

from catalog.audio import inspect_audio
from catalog.fingerprint import parse_answer
from catalog.manifest import TrackRecord
from catalog.scan import LeftOut
from consensus.engine import Engine
from consensus.errors import MalformedMessage, RequestError
from consensus.events import Connected, PayloadsHeld, Received, Restored, Sign, Signed, Tick
from consensus.messages import CertificateRequest, Certificates, Chain, ChainRequest, Proposal
from consensus.types import PublicKey, Signature, ValidatorIndex, View, VoteKind, genesis_block, nullify
from ledger.checkpoint import Checkpoint, cosignature, log_signature
from ledger.identifiers import GRID, ISRC, ISWC, UPC
from node import wire
from node.config import ConfigError, load_config
from node.network.frames import FrameReader, encode_frame
from node.network.gossip import SafePubsub
from node.network.requests import SyncKind, encode_sync, parse_sync
from node.network.values import FRAME_BYTES_MAX, StreamClass
from node.rpc.calls import decode
from node.rpc.errors import MalformedRequest
from node.sync_chain import read_chains
from node.sync_pin import PinUnusable, read_pin
from protos import stretto_pb2 as pb
from tests.catalog import audio_files, test_manifest
from tests.consensus import toys
from tests.fuzz.target import Target, canonical, holds, stable
from tests.ledger import test_chain_misbehaviour as chain
from tests.ledger import test_policy
from tests.ledger.builders import make_catalogue, make_consortium
from tests.ledger.keys import TestKey
from tests.node.test_config import GOOD, PEERS

_MESSAGE = (MalformedMessage,)

# ---- peers' messages -------------------------------------------------------------------------------------------------


@cache
def _messages() -> tuple[wire.NodeMessage, ...]:
    committee = toys.committee_of(4)
    block = toys.child(committee, payloads=(toys.payload(1),))
    notarized = toys.notarization(committee, block)
    vote = toys.signed(committee, 1, toys.vote_for(VoteKind.NOTARIZE, block))
    next_block = toys.child(committee, block)
    checkpoint = Checkpoint(origin="log.example/music", size=3, root=block.digest)
    log, cosign = TestKey("court/log"), TestKey("court/cosign")
    return (
        Proposal(block=block, vote=toys.signed(committee, block.proposer, vote.vote), parent=None, nullifications=()),
        Proposal(
            block=next_block,
            vote=toys.signed(committee, next_block.proposer, toys.vote_for(VoteKind.NOTARIZE, next_block)),
            parent=notarized,
            nullifications=(toys.nullification(committee, 2),),
        ),
        vote,
        notarized,
        toys.signed(committee, 3, nullify(committee.epoch, View(1))),
        CertificateRequest(from_view=View(1)),
        Certificates(certificates=(notarized, toys.nullification(committee, 2))),
        ChainRequest(from_height=cast(Any, 1)),
        Chain(blocks=(block,), finalization=toys.finalization(committee, block)),
        wire.Cosignature(
            size=3,
            root=checkpoint.root,
            log=log_signature(checkpoint, public_key=log.public, sign=log.sign),
            cosignature=cosignature(
                checkpoint, member_id="court", timestamp_s=9, public_key=cosign.public, sign=cosign.sign
            ),
        ),
        wire.CosignatureRequest(size=3),
        *(
            wire.ChainSignature(checkpoint=each.checkpoint, member="court", signature=each.signature)
            for each in (chain.TWO_ROOTS.first, chain.sign(chain.END))
        ),
        wire.ChainSignatureRequest(size=3),
        wire.Hello(
            consortium=toys.CONSORTIUM, boot_generation=3, start=bytes(16), height=cast(Any, 5), version="1",
            signature=Signature(bytes(64)),
        ),
    )  # fmt: skip


def _frames() -> list[bytes]:
    return [wire.encode(message) for message in _messages()]


def _chains() -> list[bytes]:
    chains = [wire.encode(message) for message in _messages() if isinstance(message, Chain)]
    return [
        wire.encode_contents(tuple(chains)),
        wire.encode_contents((*chains, *chains)),
        wire.encode_contents((None,)),
    ]


def _fetches() -> list[bytes]:
    return [wire.encode_fetch(wire.Fetch(payloads=flag, digests=(toys.payload(1),))) for flag in (True, False)]


def _cut(data: bytes) -> Iterator[bytes]:
    """Pieces that say their own length, in two bytes."""
    at = 0
    while at + 2 <= len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        yield data[at + 2 : at + 2 + length]
        at += 2 + length


def _joined(*pieces: bytes) -> bytes:
    return b"".join(len(piece).to_bytes(2, "big") + piece for piece in pieces)


def _engine(data: bytes) -> object:
    """One Byzantine validator says all this to an engine, which must take it without an exception.

    Its own signatures are valid whatever it signs; the others' are valid where they really made them.
    """
    committee, liar = toys.committee_of(4), 3

    def verify(key: PublicKey, message: bytes, signature: Signature) -> bool:
        return key == toys.key_of(liar) or toys.verify(key, message, signature)

    engine = Engine(
        committee=committee,
        me=ValidatorIndex(0),
        verify=verify,
        restored=Restored(head=genesis_block(committee), finalization=None),
        seed=bytes(32),
    )
    now = itertools.count(1000, 40)
    engine.step(Tick(monotonic_ms=next(now), wall_ms=10_000))
    for piece in itertools.islice(_cut(data), 64):
        try:
            message = wire.decode(piece)
        except MalformedMessage:
            continue
        if isinstance(message, wire.Signing | wire.Hello):
            continue
        ms = next(now)
        for event in (
            Tick(monotonic_ms=ms, wall_ms=ms),
            Connected(peer=ValidatorIndex(liar)),
            PayloadsHeld(digests=(toys.payload(1),), order=True),
            Received(sender=ValidatorIndex(liar), message=message),
        ):
            for output in engine.step(event):
                if isinstance(output, Sign):
                    engine.step(Signed(vote=toys.signed(committee, 0, output.vote)))
    return engine.status()


def _frame_reader(data: bytes) -> object:
    """In pieces as on a wire, and whole: the same frames, or the same refusal; never more held than a frame."""
    limit = 1024

    def read(pieces: Iterator[bytes]) -> list[bytes] | None:
        reader, found = FrameReader("fuzz", limit), []
        try:
            for piece in pieces:
                found += reader.feed(piece)
                holds(reader.held_bytes <= limit + 4, "no more than a frame is held")
        except MalformedMessage:
            return None
        return found

    step = 1 + len(data) % 7
    whole = read(iter([data]))
    holds(whole == read(data[at : at + step] for at in range(0, len(data), step)), "pieces make no difference")
    if whole is None:
        raise MalformedMessage("frame", "length", "honest")
    holds(data.startswith(b"".join(encode_frame(frame) for frame in whole)), "frames are what was sent")
    return whole


# ---- libp2p, as far as our guards reach ------------------------------------------------------------------------------

TOPIC = "stretto/fuzz/payloads"


def _pubsub() -> tuple[SafePubsub, list[bytes]]:
    """A SafePubsub without a host: what it does with an RPC before anything of libp2p's own sees it."""
    delivered: list[bytes] = []
    pubsub = cast(Any, SafePubsub.__new__(SafePubsub))
    pubsub._topic = TOPIC
    pubsub._members = lambda: {str(ID(b"member")): "court"}
    pubsub._me = "nobody"
    pubsub._deliver = lambda _member, frame: delivered.append(frame)
    return pubsub, delivered


def _gossip(data: bytes) -> object:
    rpc = rpc_pb2.RPC()
    rpc.ParseFromString(data)
    pubsub, delivered = _pubsub()
    for message in rpc.publish:
        if pubsub._is_acceptable(message):
            holds(list(message.topicIDs) == [TOPIC] and message.data, "only our topic's, and only with content")
            pubsub.notify_subscriptions(message)
    control = pubsub._bounded(rpc.control)
    for part in (control.ihave, control.graft, control.prune):
        holds(all(each.topicID == TOPIC for each in part), "only our topic's")
        holds(len(part) <= 64, "bounded")
    holds(not any(prune.peers for prune in control.prune), "nobody's addresses")
    return delivered


def _rpcs() -> list[bytes]:
    rpc = rpc_pb2.RPC()
    rpc.publish.add(from_id=b"member", data=b"payload", seqno=bytes(8), topicIDs=[TOPIC], signature=b"s", key=b"k")
    rpc.subscriptions.add(subscribe=True, topicid=TOPIC)
    rpc.control.ihave.add(topicID=TOPIC, messageIDs=[b"a", b"b"])
    rpc.control.iwant.add(messageIDs=[b"a"])
    rpc.control.graft.add(topicID=TOPIC)
    rpc.control.prune.add(topicID=TOPIC, backoff=60)
    return [rpc.SerializeToString()]


def _yamux(data: bytes) -> object:
    """Decrypted bytes of a member into our multiplexer: it ends the connection or goes on, and bounds what it holds."""
    from node.network import muxer
    from node.network.tally import Tally

    class FakeLine:
        is_clear = True

        def __init__(self) -> None:
            self.left = [data[at : at + 512] for at in range(0, len(data), 512)]

        async def receive(self) -> bytes:
            await trio.lowlevel.checkpoint()
            if not self.left:
                raise muxer.LineClosed(clean=True)
            return self.left.pop(0)

        def send_now(self, frame: bytes) -> None:
            assert len(frame) >= 12

        async def drain(self) -> None:
            pass

    async def feed() -> object:
        conn = SimpleNamespace(is_initiator=False, close=_nothing, remote_peer=ID(b"member"))
        settings = muxer.MuxerSettings(keepalive_s=1e6, silence_s_max=1e6, tally=Tally(), enforce=False)
        yamux = muxer.BoundedYamux(cast(Any, conn), ID(b"member"), settings)
        # Made without, because its line would want a real socket.
        yamux._settings = replace(settings, enforce=True)
        yamux._line = cast(Any, FakeLine())

        async def accept() -> None:
            with suppress(MuxedStreamError, MuxedConnUnavailable, trio.EndOfChannel, trio.ClosedResourceError):
                while True:
                    await yamux.accept_stream()

        with trio.fail_after(4):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept)
                await yamux.handle_incoming()
                nursery.cancel_scope.cancel()
        held = sum(len(buffer) for buffer in yamux.stream_buffers.values())
        holds(held <= muxer.CONNECTION_BYTES_MAX, "what is unread is bounded")
        return yamux

    return trio.run(feed)


async def _nothing() -> None:
    pass


def _yamux_seeds() -> list[bytes]:
    from node.network.muxer import HEADER

    opened = HEADER.pack(0, 1, 1, 1, 0)
    return [
        opened + HEADER.pack(0, 0, 0, 1, 5) + b"hello" + HEADER.pack(0, 1, 4, 1, 0),
        HEADER.pack(0, 2, 1, 0, 7) + HEADER.pack(0, 3, 0, 0, 0),
        b"".join(HEADER.pack(0, 0, 1, 2 * i + 1, 3) + b"abc" for i in range(40)),
    ]


# ---- gRPC ------------------------------------------------------------------------------------------------------------

_REQUESTS: tuple[type[Any], ...] = (
    pb.SubmitStatementRequest, pb.SubmitStatementsRequest, pb.QueryClaimsRequest, pb.VerifyEvidenceRequest,
    pb.ListMisbehaviourRequest,
)  # fmt: skip


def _requests(data: bytes) -> object:
    """The first byte says of which call."""
    kind = _REQUESTS[(data[0] if data else 0) % len(_REQUESTS)]
    return decode(kind, data[1:])


def _request_seeds() -> list[bytes]:
    statement = make_consortium().sign(make_catalogue(2).header)
    return [
        b"\x00" + pb.SubmitStatementRequest(statement=statement, wait=True).SerializeToString(),
        b"\x01" + pb.SubmitStatementsRequest(statements=[statement], chunks=[b"x"]).SerializeToString(),
        b"\x02" + pb.QueryClaimsRequest(isrc="CNA012600001", limit=3).SerializeToString(),
    ]


# ---- files and words of operators and members ------------------------------------------------------------------------


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="stretto-fuzz-")


def _config(data: bytes) -> object:
    path = Path(_folder().name) / "config.toml"
    path.write_bytes(data)
    return load_config(path)


def _pin(data: bytes) -> object:
    path = Path(_folder().name) / "pin"
    path.write_bytes(data)
    return read_pin(path, test_policy.CHECKPOINT.origin)


def _identifier(data: bytes) -> object:
    scheme = (ISRC, ISWC, UPC, GRID)[(data[0] if data else 0) % 4]
    found = scheme.parse(data[1:].decode("utf-8", "surrogateescape"), "field")
    holds(scheme.parse(found, "field") == found, "what was read is written as it is read")
    return found


def _audio(data: bytes) -> object:
    path = Path(_folder().name) / "audio"
    path.write_bytes(data)
    return inspect_audio(path)


def _audio_seeds() -> list[bytes]:
    """Some hundredths of a second in every format that something here can write."""
    made = []
    for kind in audio_files.KINDS:
        buffer = io.BytesIO()
        rate_hz = 48_000 if kind.subtype == "OPUS" else audio_files.RATE_HZ
        soundfile.write(buffer, audio_files.tone()[:3000], rate_hz, format=kind.format, subtype=kind.subtype)
        made.append(buffer.getvalue())
    entries = [
        audio_files.sound_entry(kind, audio_files.box(inside, bytes(48)))
        for kind, inside in ((b"alac", b"alac"), (b"fLaC", b"dfLa"), (b"mp4a", b"esds"))
    ]
    return [*made, audio_files.m4a(), *(audio_files.m4a(entry=entry) for entry in entries)]


EDGES = (
    Target(
        name="peer-message",
        run=stable(wire.decode_envelope, lambda value: wire.encode(cast(Any, value).message, cast(Any, value).epoch)),
        seeds=_frames,
        errors=_MESSAGE,
    ),
    Target(name="engine", run=_engine, seeds=lambda: [_joined(*_frames()), _joined(*reversed(_frames()))]),
    Target(
        name="fetch",
        run=stable(wire.decode_fetch, lambda value: wire.encode_fetch(cast(Any, value))),
        seeds=_fetches,
        errors=_MESSAGE,
    ),
    Target(
        name="contents",
        run=stable(lambda data: wire.decode_contents(data, None), lambda value: wire.encode_contents(cast(Any, value))),
        seeds=lambda: [wire.encode_contents((b"one", None, b"x" * 300))],
        errors=_MESSAGE,
    ),
    Target(name="sync-chains", run=read_chains, seeds=_chains, errors=_MESSAGE),
    Target(
        name="pin",
        run=_pin,
        seeds=lambda: [test_policy.note_by("court", "label", "society").encode()],
        errors=(PinUnusable,),
    ),
    Target(
        name="sync-frame",
        run=canonical(parse_sync, lambda value: encode_sync(*cast(Any, value))),
        seeds=lambda: [encode_sync(SyncKind.REQUEST, 7, b"x"), encode_sync(SyncKind.MESSAGE, 0, b"yz")],
        errors=_MESSAGE,
    ),
    Target(
        name="frame",
        run=_frame_reader,
        seeds=lambda: [b"".join(encode_frame(b"x" * n) for n in (1, 2, 300)), encode_frame(b"y") + b"\x00\x00"],
        errors=_MESSAGE,
    ),
    Target(name="gossip", run=_gossip, seeds=_rpcs, errors=(DecodeError,)),
    Target(name="yamux", run=_yamux, seeds=_yamux_seeds),
    Target(name="request", run=_requests, seeds=_request_seeds, errors=(MalformedRequest,)),
    Target(name="config", run=_config, seeds=lambda: [(GOOD + PEERS).encode()], errors=(ConfigError,)),
    Target(
        name="identifier",
        run=_identifier,
        seeds=lambda: [b"\x00CNA012600001", b"\x01T-034.524.680-1", b"\x02036000291452"],
        errors=(RequestError,),
    ),
    Target(
        name="manifest-line",
        run=stable(TrackRecord.parse, lambda record: cast(TrackRecord, record).encode()),
        seeds=lambda: [test_manifest.PLAIN.encode()],
        errors=(ValueError,),
    ),
    Target(
        name="fingerprint",
        run=parse_answer,
        seeds=lambda: [b'{"duration": 9.9, "fingerprint": [1, 4294967295, 7]}'],
    ),
    Target(name="audio", run=_audio, seeds=_audio_seeds, errors=(LeftOut,)),
)
assert FRAME_BYTES_MAX[StreamClass.GOSSIP] > 64, "an honest message fits"
