"""Everything this validator signs, each kind with its own key (design D8). What may be signed is decided before."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consensus.errors import LocalError
from consensus.types import Digest, Height, PublicKey, Signature, SignedVote, ValidatorIndex, Vote
from ledger.checkpoint import Checkpoint, cosignature, log_signature
from ledger.genesis import Genesis, Member
from ledger.payload import Payload, UnsignedPayload
from node.config import NodeConfig
from node.keys import load_private_key, public_bytes
from node.wire import Cosignature, Hello

VALIDATOR_KEYS = ("consensus", "log", "cosign")


class KeyNotInGenesis(LocalError):
    """A key file whose public half is not the member's in the genesis: the node would speak in a voice nobody knows."""

    def __init__(self, member: str, name: str) -> None:
        super().__init__(
            f"keys/{name}.pem is not the {name} key of member {member} in the genesis: "
            "restore the right key file, or check that genesis.json is this consortium's"
        )
        self.member = member
        self.name = name


class Signer:
    """Holds the private keys of one validator. Never logs, never prints; `repr` shows the member only."""

    def __init__(self, config: NodeConfig, genesis: Genesis, member: Member) -> None:
        """Raises: KeyFileError, KeyNotInGenesis."""
        self.genesis = genesis
        self.member = member
        self.index = ValidatorIndex(genesis.validator_members().index(member))
        self._keys: dict[str, Ed25519PrivateKey] = {}
        for name in VALIDATOR_KEYS:
            key = load_private_key(config.key_path(name))
            if public_bytes(key) != getattr(member.keys, name):
                raise KeyNotInGenesis(member.id, name)
            self._keys[name] = key

    def __repr__(self) -> str:
        return f"Signer({self.member.id})"

    def _consensus(self, message: bytes) -> Signature:
        return Signature(self._keys["consensus"].sign(message))

    @property
    def public_key(self) -> PublicKey:
        return public_bytes(self._keys["consensus"])

    def vote(self, vote: Vote) -> SignedVote:
        """The caller has persisted `vote`: a vote that is not on disk is never signed (design D4)."""
        return SignedVote(
            vote=vote, voter=self.index, signature=self._consensus(vote.signing_bytes(self.genesis.digest))
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

    def hello(self, boot_generation: int, start: bytes, height: Height, version: str) -> Hello:
        unsigned = Hello(
            consortium=self.genesis.digest,
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
