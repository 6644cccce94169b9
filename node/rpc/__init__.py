"""The node's gRPC side: a submit service inside the node process and a reader process with the one public port.

submit.py    the node process's half, on a unix socket, in a thread of its own; hands statements to the loop (`Intake`)
reader.py    the public process: reads from LMDB snapshots, forwards what only the node process can answer
types.py     our own frozen values; errors.py: the one table from our errors to gRPC statuses; wire.py: protobuf's edge
"""
