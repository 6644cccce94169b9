"""The terms of one token (MintTermsV1, design D12): what a claim's holder signs, and a contract on a chain carries out.

Order, types and bounds are those of `contracts/src/Terms.sol`, fixed for good: what is valid here is what the contracts
accept. Only the title's characters are held to more, to what may stand in a record (`ledger.text`), and chain, contract
and minter may not be zero, which no token could ever match.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from enum import IntEnum
from typing import Final, Protocol, TypeAlias, Union

from consensus.types import Digest
from ledger import abi
from ledger.address import NOBODY, read_address, show_address
from ledger.cbor import CborInput, decode, encode
from ledger.errors import MalformedCbor, MalformedTerms
from ledger.member import read_object
from ledger.strict_json import load_json
from ledger.text import text_fault

JsonValue: TypeAlias = Union[int, str, list["JsonValue"], dict[str, "JsonValue"], None]  # noqa: UP007

MINT_TAG: Final = b"stretto/mint/v1".ljust(32, b"\x00")
"""First in the preimage of every MINT entry."""

WHOLE_BPS: Final = 10_000
PAYEES_MAX: Final = 32
TITLE_BYTES_MAX: Final = 128
ROYALTY_BPS_MIN: Final = 1_500
ROYALTY_BPS_MAX: Final = 2_500

TERMS_FILE_BYTES_MAX: Final = 16_384

_U32, _U256 = 2**32 - 1, 2**256 - 1
_JSON_WHOLE: Final = 2**53
"""From here on readers of JSON round."""
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,77}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NOBODY_ALLOWED: Final = ("curator", "platform", "sale_asset")
_ADDRESSES: Final = ("nft", "minter", *_NOBODY_ALLOWED, "royalty_to")
_SHARES: Final = ("creator_share", "curator_share", "collector_share", "platform_share")
_BIG: Final = ("chain_id", "sale_floor")
"""uint256 on chains, and so more than CBOR's integers here hold."""


