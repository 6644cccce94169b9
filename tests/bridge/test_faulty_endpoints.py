"""One relayer, three endpoints, one of them faulty: the checkpoint arrives, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bridge.errors import EndpointsDisagree, NoEndpoint, WrongChainId
from bridge.journal import State
from tests.bridge.anvils import SLOTS
from tests.bridge.servers import LAG, LIE, LIMITED, SWALLOW, Proxy
from tests.bridge.test_relay import rounds
from tests.bridge.world import Place


@pytest.fixture
def proxies(place: Place) -> Iterator[list[Proxy]]:
    made = [Proxy(place.node.url) for _ in range(3)]
    yield made
    for proxy in made:
        proxy.close()


@pytest.mark.parametrize("mode", [LIE, LAG, SWALLOW, LIMITED])
def test_one_faulty_endpoint_of_three_neither_stops_nor_doubles(place: Place, proxies: list[Proxy], mode: str) -> None:
    with place.journal() as journal:
        relay = place.relay(journal, *(proxy.url for proxy in proxies), timeout_s=0.5)
        rounds(relay)
        proxies[1].mode = mode
        for _ in range(2):
            place.ledger.grow(3)
            rounds(relay, 4)
        place.node.mine(2 * SLOTS + 15)
        rounds(relay, 6)
        assert relay.report.state is not None
        assert relay.report.state.size == place.ledger.entries.size
        assert {each.state: each.count for each in journal.totals()} == {State.USEFUL: 2}
    assert len(place.paid()) == 2


def test_where_liars_are_the_half_nothing_is_sent(place: Place, proxies: list[Proxy]) -> None:
    with place.journal() as journal:
        relay = place.relay(journal, proxies[0].url, proxies[1].url, read_quorum=2)
        place.ledger.grow(3)
        rounds(relay, 3)
        proxies[1].mode = LIE
        place.ledger.grow(3)
        for _ in range(3):
            with pytest.raises((EndpointsDisagree, NoEndpoint)):
                relay.round()
    assert len(place.paid()) == 1


def test_endpoint_of_another_chain_stops_a_deployment_by_name(place: Place, proxies: list[Proxy]) -> None:
    from bridge.deploy import Deployer, Genesis
    from bridge.run import open_endpoints
    from tests.bridge.world import addresses, key

    honest = proxies[1].answer
    proxies[1].answer = lambda method, params: "0x1" if method == "eth_chainId" else honest(method, params)
    config = place.config(*(proxy.url for proxy in proxies))
    genesis = Genesis(
        consortium=b"\x01" * 32, first_entry=b"\x02" * 32, epoch=0, validators=addresses(place.ledger.validators),
        recovery=tuple(bytes([i]) * 20 for i in range(1, 5)),
    )  # fmt: skip
    with place.journal() as journal:
        deployer = Deployer(config, open_endpoints(config), key(0), journal, say=lambda _: None)
        with pytest.raises(WrongChainId, match="serves chain id 1, expected 32769"):
            deployer.deploy(genesis)
        assert journal.open(config.id, key(0).address) == []


def test_interrupted_deployment_goes_on_with_what_was_sent(place: Place) -> None:
    from bridge.deploy import Deployer, Genesis
    from bridge.run import open_endpoints
    from tests.bridge.world import addresses, key

    config = place.config(gas_max=10**7)
    genesis = Genesis(
        consortium=b"\x01" * 32, first_entry=b"\x02" * 32, epoch=0, validators=addresses(place.ledger.validators),
        recovery=tuple(bytes([i]) * 20 for i in range(1, 5)),
    )  # fmt: skip
    said: list[str] = []

    def stops(line: str) -> None:
        said.append(line)
        if line.startswith("CheckpointBridge: in block"):
            raise KeyboardInterrupt

    with place.journal() as journal:
        with pytest.raises(KeyboardInterrupt):
            Deployer(config, open_endpoints(config), key(0), journal, say=stops).deploy(genesis)
        done = Deployer(config, open_endpoints(config), key(0), journal, say=lambda _: None).deploy(genesis)
        again = Deployer(config, open_endpoints(config), key(0), journal, say=lambda _: None).deploy(genesis)
    assert done == again
    assert said[0].lower().endswith("0x" + done.bridge.hex())
