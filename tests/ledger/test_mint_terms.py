"""Terms of mints: the contracts' bounds, the contracts' bytes, and one form in statements and in people's files."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode as eth_encode
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.address import NOBODY, show_address
from ledger.cbor import decode, encode
from ledger.derived import (
    MINT_TAG,
    STATUS_TAG,
    DerivedKind,
    MintState,
    StatusLeaf,
    derived_entry,
    derived_kind,
    mint_preimage,
    status_preimage,
)
from ledger.errors import MalformedTerms
from ledger.merkle import leaf_hash
from ledger.mint_terms import MintTerms, Payee, ResaleBasis, load_terms, parse_terms
from tests.contracts import leaves
from tests.ledger.rights_builders import account, digest_of, make_terms, terms

VECTORS = json.loads((Path(__file__).parents[2] / "contracts" / "vectors" / "leaves.json").read_text())
GENESIS = bytes.fromhex(VECTORS["genesis"])


def from_vector(fields_of: dict[str, Any]) -> MintTerms:
    values: dict[str, Any] = dict(fields_of)
    for name in ("nft", "minter", "curator", "platform", "sale_asset", "royalty_to"):
        values[name] = bytes.fromhex(values[name][2:])
    return MintTerms(
        **values
        | {
            "claim": bytes.fromhex(values["claim"]),
            "sale_floor": int(values["sale_floor"]),
            "resale_basis": ResaleBasis(values["resale_basis"]),
            "payees": tuple(Payee(account=bytes.fromhex(who[2:]), share=share) for who, share in values["payees"]),
        }
    )


def reference(made: MintTerms) -> leaves.MintTerms:
    """The same terms as the contracts' reference encoder takes them."""
    values: dict[str, Any] = {field.name: getattr(made, field.name) for field in fields(made)}
    for name in ("nft", "minter", "curator", "platform", "sale_asset", "royalty_to"):
        values[name] = show_address(values[name])
    values["payees"] = tuple((show_address(payee.account), payee.share) for payee in made.payees)
    return leaves.MintTerms(**values)


# ---- the contracts' bytes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["mint"]["vectors"], ids=lambda vector: vector["name"])
def test_golden_vectors_of_mints_hold(vector: dict[str, Any]) -> None:
    made = from_vector(vector["fields"])
    assert made.preimage(GENESIS).hex() == vector["preimage"]
    assert made.entry(GENESIS).hex() == vector["entry"]
    assert leaf_hash(made.entry(GENESIS)).hex() == vector["leaf_hash"]
    assert mint_preimage(GENESIS, made) == made.preimage(GENESIS)


@pytest.mark.parametrize("vector", VECTORS["status"]["vectors"], ids=lambda vector: vector["name"])
def test_golden_vectors_of_statuses_hold(vector: dict[str, Any]) -> None:
    told = vector["fields"]
    status = StatusLeaf(
        mint=bytes.fromhex(told["mint"]),
        seq=int(told["seq"]),
        state=MintState(told["state"]),
        cause=bytes.fromhex(told["cause"]),
    )
    assert status_preimage(GENESIS, status).hex() == vector["preimage"]
    assert status.entry(GENESIS).hex() == vector["entry"]
    assert leaf_hash(status.entry(GENESIS)).hex() == vector["leaf_hash"]


@given(terms(), st.binary(min_size=32, max_size=32))
@settings(max_examples=200)
def test_any_terms_are_encoded_as_the_contracts_encode_them(made: MintTerms, genesis: bytes) -> None:
    """eth_abi by the vectors' own type, and the contracts' reference: three encoders, one preimage."""
    payees = [(payee.account, payee.share) for payee in made.payees]
    values = tuple(payees if field.name == "payees" else getattr(made, field.name) for field in fields(made))
    assert made.preimage(genesis) == MINT_TAG + eth_encode(["bytes32", leaves.MINT_TYPE], [genesis, values])
    assert made.preimage(genesis) == reference(made).preimage(genesis)
    assert made.entry(genesis) == reference(made).entry(genesis)


@given(
    st.binary(min_size=32, max_size=32),
    st.integers(1, 2**64 - 1),
    st.sampled_from(MintState),
    st.binary(min_size=32, max_size=32),
)
def test_any_status_is_encoded_as_the_contracts_encode_it(
    mint: bytes, seq: int, state: MintState, cause: bytes
) -> None:
    status = StatusLeaf(mint=mint, seq=seq, state=state, cause=cause)
    expected = leaves.Status(mint=mint, seq=seq, state=state, cause=cause)
    assert status.preimage(GENESIS) == expected.preimage(GENESIS)
    assert status.entry(GENESIS) == expected.entry(GENESIS)


