// The interpreter: threads of a block run one after the other up to a barrier, in an order that is chosen.

#include "ptx.h"

#include <memory>

namespace ptx {
namespace {

struct Thread {
    std::vector<uint64_t> registers;
    size_t at = 0;
    bool done = false;
};

struct Block {
    unsigned index, threads, grid;
    std::vector<uint8_t> shared;
};

uint64_t cut(uint64_t value, int bits) { return bits == 64 ? value : value & ((1ull << bits) - 1); }

int64_t as_signed(uint64_t value, int bits) { return static_cast<int64_t>(value << (64 - bits)) >> (64 - bits); }

class Runner {
public:
    Runner(const Kernel& kernel, const std::vector<uint8_t>& parameters, DeviceMemory& memory)
        : kernel_(kernel), parameters_(parameters), memory_(memory) {}

    // Runs `thread` up to a barrier or its end. Gives whether it stands at a barrier.
    bool advance(Thread& thread, unsigned tid, Block& block) {
        thread_ = &thread;
        tid_ = tid;
        block_ = &block;
        while (true) {
            const Instruction& i = kernel_.code[thread.at++];
            if (i.guard >= 0 && (thread.registers[i.guard] != 0) == i.guard_negated) continue;
            switch (i.op) {
                case Op::RET:
                    thread.done = true;
                    return false;
                case Op::BAR:
                    return true;
                case Op::BRA:
                    thread.at = i.target;
                    break;
                case Op::LD:
                case Op::ST:
                    access(i);
                    break;
                case Op::PACK:
                    set(i.operands[0], cut(get(i.operands[1]), 32) | get(i.operands[2]) << 32, 64);
                    break;
                case Op::UNPACK: {
                    uint64_t whole = get(i.operands[2]);
                    if (i.operands[0].kind == Operand::Kind::REGISTER) set(i.operands[0], whole, 32);
                    if (i.operands[1].kind == Operand::Kind::REGISTER) set(i.operands[1], whole >> 32, 32);
                    break;
                }
                default:
                    set(i.operands[0], compute(i), destination_bits(i));
            }
        }
    }

private:
    static int destination_bits(const Instruction& i) {
        if (i.op == Op::SETP || i.is_predicate) return 1;
        return i.op == Op::MUL_WIDE || i.op == Op::MAD_WIDE ? 2 * i.bits : i.bits;
    }

    uint64_t get(const Operand& operand) const {
        switch (operand.kind) {
            case Operand::Kind::REGISTER:
                return thread_->registers[operand.index];
            case Operand::Kind::IMMEDIATE:
                return operand.value;
            case Operand::Kind::SPECIAL:
                switch (static_cast<Special>(operand.index)) {
                    case Special::TID_X: return tid_;
                    case Special::NTID_X: return block_->threads;
                    case Special::CTAID_X: return block_->index;
                    case Special::NCTAID_X: return block_->grid;
                    case Special::LANEID: return tid_ % 32;
                }
                [[fallthrough]];
            default:
                throw Unsupported("an operand that is missing");
        }
    }

    void set(const Operand& operand, uint64_t value, int bits) {
        if (operand.kind != Operand::Kind::REGISTER) throw Unsupported("a destination that is no register");
        thread_->registers[operand.index] = cut(value, bits);
    }

    bool holds(const Instruction& i, uint64_t a, uint64_t b) const {
        auto by = [&](auto x, auto y) {
            switch (i.compare) {
                case Compare::EQ: return x == y;
                case Compare::NE: return x != y;
                case Compare::LT: return x < y;
                case Compare::LE: return x <= y;
                case Compare::GT: return x > y;
                default: return x >= y;
            }
        };
        return i.is_signed ? by(as_signed(a, i.bits), as_signed(b, i.bits)) : by(a, b);
    }

    uint64_t compute(const Instruction& i) const {
        const int bits = i.bits;
        auto operand = [&](int n) { return cut(get(i.operands[n]), i.op == Op::CVT ? i.from_bits : bits); };
        uint64_t a = operand(1);
        switch (i.op) {
            case Op::MOV: return a;
            case Op::CVT: return i.is_signed ? static_cast<uint64_t>(as_signed(a, i.from_bits)) : a;
            case Op::NOT: return ~a;
            case Op::NEG: return -a;
            case Op::SELP: return get(i.operands[3]) ? a : operand(2);
            case Op::SHL: case Op::SHR: return shift(i, a, static_cast<uint32_t>(get(i.operands[2])));
            default: break;
        }
        uint64_t b = operand(2);
        auto s = [&](uint64_t v) { return as_signed(v, bits); };
        switch (i.op) {
            case Op::ADD: return a + b;
            case Op::SUB: return a - b;
            case Op::AND: return a & b;
            case Op::OR: return a | b;
            case Op::XOR: return a ^ b;
            case Op::MIN: return i.is_signed ? (s(a) < s(b) ? a : b) : (a < b ? a : b);
            case Op::MAX: return i.is_signed ? (s(a) > s(b) ? a : b) : (a > b ? a : b);
            case Op::MUL_LO: return a * b;
            case Op::MUL_HI: return multiply(i, a, b) >> bits;
            case Op::MUL_WIDE: return multiply(i, a, b);
            case Op::MAD_LO: return a * b + operand(3);
            case Op::MAD_WIDE: return multiply(i, a, b) + get(i.operands[3]);
            case Op::SETP: return holds(i, a, b);
            case Op::SHF_L: {  // the upper half of (b, a) << c
                uint32_t c = static_cast<uint32_t>(get(i.operands[3])) & 31;
                return ((b << 32 | a) << c) >> 32;
            }
            case Op::SHF_R: return (b << 32 | a) >> (get(i.operands[3]) & 31);
            case Op::PRMT: return permute(a, b, operand(3));
            case Op::LOP3: return lookup(a, b, operand(3), get(i.operands[4]));
            default: throw Unsupported("an operation that is not interpreted");
        }
    }

