"""What can be minted: terms that are in the log, on their chain, by their minter, once; and what the token shows."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.contracts.chain import CHAIN_ID, Chain, deploy, reverts
from tests.contracts.deployed import GENESIS, deploy_bridge
from tests.contracts.leaves import ACTIVE, DISPUTED, NOBODY, REVOKED, Status
from tests.contracts.log import Log, numbered
from tests.contracts.music import Music


def page(music: Music) -> dict[str, Any]:
    kind, _, data = music.nft.ask("tokenURI", music.id).partition(",")
    assert kind == "data:application/json;base64"
    return dict(json.loads(base64.b64decode(data, validate=True)))


def traits(music: Music) -> dict[str, Any]:
    return {each["trait_type"]: each["value"] for each in page(music)["attributes"]}


def test_terms_in_the_log_are_minted_to_their_minter(music: Music) -> None:
    receipt = music.mint()
    assert music.nft.ask("ownerOf", music.id) == music.minter.lower()
    (event,) = music.events(receipt, "Minted")
    assert (event["id"], event["minter"], event["claim"]) == (music.id, music.minter, music.terms.claim)
    assert event["size"] == music.world.log.size
    found = event["terms"]
    assert (found["title"], found["payees"][0]["share"], found["royalty"]) == ("Opus 1", 10_000, 2_000)


def test_id_is_the_entry_of_the_leaf(music: Music) -> None:
    assert music.nft.ask("idOf", music.terms.abi) == music.id
    assert music.nft.ask("genesis") == GENESIS


def test_leaf_is_minted_once(minted: Music) -> None:
    with reverts("AlreadyMinted", minted.id):
        minted.mint()
    minted.nft.do("transferFrom", minted.minter, minted.collector, minted.id, sender=minted.minter)
    with reverts("AlreadyMinted", minted.id):
        minted.mint()


def test_terms_that_are_not_in_the_log_are_not_minted(music: Music) -> None:
    index = music.record(music.terms.entry(GENESIS))
    for other in (music.terms.but(title="Opus 2"), music.terms.but(sale_floor=1), music.terms.but(position=1)):
        with reverts("WrongRoot"):
            music.nft.do("mint", other.abi, music.world.place(index), sender=music.minter)
    with reverts("WrongRoot"):
        music.nft.do("mint", music.terms.abi, music.world.place(index + 1), sender=music.minter)


def test_proof_of_another_tree_is_refused(music: Music) -> None:
    index = music.record(music.terms.entry(GENESIS))
    other = Log(numbered(music.world.log.size, "other"))
    other.entries[index] = music.terms.entry(GENESIS)
    other = Log(other.entries)
    place = (other.size, index, other.inclusion(index))
    with reverts("WrongRoot"):
        music.nft.do("mint", music.terms.abi, place, sender=music.minter)
    with reverts("UnknownCheckpoint", other.size + 1):
        music.nft.do("mint", music.terms.abi, (other.size + 1, index, place[2]), sender=music.minter)


def test_terms_for_another_chain_are_refused(music: Music) -> None:
    with reverts("WrongChain", 137, CHAIN_ID):
        music.mint(music.terms.but(chain_id=137))


def test_terms_for_another_contract_are_refused(music: Music, chain: Chain) -> None:
    twin, _ = deploy(chain, "MusicNFT", music.world.bridge.address)
    with reverts("WrongContract", twin.address.lower(), music.nft.address.lower()):
        music.mint(music.terms.but(nft=twin.address))


def test_terms_for_another_minter_are_refused(music: Music) -> None:
    with reverts("WrongMinter", music.minter.lower(), music.stranger.lower()):
        music.mint(sender=music.stranger)


def test_terms_of_another_consortium_are_refused(music: Music, chain: Chain) -> None:
    index = music.record(music.terms.entry(b"\x01" * 32))
    with reverts("WrongRoot"):
        music.nft.do("mint", music.terms.abi, music.world.place(index), sender=music.minter)


def test_frozen_bridge_mints_nothing(music: Music) -> None:
    index = music.record(music.terms.entry(GENESIS))
    place = music.world.place(index)
    music.world.freeze()
    with reverts("Frozen"):
        music.nft.do("mint", music.terms.abi, place, sender=music.minter)


def test_nothing_is_minted_without_a_quorum(music: Music) -> None:
    """The log may hold the terms: until a quorum's checkpoint covers them they are not there."""
    index = music.world.log.extend([music.terms.entry(GENESIS)])
    with reverts("UnknownCheckpoint", 2):
        music.nft.do("mint", music.terms.abi, music.world.place(index), sender=music.minter)


