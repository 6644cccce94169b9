"""The first sale: by the minter, at the floor or above, and its buyer is the first collector for good."""

from __future__ import annotations

import pytest

from tests.contracts.chain import Contract, deploy, reverts
from tests.contracts.leaves import ACTIVE, DISPUTED, REVOKED
from tests.contracts.music import Music

PRICE = 2_000


@pytest.fixture
def offered(minted: Music) -> Music:
    minted.nft.do("offer", minted.terms.abi, PRICE, sender=minted.minter)
    return minted


def buy(music: Music, price: int = PRICE, *, value: int | None = None) -> None:
    sent = price if value is None else value
    music.nft.do("buy", music.terms.abi, price, sender=music.collector, value=sent)


def test_buyer_owns_the_token_and_is_its_first_collector(offered: Music) -> None:
    receipt = offered.nft.do("buy", offered.terms.abi, PRICE, sender=offered.collector, value=PRICE)
    assert offered.nft.ask("ownerOf", offered.id) == offered.collector.lower()
    assert offered.nft.ask("firstCollector", offered.id) == offered.collector.lower()
    (event,) = offered.events(receipt, "FirstSold")
    assert (event["collector"], event["price"]) == (offered.collector, PRICE)


def test_price_is_split_as_income_of_an_unsold_token(offered: Music) -> None:
    """The buyer gets nothing of its own price: that would be a discount."""
    buy(offered)
    assert offered.all_owed() == {"creator": 1_600, "curator": 300, "platform": 100}


def test_offer_is_the_minters_alone(minted: Music) -> None:
    with reverts("NotTheOwner", minted.stranger.lower(), minted.minter.lower()):
        minted.nft.do("offer", minted.terms.abi, PRICE, sender=minted.stranger)
    minted.nft.do("transferFrom", minted.minter, minted.other, minted.id, sender=minted.minter)
    with reverts("NotTheOwner", minted.minter.lower(), minted.other.lower()):
        minted.nft.do("offer", minted.terms.abi, PRICE, sender=minted.minter)
    with reverts("WrongMinter", minted.minter.lower(), minted.other.lower()):
        minted.nft.do("offer", minted.terms.abi, PRICE, sender=minted.other)


def test_price_below_the_floor_is_refused(minted: Music) -> None:
    with reverts("BelowFloor", 999, 1_000):
        minted.nft.do("offer", minted.terms.abi, 999, sender=minted.minter)
    minted.nft.do("offer", minted.terms.abi, 1_000, sender=minted.minter)
    buy(minted, 1_000)


def test_offer_can_be_taken_back(offered: Music) -> None:
    offered.nft.do("offer", offered.terms.abi, 0, sender=offered.minter)
    with reverts("NotOffered", offered.id):
        buy(offered)


def test_token_that_is_not_offered_is_not_sold(minted: Music) -> None:
    with reverts("NotOffered", minted.id):
        buy(minted)
    with reverts("NotOffered", minted.id):
        buy(minted, 0)


def test_offer_ends_when_the_token_goes_another_way(offered: Music) -> None:
    offered.nft.do("transferFrom", offered.minter, offered.other, offered.id, sender=offered.minter)
    with reverts("NotOffered", offered.id):
        buy(offered)
    offered.nft.do("transferFrom", offered.other, offered.minter, offered.id, sender=offered.other)
    with reverts("NotOffered", offered.id):
        buy(offered)


def test_token_is_first_sold_once(offered: Music) -> None:
    buy(offered)
    with reverts("NotOffered", offered.id):
        buy(offered)
    offered.nft.do("transferFrom", offered.collector, offered.minter, offered.id, sender=offered.collector)
    with reverts("AlreadySold", offered.id):
        offered.nft.do("offer", offered.terms.abi, PRICE, sender=offered.minter)


def test_buyer_is_bound_to_no_other_price(offered: Music) -> None:
    with reverts("PriceChanged", PRICE - 1, PRICE):
        buy(offered, PRICE - 1)
    offered.nft.do("offer", offered.terms.abi, PRICE + 500, sender=offered.minter)
    with reverts("PriceChanged", PRICE, PRICE + 500):
        buy(offered)


@pytest.mark.parametrize("value", [0, PRICE - 1, PRICE + 1])
def test_price_is_paid_exactly(offered: Music, value: int) -> None:
    with reverts("WrongPayment", value, PRICE):
        buy(offered, value=value)


@pytest.mark.parametrize(("state", "error"), [(DISPUTED, "Disputed"), (REVOKED, "Revoked")])
def test_disputed_or_revoked_token_is_not_sold(offered: Music, state: int, error: str) -> None:
    offered.show(state)
    with reverts(error, offered.id):
        buy(offered)
    offered.show(ACTIVE)
    buy(offered)


def for_tokens(music: Music, token: Contract, price: int = PRICE) -> None:
    music.terms = music.terms.but(sale_asset=token.address)
    music.mint()
    music.nft.do("offer", music.terms.abi, price, sender=music.minter)
    token.do("make", music.collector, price)
    token.do("approve", music.nft.address, price, sender=music.collector)


def test_terms_may_ask_for_a_token_instead_of_coins(music: Music) -> None:
    token, _ = deploy(music.world.chain, "PlainToken")
    for_tokens(music, token)
    with reverts("WrongPayment", PRICE, PRICE):
        buy(music, value=PRICE)
    buy(music, value=0)
    assert music.all_owed(token.address) == {"creator": 1_600, "curator": 300, "platform": 100}
    assert music.nft.ask("ownerOf", music.id) == music.collector.lower()


def test_token_that_keeps_a_fee_does_not_pay_the_price(music: Music) -> None:
    token, _ = deploy(music.world.chain, "FeeToken")
    for_tokens(music, token)
    with reverts("WrongPayment", 1_800, PRICE):
        buy(music, value=0)
