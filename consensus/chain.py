"""Whether consecutive blocks are proven final: the one check of whoever takes a chain from a peer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from consensus.certificates import check_certificate
from consensus.errors import InvalidBlock, MalformedMessage
from consensus.types import Block, Certificate, Committee, SignedVote, VerifySignature, VoteKind

CHAIN_BLOCKS_MAX: Final = 1024
"""Blocks in one Chain. More than BLOCKS_MAX only where so many in a row have no finalization of their own."""


def check_chain(
    blocks: tuple[Block, ...],
    finalization: Certificate,
    committee: Committee,
    verify: VerifySignature,
    *,
    head: Block | None = None,
    is_verified: Callable[[SignedVote], bool] = lambda _: False,
) -> None:
    """Whether the last block is final and the others are its ancestors, all of the committee's epoch.

    head: the block that the first must follow; None where the chain may start anywhere. is_verified: as in
    `check_certificate`.
    Raises: MalformedMessage, InvalidBlock, WrongEpoch, UnknownValidator, TooFewSigners, InvalidSignature.
    """
    if not 1 <= len(blocks) <= CHAIN_BLOCKS_MAX:
        raise MalformedMessage("chain", "blocks", f"1 to {CHAIN_BLOCKS_MAX}, got {len(blocks)}")
    parent = head
    for block in blocks:
        if parent is not None:
            check_link(parent, block)
        if block.consortium != committee.consortium or block.epoch != committee.epoch:
            raise InvalidBlock(block.view, "epoch", f"not of epoch {committee.epoch} of this consortium")
        parent = block
    last, vote = blocks[-1], finalization.vote
    if (vote.kind, vote.view, vote.height, vote.block) != (VoteKind.FINALIZE, last.view, last.height, last.digest):
        raise MalformedMessage("chain", "finalization", f"a finalization of block {last.digest.hex()}")
    check_certificate(finalization, committee, verify, is_verified)


def check_link(parent: Block, block: Block) -> None:
    """Whether `block` follows `parent` and names it rightly. Raises: InvalidBlock."""
    if (block.parent, block.height, block.parent_view) != (parent.digest, parent.height + 1, parent.view):
        raise InvalidBlock(block.view, "parent", f"does not follow block {parent.digest.hex()}")
