"""Primary income: split by the terms to the last unit, kept while disputed, fetched by whom it is owed to."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from web3 import Web3

from tests.contracts.chain import Contract, artifact, deploy, reverts
from tests.contracts.deployed import GENESIS
from tests.contracts.leaves import ACTIVE, DISPUTED, NOBODY, REVOKED
from tests.contracts.music import Music


@pytest.fixture
def token(minted: Music) -> Contract:
    return deploy(minted.world.chain, "PlainToken")[0]


def held(music: Music, token: Contract | None = None) -> int:
    return int(token.ask("balanceOf", music.nft.address)) if token else music.world.chain.balance(music.nft.address)


def test_income_of_an_unsold_token_leaves_the_collectors_share_with_the_creator(minted: Music) -> None:
    receipt = minted.pay(10_000)
    assert minted.all_owed() == {"creator": 8_000, "curator": 1_500, "platform": 500}
    (event,) = minted.events(receipt, "Income")
    assert (event["id"], event["payer"], event["amount"]) == (minted.id, minted.stranger, 10_000)


def test_income_of_a_sold_token_is_split_70_15_10_5(minted: Music) -> None:
    minted.sell()
    before = minted.all_owed()
    minted.pay(10_000)
    after = minted.all_owed()
    gained = {role: after[role] - before.get(role, 0) for role in after}
    assert gained == {"creator": 7_000, "curator": 1_500, "collector": 1_000, "platform": 500}


def test_first_collector_stays_the_first(minted: Music) -> None:
    minted.sell()
    minted.nft.do("transferFrom", minted.collector, minted.other, minted.id, sender=minted.collector)
    minted.pay(10_000)
    assert minted.owed(minted.collector) == 1_000
    assert minted.owed(minted.other) == 0


def test_without_curator_or_platform_their_shares_are_the_creators(music: Music) -> None:
    music.terms = music.terms.but(curator=NOBODY, platform=NOBODY)
    music.mint()
    music.pay(10_000)
    assert music.all_owed() == {"creator": 10_000}


def test_payees_share_the_creators_part_and_the_first_has_what_is_left_over(music: Music) -> None:
    music.terms = music.terms.but(payees=((music.creator, 3_333), (music.other, 3_333), (music.minter, 3_334)))
    music.mint()
    music.pay(101)
    # 15 and 5 of 101, rounded down; of the other 81: 26 and 27 rounded down, and 28 for the first.
    assert music.all_owed() == {"curator": 15, "platform": 5, "creator": 28, "other": 26, "minter": 27}


def test_same_account_in_several_roles_has_all_of_its_shares(music: Music) -> None:
    music.terms = music.terms.but(curator=music.creator, platform=music.creator)
    music.mint()
    music.pay(9_999)
    assert music.all_owed() == {"creator": 9_999}


def test_every_unit_is_credited(minted: Music) -> None:
    minted.terms = minted.terms.but(payees=((minted.creator, 1), (minted.other, 9_999)), title="Opus 7")
    minted.mint()
    paid = 0
    for amount in (*range(1, 22), 9_999, 10_001):
        minted.pay(amount)
        paid += amount
        assert sum(minted.all_owed().values()) == paid == held(minted)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    amount=st.integers(1, 10**20),
    cuts=st.lists(st.integers(0, 10_000), min_size=3, max_size=3),
    parts=st.integers(0, 10_000),
    sold=st.booleans(),
)
def test_any_amount_under_any_terms_is_credited_whole(
    music: Music, amount: int, cuts: list[int], parts: int, sold: bool
) -> None:
    low, middle, high = sorted(cuts)
    snapshot = music.world.chain.snapshot()
    log = music.world.fresh().log
    music.world.log = log
    music.terms = music.terms.but(
        creator_share=low, curator_share=middle - low, collector_share=high - middle, platform_share=10_000 - high,
        payees=((music.creator, parts), (music.other, 10_000 - parts)),
    )  # fmt: skip
    music.mint()
    paid = amount
    if sold:
        music.sell(1_000)
        paid += 1_000
    music.pay(amount)
    assert sum(music.all_owed().values()) == paid == held(music)
    music.world.chain.revert(snapshot)


def test_nothing_is_no_income(minted: Music, token: Contract) -> None:
    with reverts("NothingPaid"):
        minted.pay(0)
    with reverts("NothingPaid"):
        minted.pay_token(token, 0)


def test_income_for_terms_that_were_not_minted_is_refused(minted: Music, token: Contract) -> None:
    for other in (minted.terms.but(curator=minted.stranger), minted.terms.but(title="Opus 2")):
        with reverts("NotMinted", other.token_id(GENESIS)):
            minted.nft.do("pay", other.abi, value=5)
        with reverts("NotMinted", other.token_id(GENESIS)):
            minted.nft.do("offer", other.abi, 5_000, sender=minted.minter)
        with reverts("NotMinted", other.token_id(GENESIS)):
            minted.nft.do("release", other.abi, NOBODY)
    assert held(minted) == 0


def test_tokens_are_split_like_coins(minted: Music, token: Contract) -> None:
    minted.pay_token(token, 10_000)
    assert minted.all_owed(token.address) == {"creator": 8_000, "curator": 1_500, "platform": 500}
    assert minted.all_owed() == {}
    assert held(minted, token) == 10_000


def test_tokens_that_keep_a_fee_are_credited_as_they_arrive(minted: Music) -> None:
    fee, _ = deploy(minted.world.chain, "FeeToken")
    minted.pay_token(fee, 10_000)
    assert sum(minted.all_owed(fee.address).values()) == 9_000 == held(minted, fee)


def test_coin_is_no_token(minted: Music) -> None:
    with reverts("NotAToken"):
        minted.nft.do("payToken", minted.terms.abi, NOBODY, 5)


def test_tokens_that_are_not_the_payers_are_not_taken(minted: Music, token: Contract) -> None:
    with reverts("ERC20InsufficientAllowance"):
        minted.nft.do("payToken", minted.terms.abi, token.address, 5)


def test_coins_sent_without_a_call_are_refused(minted: Music) -> None:
    with pytest.raises(Exception, match="unnamed"):
        minted.world.chain.send(minted.stranger, minted.nft.address, b"", 5)


def test_everybody_fetches_their_own_once(minted: Music, token: Contract) -> None:
    minted.pay(10_000)
    minted.pay_token(token, 20_000)
    receipt = minted.nft.do("withdraw", NOBODY, minted.other, sender=minted.curator)
    (event,) = minted.events(receipt, "Withdrawn")
    assert (event["account"], event["to"], event["amount"]) == (minted.curator, minted.other, 1_500)
    minted.nft.do("withdraw", token.address, minted.curator, sender=minted.curator)
    assert token.ask("balanceOf", minted.curator) == 3_000
    for asset in (NOBODY, token.address):
        with reverts("NothingOwed"):
            minted.nft.do("withdraw", asset, minted.curator, sender=minted.curator)
    assert (held(minted), held(minted, token)) == (8_500, 17_000)


def test_coins_arrive_where_they_are_wanted(minted: Music) -> None:
    minted.pay(10_000)
    before = minted.world.chain.balance(minted.other)
    minted.nft.do("withdraw", NOBODY, minted.other, sender=minted.platform)
    assert minted.world.chain.balance(minted.other) == before + 500


def test_stranger_fetches_nothing(minted: Music) -> None:
    minted.pay(10_000)
    with reverts("NothingOwed"):
        minted.nft.do("withdraw", NOBODY, minted.stranger)


def test_money_is_not_sent_where_it_would_be_lost(minted: Music) -> None:
    minted.pay(10_000)
    for to in (NOBODY, minted.nft.address):
        with reverts("BadReceiver", to.lower()):
            minted.nft.do("withdraw", NOBODY, to, sender=minted.curator)


def test_receiver_that_takes_no_coins_loses_nothing_and_stops_nobody(music: Music) -> None:
    refuser, _ = deploy(music.world.chain, "CoinRefuser")
    music.terms = music.terms.but(curator=refuser.address)
    music.mint()
    music.pay(10_000)
    with reverts("CoinRefused", refuser.address.lower()):
        refuser.do("withdraw", music.nft.address, refuser.address)
    music.nft.do("withdraw", NOBODY, music.creator, sender=music.creator)
    assert music.owed(refuser.address) == 1_500
    refuser.do("withdraw", music.nft.address, music.other)
    assert held(music) == 500


def test_payee_that_calls_back_is_paid_once(music: Music) -> None:
    payee, _ = deploy(music.world.chain, "ReentrantPayee", music.nft.address)
    music.terms = music.terms.but(curator=payee.address)
    music.mint()
    music.pay(10_000)
    payee.do("withdraw")
    assert payee.ask("refused")
    assert music.world.chain.balance(payee.address) == 1_500
    assert held(music) == 8_500


def test_token_that_calls_back_while_it_pays_is_not_counted_twice(music: Music) -> None:
    """Neither by paying again nor by fetching what it is owed: both change the balance that is being compared."""
    evil, _ = deploy(music.world.chain, "ReentrantToken")
    music.terms = music.terms.but(curator=evil.address)
    music.mint()
    music.pay_token(evil, 1_000)
    evil.do("make", evil.address, 2_000)
    evil.do("make", music.stranger, 2_000)
    evil.do("approve", music.nft.address, 2_000)
    nft = Web3().eth.contract(abi=artifact("MusicNFT")["abi"])
    calls = [("payToken", music.terms.abi, evil.address, 100), ("withdraw", evil.address, music.other)]
    for method, *arguments in calls:
        evil.do("arm", music.nft.address, bytes.fromhex(nft.encode_abi(method, args=arguments)[2:]))
        music.nft.do("payToken", music.terms.abi, evil.address, 500)
        assert evil.ask("refused")
    assert sum(music.all_owed(evil.address).values()) + music.owed(evil.address, evil.address) == 2_000
    assert held(music, evil) == 2_000


def test_income_while_disputed_is_kept_and_credited_when_active_again(minted: Music, token: Contract) -> None:
    minted.sell()
    before = minted.all_owed()
    minted.show(DISPUTED)
    minted.pay(10_000)
    minted.pay_token(token, 5_000)
    assert minted.all_owed() == before
    assert (minted.escrowed(), minted.escrowed(token.address)) == (10_000, 5_000)
    with reverts("Disputed", minted.id):
        minted.nft.do("release", minted.terms.abi, NOBODY)
    minted.show(ACTIVE)
    minted.nft.do("release", minted.terms.abi, NOBODY)
    minted.nft.do("release", minted.terms.abi, token.address)
    after = minted.all_owed()
    gained = {role: after[role] - before.get(role, 0) for role in after}
    assert gained == {"creator": 7_000, "curator": 1_500, "collector": 1_000, "platform": 500}
    assert sum(minted.all_owed(token.address).values()) == 5_000
    with reverts("NothingEscrowed"):
        minted.nft.do("release", minted.terms.abi, NOBODY)


def test_revoked_token_earns_nothing(minted: Music, token: Contract) -> None:
    minted.show(REVOKED)
    with reverts("Revoked", minted.id):
        minted.pay(10_000)
    with reverts("Revoked", minted.id):
        minted.pay_token(token, 10_000)


def test_what_was_paid_while_disputed_goes_back_if_the_claim_is_revoked(minted: Music) -> None:
    minted.show(DISPUTED)
    minted.pay(10_000)
    minted.pay(3_000, sender=minted.other)
    minted.pay(4_000, sender=minted.other)
    with reverts("NotRevoked", minted.id):
        minted.nft.do("refund", minted.id, NOBODY)
    minted.show(REVOKED)
    with reverts("Revoked", minted.id):
        minted.nft.do("release", minted.terms.abi, NOBODY)
    minted.nft.do("refund", minted.id, NOBODY, sender=minted.other)
    assert minted.all_owed() == {"other": 7_000}
    for sender in (minted.other, minted.curator):
        with reverts("NothingEscrowed"):
            minted.nft.do("refund", minted.id, NOBODY, sender=sender)
    assert minted.escrowed() == 10_000
    # Active once more: what nobody has asked back is income after all.
    minted.show(ACTIVE)
    minted.nft.do("release", minted.terms.abi, NOBODY)
    assert sum(minted.all_owed().values()) == 17_000 == held(minted)


def test_what_was_credited_cannot_be_asked_back_in_a_later_dispute(minted: Music) -> None:
    minted.show(DISPUTED)
    minted.pay(10_000)
    minted.show(ACTIVE)
    minted.nft.do("release", minted.terms.abi, NOBODY)
    minted.show(DISPUTED)
    minted.pay(500, sender=minted.other)
    minted.show(REVOKED)
    with reverts("NothingEscrowed"):
        minted.nft.do("refund", minted.id, NOBODY)
    minted.nft.do("refund", minted.id, NOBODY, sender=minted.other)
    assert sum(minted.all_owed().values()) == 10_500 == held(minted)


def test_withdrawals_and_income_go_on_while_the_bridge_is_frozen(minted: Music) -> None:
    minted.world.freeze()
    minted.pay(10_000)
    minted.nft.do("withdraw", NOBODY, minted.curator, sender=minted.curator)
    assert held(minted) == 8_500
