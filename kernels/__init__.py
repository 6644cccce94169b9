"""Bytes in, digests out (design D11). Knows no ledger, no node, no file names: only how to hash fast and exactly."""