def test_tags_and_states_are_those_of_the_contracts() -> None:
    assert (MINT_TAG, STATUS_TAG) == (leaves.MINT_KIND, leaves.STATUS_KIND)
    assert (MintState.ACTIVE, MintState.DISPUTED, MintState.REVOKED) == (
        leaves.ACTIVE,
        leaves.DISPUTED,
        leaves.REVOKED,
    )


def test_a_preimage_tells_what_it_is_of() -> None:
    status = StatusLeaf(mint=digest_of("m"), seq=1, state=MintState.DISPUTED, cause=digest_of("c"))
    assert derived_kind(make_terms().preimage(GENESIS)) is DerivedKind.MINT
    assert derived_kind(status.preimage(GENESIS)) is DerivedKind.STATUS
    assert derived_kind(b"\xd2\x84") is None
    assert derived_entry(status.preimage(GENESIS)) == status.entry(GENESIS)


def test_another_consortium_has_other_entries() -> None:
    assert make_terms().entry(GENESIS) != make_terms().entry(digest_of("another"))


# ---- bounds ----------------------------------------------------------------------------------------------------------

EDGES: list[dict[str, Any]] = [
    {"chain_id": 1},
    {"chain_id": 2**256 - 1},
    {"position": 2**32 - 1},
    {"edition": 2**32 - 1, "editions": 2**32 - 1},
    {"title": "x" * 128},
    {"title": "致" * 42},
    {"payees": tuple(Payee(account=account(i + 1), share=312 + (i < 16)) for i in range(32))},
    {"payees": (Payee(account=account(1), share=10_000), Payee(account=account(2), share=0))},
    {"creator_share": 10_000, "curator_share": 0, "collector_share": 0, "platform_share": 0},
    {"creator_share": 0, "curator_share": 10_000, "collector_share": 0, "platform_share": 0},
    {"sale_floor": 0},
    {"sale_floor": 2**256 - 1},
    {"royalty": 1_500},
    {"royalty": 2_500, "resale_share": 7_500},
    {"royalty": 2_500, "resale_share": 0, "co_creation_share": 7_500},
    {"resale_basis": ResaleBasis.GROSS},
    {"curator": NOBODY, "platform": NOBODY, "sale_asset": NOBODY},
]
BEYOND: list[tuple[dict[str, Any], str]] = [
    ({"chain_id": 0}, "chain_id"),
    ({"chain_id": 2**256}, "chain_id"),
    ({"nft": NOBODY}, "nft"),
    ({"nft": bytes(19)}, "nft"),
    ({"minter": NOBODY}, "minter"),
    ({"minter": bytes(21)}, "minter"),
    ({"claim": bytes(31)}, "claim"),
    ({"position": -1}, "position"),
    ({"position": 2**32}, "position"),
    ({"edition": 0}, "edition"),
    ({"edition": 2}, "edition"),
    ({"editions": 0}, "editions"),
    ({"editions": 2**32}, "editions"),
    ({"title": ""}, "title"),
    ({"title": "x" * 129}, "title"),
    ({"title": "致" * 43}, "title"),
    ({"title": "a\nb"}, "title"),
    ({"payees": ()}, "payees"),
    ({"payees": tuple(Payee(account=account(i + 1), share=0) for i in range(33))}, "payees"),
    ({"payees": (Payee(account=NOBODY, share=10_000),)}, "payees[0].account"),
    ({"payees": (Payee(account=account(1), share=9_999),)}, "payees"),
    ({"payees": (Payee(account=account(1), share=-1), Payee(account=account(1), share=10_001))}, "payees[0].share"),
    ({"payees": (Payee(account=account(1), share=10_001),)}, "payees[0].share"),
    ({"curator": bytes(19)}, "curator"),
    ({"creator_share": 7_001}, "creator_share"),
    ({"creator_share": -1, "curator_share": 8_501}, "creator_share"),
    ({"platform_share": 10_001}, "platform_share"),
    ({"sale_asset": bytes(19)}, "sale_asset"),
    ({"sale_floor": -1}, "sale_floor"),
    ({"sale_floor": 2**256}, "sale_floor"),
    ({"royalty_to": NOBODY}, "royalty_to"),
    ({"royalty": 1_499}, "royalty"),
    ({"royalty": 2_501}, "royalty"),
    ({"resale_share": 8_001}, "resale_share"),
    ({"resale_share": -1}, "resale_share"),
    ({"co_creation_share": 5_001}, "resale_share"),
    ({"co_creation_share": 10_001}, "co_creation_share"),
]


@pytest.mark.parametrize("changes", EDGES, ids="+".join)
def test_terms_at_their_bounds_are_valid(changes: dict[str, Any]) -> None:
    made = make_terms(**changes)
    assert parse_terms(made.encode()) == made
    assert made.preimage(GENESIS) == reference(made).preimage(GENESIS)


