// A reader and interpreter of the PTX that compilers emit for integer kernels. Source: PTX ISA, chapters 4, 5, 8 to 10.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "memory.h"

namespace ptx {

// What the text asks for and this interpreter does not know, or must not do. The text says it in words.
struct Unsupported : std::runtime_error {
    using std::runtime_error::runtime_error;
};
// A load or store outside what belongs to the kernel, or not aligned.
struct IllegalAddress : std::runtime_error {
    using std::runtime_error::runtime_error;
};

enum class Op {
    ADD, SUB, MUL_LO, MUL_HI, MUL_WIDE, MAD_LO, MAD_WIDE, NEG, MIN, MAX, AND, OR, XOR, NOT, SHL, SHR, SHF_L, SHF_R, PRMT, LOP3,
    SETP, SELP, CVT, MOV, PACK, UNPACK, LD, ST, BRA, BAR, RET,
};
enum class Compare { EQ, NE, LT, LE, GT, GE };
enum class Space { NONE, PARAM, GLOBAL, SHARED };
enum class Special { TID_X, NTID_X, CTAID_X, NCTAID_X, LANEID };

struct Operand {
    enum class Kind { NONE, REGISTER, IMMEDIATE, SPECIAL } kind = Kind::NONE;
    int index = 0;       // of a register or special register
    uint64_t value = 0;  // of an immediate, or an offset to a register used as an address
};

struct Instruction {
    Op op;
    Compare compare = Compare::EQ;
    Space space = Space::NONE;
    int bits = 32;           // of the operation
    int from_bits = 32;      // of a conversion's source
    bool is_signed = false;
    bool is_predicate = false;
    int vector = 1;
    int guard = -1;          // predicate register that must be set (or not: guard_negated)
    bool guard_negated = false;
    std::array<Operand, 8> operands;  // destination(s) first
    int target = -1;         // of a branch
    int line = 0;
};

struct Parameter {
    int offset, bytes;
};

struct Kernel {
    std::string name;
    std::vector<Instruction> code;
    std::map<std::string, int> registers;
    std::map<std::string, Parameter> parameters;
    std::vector<Parameter> parameter_list;
    std::map<std::string, uint64_t> shared;
    int parameter_bytes = 0, shared_bytes = 0, threads_max = 1024;
};

struct Module {
    int version = 0;  // 95: PTX ISA 9.5
    int target = 0;   // 75: sm_75
    std::map<std::string, Kernel> kernels;
};

// Throws Unsupported.
Module parse(const std::string& text);

// In which order the threads of a block run between two barriers, and blocks one after the other.
enum class Order { ASCENDING, DESCENDING, MIXED };

// Runs a whole launch. Throws IllegalAddress, Unsupported (a barrier that not all threads reach).
void run(const Kernel& kernel, unsigned grid, unsigned threads, const std::vector<uint8_t>& parameters,
         DeviceMemory& memory, Order order);

}  // namespace ptx