    static uint64_t multiply(const Instruction& i, uint64_t a, uint64_t b) {
        if (i.bits != 32) throw Unsupported("mul.wide and mul.hi of other than 32 bits");
        return i.is_signed ? static_cast<uint64_t>(as_signed(a, 32) * as_signed(b, 32)) : a * b;
    }

    // Amounts beyond the width are clamped to it (PTX ISA, shl and shr).
    static uint64_t shift(const Instruction& i, uint64_t a, uint32_t amount) {
        const bool is_left = i.op == Op::SHL;
        if (amount >= static_cast<uint32_t>(i.bits)) return !is_left && i.is_signed && as_signed(a, i.bits) < 0 ? ~0ull : 0;
        if (is_left) return a << amount;
        return i.is_signed ? static_cast<uint64_t>(as_signed(a, i.bits) >> amount) : a >> amount;
    }

    static uint64_t permute(uint64_t a, uint64_t b, uint64_t selector) {
        uint64_t bytes = b << 32 | a, made = 0;
        for (int n = 0; n < 4; n++) {
            uint64_t nibble = selector >> (4 * n) & 15, byte = bytes >> (8 * (nibble & 7)) & 255;
            if (nibble & 8) byte = byte & 128 ? 255 : 0;
            made |= byte << (8 * n);
        }
        return made;
    }

    static uint64_t lookup(uint64_t a, uint64_t b, uint64_t c, uint64_t table) {
        uint64_t made = 0;
        for (int n = 0; n < 32; n++) {
            uint64_t row = (a >> n & 1) << 2 | (b >> n & 1) << 1 | (c >> n & 1);
            made |= (table >> row & 1) << n;
        }
        return made;
    }

    void access(const Instruction& i) {
        const Operand& where = i.operands[0];
        uint64_t address = where.value + (where.kind == Operand::Kind::REGISTER ? thread_->registers[where.index] : 0);
        const uint64_t each = i.bits / 8, bytes = each * i.vector;
        uint8_t* memory = at(i, address, bytes);
        for (int n = 0; n < i.vector; n++) {
            const Operand& value = i.operands[1 + n];
            if (i.op == Op::LD) {
                uint64_t loaded = 0;
                std::memcpy(&loaded, memory + n * each, each);
                set(value, i.is_signed ? as_signed(loaded, i.bits) : loaded, i.is_signed && each < 4 ? 32 : i.bits);
            } else {
                uint64_t stored = get(value);
                std::memcpy(memory + n * each, &stored, each);
            }
        }
    }

    uint8_t* at(const Instruction& i, uint64_t address, uint64_t bytes) {
        uint8_t* found = nullptr;
        if (address % bytes == 0) {
            switch (i.space) {
                case Space::GLOBAL:
                    found = memory_.at(address, bytes);
                    break;
                case Space::SHARED:
                    if (address + bytes <= block_->shared.size()) found = block_->shared.data() + address;
                    break;
                default:
                    if (i.op == Op::LD && address + bytes <= parameters_.size())
                        found = const_cast<uint8_t*>(parameters_.data()) + address;
            }
        }
        if (found == nullptr)
            throw IllegalAddress(kernel_.name + ", PTX line " + std::to_string(i.line) + ": thread " + std::to_string(tid_) +
                                 " of block " + std::to_string(block_->index) + ": " + std::to_string(bytes) +
                                 " bytes at " + std::to_string(address));
        return found;
    }

    const Kernel& kernel_;
    const std::vector<uint8_t>& parameters_;
    DeviceMemory& memory_;
    Thread* thread_ = nullptr;
    unsigned tid_ = 0;
    Block* block_ = nullptr;
};

unsigned pick(Order order, unsigned n, unsigned count, unsigned round) {
    switch (order) {
        case Order::ASCENDING: return n;
        case Order::DESCENDING: return count - 1 - n;
        default: {
            // 37 has no factor in common with a power of two: each is picked once where `count` is one; else in order.
            return (count & (count - 1)) == 0 ? (n * 37 + round * 11) % count : n;
        }
    }
}

}  // namespace

void run(const Kernel& kernel, unsigned grid, unsigned threads, const std::vector<uint8_t>& parameters,
         DeviceMemory& memory, Order order) {
    Runner runner(kernel, parameters, memory);
    std::vector<Thread> all(threads);
    for (unsigned b = 0; b < grid; b++) {
        Block block{order == Order::DESCENDING ? grid - 1 - b : b, threads, grid,
                    std::vector<uint8_t>(kernel.shared_bytes, 0xCD)};
        for (auto& thread : all) thread = {std::vector<uint64_t>(kernel.registers.size(), 0xCDCDCDCDCDCDCDCDull)};
        for (unsigned round = 0, running = threads; running > 0; round++) {
            unsigned waiting = 0;
            for (unsigned n = 0; n < threads; n++) {
                unsigned tid = pick(order, n, threads, round);
                if (all[tid].done) continue;
                if (runner.advance(all[tid], tid, block)) waiting++;
                else running--;
            }
            if (waiting != 0 && waiting != threads)
                throw Unsupported(kernel.name + ": a barrier that " + std::to_string(threads - waiting) + " threads never reach");
        }
    }
}

}  // namespace ptx
