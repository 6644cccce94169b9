"""The node's durable state on LMDB: one environment for chain and ledger (one writer, many readers), one for votes.

Durability is stated here once: every method that changes something has it on disk (fsync) when it returns, in one
transaction; kill -9 and power loss leave either all of it or nothing (design D3, D6).
"""
