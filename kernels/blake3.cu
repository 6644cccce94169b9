// BLAKE3 of many messages of any length at once: chunks, fused tiles of 128 chunks, and the levels of the trees above.
// Hash, keyed and derive-key mode differ only in `key` and `mode`. 32 bytes of output.
//
// Source: BLAKE3 specification (2020-11), sections 2.1 to 2.5. Compiles for the host too, through tests/kernels/shim.h.
//
// What is hashed are *pieces*: a whole message, or a subtree of one that is too large for the device (2^k chunks from a
// multiple of 2^k on, or the rest of the message). A piece gives the chaining value of its subtree, or the digest.
//
//   data          pieces at offsets that are multiples of 64; the buffer ends on a multiple of 64. What lies between
//                 pieces may be anything: nothing behind a piece's last byte enters a digest.
//   pieces        [count][4] u64: byte offset in `data`, bytes, counter of the first chunk, 1 if a whole message
//   first_slot    [count] u32: slot of the piece's first chunk in `cvs`; a piece has max(1, ceil(bytes / 1024)) slots
//   listed        [listed_count] u32: which pieces a launch is about
//   first_item    [listed_count + 1] u32: sums over the listed pieces of what the launch works on (chunks, tiles, pairs)
//   cvs           [slots][8] u32: node j of level L stands in slot first_slot + (j << L), so that merging is in place;
//                 an odd node at the end of a level stays where it is, and is then the last node of the next.

typedef unsigned int u32;
typedef unsigned long long u64;

#define CHUNK_START 1u
#define CHUNK_END 2u
#define PARENT 4u
#define ROOT 8u

#define CHUNK_BYTES 1024u
#define BLOCK_BYTES 64u
#define TILE_CHUNKS 128u
// Words between two threads' blocks in shared memory: 17, so that 32 threads reading word w touch 32 banks.
#define BLOCK_STRIDE 17u
#define CV_STRIDE 9u

struct Piece {
    u64 offset, bytes, counter, whole;
};

static __device__ __forceinline__ u32 rotate(u32 x, u32 n) { return (x >> n) | (x << (32u - n)); }

#define G(a, b, c, d, x, y)      \
    a = a + b + (x);             \
    d = rotate(d ^ a, 16u);      \
    c = c + d;                   \
    b = rotate(b ^ c, 12u);      \
    a = a + b + (y);             \
    d = rotate(d ^ a, 8u);       \
    c = c + d;                   \
    b = rotate(b ^ c, 7u);

// Section 2.2: columns, then diagonals. The arguments are the message words in this round's order (section 2.2, Table 2).
#define ROUND(m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, ma, mb, mc, md, me, mf) \
    G(v0, v4, v8, vc, m[m0], m[m1])                                           \
    G(v1, v5, v9, vd, m[m2], m[m3])                                           \
    G(v2, v6, va, ve, m[m4], m[m5])                                           \
    G(v3, v7, vb, vf, m[m6], m[m7])                                           \
    G(v0, v5, va, vf, m[m8], m[m9])                                           \
    G(v1, v6, vb, vc, m[ma], m[mb])                                           \
    G(v2, v7, v8, vd, m[mc], m[md])                                           \
    G(v3, v4, v9, ve, m[me], m[mf])

