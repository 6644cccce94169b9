// Streams and what they defer: nothing runs before somebody waits for it, so that who forgets to wait sees old bytes.
// Who asks whether a stream is done lets it do one operation.

#include "device.h"

#include <cstdio>
#include <cstdlib>

namespace standin {
namespace {

long number(const char* name, long otherwise) {
    const char* value = std::getenv(name);
    return value == nullptr ? otherwise : std::strtol(value, nullptr, 10);
}

std::string text(const char* name, const char* otherwise) {
    const char* value = std::getenv(name);
    return value == nullptr ? otherwise : value;
}

}  // namespace

const Settings& Settings::get() {
    static const Settings settings = [] {
        std::string order = text("STANDIN_ORDER", "ascending");
        return Settings{
            .devices = static_cast<int>(number("STANDIN_DEVICES", 1)),
            .memory_bytes = static_cast<uint64_t>(number("STANDIN_MEMORY_BYTES", 256l << 20)),
            .capability = static_cast<int>(number("STANDIN_CAPABILITY", 120)),
            .ptx_version_max = static_cast<int>(number("STANDIN_PTX_MAX", 99)),
            .order = order == "descending" ? ptx::Order::DESCENDING
                     : order == "mixed"    ? ptx::Order::MIXED
                                           : ptx::Order::ASCENDING,
            .is_eager = text("STANDIN_STREAMS", "lazy") == "eager",
            .fails_at_launch = number("STANDIN_FAILS_AT_LAUNCH", 0),
            .hangs_at_launch = number("STANDIN_HANGS_AT_LAUNCH", 0),
            .corrupts_from_launch = number("STANDIN_CORRUPTS_FROM_LAUNCH", 0),
            .fails_from_allocation = number("STANDIN_FAILS_FROM_ALLOCATION", 0),
            .faulty_device = static_cast<int>(number("STANDIN_FAULTY_DEVICE", -1)),
            .log = text("STANDIN_LOG", ""),
        };
    }();
    return settings;
}

Device& device(int index) {
    static std::vector<Device> devices = [] {
        std::vector<Device> made(Settings::get().devices);
        for (auto& each : made) each.memory = std::make_unique<DeviceMemory>(Settings::get().memory_bytes);
        return made;
    }();
    return devices.at(index);
}

static CUresult run_next(Context& context, Stream& stream) {
    Operation operation = std::move(stream.waiting.front());
    stream.waiting.pop_front();
    if (operation.after != nullptr && operation.after != &stream && context.broken == CUDA_SUCCESS)
        drain(context, *operation.after, operation.after_position);
    if (context.broken == CUDA_SUCCESS && operation.run) {
        CUresult result = operation.run();
        if (result == CUDA_ERROR_NOT_READY) {
            stream.is_hung = true;
            return CUDA_SUCCESS;
        }
        context.broken = result;
    }
    stream.done++;
    return context.broken;
}

CUresult drain(Context& context, Stream& stream, uint64_t up_to) {
    while (stream.done < up_to && (stream.is_hung || !stream.waiting.empty())) {
        if (stream.is_hung) caught("waits without a deadline for a launch that never ends");
        run_next(context, stream);
    }
    return context.broken;
}

CUresult pass_time(Context& context, Stream& stream) {
    if (!stream.is_hung && !stream.waiting.empty()) run_next(context, stream);
    if (context.broken != CUDA_SUCCESS) return context.broken;
    return stream.is_hung || !stream.waiting.empty() ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}

CUresult drain_all(Context& context) {
    for (Stream* stream : context.streams) drain(context, *stream, stream->queued);
    drain(context, context.legacy, context.legacy.queued);
    return context.broken;
}

CUresult submit(Context& context, Stream& stream, Operation operation) {
    if (context.broken != CUDA_SUCCESS) return context.broken;
    if (&stream == &context.legacy) drain_all(context);
    stream.waiting.push_back(std::move(operation));
    stream.queued++;
    if (Settings::get().is_eager || &stream == &context.legacy) return drain(context, stream, stream.queued);
    return CUDA_SUCCESS;
}

bool is_in_use(Context& context, const void* host, size_t bytes) {
    auto* begin = static_cast<const char*>(host);
    for (Stream* stream : context.streams)
        for (const Operation& operation : stream->waiting) {
            auto* other = static_cast<const char*>(operation.host);
            if (other != nullptr && other < begin + bytes && begin < other + operation.host_bytes) return true;
        }
    return false;
}

bool is_pinned(Context& context, const void* host, size_t bytes) {
    auto& pinned = device(context.device).pinned;
    auto found = pinned.upper_bound(host);
    if (found == pinned.begin()) return false;
    --found;
    return static_cast<const char*>(host) + bytes <= static_cast<const char*>(found->first) + found->second;
}

void caught(const std::string& what) {
    std::fprintf(stderr, "stand-in driver: caught: %s\n", what.c_str());
    std::fflush(stderr);
    std::_Exit(70);
}

void log(const std::string& line) {
    if (Settings::get().log.empty()) return;
    if (FILE* file = std::fopen(Settings::get().log.c_str(), "a")) {
        std::fprintf(file, "%s\n", line.c_str());
        std::fclose(file);
    }
}

}  // namespace standin
