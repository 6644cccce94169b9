// The stand-in's devices: streams that really defer, events, pinned host memory, contexts that stay broken once broken.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "memory.h"
#include "ptx.h"

namespace standin {

// What the environment asks for. Read once, when the driver is initialised.
struct Settings {
    int devices;                // STANDIN_DEVICES, default 1
    uint64_t memory_bytes;      // STANDIN_MEMORY_BYTES of each, default 256 MiB
    int capability;             // STANDIN_CAPABILITY, default 120
    int ptx_version_max;        // STANDIN_PTX_MAX, default 99: newer PTX is refused, as an older driver does
    ptx::Order order;           // STANDIN_ORDER: ascending, descending, mixed
    bool is_eager;              // STANDIN_STREAMS: lazy (default; work waits for who waits for it), eager
    // Faults, each counted from 1 on a device; 0: never.
    long fails_at_launch;       // STANDIN_FAILS_AT_LAUNCH: the device is lost at that launch
    long hangs_at_launch;       // STANDIN_HANGS_AT_LAUNCH: that launch never ends
    long corrupts_from_launch;  // STANDIN_CORRUPTS_FROM_LAUNCH: from there on, one bit of the last output is wrong
    long fails_from_allocation;   // STANDIN_FAILS_FROM_ALLOCATION: from there on there is no memory
    int faulty_device;          // STANDIN_FAULTY_DEVICE: only this one has them; -1 (default): all
    bool has_fault(int device, long at, long count) const {
        return at != 0 && count == at && (faulty_device < 0 || faulty_device == device);
    }
    std::string log;            // STANDIN_LOG: a file that gets a line for every launch and copy as it runs
    static const Settings& get();
};

struct Stream;

struct Event {
    Stream* stream = nullptr;
    uint64_t position = 0;  // in its stream: done once the stream has come so far
    double seconds = 0;
};

struct Operation {
    std::function<CUresult()> run;
    // Pinned memory it reads or writes: it must not be freed before.
    const void* host = nullptr;
    size_t host_bytes = 0;
    // Runs only once that stream has come so far.
    Stream* after = nullptr;
    uint64_t after_position = 0;
};

struct Stream {
    std::deque<Operation> waiting;
    uint64_t queued = 0, done = 0;
    bool is_hung = false;  // its first operation never ends
};

struct Context {
    int device = 0;
    Stream legacy;  // the null stream: it waits for all others, and they for it
    std::set<Stream*> streams;
    CUresult broken = CUDA_SUCCESS;
    long launches = 0, allocations = 0;
};

struct Device {
    std::unique_ptr<DeviceMemory> memory;
    std::map<const void*, size_t> pinned;
};

// The context of this thread; null where there is none.
Context* current();
Device& device(int index);

// Queues or, where streams are eager, runs. An error of earlier work comes out of later calls, as on a GPU.
CUresult submit(Context& context, Stream& stream, Operation operation);
CUresult drain(Context& context, Stream& stream, uint64_t up_to);
// One operation more is done, as time passes on a GPU. CUDA_ERROR_NOT_READY while others wait.
CUresult pass_time(Context& context, Stream& stream);
CUresult drain_all(Context& context);
// Whether work that waits uses [host, host + bytes).
bool is_in_use(Context& context, const void* host, size_t bytes);
bool is_pinned(Context& context, const void* host, size_t bytes);

// Reports what on a GPU would be silent damage, and ends the process: a test must not go on.
[[noreturn]] void caught(const std::string& what);
void log(const std::string& line);

}  // namespace standin