class ResaleBasis(IntEnum):
    """Of what a curator's part of a resale is taken."""

    GAIN = 0
    GROSS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Payee:
    """One of those who share the creator's part. Checked by the terms that hold it."""

    account: bytes
    """Address, not zero."""
    share: int
    """Of the creator's part, in basis points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MintTerms:
    """MintTermsV1. A constructed value is valid; MalformedTerms names the field else, from inside the terms.

    Shares are basis points; addresses are 20 bytes of the chain `chain_id`. The fields stand in the order of the ABI.
    """

    chain_id: int
    """EIP-155, not zero."""
    nft: bytes
    """The MusicNFT contract."""
    minter: bytes
    """Who mints, and is the first owner."""
    claim: Digest
    """SHA-256 of the statement with the claim."""
    position: int
    """Of the claim in its catalogue; 0 for a claim of its own statement."""
    edition: int
    """This token's number among `editions`, from 1."""
    editions: int
    title: str
    """1 to 128 bytes of UTF-8."""
    payees: tuple[Payee, ...]
    """1 to 32, together the whole of the creator's part; the first also gets what division leaves over."""
    curator: bytes = NOBODY
    """Nobody: the share is the creator's. So for the platform."""
    platform: bytes = NOBODY
    creator_share: int = 7_000
    """Of primary income; the four add up to 10,000."""
    curator_share: int = 1_500
    collector_share: int = 1_000
    platform_share: int = 500
    sale_asset: bytes = NOBODY
    """ERC-20 contract that the first sale is paid in; NOBODY: the chain's own coin."""
    sale_floor: int
    """Smallest price of the first sale, in the asset's smallest unit."""
    royalty_to: bytes
    """Gets ERC-2981's royalty."""
    royalty: int
    """Of a resale's price; 1,500 to 2,500."""
    resale_share: int = 3_000
    """The curator's, of what the basis says."""
    resale_basis: ResaleBasis = ResaleBasis.GAIN
    co_creation_share: int = 0
    """The holders', of works made together with them."""

    def __post_init__(self) -> None:
        _check_range("chain_id", self.chain_id, 1, _U256)
        for name in _ADDRESSES:
            _check_address(name, getattr(self, name), zero=name in _NOBODY_ALLOWED)
        if len(self.claim) != 32:
            raise MalformedTerms("claim", self.claim, f"32 bytes, got {len(self.claim)}")
        _check_range("position", self.position, 0, _U32)
        _check_range("editions", self.editions, 1, _U32)
        _check_range("edition", self.edition, 1, self.editions)
        self._check_title()
        self._check_payees()
        self._check_shares()
        _check_range("sale_floor", self.sale_floor, 0, _U256)
        self._check_resale()

    def _check_title(self) -> None:
        if fault := text_fault(self.title, TITLE_BYTES_MAX):
            raise MalformedTerms("title", self.title, fault)
        if (length := len(self.title.encode())) > TITLE_BYTES_MAX:
            raise MalformedTerms("title", self.title, f"at most {TITLE_BYTES_MAX} bytes of UTF-8, got {length}")

    def _check_payees(self) -> None:
        if not 1 <= len(self.payees) <= PAYEES_MAX:
            raise MalformedTerms("payees", f"{len(self.payees)} payees", f"1 to {PAYEES_MAX} payees")
        for i, payee in enumerate(self.payees):
            _check_address(f"payees[{i}].account", payee.account, zero=False)
            _check_range(f"payees[{i}].share", payee.share, 0, WHOLE_BPS)
        if (total := sum(payee.share for payee in self.payees)) != WHOLE_BPS:
            raise MalformedTerms("payees", f"shares of {total} together", f"shares of {WHOLE_BPS} together")

    def _check_shares(self) -> None:
        for name in _SHARES:
            _check_range(name, getattr(self, name), 0, WHOLE_BPS)
        if (total := sum(getattr(self, name) for name in _SHARES)) != WHOLE_BPS:
            expected = f"{WHOLE_BPS} together with curator_share, collector_share and platform_share"
            raise MalformedTerms("creator_share", f"{total} together", expected)

    def _check_resale(self) -> None:
        _check_range("royalty", self.royalty, ROYALTY_BPS_MIN, ROYALTY_BPS_MAX)
        _check_range("resale_share", self.resale_share, 0, WHOLE_BPS)
        _check_range("co_creation_share", self.co_creation_share, 0, WHOLE_BPS)
        if (total := self.royalty + self.resale_share + self.co_creation_share) > WHOLE_BPS:
            expected = f"at most {WHOLE_BPS} together with royalty and co_creation_share"
            raise MalformedTerms("resale_share", f"{total} together", expected)

    # ---- what the log and the contracts know -------------------------------------------------------------------------

    def preimage(self, consortium: Digest | bytes) -> bytes:
        """kind ‖ abi.encode(genesis, terms). consortium: the genesis digest, 32 bytes."""
        return MINT_TAG + abi.encode(abi.bytes32(consortium), self._abi())

    def entry(self, consortium: Digest | bytes) -> Digest:
        """SHA-256 of the preimage: the MINT leaf's entry in the log, and the token's id."""
        return Digest(hashlib.sha256(self.preimage(consortium)).digest())

    def _abi(self) -> abi.Dynamic:
        return abi.struct(
            abi.uint(self.chain_id),
            abi.address(self.nft),
            abi.address(self.minter),
            abi.bytes32(self.claim),
            abi.uint(self.position, 32),
            abi.uint(self.edition, 32),
            abi.uint(self.editions, 32),
            abi.string(self.title),
            abi.array([abi.address(payee.account) + abi.uint(payee.share, 16) for payee in self.payees]),
            abi.address(self.curator),
            abi.address(self.platform),
            *(abi.uint(getattr(self, name), 16) for name in _SHARES),
            abi.address(self.sale_asset),
            abi.uint(self.sale_floor),
            abi.address(self.royalty_to),
            abi.uint(self.royalty, 16),
            abi.uint(self.resale_share, 16),
            abi.uint(self.resale_basis, 8),
            abi.uint(self.co_creation_share, 16),
        )

    # ---- as a statement holds them -----------------------------------------------------------------------------------

    def value(self) -> dict[str, CborInput]:
        """The CBOR map: every field, numbers of up to 256 bits as bytes (big-endian, shortest)."""
        plain: dict[str, CborInput] = {name: getattr(self, name) for name in _FIELDS}
        for name in _BIG:
            plain[name] = _big_bytes(getattr(self, name))
        plain["resale_basis"] = int(self.resale_basis)
        plain["payees"] = [[payee.account, payee.share] for payee in self.payees]
        return plain

    def encode(self) -> bytes:
        """The one deterministic CBOR encoding of `value`."""
        return encode(self.value())

    # ---- as people write them ----------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, JsonValue]:
        """Every field: addresses with their checksum, nobody as null, numbers of up to 256 bits as decimal text."""
        shown: dict[str, JsonValue] = {}
        for name in _FIELDS:
            value = getattr(self, name)
            if name in _NOBODY_ALLOWED and value == NOBODY:
                shown[name] = None
            elif name in _ADDRESSES:
                shown[name] = show_address(value)
            else:
                shown[name] = str(value) if name == "sale_floor" else value
        shown["chain_id"] = self.chain_id if self.chain_id < _JSON_WHOLE else str(self.chain_id)
        shown["claim"] = self.claim.hex()
        shown["resale_basis"] = self.resale_basis.name.lower()
        shown["payees"] = [{"account": show_address(payee.account), "share": payee.share} for payee in self.payees]
        return shown

    @classmethod
    def from_json(cls, value: object) -> MintTerms:
        """Inverse of `to_json`, of a parsed JSON value; what has a default may be left out.

        Raises: MalformedTerms with the path from `terms` on.
        """
        given = _JSON_DEFAULTS | value if isinstance(value, dict) else value
        found = read_object(given, "terms", _FIELDS, MalformedTerms)
        try:
            return _build(_Json(), found)
        except MalformedTerms as error:
            raise error.within("terms") from None


