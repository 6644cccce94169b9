"""The rules of a claim's content: shares, AI disclosure, personal data, and what each part asks of itself."""

from __future__ import annotations

import hashlib
import hmac
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.cbor import decode
from ledger.claim import (
    AiContribution,
    AiDisclosure,
    AiRole,
    Claim,
    Commitment,
    ContainsAI,
    Exhibit,
    ExhibitKind,
    Licence,
    Party,
    PartyRole,
    ProprietaryId,
    Reference,
    Relation,
    Right,
    Share,
    ShareType,
    Title,
    parse_claim,
)
from ledger.claim_json import claim_to_json
from ledger.claim_shares import countries, sum_fault, territory_fault
from ledger.claim_vocabulary import COUNTRIES
from ledger.errors import MalformedClaim
from tests.ledger.builders import make_claim, make_media

D = bytes(range(32))
COMPOSER = Party(role=PartyRole.COMPOSER, name="A. Composer")
LYRICIST = Party(role=PartyRole.LYRICIST, name="B. Lyricist")


def share(bps: int = 5_000, *, party: int = 0, right: Right = Right.PERFORMING, **more: Any) -> Share:
    return Share(**({"party": party, "right": right, "territory": "Worldwide", "bps": bps} | more))


# ---- shares ----------------------------------------------------------------------------------------------------------


def shared(*shares: Share) -> Claim:
    return make_claim(parties=(COMPOSER, LYRICIST), shares=shares)


@pytest.mark.parametrize(
    "shares",
    [
        (share(5_000), share(5_000, party=1)),
        (share(10_000), share(10_000, party=1, right=Right.MECHANICAL)),
        (share(10_000, territory="CN+HK"), share(10_000, party=1, territory="Worldwide-CN-HK")),
        (share(10_000, territory="CN"), share(10_000, party=1, territory="US")),
        (share(10_000, type=ShareType.COLLECTION), share(10_000, party=1, type=ShareType.MANUSCRIPT)),
        (share(9_999, right=Right.ALL), share(1, party=1, right=Right.PRINT)),
        (share(0), share(10_000, party=1)),
    ],
)
def test_shares_up_to_the_whole_are_accepted(shares: tuple[Share, ...]) -> None:
    assert parse_claim(shared(*shares).encode()).shares == shares


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((share(5_000), share(5_001, party=1)), "PerformingRight in AD, the sum is 10001"),
        ((share(10_000, territory="CN+HK"), share(1, party=1, territory="Worldwide-CN")), "in HK"),
        ((share(10_000), share(1, party=1, territory="VN")), "in VN"),
        ((share(10_000, right=Right.ALL), share(1, party=1, right=Right.PRINT)), "PrintRight"),
        ((share(6_000, right=Right.ALL), share(6_000, party=1, right=Right.ALL)), "All"),
    ],
)
def test_shares_over_the_whole_are_refused(shares: tuple[Share, ...], expected: str) -> None:
    with pytest.raises(MalformedClaim, match=expected) as caught:
        shared(*shares)
    assert caught.value.field == "shares[1].bps"


def test_a_sum_is_found_where_the_first_share_does_not_reach() -> None:
    lines = share(1, territory="CN"), share(6_000, territory="US"), share(6_000, party=1, territory="Worldwide-CN")
    shared(*lines[:2])
    with pytest.raises(MalformedClaim, match="in US, the sum is 12000") as caught:
        shared(*lines)
    assert caught.value.field == "shares[2].bps"


def test_a_share_of_nobody_and_a_share_said_twice_are_refused() -> None:
    with pytest.raises(MalformedClaim, match=r"shares\[0\].party"):
        shared(share(party=2))
    with pytest.raises(MalformedClaim, match=r"shares\[1\].*one share per party"):
        shared(share(1), share(2))


