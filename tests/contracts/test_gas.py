"""What the contracts cost stays as it was; `python -m bench.bridge --gas-only --snapshot contracts/gas.json` renews."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench.bridge import measure

SNAPSHOT = Path(__file__).parents[2] / "contracts" / "gas.json"
TOLERANCE = 0.01


@pytest.mark.skipif(os.environ.get("STRETTO_EVM") == "anvil", reason="gas is measured on py-evm")
def test_gas_is_that_of_the_snapshot() -> None:
    expected, found = json.loads(SNAPSHOT.read_text()), measure()
    assert sorted(found) == sorted(expected)
    off = {
        name: (gas, expected[name])
        for name, gas in found.items()
        if abs(gas - expected[name]) > TOLERANCE * expected[name]
    }
    assert off == {}, "measured and expected gas"
