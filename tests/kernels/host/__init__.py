"""The kernels of kernels/blake3.cu, compiled for the host and run by the same plans that a GPU gets."""
