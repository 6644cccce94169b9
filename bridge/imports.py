"""Imports of Ethereum's libraries, which change a limit of the whole process when they are imported."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def quietly(name: str) -> ModuleType:
    """The module, with Python's recursion limit as it was.

    py_ecc and eth, which web3, eth_account and eth_tester import, raise it a hundredfold: then deeply nested JSON or
    CBOR from outside is no RecursionError any more but the end of the stack.
    """
    before = sys.getrecursionlimit()
    try:
        return importlib.import_module(name)
    finally:
        sys.setrecursionlimit(before)