// The compression function, truncated to the chaining value: `cv` is input and output.
static __device__ __forceinline__ void compress(u32 cv[8], const u32 m[16], u64 counter, u32 bytes, u32 flags) {
    u32 v0 = cv[0], v1 = cv[1], v2 = cv[2], v3 = cv[3], v4 = cv[4], v5 = cv[5], v6 = cv[6], v7 = cv[7];
    u32 v8 = 0x6a09e667u, v9 = 0xbb67ae85u, va = 0x3c6ef372u, vb = 0xa54ff53au;
    u32 vc = (u32)counter, vd = (u32)(counter >> 32), ve = bytes, vf = flags;
    ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    ROUND(2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
    ROUND(3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1)
    ROUND(10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6)
    ROUND(12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4)
    ROUND(9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7)
    ROUND(11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13)
    cv[0] = v0 ^ v8;
    cv[1] = v1 ^ v9;
    cv[2] = v2 ^ va;
    cv[3] = v3 ^ vb;
    cv[4] = v4 ^ vc;
    cv[5] = v5 ^ vd;
    cv[6] = v6 ^ ve;
    cv[7] = v7 ^ vf;
}

// Position in `sums` (ascending, from 0) of the listed piece that item `item` belongs to.
static __device__ __forceinline__ u32 find(const u32* sums, u32 count, u32 item) {
    u32 low = 0, high = count;
    while (high - low > 1) {
        u32 middle = (low + high) >> 1;
        if (sums[middle] <= item) low = middle; else high = middle;
    }
    return low;
}

static __device__ __forceinline__ u64 chunk_count(u64 bytes) {
    return bytes == 0 ? 1 : (bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;
}

static __device__ __forceinline__ void load_block(u32 m[16], const uint4* block) {
    uint4 a = block[0], b = block[1], c = block[2], d = block[3];
    m[0] = a.x; m[1] = a.y; m[2] = a.z; m[3] = a.w;
    m[4] = b.x; m[5] = b.y; m[6] = b.z; m[7] = b.w;
    m[8] = c.x; m[9] = c.y; m[10] = c.z; m[11] = c.w;
    m[12] = d.x; m[13] = d.y; m[14] = d.z; m[15] = d.w;
}

// Clears what lies behind the first `bytes` of a block.
static __device__ __forceinline__ void mask_block(u32 m[16], u32 bytes) {
#pragma unroll
    for (u32 w = 0; w < 16; w++) {
        u32 begin = 4 * w;
        if (bytes <= begin) m[w] = 0;
        else if (bytes < begin + 4) m[w] &= 0xffffffffu >> (8 * (begin + 4 - bytes));
    }
}

static __device__ __forceinline__ void copy8(u32* to, const u32* from) {
#pragma unroll
    for (u32 w = 0; w < 8; w++) to[w] = from[w];
}

// One thread a chunk.
extern "C" __global__ void b3_chunks(const uint4* __restrict__ data, const Piece* __restrict__ pieces,
                                     const u32* __restrict__ first_slot, const u32* __restrict__ listed,
                                     const u32* __restrict__ first_item, u32 listed_count,
                                     const u32* __restrict__ key, u32 mode, u32* __restrict__ cvs) {
    u32 item = blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= first_item[listed_count]) return;
    u32 place = find(first_item, listed_count, item);
    u32 index = listed[place];
    u32 chunk = item - first_item[place];
    Piece piece = pieces[index];
    u64 start = (u64)chunk * CHUNK_BYTES;
    u32 bytes = piece.bytes - start < CHUNK_BYTES ? (u32)(piece.bytes - start) : CHUNK_BYTES;
    u32 blocks = bytes == 0 ? 1 : (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
    const uint4* block = data + (piece.offset + start) / sizeof(uint4);
    u64 counter = piece.counter + chunk;
    u32 root = piece.whole != 0 && piece.bytes <= CHUNK_BYTES ? ROOT : 0;
    u32 cv[8], m[16];
    copy8(cv, key);
    u32 flags = mode | CHUNK_START;
    // The last block is peeled: only it may be partial, and a test of that in the loop would cost every block.
#pragma unroll 1
    for (u32 b = 0; b + 1 < blocks; b++, block += BLOCK_BYTES / sizeof(uint4)) {
        load_block(m, block);
        compress(cv, m, counter, BLOCK_BYTES, flags);
        flags = mode;
    }
    u32 rest = bytes - (blocks - 1) * BLOCK_BYTES;
    if (rest != 0) load_block(m, block);  // an empty message owns no byte of the buffer
    mask_block(m, rest);
    compress(cv, m, counter, rest, flags | CHUNK_END | root);
    copy8(cvs + ((u64)first_slot[index] + chunk) * 8, cv);
}

// One block of TILE_CHUNKS threads a tile: 128 chunks of one piece, loaded together (coalesced), hashed, and merged over
// seven levels without leaving the multiprocessor.
extern "C" __global__ void __launch_bounds__(TILE_CHUNKS)
b3_tiles(const uint4* __restrict__ data, const Piece* __restrict__ pieces, const u32* __restrict__ first_slot,
         const u32* __restrict__ listed, const u32* __restrict__ first_item, u32 listed_count,
         const u32* __restrict__ key, u32 mode, u32* __restrict__ cvs) {
    __shared__ u32 blocks[TILE_CHUNKS * BLOCK_STRIDE];
    __shared__ u32 nodes[TILE_CHUNKS * CV_STRIDE];
    u32 me = threadIdx.x;
    u32 place = find(first_item, listed_count, blockIdx.x);
    u32 index = listed[place];
    u32 tile = blockIdx.x - first_item[place];
    Piece piece = pieces[index];
    u64 start = (u64)tile * TILE_CHUNKS * CHUNK_BYTES;
    u64 left = piece.bytes - start;
    u32 tile_bytes = left < TILE_CHUNKS * CHUNK_BYTES ? (u32)left : TILE_CHUNKS * CHUNK_BYTES;
    u32 count = tile_bytes == 0 ? 1 : (tile_bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;
    u64 all = chunk_count(piece.bytes);
    const uint4* bytes16 = data + (piece.offset + start) / sizeof(uint4);
    u64 counter = piece.counter + (u64)tile * TILE_CHUNKS + me;
    u32 mine = me + 1 < count ? CHUNK_BYTES : me + 1 == count ? tile_bytes - me * CHUNK_BYTES : 0;
    u32 full = mine == 0 ? 0 : (mine - 1) / BLOCK_BYTES;  // blocks before the last
    u32 root = piece.whole != 0 && all == 1 ? ROOT : 0;
    u32 cv[8], m[16];
    copy8(cv, key);
    u32 flags = mode | CHUNK_START;
    // Block b of all chunks at once: 128 x 64 bytes; four neighbouring threads load the 64 bytes of one chunk.
#pragma unroll 1
    for (u32 b = 0; b < CHUNK_BYTES / BLOCK_BYTES; b++) {
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            u32 unit = i * TILE_CHUNKS + me;
            u32 chunk = unit >> 2, quarter = unit & 3;
            u32 at = chunk * CHUNK_BYTES + b * BLOCK_BYTES;
            if (at < tile_bytes) {  // a block that has begun lies in the buffer whole
                uint4 x = bytes16[at / sizeof(uint4) + quarter];
                u32* to = blocks + chunk * BLOCK_STRIDE + quarter * 4;
                to[0] = x.x; to[1] = x.y; to[2] = x.z; to[3] = x.w;
            }
        }
        __syncthreads();
        if (b < full) {
#pragma unroll
            for (u32 w = 0; w < 16; w++) m[w] = blocks[me * BLOCK_STRIDE + w];
            compress(cv, m, counter, BLOCK_BYTES, flags);
            flags = mode;
        } else if (b == full && me < count) {
#pragma unroll
            for (u32 w = 0; w < 16; w++) m[w] = blocks[me * BLOCK_STRIDE + w];
            u32 rest = mine - full * BLOCK_BYTES;
            mask_block(m, rest);
            compress(cv, m, counter, rest, flags | CHUNK_END | root);
        }
        __syncthreads();
    }
    copy8(nodes + me * CV_STRIDE, cv);
    // Level by level: node j stands at j << level. An odd last node stays.
#pragma unroll 1
    for (u32 level = 0, n = count; n > 1; level++, n = (n + 1) >> 1) {
        __syncthreads();
        if (me < n >> 1) {
            u32* left_node = nodes + ((2 * me) << level) * CV_STRIDE;
            const u32* right_node = nodes + ((2 * me + 1) << level) * CV_STRIDE;
            copy8(m, left_node);
            copy8(m + 8, right_node);
            u32 top = n == 2 && all <= TILE_CHUNKS && piece.whole != 0 ? ROOT : 0;
            copy8(cv, key);
            compress(cv, m, 0, BLOCK_BYTES, mode | PARENT | top);
            copy8(left_node, cv);
        }
    }
    // Thread 0 wrote the last node itself, so it needs no barrier to read it.
    if (me == 0) copy8(cvs + ((u64)first_slot[index] + (u64)tile * TILE_CHUNKS) * 8, nodes);
}

// One thread a parent: merges the nodes of `level` of every listed piece that has at least two of them.
extern "C" __global__ void b3_level(const Piece* __restrict__ pieces, const u32* __restrict__ first_slot,
                                    const u32* __restrict__ listed, const u32* __restrict__ first_item,
                                    u32 listed_count, u32 level, const u32* __restrict__ key, u32 mode,
                                    u32* __restrict__ cvs) {
    u32 item = blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= first_item[listed_count]) return;
    u32 place = find(first_item, listed_count, item);
    u32 index = listed[place];
    u64 pair = item - first_item[place];
    Piece piece = pieces[index];
    u64 nodes = (chunk_count(piece.bytes) + (1ull << level) - 1) >> level;
    u32* left = cvs + ((u64)first_slot[index] + ((2 * pair) << level)) * 8;
    const u32* right = cvs + ((u64)first_slot[index] + ((2 * pair + 1) << level)) * 8;
    u32 cv[8], m[16];
    copy8(m, left);
    copy8(m + 8, right);
    copy8(cv, key);
    compress(cv, m, 0, BLOCK_BYTES, mode | PARENT | (nodes == 2 && piece.whole != 0 ? ROOT : 0));
    copy8(left, cv);
}

// One thread a word: the chaining value or digest of piece i into row i of `out`, so that only those travel back.
extern "C" __global__ void b3_collect(const u32* __restrict__ first_slot, u32 piece_count,
                                      const u32* __restrict__ cvs, u32* __restrict__ out) {
    u32 word = blockIdx.x * blockDim.x + threadIdx.x;
    if (word >= piece_count * 8) return;
    out[word] = cvs[(u64)first_slot[word / 8] * 8 + word % 8];
}
