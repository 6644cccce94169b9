// Lets kernels/blake3.cu compile as host C++: CUDA's words, the thread's coordinates, and a barrier. host.cpp runs it.
#pragma once

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __shared__ static
#define __restrict__ __restrict

struct uint4 {
    unsigned int x, y, z, w;
};

struct Coordinate {
    unsigned int x;
};

extern thread_local Coordinate threadIdx, blockIdx, blockDim;

void __syncthreads();
