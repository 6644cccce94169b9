"""Everything this validator signs, each kind with its own key (design D8). What may be signed is decided before."""

from __future__ import annotations

import logging

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consensus.types import Digest, Height, PublicKey, Signature, SignedVote, ValidatorIndex, Vote
from ledger.chain_checkpoint import ChainCheckpoint
from ledger.checkpoint import Checkpoint, cosignature, log_signature
from ledger.member import CHAIN
from ledger.payload import Payload, UnsignedPayload
from ledger.roster import Roster
from node.chain_key import ChainKey, load_chain_key
from node.config import NodeConfig
from node.keys import KeyFileError, load_private_key, public_bytes
from node.wire import ChainSignature, Cosignature, Hello

log = logging.getLogger(__name__)

VALIDATOR_KEYS = ("consensus", "log", "cosign")
"""Ed25519 keys of a seat. It needs the chain key too, and the peer key, which the network has."""
NEXT = "next"
"""keys/NAME.next.pem holds the key that takes over when a ROTATE_KEY takes effect."""


class KeyRing:
    """The private keys of one member's seat: of each purpose the one in use, and the next one where there is one.

    Never logs, never prints; `repr` shows the member only.
    """

    def __init__(self, config: NodeConfig) -> None:
        """Reads keys/NAME.pem and keys/NAME.next.pem, of which one must be there. Raises: KeyFileError."""
        self.member = config.member
        self._config = config
        self._keys = {name: load_keys(config, name) for name in VALIDATOR_KEYS}
        self._chain_keys = load_chain_keys(config)
        self._signers: dict[Digest, Signer | None] = {}
        """By the roster's digest: one for each epoch."""

    def renew(self) -> None:
        """Reads again what is in the folder: a key may have been put there since. One that was read stays known."""
        for name, known in self._keys.items():
            try:
                found = load_keys(self._config, name)
            except KeyFileError as error:
                log.error("%s; this node goes on with the keys it has read before", error)  # noqa: TRY400  one line
                continue
            public = {public_bytes(key) for key in known}
            self._keys[name] = (*known, *(key for key in found if public_bytes(key) not in public))
        try:
            chain = load_chain_keys(self._config)
        except KeyFileError as error:
            log.error("%s; this node goes on with the keys it has read before", error)  # noqa: TRY400  one line
        else:
            known_chain = {key.public for key in self._chain_keys}
            self._chain_keys = (*self._chain_keys, *(key for key in chain if key.public not in known_chain))

    def __repr__(self) -> str:
        return f"KeyRing({self.member})"

    def key(self, name: str, public_key: bytes) -> Ed25519PrivateKey | None:
        """The private half of a public key; None where it is not here."""
        return next((key for key in self._keys[name] if public_bytes(key) == public_key), None)

    def chain_key(self, public_key: bytes) -> ChainKey | None:
        """As `key`, of the keys for public chains."""
        return next((key for key in self._chain_keys if key.public == public_key), None)

    def missing(self, roster: Roster) -> tuple[str, ...]:
        """Purposes for which the roster names a key of this member's that is not here."""
        member = roster.member(self.member)
        if member is None:
            return ()
        absent = [name for name in VALIDATOR_KEYS if self.key(name, getattr(member.keys, name)) is None]
        return (*absent, *([CHAIN] if self.chain_key(member.keys.chain) is None else ()))

    def signer(self, roster: Roster) -> Signer | None:
        """Signs in that roster's epoch; None where this member has no seat in it, or not all of its keys are here."""
        if roster.digest not in self._signers:
            index = roster.validator_index(self.member)
            absent = index is None or self.missing(roster)
            self._signers[roster.digest] = None if absent else Signer(self, roster, ValidatorIndex(index or 0))
        return self._signers[roster.digest]


