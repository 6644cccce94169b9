"""Finalized chains between a node that syncs and one that serves it: cut into pieces here, proven final there.

A piece is some blocks that end at one with its own finalization, and is committed as a whole: so whoever serves cuts
pieces that are small enough to be held in memory, and whoever syncs takes no larger ones.
"""

from __future__ import annotations

from consensus.chain import CHAIN_BLOCKS_MAX, check_chain
from consensus.errors import InvalidBlock, MalformedMessage, PeerError
from consensus.events import Commit
from consensus.messages import BLOCKS_MAX, Chain
from consensus.types import Block, Committee, Height
from ledger.ed25519 import verify_strict
from node.courier import encode_chain
from node.store.chain import ChainStore
from node.wire import ChainFetch, decode_contents, decode_envelope

PIECE_PAYLOADS_MAX = 64
PIECE_CLAIMS_MAX = 16_384
"""Leaves and claims of one piece, where it has more than one block: as many as one catalogue may have."""
ANSWER_CHAINS_MAX = 256
ANSWER_BYTES_MAX = 512 * 1024


class PieceTooLarge(PeerError):
    """A peer cuts its chain into pieces that this node would not hold in memory."""

    def __init__(self, payloads: int, payloads_max: int) -> None:
        super().__init__(
            f"a piece of its chain orders {payloads} payloads; pieces of several blocks at most {payloads_max}"
        )


def answer_chains(store: ChainStore, fetch: ChainFetch) -> tuple[bytes | None, ...]:
    """Pieces of the chain from a height up, encoded; one None where this node has none."""
    contents: list[bytes | None] = []
    height, total = int(fetch.from_height), 0
    while len(contents) < ANSWER_CHAINS_MAX and total < ANSWER_BYTES_MAX:
        piece = cut_piece(store, height)
        if piece is None:
            break
        contents.append(encode_chain(piece))
        total += len(contents[-1] or b"")
        height = _last_height(piece) + 1
    return tuple(contents) or (None,)


def cut_piece(store: ChainStore, height: int) -> Chain | None:
    """Blocks from `height` up that end at a finalized one: as many as are within the bounds, if any are."""
    for limit in (BLOCKS_MAX, 16, 4, 1):
        piece = store.blocks_from(height, limit)
        if piece is not None and _fits(store, piece, height):
            return piece
    # So many in a row have no finalization of their own, or the first alone is as large: it cannot be cut smaller.
    return store.blocks_from(height, 1) or store.blocks_from(height, BLOCKS_MAX) or store.blocks_from(
        height, CHAIN_BLOCKS_MAX
    )  # fmt: skip


def _last_height(piece: Chain) -> int:
    """Of its last block that enters the ledger; what follows a boundary only proves it."""
    return next((b.height for b in piece.blocks if b.is_boundary), piece.blocks[-1].height)


def _fits(store: ChainStore, piece: Chain, height: int) -> bool:
    if sum(len(block.payloads) for block in piece.blocks) > PIECE_PAYLOADS_MAX:
        return False
    before, after = store.totals_after(height - 1), store.totals_after(_last_height(piece))
    return sum(after) - sum(before) <= PIECE_CLAIMS_MAX


def read_chains(answer: bytes) -> tuple[Chain, ...]:
    """Inverse of what `answer_chains` gives, encoded; empty where the peer has none. Raises: MalformedMessage."""
    contents = decode_contents(answer, None)
    if len(contents) > ANSWER_CHAINS_MAX:
        raise MalformedMessage("fetch response", "contents", f"at most {ANSWER_CHAINS_MAX}, got {len(contents)}")
    chains = []
    for content in contents:
        if content is None:
            continue
        message = decode_envelope(content).message
        if not isinstance(message, Chain):
            raise MalformedMessage("fetch response", "contents", f"chains, got a {type(message).__name__}")
        chains.append(message)
    return tuple(chains)


def check_pieces(
    head: Block, committee: Committee, chains: tuple[Chain, ...], *, payloads_max: int = PIECE_PAYLOADS_MAX
) -> list[Commit]:
    """What the chains, one after the other, make final above `head`; the last may end the epoch, none goes beyond.

    head: final already. committee: of the epoch of the block after it. Raises: PeerError at the first that is wrong.
    """
    commits: list[Commit] = []
    for chain in chains:
        commit = check_piece(head, committee, chain)
        payloads = sum(len(block.payloads) for block in commit.blocks)
        if len(commit.blocks) > 1 and payloads > payloads_max:
            raise PieceTooLarge(payloads, payloads_max)
        commits.append(commit)
        head = commit.blocks[-1]
        if commit.ends_epoch:
            break
    return commits


def check_piece(head: Block, committee: Committee, chain: Chain) -> Commit:
    """The commit that a chain proves, if it follows right after `head`. Raises: PeerError."""
    check_chain(chain.blocks, chain.finalization, committee, verify_strict, head=head)
    boundary = next((n + 1 for n, block in enumerate(chain.blocks) if block.is_boundary), None)
    for block in chain.blocks[boundary:] if boundary is not None else ():
        if block.payloads or block.is_boundary:
            raise InvalidBlock(block.view, "payloads", "follows the last block of the epoch and is not empty")
    return Commit(
        blocks=chain.blocks[:boundary],
        proof=() if boundary is None else chain.blocks[boundary:],
        finalization=chain.finalization,
    )


def next_height(commits: list[Commit], head: Block) -> Height:
    """The first height above `head` and all of `commits`."""
    return Height((commits[-1].blocks[-1] if commits else head).height + 1)
