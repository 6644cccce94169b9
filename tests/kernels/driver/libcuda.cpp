// The CUDA driver's functions that pycuda calls for what we do, on devices that exist only here. All others are made by
// stubs.py, and answer CUDA_ERROR_NOT_SUPPORTED. Names and signatures are those of cuda.h, which is included.

#include "device.h"

#include <atomic>
#include <ctime>

using namespace standin;

namespace {

struct Function {
    const ptx::Kernel* kernel;
};

struct Loaded {
    ptx::Module module;
    std::map<std::string, std::unique_ptr<Function>> functions;
};

thread_local std::vector<Context*> stack;
std::atomic<bool> is_initialised{false};

#define NEED_CONTEXT()                                     \
    Context* context = current();                          \
    if (context == nullptr) return CUDA_ERROR_INVALID_CONTEXT

Stream& stream_of(Context& context, CUstream handle) {
    auto* stream = reinterpret_cast<Stream*>(handle);
    if (stream == nullptr) return context.legacy;
    if (!context.streams.count(stream)) caught("a stream of another context, or one that was destroyed");
    return *stream;
}

double now() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

uint8_t* on_device(Context& context, CUdeviceptr address, size_t bytes) {
    return device(context.device).memory->at(address, bytes);
}

CUresult copy(Context& context, CUstream handle, bool is_async, void* host, CUdeviceptr there, size_t bytes, bool to_device) {
    if (bytes == 0) return CUDA_SUCCESS;
    if (on_device(context, there, bytes) == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (is_async && !is_pinned(context, host, bytes))
        caught("an asynchronous copy of host memory that is not page-locked: it would not be asynchronous");
    Operation operation;
    operation.host = host;
    operation.host_bytes = bytes;
    operation.run = [=, &context] {
        uint8_t* memory = on_device(context, there, bytes);
        if (memory == nullptr) caught("a copy ran after its device memory was freed");
        std::memcpy(to_device ? memory : host, to_device ? host : memory, bytes);
        log(std::string(to_device ? "to device " : "to host ") + std::to_string(bytes));
        return CUDA_SUCCESS;
    };
    return submit(context, is_async ? stream_of(context, handle) : context.legacy, std::move(operation));
}

// b3_collect's parameters: first_slot, piece_count, cvs, out.
void spoil(Context& context, const std::vector<uint8_t>& parameters) {
    uint32_t count;
    CUdeviceptr out;
    std::memcpy(&count, &parameters[8], sizeof count);
    std::memcpy(&out, &parameters[24], sizeof out);
    for (uint32_t row = 0; row < count; row++) *on_device(context, out + 32 * row, 1) ^= 1;
}

}  // namespace

namespace standin {
Context* current() { return stack.empty() ? nullptr : stack.back(); }
}  // namespace standin

extern "C" {

// ---- the driver and its devices ----

CUresult cuInit(unsigned flags) {
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    is_initialised = true;
    return Settings::get().devices > 0 ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

CUresult cuDriverGetVersion(int* version) {
    *version = CUDA_VERSION;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
    if (!is_initialised) return CUDA_ERROR_NOT_INITIALIZED;
    *count = Settings::get().devices;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* found, int ordinal) {
    if (!is_initialised) return CUDA_ERROR_NOT_INITIALIZED;
    if (ordinal < 0 || ordinal >= Settings::get().devices) return CUDA_ERROR_INVALID_DEVICE;
    *found = ordinal;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int length, CUdevice which) {
    std::snprintf(name, length, "Stretto stand-in %d", which);
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(size_t* bytes, CUdevice which) {
    *bytes = device(which).memory->total();
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice) {
    switch (attribute) {
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = Settings::get().capability / 10; break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = Settings::get().capability % 10; break;
        case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: *value = 0x7fffffff; break;
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 1; break;
        case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: *value = 0; break;
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice) {
    *major = Settings::get().capability / 10;
    *minor = Settings::get().capability % 10;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char* id, int length, CUdevice which) {
    std::snprintf(id, length, "0000:%02x:00.0", which + 1);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice which) {
    for (int i = 0; i < 16; i++) uuid->bytes[i] = static_cast<char>(0xE0 + i);
    uuid->bytes[15] = static_cast<char>(which);
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char** name) {
    static const std::map<int, const char*> names = {
        {0, "CUDA_SUCCESS"}, {1, "CUDA_ERROR_INVALID_VALUE"}, {2, "CUDA_ERROR_OUT_OF_MEMORY"}, {100, "CUDA_ERROR_NO_DEVICE"},
        {201, "CUDA_ERROR_INVALID_CONTEXT"}, {218, "CUDA_ERROR_INVALID_PTX"}, {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"},
        {209, "CUDA_ERROR_NO_BINARY_FOR_GPU"}, {500, "CUDA_ERROR_NOT_FOUND"}, {700, "CUDA_ERROR_ILLEGAL_ADDRESS"}, {719, "CUDA_ERROR_LAUNCH_FAILED"},
        {801, "CUDA_ERROR_NOT_SUPPORTED"},
    };
    auto found = names.find(error);
    *name = found == names.end() ? "CUDA_ERROR_UNKNOWN" : found->second;
    return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char** text) { return cuGetErrorName(error, text); }

// ---- contexts ----

CUresult cuCtxCreate(CUcontext* made, CUctxCreateParams*, unsigned, CUdevice which) {
    if (which < 0 || which >= Settings::get().devices) return CUDA_ERROR_INVALID_DEVICE;
    auto* context = new Context;
    context->device = which;
    stack.push_back(context);
    *made = reinterpret_cast<CUcontext>(context);
    return CUDA_SUCCESS;
}

CUresult cuCtxDestroy(CUcontext handle) {
    auto* context = reinterpret_cast<Context*>(handle);
    drain_all(*context);
    std::erase(stack, context);
    return CUDA_SUCCESS;  // not deleted: a stale handle must stay one that can be told
}

CUresult cuCtxDetach(CUcontext handle) { return cuCtxDestroy(handle); }

CUresult cuCtxPushCurrent(CUcontext handle) {
    stack.push_back(reinterpret_cast<Context*>(handle));
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext* handle) {
    NEED_CONTEXT();
    stack.pop_back();
    if (handle != nullptr) *handle = reinterpret_cast<CUcontext>(context);
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* which) {
    NEED_CONTEXT();
    *which = context->device;
    return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize() {
    NEED_CONTEXT();
    return drain_all(*context);
}

// ---- memory ----

CUresult cuMemGetInfo(size_t* free, size_t* total) {
    NEED_CONTEXT();
    *free = device(context->device).memory->free();
    *total = device(context->device).memory->total();
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr* made, size_t bytes) {
    NEED_CONTEXT();
    if (context->broken != CUDA_SUCCESS) return context->broken;
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    const Settings& settings = Settings::get();
    if (++context->allocations >= settings.fails_from_allocation && settings.fails_from_allocation != 0 &&
        settings.has_fault(context->device, 1, 1))
        return CUDA_ERROR_OUT_OF_MEMORY;
    *made = device(context->device).memory->allocate(bytes);
    return *made == 0 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

CUresult cuMemFree(CUdeviceptr address) {
    NEED_CONTEXT();
    drain_all(*context);  // it waits for the device, as the real one does
    return device(context->device).memory->release(address) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemHostAlloc(void** made, size_t bytes, unsigned) {
    NEED_CONTEXT();
    *made = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (*made == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
    std::memset(*made, 0xCD, bytes);
    device(context->device).pinned[*made] = bytes;
    return CUDA_SUCCESS;
}

CUresult cuMemAllocHost(void** made, size_t bytes) { return cuMemHostAlloc(made, bytes, 0); }

CUresult cuMemFreeHost(void* host) {
    NEED_CONTEXT();
    auto& pinned = device(context->device).pinned;
    auto found = pinned.find(host);
    if (found == pinned.end()) return CUDA_ERROR_INVALID_VALUE;
    if (is_in_use(*context, host, found->second)) caught("page-locked memory freed while a copy of it waits");
    pinned.erase(found);
    std::free(host);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoD(CUdeviceptr there, const void* host, size_t bytes) {
    NEED_CONTEXT();
    return copy(*context, nullptr, false, const_cast<void*>(host), there, bytes, true);
}

CUresult cuMemcpyDtoH(void* host, CUdeviceptr there, size_t bytes) {
    NEED_CONTEXT();
    return copy(*context, nullptr, false, host, there, bytes, false);
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr there, const void* host, size_t bytes, CUstream stream) {
    NEED_CONTEXT();
    return copy(*context, stream, true, const_cast<void*>(host), there, bytes, true);
}

CUresult cuMemcpyDtoHAsync(void* host, CUdeviceptr there, size_t bytes, CUstream stream) {
    NEED_CONTEXT();
    return copy(*context, stream, true, host, there, bytes, false);
}

// ---- modules and launches ----

CUresult cuModuleLoadDataEx(CUmodule* made, const void* image, unsigned, CUjit_option*, void**) {
    NEED_CONTEXT();
    auto* loaded = new Loaded;
    try {
        loaded->module = ptx::parse(static_cast<const char*>(image));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "stand-in driver: %s\n", error.what());
        delete loaded;
        return CUDA_ERROR_INVALID_PTX;
    }
    int version = loaded->module.version, target = loaded->module.target;
    if (version > Settings::get().ptx_version_max || target > Settings::get().capability) {
        delete loaded;
        return version > Settings::get().ptx_version_max ? CUDA_ERROR_UNSUPPORTED_PTX_VERSION : CUDA_ERROR_NO_BINARY_FOR_GPU;
    }
    for (auto& [name, kernel] : loaded->module.kernels) loaded->functions[name].reset(new Function{&kernel});
    *made = reinterpret_cast<CUmodule>(loaded);
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule* made, const void* image) { return cuModuleLoadDataEx(made, image, 0, nullptr, nullptr); }

CUresult cuModuleUnload(CUmodule module) {
    NEED_CONTEXT();
    drain_all(*context);
    delete reinterpret_cast<Loaded*>(module);
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* found, CUmodule module, const char* name) {
    auto& functions = reinterpret_cast<Loaded*>(module)->functions;
    auto at = functions.find(name);
    if (at == functions.end()) return CUDA_ERROR_NOT_FOUND;
    *found = reinterpret_cast<CUfunction>(at->second.get());
    return CUDA_SUCCESS;
}

CUresult cuFuncGetAttribute(int* value, CUfunction_attribute, CUfunction) {
    *value = 0;
    return CUDA_SUCCESS;
}

CUresult cuFuncSetBlockShape(CUfunction, int, int, int) { return CUDA_SUCCESS; }

// Parameters are read now, as the real one does; memory when it runs.
CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, CUstream stream, void** arguments, void** extra) {
    NEED_CONTEXT();
    const ptx::Kernel& kernel = *reinterpret_cast<Function*>(function)->kernel;
    if (gx == 0 || gy != 1 || gz != 1 || by != 1 || bz != 1 || shared != 0) return CUDA_ERROR_INVALID_VALUE;
    if (bx == 0 || bx > static_cast<unsigned>(kernel.threads_max)) return CUDA_ERROR_INVALID_VALUE;
    std::vector<uint8_t> parameters(kernel.parameter_bytes);
    if (arguments != nullptr) {
        for (size_t i = 0; i < kernel.parameter_list.size(); i++)
            std::memcpy(&parameters[kernel.parameter_list[i].offset], arguments[i], kernel.parameter_list[i].bytes);
    } else {
        size_t bytes = 0;
        const void* buffer = nullptr;
        for (int i = 0; extra != nullptr && extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
            if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER) buffer = extra[i + 1];
            else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE) bytes = *static_cast<size_t*>(extra[i + 1]);
        }
        if (buffer == nullptr || bytes != parameters.size()) return CUDA_ERROR_INVALID_VALUE;
        std::memcpy(parameters.data(), buffer, bytes);
    }
    Operation operation;
    operation.run = [=, &kernel] {
        const Settings& settings = Settings::get();
        long launch = ++context->launches;
        if (settings.has_fault(context->device, settings.fails_at_launch, launch)) return CUDA_ERROR_LAUNCH_FAILED;
        if (settings.has_fault(context->device, settings.hangs_at_launch, launch)) return CUDA_ERROR_NOT_READY;
        log("launch " + kernel.name + " " + std::to_string(gx) + " " + std::to_string(bx));
        try {
            ptx::run(kernel, gx, bx, parameters, *device(context->device).memory, Settings::get().order);
        } catch (const std::exception& error) {
            std::fprintf(stderr, "stand-in driver: %s\n", error.what());
            return CUDA_ERROR_ILLEGAL_ADDRESS;
        }
        // From the given launch on, every collected digest has one bit wrong: a device that computes, but not rightly.
        if (kernel.name == "b3_collect" && settings.corrupts_from_launch != 0 && launch >= settings.corrupts_from_launch &&
            settings.has_fault(context->device, 1, 1))
            spoil(*context, parameters);
        return CUDA_SUCCESS;
    };
    return submit(*context, stream_of(*context, stream), std::move(operation));
}

// ---- streams and events ----

CUresult cuStreamCreate(CUstream* made, unsigned) {
    NEED_CONTEXT();
    auto* stream = new Stream;
    context->streams.insert(stream);
    *made = reinterpret_cast<CUstream>(stream);
    return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream handle) {
    NEED_CONTEXT();
    Stream& stream = stream_of(*context, handle);
    CUresult result = drain(*context, stream, stream.queued);
    context->streams.erase(&stream);
    return result;
}

CUresult cuStreamSynchronize(CUstream handle) {
    NEED_CONTEXT();
    Stream& stream = stream_of(*context, handle);
    return drain(*context, stream, stream.queued);
}

CUresult cuStreamQuery(CUstream handle) {
    NEED_CONTEXT();
    return pass_time(*context, stream_of(*context, handle));
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event, unsigned) {
    NEED_CONTEXT();
    auto* waited = reinterpret_cast<Event*>(event);
    Operation operation;
    operation.after = waited->stream;
    operation.after_position = waited->position;
    return submit(*context, stream_of(*context, handle), std::move(operation));
}

CUresult cuEventCreate(CUevent* made, unsigned) {
    *made = reinterpret_cast<CUevent>(new Event);
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent event) {
    (void)event;  // not deleted: one may be waited for that is destroyed already
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent handle, CUstream stream_handle) {
    NEED_CONTEXT();
    auto* event = reinterpret_cast<Event*>(handle);
    Stream& stream = stream_of(*context, stream_handle);
    event->stream = &stream;
    event->position = stream.queued + 1;
    Operation operation;
    operation.run = [=] {
        event->seconds = now();
        return CUDA_SUCCESS;
    };
    return submit(*context, stream, std::move(operation));
}

CUresult cuEventSynchronize(CUevent handle) {
    NEED_CONTEXT();
    auto* event = reinterpret_cast<Event*>(handle);
    return event->stream == nullptr ? CUDA_SUCCESS : drain(*context, *event->stream, event->position);
}

CUresult cuEventQuery(CUevent handle) {
    NEED_CONTEXT();
    auto* event = reinterpret_cast<Event*>(handle);
    return event->stream == nullptr || event->stream->done >= event->position ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
    NEED_CONTEXT();
    *milliseconds = static_cast<float>(
        (reinterpret_cast<Event*>(end)->seconds - reinterpret_cast<Event*>(start)->seconds) * 1000);
    return CUDA_SUCCESS;
}

}  // extern "C"
