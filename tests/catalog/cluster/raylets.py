"""Several Ray nodes on this machine, until standard input ends: `python -m tests.catalog.cluster.raylets CPUS CPUS …`.

Writes the head's address, then obeys: "remove N" takes the N-th node away as a power cut would.
"""

from __future__ import annotations

import os
import sys

STORE_BYTES = 80 << 20


def main(cpus: list[int]) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    # What Ray has to say belongs to nobody's output.
    output = os.dup(1)
    os.dup2(2, 1)
    options = {"object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus[0], "include_dashboard": False, **options})
    nodes = [cluster.head_node, *(cluster.add_node(num_cpus=count, **options) for count in cpus[1:])]
    cluster.wait_for_nodes()
    os.write(output, f"{cluster.address}\n".encode())
    for line in sys.stdin:
        cluster.remove_node(nodes[int(line.split()[1])], allow_graceful=False)
        os.write(output, b"removed\n")
    cluster.shutdown()


if __name__ == "__main__":
    main([int(count) for count in sys.argv[1:]])
