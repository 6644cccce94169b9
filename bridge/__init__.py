"""Relays the log's checkpoints to public chains, mints tokens there and checks what those chains say (design D12)."""