BAD_TERMS = {
    "empty title": ({"title": ""}, "BadTitle(0)"),
    "long title": ({"title": "x" * 129}, "BadTitle(129)"),
    "edition zero": ({"edition": 0}, "BadEdition(0, 1)"),
    "edition beyond the last": ({"edition": 3, "editions": 2}, "BadEdition(3, 2)"),
    "no payee": ({"payees": ()}, "BadPayeeCount(0)"),
    "33 payees": ({"payees": tuple(("0x" + "01" * 20, 303) for _ in range(33))}, "BadPayeeCount(33)"),
    "payee zero": ({"payees": (("0x" + "01" * 20, 5_000), (NOBODY, 5_000))}, "ZeroPayee(1)"),
    "payees short of the whole": ({"payees": (("0x" + "01" * 20, 9_999),)}, "PayeesNotWhole(9999)"),
    "payees over the whole": ({"payees": (("0x" + "01" * 20, 10_001),)}, "PayeesNotWhole(10001)"),
    "shares short of the whole": ({"creator_share": 6_999}, "SharesNotWhole(9999)"),
    "shares over the whole": ({"platform_share": 501}, "SharesNotWhole(10001)"),
    "royalty under 15 %": ({"royalty": 1_499}, "BadRoyalty(1499)"),
    "royalty over 25 %": ({"royalty": 2_501}, "BadRoyalty(2501)"),
    "royalty to nobody": ({"royalty_to": NOBODY}, "ZeroRoyaltyReceiver()"),
    "unknown basis": ({"resale_basis": 2}, "BadResaleBasis(2)"),
    "resale over the whole": ({"resale_share": 8_000, "co_creation_share": 1}, "ResaleOverWhole(10001)"),
}


@pytest.mark.parametrize("what", BAD_TERMS)
def test_terms_that_cannot_be_carried_out_are_refused(music: Music, what: str) -> None:
    values, error = BAD_TERMS[what]
    name, _, arguments = error.rstrip(")").partition("(")
    with reverts(name, *(arguments.split(", ") if arguments else ())):
        music.mint(music.terms.but(**values))


@pytest.mark.parametrize(
    "values",
    [
        {"title": "x" * 128},
        {"edition": 2, "editions": 2},
        {"payees": tuple(("0x" + "01" * 20, 312 + (i < 16)) for i in range(32))},
        {"royalty": 1_500},
        {"royalty": 2_500, "resale_basis": 1},
        {"resale_share": 8_000},
        {"curator": NOBODY, "platform": NOBODY},
    ],
)
def test_terms_at_the_edge_of_what_is_allowed_are_minted(music: Music, values: dict[str, Any]) -> None:
    music.mint(music.terms.but(**values))


def test_other_editions_are_other_tokens(music: Music) -> None:
    for edition in (1, 2, 3):
        music.terms = music.terms.but(edition=edition, editions=3)
        music.mint()
        assert page(music)["name"] == f"Opus 1 ({edition}/3)"
    assert music.nft.ask("balanceOf", music.minter) == 3


def test_page_shows_status_and_the_size_that_showed_it(minted: Music) -> None:
    at_mint = minted.world.log.size
    assert traits(minted) == {
        "Status": "active", "Status sequence": 0, "Checkpoint size": at_mint, "Bridge": "live",
    }  # fmt: skip
    minted.show(DISPUTED)
    assert traits(minted)["Status"] == "disputed"
    assert traits(minted)["Checkpoint size"] == minted.world.log.size > at_mint
    minted.show(REVOKED)
    assert (traits(minted)["Status"], traits(minted)["Status sequence"]) == ("revoked", 2)
    minted.show(ACTIVE)
    assert traits(minted)["Status"] == "active"
    minted.world.freeze()
    assert traits(minted)["Bridge"] == "frozen"


def test_page_names_the_leaf(minted: Music) -> None:
    assert f"0x{minted.id:064x}" in page(minted)["description"]


@pytest.mark.parametrize(
    "title", ['"}', 'a "quoted" \\ title', "line\nbreak\ttab\r\x08\x0c", "\x00\x01\x1f", "Für Elise 致爱丽丝"]
)
def test_title_cannot_break_out_of_the_page(music: Music, title: str) -> None:
    music.terms = music.terms.but(title=title)
    music.mint()
    found = page(music)
    assert found["name"] == f"{title} (1/1)"
    assert sorted(found) == ["attributes", "description", "name"]


