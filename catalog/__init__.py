"""From audio files to signed statements (design D3): scan, decode, hash, check, sign. Talks to no node."""
