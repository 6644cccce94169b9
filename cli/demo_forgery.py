"""A forger's best try: a complete, self-consistent evidence file, signed by four validators that nobody elected.

Every signature in it verifies, every proof adds up, and the institutions carry the real ones' names. Only the keys are
others; so it falls against the genuine genesis, and against nothing else. The demonstration offers it to be refused.
"""

from __future__ import annotations

import secrets

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consensus.types import (
    Block,
    Certificate,
    PublicKey,
    Signature,
    ValidatorIndex,
    View,
    Vote,
    VoteKind,
    genesis_block,
)
from ledger import secp256k1
from ledger.chain_key import prove_possession
from ledger.checkpoint import Checkpoint, checkpoint_note, cosignature, log_signature
from ledger.claim import Claim
from ledger.evidence import build_bundle
from ledger.genesis import Genesis, Member, MemberKeys, encode_genesis, parse_genesis
from ledger.member import ED25519_PURPOSES
from ledger.merkle import Frontier
from ledger.payload import build_payload
from ledger.statement import parse_statement, sign_statement
from node.keys import public_bytes

Keys = dict[str, Ed25519PrivateKey]


def forged_bundle(genuine: Genesis, claim: Claim, issuer: str, time_ms: int) -> bytes:
    """Evidence that `issuer` claimed `claim` at `time_ms`, made up by somebody who knows everything but the keys."""
    keys = {member.id: {name: Ed25519PrivateKey.generate() for name in ED25519_PURPOSES} for member in genuine.members}
    genesis = _invent(genuine, keys)
    statement = sign_statement(
        claim,
        client_ref="forged-1",
        issuer=issuer,
        public_key=public_bytes(keys[issuer]["statement"]),
        consortium=genesis.digest,
        sign=keys[issuer]["statement"].sign,
    )
    author = genesis.validator_members()[0].id
    unsigned = build_payload(
        [statement],
        consortium=genesis.digest,
        epoch=genesis.committee().epoch,
        author=ValidatorIndex(0),
        sequence=1,
        created_ms=time_ms,
    )
    payload = unsigned.signed(keys[author]["consensus"].sign(unsigned.signing_bytes))
    root = genesis_block(genesis.committee())
    block = Block(
        consortium=genesis.digest,
        epoch=root.epoch,
        view=View(1),
        height=type(root.height)(1),
        parent_view=root.view,
        parent=root.digest,
        timestamp_ms=time_ms,
        proposer=genesis.committee().leader(View(1)),
        payloads=(payload.digest,),
    )
    return build_bundle(
        genesis=genesis,
        statement=statement,
        index=0,
        path=(),
        note=_note(genesis, keys, parse_statement(statement).digest, time_ms),
        blocks=[block],
        finalization=_finalization(genesis, keys, block),
        payload=payload.encode(),
        claims=None,
        position=None,
        exporter=author,
        exported_ms=time_ms,
        sign=keys[author]["export"].sign,
    )


def _invent(genuine: Genesis, keys: dict[str, Keys]) -> Genesis:
    """The same consortium on paper: same name, origin, members and roles; other keys."""
    members = [
        Member(
            id=member.id,
            name=member.name,
            role=member.role,
            validator=member.validator,
            keys=_public_keys(keys[member.id], member.id),
        )
        for member in genuine.members
    ]
    encoded = encode_genesis(name=genuine.name, origin=genuine.origin, parameters=genuine.parameters, members=members)
    return parse_genesis(encoded)


def _public_keys(keys: Keys, member_id: str) -> MemberKeys:
    secret = secrets.token_bytes(secp256k1.SECRET_BYTES)
    return MemberKeys(
        **{name: public_bytes(key) for name, key in keys.items()},
        chain=PublicKey(secp256k1.public_key(secret)),
        chain_proof=prove_possession(secret, member_id),
    )


def _note(genesis: Genesis, keys: dict[str, Keys], entry: bytes, time_ms: int) -> bytes:
    checkpoint = Checkpoint(origin=genesis.origin, size=1, root=Frontier().append(entry).root())
    validators = genesis.validator_members()
    log_lines = [log_signature(checkpoint, public_key=m.keys.log, sign=keys[m.id]["log"].sign) for m in validators]
    cosignatures = [
        cosignature(
            checkpoint,
            member_id=m.id,
            timestamp_s=time_ms // 1000,
            public_key=m.keys.cosign,
            sign=keys[m.id]["cosign"].sign,
        )
        for m in validators
    ]
    return checkpoint_note(checkpoint, log_lines, cosignatures).encode()


def _finalization(genesis: Genesis, keys: dict[str, Keys], block: Block) -> Certificate:
    vote = Vote(kind=VoteKind.FINALIZE, epoch=block.epoch, view=block.view, height=block.height, block=block.digest)
    signing_bytes = vote.signing_bytes(genesis.digest)
    validators = genesis.validator_members()
    return Certificate(
        vote=vote,
        signers=tuple(ValidatorIndex(i) for i in range(len(validators))),
        signatures=tuple(Signature(keys[m.id]["consensus"].sign(signing_bytes)) for m in validators),
    )