class Signer:
    """Signs as one validator of one epoch. Never logs, never prints; `repr` shows the member only."""

    def __init__(self, keys: KeyRing, roster: Roster, index: ValidatorIndex) -> None:
        """keys: hold all that the roster names for this member's seat."""
        self.roster = roster
        self.index = index
        self.member = roster.validator_members()[index]
        self._keys: dict[str, Ed25519PrivateKey] = {}
        for name in VALIDATOR_KEYS:
            key = keys.key(name, getattr(self.member.keys, name))
            assert key is not None, "a seat is taken with all of its keys"
            self._keys[name] = key
        chain = keys.chain_key(self.member.keys.chain)
        assert chain is not None, "a seat is taken with all of its keys"
        self._chain = chain

    def __repr__(self) -> str:
        return f"Signer({self.member.id})"

    def _consensus(self, message: bytes) -> Signature:
        return Signature(self._keys["consensus"].sign(message))

    @property
    def public_key(self) -> PublicKey:
        return public_bytes(self._keys["consensus"])

    def vote(self, vote: Vote) -> SignedVote:
        """The caller has persisted `vote`: a vote that is not on disk is never signed (design D4)."""
        assert vote.epoch == self.roster.epoch, "an engine votes in its own epoch"
        return SignedVote(
            vote=vote, voter=self.index, signature=self._consensus(vote.signing_bytes(self.roster.consortium))
        )

    def payload(self, unsigned: UnsignedPayload) -> Payload:
        return unsigned.signed(self._consensus(unsigned.signing_bytes))

    def checkpoint(self, checkpoint: Checkpoint, timestamp_s: int) -> Cosignature:
        """Both signatures over a checkpoint whose size the watermark already covers (design D8)."""
        return Cosignature(
            size=checkpoint.size,
            root=Digest(checkpoint.root),
            log=log_signature(checkpoint, public_key=self.member.keys.log, sign=self._keys["log"].sign),
            cosignature=cosignature(
                checkpoint,
                member_id=self.member.id,
                timestamp_s=timestamp_s,
                public_key=self.member.keys.cosign,
                sign=self._keys["cosign"].sign,
            ),
        )

    def chain_checkpoint(self, checkpoint: ChainCheckpoint) -> ChainSignature:
        """Over a checkpoint of this epoch that the watermark covers, and of whose end the store knows the one successor
        (node/chain_signing.py).
        """
        assert checkpoint.epoch == self.roster.epoch, "checkpoints are signed by the validators of their epoch"
        signature = self._chain.sign(checkpoint, self.roster.consortium)
        return ChainSignature(checkpoint=checkpoint, member=self.member.id, signature=signature)

    def hello(self, boot_generation: int, start: bytes, height: Height, version: str) -> Hello:
        unsigned = Hello(
            consortium=self.roster.consortium,
            boot_generation=boot_generation,
            start=start,
            height=height,
            version=version,
            signature=Signature(bytes(64)),
        )
        return Hello(
            consortium=unsigned.consortium,
            boot_generation=boot_generation,
            start=start,
            height=height,
            version=version,
            signature=self._consensus(unsigned.signing_bytes()),
        )


def load_keys(config: NodeConfig, name: str) -> tuple[Ed25519PrivateKey, ...]:
    """The key of that name, and its successor where there is one; either may be the only one. Raises: KeyFileError."""
    successor = config.key_path(f"{name}.{NEXT}")
    waiting = (load_private_key(successor),) if successor.exists() else ()
    if waiting and not config.key_path(name).exists():
        return waiting
    return (load_private_key(config.key_path(name)), *waiting)


def load_chain_keys(config: NodeConfig) -> tuple[ChainKey, ...]:
    """As `load_keys`, of the key for public chains. Raises: KeyFileError."""
    successor = config.key_path(f"{CHAIN}.{NEXT}")
    waiting = (load_chain_key(successor),) if successor.exists() else ()
    if waiting and not config.key_path(CHAIN).exists():
        return waiting
    return (load_chain_key(config.key_path(CHAIN)), *waiting)


def load_member_key(config: NodeConfig, name: str, roster: Roster) -> Ed25519PrivateKey:
    """The member's key for a purpose of which it has one at a time: the one that the roster names, if it is here.

    Raises: KeyFileError.
    """
    member, keys = roster.member(config.member), load_keys(config, name)
    wanted = None if member is None else getattr(member.keys, name)
    return next((key for key in keys if public_bytes(key) == wanted), keys[0])