def test_the_number_of_territories_is_bounded() -> None:
    codes = sorted(COUNTRIES)
    lines = [share(0, territory=code) for code in codes[:17]]
    shared(*lines[:16])
    with pytest.raises(MalformedClaim, match="at most 16 territories"):
        shared(*lines)


@pytest.mark.parametrize("territory", ["Worldwide", "CN", "CN+HK+MO", "Worldwide-CN-US", "XK"])
def test_territories_have_one_name(territory: str) -> None:
    assert territory_fault(territory) is None


@pytest.mark.parametrize(
    "territory",
    ["", "WORLD", "worldwide", "China", "cn", "HK+CN", "CN+CN", "CN-HK", "Worldwide+CN", "Worldwide-US-CN", "ZZ", "CN+",
     "Worldwide-" + "-".join(sorted(COUNTRIES))],
)  # fmt: skip
def test_other_territories_are_refused(territory: str) -> None:
    assert territory_fault(territory) is not None
    with pytest.raises(MalformedClaim, match="territory"):
        share(territory=territory)


def test_countries_of_a_territory() -> None:
    assert countries("CN+HK") == {"CN", "HK"}
    assert countries("Worldwide-CN") == COUNTRIES - {"CN"}
    assert len(countries("Worldwide")) == 250


territories = st.sampled_from(["Worldwide", "Worldwide-CN-US", "CN", "CN+HK+MO", "DE+FR", "Worldwide-DE"])
some_shares = st.lists(
    st.builds(
        Share,
        party=st.integers(0, 1),
        right=st.sampled_from([Right.ALL, Right.PRINT, Right.PERFORMING]),
        territory=territories,
        bps=st.integers(0, 7_000),
        type=st.none() | st.just(ShareType.MANUSCRIPT),
    ),
    max_size=6,
)


@given(some_shares)
def test_sums_equal_adding_up_country_by_country(shares: list[Share]) -> None:
    totals: dict[Any, int] = defaultdict(int)
    for line in shares:
        for country in countries(line.territory):
            rights = {other.right for other in shares} if line.right is Right.ALL else {line.right}
            for right in rights:
                totals[line.type, right, country] += line.bps
    assert (sum_fault(shares) is not None) == any(total > 10_000 for total in totals.values())


# ---- AI --------------------------------------------------------------------------------------------------------------


def test_silence_about_ai_is_undeclared_and_never_none() -> None:
    silent = make_claim()
    assert silent.contains_ai is ContainsAI.UNDECLARED
    assert claim_to_json(silent)["ai"] == {"contains": "Undeclared"}
    assert b"ai" not in decode_keys(silent)
    none = make_claim(ai=AiDisclosure(contains=ContainsAI.NONE))
    assert none.contains_ai is ContainsAI.NONE
    assert none.encode() != silent.encode()


def decode_keys(claim: Claim) -> set[bytes]:
    value = decode(claim.encode())
    assert isinstance(value, dict)
    return {str(key).encode() for key in value}


@pytest.mark.parametrize(
    ("whole", "part", "consistent"),
    [
        (ContainsAI.ALL, ContainsAI.ALL, True),
        (ContainsAI.ALL, ContainsAI.PARTLY, False),
        (ContainsAI.ALL, ContainsAI.NONE, False),
        (ContainsAI.NONE, ContainsAI.NONE, True),
        (ContainsAI.NONE, ContainsAI.PARTLY, False),
        (ContainsAI.NONE, ContainsAI.ALL, False),
        (ContainsAI.PARTLY, ContainsAI.ALL, True),
        (ContainsAI.PARTLY, ContainsAI.PARTLY, True),
        (ContainsAI.PARTLY, ContainsAI.NONE, True),
    ],
)
def test_the_parts_agree_with_the_whole(whole: ContainsAI, part: ContainsAI, consistent: bool) -> None:
    contributions = (AiContribution(role=AiRole.VOCALS, ai=part),)
    if consistent:
        AiDisclosure(contains=whole, contributions=contributions)
        return
    with pytest.raises(MalformedClaim, match=f"because the whole is declared {whole}") as caught:
        AiDisclosure(contains=whole, contributions=contributions)
    assert caught.value.field == "contributions[0].ai"


