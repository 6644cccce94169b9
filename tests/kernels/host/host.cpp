// Runs the kernels of kernels/blake3.cu on the host, launch by launch, as a GPU would: every block's threads start
// together and meet at barriers. Called through ctypes.
//
// Built plainly, the threads of a block are fibers on one thread, and `order` says in which order they run between two
// barriers: a missing barrier shows as a wrong digest in some order. Built with -DREAL_THREADS they are threads, for the
// thread sanitizer, which needs no luck to see a race.

#include "shim.h"

#include BLAKE3_CU

#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#ifdef REAL_THREADS
#include <barrier>
#include <memory>
#include <thread>
#else
#include <ucontext.h>
#endif

thread_local Coordinate threadIdx, blockIdx, blockDim;

namespace {

#ifdef REAL_THREADS

std::unique_ptr<std::barrier<>> meeting;

void run_block(unsigned threads, unsigned order, const std::function<void()>& kernel, unsigned block) {
    meeting = std::make_unique<std::barrier<>>(threads);
    std::vector<std::thread> running;
    for (unsigned i = 0; i < threads; i++) {
        unsigned me = order == 1 ? threads - 1 - i : i;
        running.emplace_back([=, &kernel] {
            threadIdx = {me};
            blockIdx = {block};
            blockDim = {threads};
            kernel();
            meeting->arrive_and_drop();
        });
    }
    for (auto& thread : running) thread.join();
}

}  // namespace

void __syncthreads() { meeting->arrive_and_wait(); }

namespace {

#else

constexpr size_t STACK_BYTES = 64 * 1024;

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    bool done = false;
};

ucontext_t scheduler;
Fiber* current;
const std::function<void()>* entry;

void begin() {
    (*entry)();
    current->done = true;
    swapcontext(&current->context, &scheduler);
}

void run_block(unsigned threads, unsigned order, const std::function<void()>& kernel, unsigned block) {
    static std::vector<Fiber> fibers;
    fibers.resize(threads);
    entry = &kernel;
    blockIdx = {block};
    blockDim = {threads};
    for (auto& fiber : fibers) {
        fiber.done = false;
        fiber.stack.resize(STACK_BYTES);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = &scheduler;
        makecontext(&fiber.context, begin, 0);
    }
    unsigned left = threads;
    for (unsigned round = 0; left > 0; round++) {
        for (unsigned i = 0; i < threads; i++) {
            unsigned me = order == 0 ? i : order == 1 ? threads - 1 - i : (i * 37 + round * 11 + order) % threads;
            if (fibers[me].done) continue;
            threadIdx = {me};
            current = &fibers[me];
            swapcontext(&scheduler, &fibers[me].context);
            if (fibers[me].done) left--;
        }
    }
}

}  // namespace

void __syncthreads() { swapcontext(&current->context, &scheduler); }

namespace {

#endif

template <typename T>
T at(void* const* arguments, int i) {
    T value;
    std::memcpy(&value, arguments[i], sizeof value);
    return value;
}

}  // namespace

// arguments: as cuLaunchKernel takes them, a pointer to each. Gives 0, or 1 for a name that is no kernel.
extern "C" int launch(const char* name, unsigned grid, unsigned threads, unsigned order, void* const* a) {
    std::function<void()> kernel;
    bool meets = false;
    using Words = const unsigned*;
    if (!std::strcmp(name, "b3_chunks") || !std::strcmp(name, "b3_tiles")) {
        meets = name[3] == 't';
        auto* body = meets ? b3_tiles : b3_chunks;
        kernel = [=] {
            body(at<const uint4*>(a, 0), at<const Piece*>(a, 1), at<Words>(a, 2), at<Words>(a, 3), at<Words>(a, 4),
                 at<unsigned>(a, 5), at<Words>(a, 6), at<unsigned>(a, 7), at<unsigned*>(a, 8));
        };
    } else if (!std::strcmp(name, "b3_level")) {
        kernel = [=] {
            b3_level(at<const Piece*>(a, 0), at<Words>(a, 1), at<Words>(a, 2), at<Words>(a, 3), at<unsigned>(a, 4),
                     at<unsigned>(a, 5), at<Words>(a, 6), at<unsigned>(a, 7), at<unsigned*>(a, 8));
        };
    } else if (!std::strcmp(name, "b3_collect")) {
        kernel = [=] { b3_collect(at<Words>(a, 0), at<unsigned>(a, 1), at<Words>(a, 2), at<unsigned*>(a, 3)); };
    } else {
        return 1;
    }
    for (unsigned block = 0; block < grid; block++) {
        unsigned which = order == 1 ? grid - 1 - block : block;
#ifndef REAL_THREADS
        if (!meets) {  // no barrier: its threads may run one after the other
            blockIdx = {which};
            blockDim = {threads};
            for (unsigned i = 0; i < threads; i++) {
                threadIdx = {order == 1 ? threads - 1 - i : i};
                kernel();
            }
            continue;
        }
#endif
        (void)meets;
        run_block(threads, order, kernel, which);
    }
    return 0;
}
