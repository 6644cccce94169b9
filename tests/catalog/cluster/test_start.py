"""Which cluster is meant, and what is said where there is none."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from catalog.cluster import start
from catalog.cluster.engine import RayEngine
from catalog.cluster.start import NoCluster, RayMissing, cluster, parse_engine
from catalog.engine import Work
from catalog.tools import NO_TOOLS


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ray", None),
        ("ray://head", "head:6379"),
        ("ray://head:7000", "head:7000"),
        ("ray://10.0.0.1/", "10.0.0.1:6379"),
        ("ray://[fd00::1]:7000", "[fd00::1]:7000"),
    ],
)
def test_an_engine_names_the_head_of_a_cluster(text: str, address: str | None) -> None:
    assert parse_engine(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "spark", "ray:", "ray://", "ray://head:port", "ray://head:99999", "ray://me@head", "ray://head/x", "RAY"],
)
def test_what_names_no_engine_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected local, ray or ray://HOST\[:PORT\], got"):
        parse_engine(text)


def test_without_ray_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayMissing, match=r"pip install 'stretto\[ray\]'"), cluster(None, cpus=1):
        pass
    engine = RayEngine(None, NO_TOOLS, workers=1, say=print)
    assert list(engine.results([])) == [], "without work it is not needed"
    with pytest.raises(RayMissing):
        list(engine.results([Work(path=Path("/nowhere/a"), root=Path("/nowhere"), size_bytes=0)]))


def test_a_head_that_does_not_answer_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(NoCluster, match=rf"no Ray head answers at 127.0.0.1:{port} \(connection refused\)"):
        cluster(f"127.0.0.1:{port}", cpus=1).__enter__()


class Pretended:
    """A module `ray` that refuses, or that listens on an address."""

    def __init__(self, address: str = "127.0.0.1", error: Exception | None = None) -> None:
        self.address = address
        self.error = error
        self.options: dict[str, Any] = {}
        self.environment: dict[str, str] = {}
        self.ended = False
        self.complaint = b""
        self._private = SimpleNamespace(worker=SimpleNamespace(_worker_logs_enabled=True))

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> None:
        self.options, self.environment = options, dict(os.environ)
        os.write(2, self.complaint)
        if self.error is not None:
            raise self.error

    def nodes(self) -> list[dict[str, str]]:
        return [{"NodeManagerAddress": self.address}]

    def shutdown(self) -> None:
        self.ended = True


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    ray = Pretended()
    monkeypatch.setattr(start, "_import", lambda: ray)
    monkeypatch.setattr(start, "_reach", lambda _: None)
    return ray


def test_a_cluster_of_our_own_is_small_private_quiet_and_sends_nothing(pretended: Pretended) -> None:
    with cluster(None, cpus=3) as ray:
        folder = Path(pretended.options["_temp_dir"]).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert ray is pretended
    assert pretended.options["include_dashboard"] is False
    assert pretended.options["address"] == "local", "not one that the environment names"
    assert pretended.options["num_cpus"] == 3
    assert pretended.options["object_store_memory"] < 100_000_000
    assert pretended.options["log_to_driver"] is False
    assert pretended.environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert pretended.environment["RAY_AUTH_MODE"] == "token"
    assert len(pretended.environment["RAY_AUTH_TOKEN"]) == 64
    assert "RAY_AUTH_TOKEN" not in os.environ
    assert pretended.ended
    assert not folder.exists()


def test_a_cluster_of_our_own_that_strangers_can_reach_is_not_used(pretended: Pretended) -> None:
    pretended.address = "192.0.2.7"
    with pytest.raises(NoCluster, match=r"Ray listens on 192\.0\.2\.7, not on the loopback alone"):
        cluster(None, cpus=1).__enter__()
    assert pretended.ended


def test_a_given_cluster_is_joined_by_its_own_rules(pretended: Pretended) -> None:
    pretended.address = "192.0.2.7"
    with cluster("head:6379", cpus=1):
        pass
    assert pretended.options["address"] == "head:6379"
    assert "include_dashboard" not in pretended.options
    assert pretended.environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert pretended.environment.get("RAY_AUTH_MODE") == os.environ.get("RAY_AUTH_MODE")


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("InvalidAuthToken: the token is wrong\nand much more", "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"),
        ("This node has an IP address of 10.0.0.9, and Ray could not find this node", "ray start --address=head:6379"),
        ("Version mismatch: the cluster was started with Ray 2.50", "Ray 2.50"),
    ],
)
def test_what_a_cluster_refuses_is_said_in_one_line_with_what_to_do(pretended: Pretended, said: str, hint: str) -> None:
    pretended.error = RuntimeError(f"\n{said}")
    with pytest.raises(NoCluster) as caught:
        cluster("head:6379", cpus=1).__enter__()
    assert str(caught.value).startswith("cannot use the Ray cluster at head:6379: ")
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert pretended.ended


def test_what_rays_own_code_writes_to_stderr_is_read_for_its_cause_and_not_shown(
    pretended: Pretended, capfd: pytest.CaptureFixture[str]
) -> None:
    pretended.complaint = b"gcs_client.cc:210: Unauthenticated: RPC error: InvalidAuthToken\n" * 9
    pretended.error = ConnectionError("Failed to connect to Ray cluster at head:6379")
    with pytest.raises(NoCluster, match=r"Failed to connect .* it wants its token"):
        cluster("head:6379", cpus=1).__enter__()
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"
