"""The contracts on public chains: Solidity sources, how they are built, and the committed artifacts."""
