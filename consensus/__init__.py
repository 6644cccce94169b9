"""BFT ordering of opaque payload digests: Simplex consensus as a pure state machine (design D4).

Standard library only. No I/O, no clock, no randomness, no logging: time arrives as `Tick` events, signatures are
checked by an injected function, and everything the engine wants done leaves it as `Output` values.
"""