def test_token_that_was_not_minted_has_no_page_and_no_royalty(music: Music) -> None:
    with reverts("NotMinted", music.id):
        music.nft.ask("tokenURI", music.id)
    with reverts("NotMinted", music.id):
        music.nft.ask("royaltyInfo", music.id, 1)


def test_royalty_is_that_of_the_terms(minted: Music) -> None:
    assert minted.nft.ask("royaltyInfo", minted.id, 10_001) == (minted.creator.lower(), 2_000)


@pytest.mark.parametrize(
    ("interface", "known"),
    [
        ("01ffc9a7", True),
        ("80ac58cd", True),
        ("5b5e139f", True),
        ("2a55205a", True),
        ("49064906", True),
        ("ffffffff", False),
    ],
)
def test_interfaces_are_named(music: Music, interface: str, known: bool) -> None:
    """ERC-165, ERC-721, its metadata, ERC-2981, ERC-4906."""
    assert music.nft.ask("supportsInterface", bytes.fromhex(interface)) is known


@pytest.mark.parametrize(("state", "error"), [(DISPUTED, "Disputed"), (REVOKED, "Revoked")])
def test_what_is_disputed_or_revoked_is_not_minted(music: Music, state: int, error: str) -> None:
    music.show(state)
    with reverts(error, music.id):
        music.mint()
    music.show(ACTIVE)
    music.mint()


def test_status_is_kept_before_the_token_exists_and_shown_after(music: Music) -> None:
    receipt = music.show(DISPUTED)
    assert not music.events(receipt, "MetadataUpdate"), "there is no token whose page could change"
    music.show(ACTIVE)
    shown = music.world.log.size
    music.mint()
    assert traits(music)["Status sequence"] == 2
    assert traits(music)["Checkpoint size"] == shown


def test_status_comes_from_anybody_who_has_the_proof(minted: Music) -> None:
    receipt = minted.show(DISPUTED)
    (event,) = minted.events(receipt, "StatusShown")
    assert (event["id"], event["seq"], event["state"]) == (minted.id, 1, DISPUTED)
    assert [each["_tokenId"] for each in minted.events(receipt, "MetadataUpdate")] == [minted.id]


@pytest.mark.parametrize("seq", [0, 1, 3])
def test_only_a_later_status_counts(minted: Music, seq: int) -> None:
    minted.show(REVOKED, seq=3)
    with reverts("StaleStatus", seq, 3):
        minted.show(ACTIVE, seq=seq)
    minted.show(ACTIVE, seq=5)
    assert minted.nft.ask("statusOf", minted.id)[:2] == (5, ACTIVE)


def test_status_zero_is_no_status(minted: Music) -> None:
    with reverts("StaleStatus", 0, 0):
        minted.show(REVOKED, seq=0)


def test_unknown_state_is_refused(minted: Music) -> None:
    with reverts("BadState", 3):
        minted.show(3)


def test_status_that_is_not_in_the_log_is_refused(minted: Music) -> None:
    status = Status(mint=minted.terms.entry(GENESIS), seq=1, state=DISPUTED)
    index = minted.record(status.entry(GENESIS))
    for other in (
        Status(mint=status.mint, seq=1, state=REVOKED),
        Status(mint=status.mint, seq=2, state=DISPUTED),
        Status(mint=b"\x01" * 32, seq=1, state=DISPUTED),
        Status(mint=status.mint, seq=1, state=DISPUTED, cause=b"\x01" * 32),
    ):
        with reverts("WrongRoot"):
            minted.nft.do("showStatus", other.abi, minted.world.place(index))
    minted.world.freeze()
    with reverts("Frozen"):
        minted.nft.do("showStatus", status.abi, minted.world.place(index))


def test_mint_leaf_is_no_status_leaf(minted: Music) -> None:
    assert minted.nft.ask("statusEntry", Status(mint=b"\x01" * 32, seq=1, state=1).abi) == Status(
        mint=b"\x01" * 32, seq=1, state=1
    ).entry(GENESIS)


def test_transfers_go_on_whatever_the_status(minted: Music) -> None:
    minted.show(REVOKED)
    minted.world.freeze()
    minted.nft.do("transferFrom", minted.minter, minted.collector, minted.id, sender=minted.minter)
    assert minted.nft.ask("ownerOf", minted.id) == minted.collector.lower()


def test_contract_needs_a_bridge(chain: Chain, music: Music) -> None:
    bridge, _ = deploy_bridge(chain, music.world.validators, music.world.recovery, genesis=b"\x09" * 32)
    nft, _ = deploy(chain, "MusicNFT", bridge.address)
    assert nft.ask("genesis") == b"\x09" * 32
    assert nft.ask("bridge") == bridge.address.lower()
