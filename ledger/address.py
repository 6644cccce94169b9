"""Addresses on EVM chains: 20 bytes in records, hexadecimal with EIP-55's checksum wherever people read or write them.

Nothing but that checksum tells a mistyped address from a right one, and what is paid to a wrong one is lost. So hex
without it is refused too, and the error names the form that has it.
"""

from __future__ import annotations

import re
from typing import Final

from ledger.abi import ADDRESS_BYTES
from ledger.keccak import keccak256
from ledger.member import Refuse

NOBODY: Final = bytes(ADDRESS_BYTES)
"""The zero address: nobody, or a chain's own coin where an asset is meant."""

_HEX: Final = re.compile(r"0[xX][0-9a-fA-F]{40}")


def show_address(address: bytes) -> str:
    """`0x` and 40 digits, upper and lower case by the digits' hash (EIP-55). address: 20 bytes."""
    assert len(address) == ADDRESS_BYTES, f"an address has {ADDRESS_BYTES} bytes, got {len(address)}"
    digits = address.hex()
    marks = keccak256(digits.encode()).hex()
    return "0x" + "".join(d.upper() if mark >= "8" else d for d, mark in zip(digits, marks, strict=False))


def read_address(value: object, path: str, refuse: Refuse) -> bytes:
    """The 20 bytes of an address as people write it. Raises: what `refuse` makes, naming the right checksum."""
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise refuse(path, value, "an address: 0x and 40 hexadecimal digits")
    address = bytes.fromhex(value[2:])
    if value != (right := show_address(address)):
        raise refuse(path, value, f"{right}, if the digits are right: upper and lower case are its checksum (EIP-55)")
    return address
