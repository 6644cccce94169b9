// Device memory of the stand-in driver: allocations with bounds, so that no kernel and no copy leaves its own.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>

// Device addresses are no host addresses: a kernel handed the one for the other is found out.
class DeviceMemory {
public:
    explicit DeviceMemory(uint64_t total) : total_(total), free_(total) {}

    // 0 where there is not enough. Filled with garbage: whoever relies on zeros is found out.
    uint64_t allocate(uint64_t bytes) {
        if (bytes == 0 || bytes > free_) return 0;
        auto* host = static_cast<uint8_t*>(std::malloc(bytes));
        if (host == nullptr) return 0;
        std::memset(host, 0xCD, bytes);
        uint64_t address = next_;
        next_ += (bytes + 2 * 256 - 1) / 256 * 256;  // aligned as cuMemAlloc does, and never two side by side
        blocks_[address] = {host, bytes};
        free_ -= bytes;
        return address;
    }

    bool release(uint64_t address) {
        auto found = blocks_.find(address);
        if (found == blocks_.end()) return false;
        std::free(found->second.host);
        free_ += found->second.bytes;
        blocks_.erase(found);
        last_ = nullptr;
        return true;
    }

    // Host pointer to [address, address + bytes); null where that is not within one allocation.
    uint8_t* at(uint64_t address, uint64_t bytes) {
        if (last_ == nullptr || address < last_base_ || address - last_base_ + bytes > last_->bytes) {
            auto found = blocks_.upper_bound(address);
            if (found == blocks_.begin()) return nullptr;
            --found;
            if (address - found->first + bytes > found->second.bytes) return nullptr;
            last_ = &found->second;
            last_base_ = found->first;
        }
        return last_->host + (address - last_base_);
    }

    uint64_t total() const { return total_; }
    uint64_t free() const { return free_; }

private:
    struct Block {
        uint8_t* host;
        uint64_t bytes;
    };
    std::map<uint64_t, Block> blocks_;
    uint64_t total_, free_, next_ = 0x7000000000ull;
    Block* last_ = nullptr;
    uint64_t last_base_ = 0;
};
