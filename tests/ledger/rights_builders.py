"""Terms of mints and contents of rights statements for tests: valid ones, and Hypothesis strategies that make them."""

from __future__ import annotations

import hashlib
from typing import Any

from hypothesis import strategies as st

from consensus.types import Digest
from ledger.address import NOBODY
from ledger.mint_terms import MintTerms, Payee, ResaleBasis
from ledger.rights_content import (
    POSITION_MAX,
    UNTIL_MS_MAX,
    CourtAction,
    CourtOrder,
    Dispute,
    DisputeOutcome,
    Mint,
    MintsFate,
    Resolve,
    Respond,
    RightsContent,
    Supersede,
    Transfer,
    Withdraw,
)
from tests.ledger.builders import make_claim


def digest_of(words: str) -> Digest:
    return Digest(hashlib.sha256(words.encode()).digest())


CLAIM, HEAD, DISPUTED = digest_of("a claim"), digest_of("a head"), digest_of("a dispute")
_ON = {"claim": CLAIM, "position": 0}
_AT = {**_ON, "head": HEAD}


def account(number: int) -> bytes:
    """An address of nobody's; not zero."""
    return number.to_bytes(20, "big")


def make_terms(**changes: Any) -> MintTerms:
    values: dict[str, Any] = {
        "chain_id": 32769,
        "nft": account(1),
        "minter": account(2),
        "claim": CLAIM,
        "position": 0,
        "edition": 1,
        "editions": 1,
        "title": "Opus 1",
        "payees": (Payee(account=account(3), share=10_000),),
        "sale_floor": 1_000,
        "royalty_to": account(3),
        "royalty": 2_000,
    }
    return MintTerms(**(values | changes))


CONTENTS: dict[str, RightsContent] = {
    "dispute": Dispute(**_ON, grounds="We recorded this ourselves in 2019."),
    "respond": Respond(**_AT, dispute=DISPUTED, text="The session's contract is enclosed."),
    "drop": Resolve(**_AT, dispute=DISPUTED, outcome=DisputeOutcome.DROPPED),
    "concede": Resolve(**_AT, dispute=DISPUTED, outcome=DisputeOutcome.CONCEDED),
    "withdraw": Withdraw(**_AT, reason="Sent by mistake."),
    "transfer": Transfer(**_AT, to="society"),
    "supersede": Supersede(**_AT, replacement=make_claim(7), mints=MintsFate.KEEP),
    "stay": CourtOrder(**_AT, order=CourtAction.STAY, reference="HK CFI 12/2026", until_ms=1_800_000_000_000),
    "stay until lifted": CourtOrder(**_AT, order=CourtAction.STAY, reference="HK CFI 12/2026"),
    "lift": CourtOrder(**_AT, order=CourtAction.LIFT, reference="HK CFI 13/2026"),
    "revoke": CourtOrder(**_AT, order=CourtAction.REVOKE, reference="HK CFI 14/2026"),
    "reinstate": CourtOrder(**_AT, order=CourtAction.REINSTATE, reference="HK CFI 15/2026"),
    "assign": CourtOrder(**_AT, order=CourtAction.ASSIGN, reference="HK CFI 16/2026", to="society"),
    "mint": Mint(terms=make_terms()),
}
"""One of each, by a name for test ids."""


# ---- strategies ------------------------------------------------------------------------------------------------------

addresses = st.binary(min_size=20, max_size=20).filter(lambda data: data != NOBODY)
digests = st.binary(min_size=32, max_size=32).map(Digest)
words = st.text("abcÅé致 '-9", min_size=1, max_size=60).map(str.strip).filter(bool)
_title = words.filter(lambda text: len(text.encode()) <= 128)


def parts(count: int, whole: int = 10_000) -> st.SearchStrategy[list[int]]:
    """`count` whole numbers from 0 that add up to `whole`."""
    cuts = st.lists(st.integers(0, whole), min_size=count - 1, max_size=count - 1).map(sorted)
    return cuts.map(lambda at: [b - a for a, b in zip([0, *at], [*at, whole], strict=True)])


@st.composite
def terms(draw: st.DrawFn) -> MintTerms:
    """Any valid terms."""
    count = draw(st.integers(1, 32))
    shares = draw(parts(count))
    creator, curator, collector, platform = draw(parts(4))
    editions = draw(st.integers(1, 2**32 - 1))
    royalty = draw(st.integers(1_500, 2_500))
    resale, co_creation, _ = draw(parts(3, 10_000 - royalty))
    return MintTerms(
        chain_id=draw(st.integers(1, 2**256 - 1)),
        nft=draw(addresses),
        minter=draw(addresses),
        claim=draw(digests),
        position=draw(st.integers(0, POSITION_MAX)),
        edition=draw(st.integers(1, editions)),
        editions=editions,
        title=draw(_title),
        payees=tuple(Payee(account=draw(addresses), share=share) for share in shares),
        curator=draw(st.just(NOBODY) | addresses),
        platform=draw(st.just(NOBODY) | addresses),
        creator_share=creator,
        curator_share=curator,
        collector_share=collector,
        platform_share=platform,
        sale_asset=draw(st.just(NOBODY) | addresses),
        sale_floor=draw(st.integers(0, 2**256 - 1)),
        royalty_to=draw(addresses),
        royalty=royalty,
        resale_share=resale,
        resale_basis=draw(st.sampled_from(ResaleBasis)),
        co_creation_share=co_creation,
    )


@st.composite
def orders(draw: st.DrawFn) -> CourtOrder:
    order = draw(st.sampled_from(CourtAction))
    return CourtOrder(
        claim=draw(digests),
        position=draw(st.integers(0, POSITION_MAX)),
        head=draw(digests),
        order=order,
        reference=draw(words),
        until_ms=draw(st.integers(0, UNTIL_MS_MAX)) if order is CourtAction.STAY else 0,
        to="society" if order is CourtAction.ASSIGN else None,
    )


def contents() -> st.SearchStrategy[RightsContent]:
    """Any valid content."""
    on = {"claim": digests, "position": st.integers(0, POSITION_MAX)}
    at = on | {"head": digests}
    return st.one_of(
        st.builds(Dispute, **on, grounds=words),
        st.builds(Respond, **at, dispute=digests, text=words),
        st.builds(Resolve, **at, dispute=digests, outcome=st.sampled_from(DisputeOutcome)),
        st.builds(Withdraw, **at, reason=words),
        st.builds(Transfer, **at, to=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)),
        st.builds(Supersede, **at, replacement=st.integers(0, 9_999).map(make_claim), mints=st.sampled_from(MintsFate)),
        orders(),
        st.builds(Mint, terms=terms()),
    )