@pytest.mark.parametrize(
    ("changes", "field"), BEYOND, ids=lambda value: "+".join(value) if isinstance(value, dict) else value
)
def test_terms_beyond_their_bounds_are_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedTerms) as caught:
        make_terms(**changes)
    assert (caught.value.field, caught.value.code) == (field, "MALFORMED_TERMS")
    assert caught.value.expected


# ---- as statements hold them -----------------------------------------------------------------------------------------


@given(terms())
@settings(max_examples=200)
def test_terms_have_one_encoding(made: MintTerms) -> None:
    assert parse_terms(made.encode()) == made
    assert parse_terms(made.encode()).encode() == made.encode()


def test_terms_fit_a_statement_at_their_largest() -> None:
    largest = make_terms(
        chain_id=2**256 - 1, position=2**32 - 1, edition=2**32 - 1, editions=2**32 - 1, title="x" * 128,
        payees=tuple(Payee(account=bytes(19) + bytes((i + 1,)), share=312 + (i < 16)) for i in range(32)),
        curator=account(1), platform=account(1), sale_asset=account(1), sale_floor=2**256 - 1,
    )  # fmt: skip
    assert len(largest.encode()) < 2_048


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"chain_id": 1}, "chain_id"),
        ({"chain_id": b""}, "chain_id"),
        ({"chain_id": b"\x00\x01"}, "chain_id"),
        ({"chain_id": bytes(range(1, 34))}, "chain_id"),
        ({"sale_floor": b"\x00"}, "sale_floor"),
        ({"sale_floor": 0}, "sale_floor"),
        ({"nft": "0x" + "11" * 20}, "nft"),
        ({"claim": "11" * 32}, "claim"),
        ({"edition": True}, "edition"),
        ({"edition": "1"}, "edition"),
        ({"title": b"Opus"}, "title"),
        ({"payees": {"a": 1}}, "payees"),
        ({"payees": b"ab"}, "payees"),
        ({"payees": [[account(1)]]}, "payees[0]"),
        ({"payees": [[account(1), 10_000, 0]]}, "payees[0]"),
        ({"payees": [[account(1), "10000"]]}, "payees[0].share"),
        ({"payees": [[1, 10_000]]}, "payees[0].account"),
        ({"payees": [[account(1), 0]] * 33}, "payees"),
        ({"resale_basis": 2}, "resale_basis"),
        ({"resale_basis": True}, "resale_basis"),
        ({"resale_basis": "gain"}, "resale_basis"),
        ({"royalty": None}, "royalty"),
        ({"curator": None}, "curator"),
        ({"memo": 1}, "memo"),
    ],
)
def test_terms_in_any_other_form_are_refused(changes: dict[str, Any], field: str) -> None:
    value = decode(make_terms().encode())
    assert isinstance(value, dict)
    with pytest.raises(MalformedTerms) as caught:
        parse_terms(encode({key: item for key, item in (value | changes).items() if item is not None}))
    assert caught.value.field == f"terms.{field}"


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xf6", make_terms().encode() + b"\x00"])
def test_bytes_that_are_no_terms_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedTerms):
        parse_terms(data)


# ---- as people write them --------------------------------------------------------------------------------------------

WRITTEN = {
    "chain_id": 32769,
    "nft": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "minter": "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "claim": digest_of("a claim").hex(),
    "position": 3,
    "edition": 1,
    "editions": 100,
    "title": "Für Elise",
    "payees": [{"account": "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", "share": 10_000}],
    "sale_floor": "20000000000000000000",
    "royalty_to": "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "royalty": 2_000,
}
"""The least that somebody has to write."""


def test_what_is_left_out_of_a_file_has_the_usual_value() -> None:
    made = MintTerms.from_json(WRITTEN)
    assert (made.curator, made.platform, made.sale_asset) == (NOBODY, NOBODY, NOBODY)
    assert (made.creator_share, made.curator_share, made.collector_share, made.platform_share) == (
        7_000, 1_500, 1_000, 500,
    )  # fmt: skip
    assert (made.resale_share, made.resale_basis, made.co_creation_share) == (3_000, ResaleBasis.GAIN, 0)
    assert (made.sale_floor, made.position, made.claim) == (2 * 10**19, 3, digest_of("a claim"))
    assert made.to_json() == WRITTEN | {
        "curator": None, "platform": None, "creator_share": 7_000, "curator_share": 1_500, "collector_share": 1_000,
        "platform_share": 500, "sale_asset": None, "resale_share": 3_000, "resale_basis": "gain",
        "co_creation_share": 0,
    }  # fmt: skip


