"""The ledger's terms against the contracts themselves: what it accepts is minted by its own entry, what they refuse it
refuses too. A MINT that no contract carries out would hold its edition for nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ledger.derived import MintState, StatusLeaf
from ledger.errors import MalformedTerms
from ledger.mint_terms import MintTerms, Payee, ResaleBasis
from tests.contracts import leaves
from tests.contracts.chain import CHAIN_ID
from tests.contracts.deployed import GENESIS
from tests.contracts.music import Music
from tests.contracts.test_mint import BAD_TERMS
from tests.ledger.rights_builders import account, make_terms
from tests.ledger.test_mint_terms import EDGES, reference

_ADDRESSES = ("nft", "minter", "curator", "platform", "sale_asset", "royalty_to")


def here(music: Music, terms: MintTerms) -> MintTerms:
    """The same terms, to be minted on this chain."""
    return replace(
        terms, chain_id=CHAIN_ID, nft=bytes.fromhex(music.nft.address[2:]), minter=bytes.fromhex(music.minter[2:])
    )


@pytest.mark.parametrize("changes", [each for each in EDGES if "chain_id" not in each], ids="+".join)
def test_what_the_ledger_accepts_is_minted_by_the_ledgers_entry(music: Music, changes: dict[str, Any]) -> None:
    terms = here(music, make_terms(**changes))
    place = music.world.place(music.record(terms.entry(GENESIS)))
    music.nft.do("mint", reference(terms).abi, place, sender=music.minter)
    assert int(music.nft.ask("ownerOf", int.from_bytes(terms.entry(GENESIS), "big")), 16) == int(music.minter, 16)


@pytest.mark.parametrize("what", BAD_TERMS)
def test_what_contracts_refuse_the_ledger_refuses(what: str) -> None:
    values = dict(BAD_TERMS[what][0])
    if "payees" in values:
        values["payees"] = tuple(Payee(account=bytes.fromhex(who[2:]), share=share) for who, share in values["payees"])
    for name in _ADDRESSES:
        if name in values:
            values[name] = bytes.fromhex(values[name][2:])
    with pytest.raises((MalformedTerms, ValueError)):
        make_terms(
            **values | ({"resale_basis": ResaleBasis(values["resale_basis"])} if "resale_basis" in values else {})
        )


def test_a_status_of_the_ledgers_is_shown_by_the_token(music: Music) -> None:
    terms = here(music, make_terms(curator=account(9)))
    music.nft.do(
        "mint", reference(terms).abi, music.world.place(music.record(terms.entry(GENESIS))), sender=music.minter
    )
    status = StatusLeaf(mint=terms.entry(GENESIS), seq=1, state=MintState.DISPUTED, cause=terms.claim)
    place = music.world.place(music.record(status.entry(GENESIS)))
    shown = leaves.Status(mint=status.mint, seq=1, state=int(status.state), cause=status.cause)
    music.nft.do("showStatus", shown.abi, place)
    state = music.nft.ask("statusOf", int.from_bytes(terms.entry(GENESIS), "big"))
    assert state[1] == MintState.DISPUTED
