"""What validators say to each other about consensus. Values only: encoding for the wire is the node's business."""

from __future__ import annotations

from dataclasses import dataclass

from consensus.types import Block, Certificate, Digest, Height, SignedVote, View

NULLIFICATIONS_MAX = 64
"""Views a proposal may skip over, each with its nullification."""
CERTIFICATES_MAX = 128
"""Certificates in one answer."""
BLOCKS_MAX = 64
"""Blocks in one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A leader's block, authenticated by the leader's own notarize vote for it, with what justifies its parent.

    parent: notarization or finalization of the parent; None where the parent is the genesis block.
    nullifications: one for every view between parent and block, ascending; of more than NULLIFICATIONS_MAX the highest.
    """

    block: Block
    vote: SignedVote
    parent: Certificate | None
    nullifications: tuple[Certificate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRequest:
    """Asks for what moves a node on: the latest finalization and the certificates of views from `from_view` up."""

    from_view: View


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Answer to a CertificateRequest, ascending by view; at most CERTIFICATES_MAX."""

    certificates: tuple[Certificate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRequest:
    """Asks for a block by digest (one that a certificate names and the asker lacks)."""

    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRequest:
    """Asks for finalized blocks from `from_height` up, as many as fit, ending at one with its own finalization."""

    from_height: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Consecutive finalized blocks and the finalization of the last one: proves itself to whoever knows its start."""

    blocks: tuple[Block, ...]
    finalization: Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockReply:
    """Answer to a BlockRequest."""

    block: Block


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewRequest:
    """A node that cannot trust its own voting state asks where the others are (design D4, persist before send).

    nonce: 16 bytes, echoed, so that an old answer cannot be replayed.
    """

    nonce: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewReply:
    """The certificate of the highest view the answering node has one for; None before view 1 ended."""

    nonce: bytes
    highest: Certificate | None


Message = (
    Proposal | SignedVote | Certificate | CertificateRequest | Certificates | BlockRequest | BlockReply
    | ChainRequest | Chain | ViewRequest | ViewReply
)  # fmt: skip