@given(terms())
@settings(max_examples=200)
def test_what_is_shown_is_read(made: MintTerms) -> None:
    shown = json.dumps(made.to_json()).encode()
    assert load_terms(shown) == made
    numbers = [value for value in made.to_json().values() if isinstance(value, int)]
    assert max(numbers) < 2**53, "no reader of JSON rounds it"


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"nft": None}, "nft", "0x and 40"),
        ({"nft": 7}, "nft", "0x and 40"),
        ({"nft": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe"}, "nft", "0x and 40"),
        ({"nft": "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"}, "nft", "0x and 40"),
        ({"nft": "0x" + "0" * 40}, "nft", "other than zero"),
        ({"minter": "0xfb6916095ca1df60bb79ce92ce3ea74c37c5d359"}, "minter", WRITTEN["minter"]),
        ({"minter": "0XFB6916095CA1DF60BB79CE92CE3EA74C37C5D359"}, "minter", WRITTEN["minter"]),
        ({"curator": "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d358"}, "curator", "its checksum (EIP-55)"),
        ({"royalty_to": None}, "royalty_to", "0x and 40"),
        ({"claim": "0x" + "11" * 32}, "claim", "64 lower-case"),
        ({"claim": "AA" * 32}, "claim", "64 lower-case"),
        ({"claim": "11" * 31}, "claim", "64 lower-case"),
        ({"position": "3"}, "position", "a whole number"),
        ({"edition": 101}, "edition", "1 to 100"),
        ({"edition": True}, "edition", "a whole number"),
        ({"title": ""}, "title", "1 to 128"),
        ({"title": 7}, "title", "text"),
        ({"payees": []}, "payees", "1 to 32"),
        ({"payees": [["0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", 10_000]]}, "payees[0]", "account, share"),
        ({"payees": [{"account": "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB"}]}, "payees[0].share", "missing"),
        ({"payees": [{"account": None, "share": 10_000}]}, "payees[0].account", "0x and 40"),
        ({"payees": WRITTEN["payees"] * 2}, "payees", "10000 together"),
        ({"sale_floor": "1e18"}, "sale_floor", "as text"),
        ({"sale_floor": "-1"}, "sale_floor", "as text"),
        ({"sale_floor": "01"}, "sale_floor", "as text"),
        ({"sale_floor": "1" * 79}, "sale_floor", "as text"),
        ({"sale_floor": str(2**256)}, "sale_floor", "2^256 - 1"),
        ({"sale_floor": True}, "sale_floor", "as text"),
        ({"chain_id": 0}, "chain_id", "1 to"),
        ({"chain_id": "Polygon"}, "chain_id", "as text"),
        ({"royalty": 1_000}, "royalty", "1500 to 2500"),
        ({"resale_basis": "profit"}, "resale_basis", "gain | gross"),
        ({"resale_basis": 0}, "resale_basis", "gain | gross"),
        ({"sales_floor": "1"}, "sales_floor", "no such field"),
    ],
)  # fmt: skip
def test_a_fault_in_a_file_is_named_with_its_mend(changes: dict[str, Any], field: str, expected: str) -> None:
    with pytest.raises(MalformedTerms) as caught:
        load_terms(json.dumps(WRITTEN | changes).encode())
    assert caught.value.field == f"terms.{field}"
    assert expected in caught.value.expected


@pytest.mark.parametrize("name", WRITTEN)
def test_a_field_that_has_no_usual_value_is_asked_for(name: str) -> None:
    with pytest.raises(MalformedTerms) as caught:
        MintTerms.from_json({key: value for key, value in WRITTEN.items() if key != name})
    assert (caught.value.field, caught.value.expected) == (f"terms.{name}", "a value: the field is missing")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'{"title": 1.5}', b'{"title": "a", "title": "b"}', b"\xff"]
)
def test_what_is_no_file_of_terms_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedTerms):
        load_terms(data)


def test_a_file_over_its_size_is_refused_before_it_is_read() -> None:
    with pytest.raises(MalformedTerms) as caught:
        load_terms(b" " * 16_385)
    assert caught.value.expected == "at most 16384 bytes"


# ---- addresses -------------------------------------------------------------------------------------------------------


def test_addresses_are_shown_with_the_checksum_of_eip_55() -> None:
    """The examples of EIP-55 itself: all upper, all lower, and mixed."""
    for shown in (
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ):
        assert show_address(bytes.fromhex(shown[2:])) == shown


@given(st.binary(min_size=20, max_size=20))
def test_addresses_are_shown_as_web3_shows_them(address: bytes) -> None:
    from eth_utils.address import to_checksum_address

    assert show_address(address) == to_checksum_address(address)


def test_a_replaced_field_is_checked_again() -> None:
    with pytest.raises(MalformedTerms):
        replace(make_terms(), royalty=0)