def test_undeclared_is_never_written() -> None:
    with pytest.raises(MalformedClaim, match="no disclosure at all"):
        AiDisclosure(contains=ContainsAI.UNDECLARED)
    with pytest.raises(MalformedClaim, match="leave an undeclared role out"):
        AiContribution(role=AiRole.VOCALS, ai=ContainsAI.UNDECLARED)
    with pytest.raises(MalformedClaim, match="each role once"):
        AiDisclosure(
            contains=ContainsAI.PARTLY, contributions=(AiContribution(role=AiRole.VOCALS, ai=ContainsAI.ALL),) * 2
        )


# ---- personal data ---------------------------------------------------------------------------------------------------


def test_a_commitment_opens_to_its_value_and_no_other() -> None:
    salt = bytes(range(32))
    commitment = Commitment.of(salt, "A. Composer")
    assert commitment.digest == hmac.new(salt, b"A. Composer", hashlib.sha256).digest()
    assert commitment.opens_to(salt, "A. Composer")
    assert not commitment.opens_to(salt, "B. Composer")
    assert not commitment.opens_to(bytes(32), "A. Composer")
    assert not commitment.opens_to(b"", "A. Composer")
    with pytest.raises(ValueError, match="32 bytes"):
        Commitment.of(b"short", "A. Composer")


def test_a_committed_name_is_not_in_the_record() -> None:
    claim = make_claim(parties=(Party(role=PartyRole.COMPOSER, name=Commitment.of(D, "A. Composer")),))
    assert b"Composer" in claim.encode()
    assert b"A. Composer" not in claim.encode()
    assert claim_to_json(claim)["parties"] == [
        {"role": "Composer", "name": {"commitment": Commitment.of(D, "A. Composer").digest.hex()}}
    ]


# ---- parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Title(text="x", language="english"), "language"),
        (lambda: ProprietaryId(namespace="", value="x"), "namespace"),
        (lambda: Party(role=PartyRole.CHOIR, member="Not A Slug"), "member"),
        (lambda: share(10_001), "bps"),
        (lambda: share(-1), "bps"),
        (lambda: make_media(media_type="FLAC"), "media_type"),
        (lambda: make_media(iscc="EIAWUJFCEZZOJYVD"), "iscc"),
        (lambda: make_media(flac_md5=bytes(15)), "flac_md5"),
        (Licence, ""),
        (lambda: Licence(uri="no uri"), "uri"),
        (lambda: Reference(relation=Relation.IS_COVER_OF), ""),
        (lambda: Reference(relation=Relation.IS_COVER_OF, statement=D, external="x"), ""),
        (lambda: Reference(relation=Relation.IS_COVER_OF, external="x", position=1), "position"),
        (lambda: Exhibit(kind=ExhibitKind.OTHER, sha256=b""), "sha256"),
        (lambda: Exhibit(kind=ExhibitKind.OTHER, sha256=D, captured_at="2026-01-01T24:00:00Z"), "captured_at"),
        (lambda: Exhibit(kind=ExhibitKind.OTHER, sha256=D, captured_at="2026-02-30T00:00:00Z"), "captured_at"),
        (lambda: Exhibit(kind=ExhibitKind.OTHER, sha256=D, captured_at="2026-01-01T00:00:00+08:00"), "captured_at"),
    ],
)
def test_a_part_checks_itself(make: Any, field: str) -> None:
    with pytest.raises(MalformedClaim) as caught:
        make()
    assert caught.value.field == field


def test_a_party_listed_twice_is_refused() -> None:
    with pytest.raises(MalformedClaim, match=r"parties\[1\].*no repetition of parties\[0\]"):
        make_claim(parties=(COMPOSER, COMPOSER))
