"""Transactions as bytes: what is signed, and what is broadcast. Sources: EIP-1559, EIP-155, EIP-2718, RLP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import rlp

from ledger.keccak import keccak256


class Fees(NamedTuple):
    """wei per gas. In a legacy transaction both are its gas price."""

    max_fee: int
    tip: int


class RecoverableSignature(NamedTuple):
    """secp256k1: s at most half of the order. parity: of R's y, 0 or 1."""

    r: int
    s: int
    parity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """Without value in coins: relaying and deploying move none."""

    chain_id: int
    nonce: int
    to: bytes | None
    """20 bytes; None deploys a contract."""
    call: bytes
    gas: int
    fees: Fees
    legacy: bool = False

    @property
    def digest(self) -> bytes:
        """What is signed."""
        if self.legacy:
            return keccak256(rlp.encode([*self._legacy_fields(), self.chain_id, b"", b""]))
        return keccak256(b"\x02" + rlp.encode(self._fields()))

    def signed(self, signature: RecoverableSignature) -> bytes:
        """What is broadcast."""
        r, s, parity = signature
        if self.legacy:
            return bytes(rlp.encode([*self._legacy_fields(), 35 + 2 * self.chain_id + parity, r, s]))
        return b"\x02" + bytes(rlp.encode([*self._fields(), parity, r, s]))

    def _fields(self) -> list[object]:
        fees = self.fees
        to = self.to or b""
        return [self.chain_id, self.nonce, fees.tip, fees.max_fee, self.gas, to, 0, self.call, []]

    def _legacy_fields(self) -> list[object]:
        return [self.nonce, self.fees.max_fee, self.gas, self.to or b"", 0, self.call]


def created_address(sender: bytes, nonce: int) -> bytes:
    """Where a deploying transaction puts its contract: 20 bytes."""
    return keccak256(bytes(rlp.encode([sender, nonce])))[12:]
