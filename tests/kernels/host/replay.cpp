// A program that runs a recorded batch and compares its digests: what a sanitizer needs, which must own the process.
//
// usage: replay FILE ORDER   (machine.record writes FILE). Exit code 0: equal; 1: not; 2: FILE cannot be read.

#include "host.cpp"

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

FILE* file;

template <typename T>
T number() {
    T value;
    if (std::fread(&value, sizeof value, 1, file) != 1) std::exit(2);
    return value;
}

// Exactly as long as it is: a read behind it is seen. Aligned as device memory is.
template <typename T>
T* array(size_t count) {
    size_t bytes = count * sizeof(T);
    T* memory = static_cast<T*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
    if (bytes % 64 != 0) {  // aligned_alloc wants whole multiples; what the array does not have must not be there
        std::free(memory);
        memory = static_cast<T*>(std::malloc(bytes));
    }
    if (bytes != 0 && std::fread(memory, bytes, 1, file) != 1) std::exit(2);
    return memory;
}

void call(const char* kernel, unsigned grid, unsigned order, std::vector<void*> arguments) {
    if (launch(kernel, grid, 128, order, arguments.data()) != 0) std::exit(2);
}

}  // namespace

int main(int, char** arguments) {
    file = std::fopen(arguments[1], "rb");
    if (file == nullptr) return 2;
    unsigned order = std::strtoul(arguments[2], nullptr, 10);
    auto buffer_bytes = number<uint64_t>();
    auto count = number<uint32_t>(), slots = number<uint32_t>(), mode = number<uint32_t>(), launches = number<uint32_t>();
    auto* key = array<unsigned>(8);
    auto* data = array<uint4>(buffer_bytes / sizeof(uint4));
    auto* pieces = array<Piece>(count);
    auto* first_slot = array<unsigned>(count);
    auto* cvs = static_cast<unsigned*>(std::malloc(slots * 32));
    auto* out = static_cast<unsigned*>(std::malloc(count * 32));
    for (unsigned i = 0; i < launches; i++) {
        auto kind = number<uint32_t>(), grid = number<uint32_t>(), level = number<uint32_t>(), size = number<uint32_t>();
        auto* listed = array<unsigned>(size);
        auto* sums = array<unsigned>(size + 1);
        if (kind == 2) {
            call("b3_level", grid, order, {&pieces, &first_slot, &listed, &sums, &size, &level, &key, &mode, &cvs});
        } else {
            const char* name = kind == 0 ? "b3_chunks" : "b3_tiles";
            call(name, grid, order, {&data, &pieces, &first_slot, &listed, &sums, &size, &key, &mode, &cvs});
        }
        std::free(listed);
        std::free(sums);
    }
    call("b3_collect", (count * 8 + 127) / 128, order, {&first_slot, &count, &cvs, &out});
    auto* expected = array<unsigned>(count * 8);
    return std::memcmp(out, expected, count * 32) == 0 ? 0 : 1;
}
