"""What a record means: statements and claims, the log and its proofs, checkpoints, evidence. Values in, values out.

Pure: no file, clock, chance, network or thread. Whoever holds these modules and a genesis can check a piece of evidence
offline; nothing else of Stretto is needed for it.
"""