_FIELDS: Final = tuple(field.name for field in fields(MintTerms))
_JSON_DEFAULTS: Final[dict[str, object]] = {
    **{field.name: field.default for field in fields(MintTerms) if field.default is not MISSING},
    **dict.fromkeys(_NOBODY_ALLOWED),
    "resale_basis": ResaleBasis.GAIN.name.lower(),
}
"""What a file says that leaves a field out."""


def _check_range(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise MalformedTerms(field, value, f"a whole number from {low} to {high if high <= _U32 else '2^256 - 1'}")


def _check_address(field: str, value: bytes, *, zero: bool) -> None:
    if len(value) != abi.ADDRESS_BYTES:
        raise MalformedTerms(field, value, f"an address of {abi.ADDRESS_BYTES} bytes, got {len(value)}")
    if not zero and value == NOBODY:
        raise MalformedTerms(field, value, "an address other than zero")


def _big_bytes(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


# ---- reading ---------------------------------------------------------------------------------------------------------


class _Form(Protocol):
    """How the fields stand in one form of terms: CBOR in statements, JSON in people's files."""

    def number(self, name: str, value: object) -> int: ...

    def big(self, name: str, value: object) -> int:
        """Of up to 256 bits."""

    def address(self, name: str, value: object) -> bytes: ...

    def digest(self, name: str, value: object) -> bytes: ...

    def basis(self, name: str, value: object) -> ResaleBasis: ...

    def payee(self, name: str, value: object) -> tuple[object, object]:
        """Account and share, not read yet."""


def _build(form: _Form, found: Mapping[str, object]) -> MintTerms:
    """found: exactly the terms' fields."""

    def number(name: str) -> int:
        return form.number(name, found[name])

    def address(name: str) -> bytes:
        return form.address(name, found[name])

    return MintTerms(
        chain_id=form.big("chain_id", found["chain_id"]),
        nft=address("nft"),
        minter=address("minter"),
        claim=Digest(form.digest("claim", found["claim"])),
        position=number("position"),
        edition=number("edition"),
        editions=number("editions"),
        title=_read_title(found["title"]),
        payees=_read_payees(form, found["payees"]),
        curator=address("curator"),
        platform=address("platform"),
        creator_share=number("creator_share"),
        curator_share=number("curator_share"),
        collector_share=number("collector_share"),
        platform_share=number("platform_share"),
        sale_asset=address("sale_asset"),
        sale_floor=form.big("sale_floor", found["sale_floor"]),
        royalty_to=address("royalty_to"),
        royalty=number("royalty"),
        resale_share=number("resale_share"),
        resale_basis=form.basis("resale_basis", found["resale_basis"]),
        co_creation_share=number("co_creation_share"),
    )


def _read_title(value: object) -> str:
    if type(value) is not str:
        raise MalformedTerms("title", value, "text")
    return value


def _read_payees(form: _Form, value: object) -> tuple[Payee, ...]:
    if type(value) is not list or len(value) > PAYEES_MAX:
        raise MalformedTerms("payees", value, f"a list of 1 to {PAYEES_MAX} payees")
    read: list[Payee] = []
    for i, item in enumerate(value):
        account, share = form.payee(f"payees[{i}]", item)
        read.append(
            Payee(account=form.address(f"payees[{i}].account", account), share=form.number(f"payees[{i}].share", share))
        )
    return tuple(read)


def _whole(name: str, value: object) -> int:
    if type(value) is not int:
        raise MalformedTerms(name, value, "a whole number")
    return value


class _Cbor:
    """Addresses and digests are bytes, large numbers too; a payee is [account, share]."""

    def number(self, name: str, value: object) -> int:
        return _whole(name, value)

    def big(self, name: str, value: object) -> int:
        if type(value) is not bytes or len(value) > 32 or value[:1] == b"\x00":
            raise MalformedTerms(name, value, "a number as at most 32 bytes, big-endian, without leading zeros")
        return int.from_bytes(value, "big")

    def address(self, name: str, value: object) -> bytes:
        if type(value) is not bytes:
            raise MalformedTerms(name, value, "a byte string")
        return value

    def digest(self, name: str, value: object) -> bytes:
        return self.address(name, value)

    def basis(self, name: str, value: object) -> ResaleBasis:
        if type(value) is not int or value not in set(ResaleBasis):
            raise MalformedTerms(name, value, "0 (of the gain) or 1 (of the gross price)")
        return ResaleBasis(value)

    def payee(self, name: str, value: object) -> tuple[object, object]:
        if type(value) is not list or len(value) != 2:
            raise MalformedTerms(name, value, "a list of an address and a share")
        return value[0], value[1]


def read_terms(value: object, path: str) -> MintTerms:
    """Inverse of `MintTerms.value`: one value, one form. path: of the value, in errors. Raises: MalformedTerms."""
    found = read_object(value, path, _FIELDS, MalformedTerms)
    try:
        return _build(_Cbor(), found)
    except MalformedTerms as error:
        raise error.within(path) from None


class _Json:
    """Addresses in hexadecimal with their checksum, nobody as null; a payee is an object; a basis is a word."""

    def number(self, name: str, value: object) -> int:
        return _whole(name, value)

    def big(self, name: str, value: object) -> int:
        if type(value) is int:
            return value
        if type(value) is not str or not _DECIMAL.fullmatch(value):
            raise MalformedTerms(name, value, 'a whole number, above 2^53 as text, such as "1000000000000000000"')
        return int(value)

    def address(self, name: str, value: object) -> bytes:
        if value is None and name in _NOBODY_ALLOWED:
            return NOBODY
        return read_address(value, name, MalformedTerms)

    def digest(self, name: str, value: object) -> bytes:
        if type(value) is not str or not _DIGEST.fullmatch(value):
            raise MalformedTerms(name, value, "a SHA-256 as 64 lower-case hexadecimal digits")
        return bytes.fromhex(value)

    def basis(self, name: str, value: object) -> ResaleBasis:
        words = {basis.name.lower(): basis for basis in ResaleBasis}
        if type(value) is not str or value not in words:
            raise MalformedTerms(name, value, " | ".join(words))
        return words[value]

    def payee(self, name: str, value: object) -> tuple[object, object]:
        found = read_object(value, name, ("account", "share"), MalformedTerms)
        return found["account"], found["share"]


def load_terms(data: bytes) -> MintTerms:
    """The terms of a JSON file that somebody wrote. Raises: MalformedTerms."""
    return MintTerms.from_json(load_json(data, "terms", TERMS_FILE_BYTES_MAX, MalformedTerms))


def parse_terms(data: bytes) -> MintTerms:
    """Inverse of `MintTerms.encode`. Raises: MalformedTerms with the path from `terms` on."""
    try:
        value = decode(data)
    except MalformedCbor as error:
        raise MalformedTerms("terms", error.value, f"deterministic CBOR, at {error.field}: {error.expected}") from None
    return read_terms(value, "terms")
