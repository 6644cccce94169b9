"""`--engine ray`: the engine of a scan whose work is done by a Ray cluster, and what its run report says of it."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from catalog.cluster.dispatch import Node, RayScan
from catalog.cluster.start import cluster
from catalog.energy import Energy, EnergyMeter, energy_report, machine_sources
from catalog.engine import Result, Work
from catalog.tools import Tools


class RayEngine:
    """A `catalog.engine.Engine`, and the `catalog.run_report.EnergyMeter` that goes with it."""

    def __init__(self, address: str | None, tools: Tools, *, workers: int, say: Callable[[str], None]) -> None:
        """address: HOST:PORT of a cluster's head; None starts `workers` processes here for as long as there is work.

        tools: of this machine. say: told in a line what goes wrong on the way.
        """
        self._address = address
        self._tools = tools
        self._workers = workers
        self._say = say
        self._scan: RayScan | None = None
        self._own = EnergyMeter(machine_sources(gpu=False))

    def results(
        self,
        work: Iterable[Work],
        expected_bytes: int | None = None,  # noqa: ARG002  an Engine; workers see a batch at a time
    ) -> Generator[Result, None, None]:
        """As `Engine.results`. Raises: ClusterError (`catalog.cluster.start`)."""
        remaining = iter(work)
        first = next(remaining, None)
        if first is None:
            return  # nothing changed: no cluster need be started to find that out
        with cluster(self._address, cpus=self._workers) as ray:
            self._scan = RayScan(ray, itertools.chain((first,), remaining), self._tools, say=self._say)
            yield from self._scan.results()

    def describe(self) -> Mapping[str, Any]:
        """For the run report: which machines did how much, and what was lost on the way."""
        nodes = list(self._scan.nodes.values()) if self._scan else []
        return {
            "name": "ray",
            "address": self._address or "local",
            "backend": "gpu and cpu" if any(node.on_gpu for node in nodes) else "cpu",
            "why": "; ".join(sorted(set().union(*(node.backends for node in nodes)))),
            "workers": sum(node.cpus for node in nodes),
            "files_redone": self._scan.files_redone if self._scan else 0,
            "nodes": [_describe(node) for node in nodes],
        }

    # ---- the meter ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to measure this machine; the others are measured while they work."""
        self._own.start()

    def stop(self, tracks: int) -> dict[str, Any]:
        """What run.json says under "energy": of every machine that took part, this one once."""
        own = self._own.stop()
        nodes = self._scan.nodes.values() if self._scan else ()
        others = [energy for node in nodes if node.name != platform.node() for energy in node.energies or _UNKNOWN]
        return energy_report([*own, *others], tracks)


_UNKNOWN = (Energy(source="RAPL", joules=None, reason="the scan ended before its machine was asked"),)


def _describe(node: Node) -> dict[str, Any]:
    row: dict[str, Any] = {"host": node.name, "processors": node.cpus, "gpus": node.gpus, "files": node.files}
    row |= {"files_on_gpu": node.on_gpu, "cpu_s": round(node.cpu_s, 3), "workers_lost": node.workers_lost}
    return row | ({"excluded": node.excluded} if node.excluded else {})
