"""The node process: trio, libp2p, LMDB, mempool, signer, gRPC. The only owner of the store's writes (design D2)."""
