"""A scan without the command line around it: `python -m tests.catalog.cluster.drive ENGINE CPUS MUSIC OUT`."""

from __future__ import annotations

import sys
from pathlib import Path

from catalog.cluster.dispatch import RayScan
from catalog.cluster.start import cluster, parse_engine
from catalog.cluster.worker import record_of
from catalog.manifest import TrackRecord
from catalog.scan import LeftOut, scan


def main(engine: str, cpus: int, music: Path, out: Path) -> None:
    found = (path for path in scan([music]) if isinstance(path, Path))
    results: list[tuple[Path, TrackRecord | LeftOut]] = []
    if engine == "local":
        for path in found:
            try:
                results.append((path, record_of(path, music)))
            except LeftOut as left_out:
                results.append((path, left_out))
    else:
        with cluster(parse_engine(engine), cpus=cpus) as ray:
            results += RayScan(ray, music, found, say=lambda line: print(line, file=sys.stderr)).results()
    results.sort()
    lines = [one.encode() if isinstance(one, TrackRecord) else str(one).encode() for _, one in results]
    out.write_bytes(b"\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
