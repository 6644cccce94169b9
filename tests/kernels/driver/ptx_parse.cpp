// The reader of PTX text: every instruction becomes a value, and what is not understood is an error, never skipped.

#include "ptx.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <sstream>

namespace ptx {
namespace {

std::vector<std::string> split(const std::string& text, char by) {
    std::vector<std::string> parts;
    std::stringstream stream(text);
    for (std::string part; std::getline(stream, part, by);) parts.push_back(part);
    return parts;
}

std::string trim(const std::string& text) {
    size_t a = text.find_first_not_of(" \t\r\n"), b = text.find_last_not_of(" \t\r\n");
    return a == std::string::npos ? "" : text.substr(a, b - a + 1);
}

bool starts(const std::string& text, const char* with) { return text.rfind(with, 0) == 0; }

class Reader {
public:
    explicit Reader(const std::string& text) : lines_(split(text, '\n')) {}

    Module read() {
        for (; at_ < lines_.size(); at_++) {
            std::string line = code();
            if (starts(line, ".version")) {
                auto parts = split(trim(line.substr(8)), '.');
                module_.version = std::stoi(parts.at(0)) * 10 + std::stoi(parts.at(1));
            } else if (starts(line, ".target")) {
                size_t sm = line.find("sm_");
                if (sm == std::string::npos) fail("a target sm_NN");
                module_.target = std::stoi(line.substr(sm + 3));
            } else if (starts(line, ".visible .entry") || starts(line, ".entry")) {
                read_kernel(line);
            } else if (!line.empty() && !starts(line, ".address_size") && !starts(line, ".file")) {
                fail("a directive of a module of kernels");
            }
        }
        return module_;
    }

private:
    std::string code() const { return trim(lines_[at_].substr(0, lines_[at_].find("//"))); }

    [[noreturn]] void fail(const std::string& expected) const {
        throw Unsupported("PTX line " + std::to_string(at_ + 1) + ": expected " + expected + ", got: " + trim(lines_[at_]));
    }

    void read_kernel(const std::string& head) {
        kernel_ = {};
        size_t name = head.find(".entry") + 6, paren = head.find('(');
        kernel_.name = trim(head.substr(name, paren - name));
        labels_.clear();
        jumps_.clear();
        for (at_++; at_ < lines_.size(); at_++) {
            std::string line = code();
            if (starts(line, ".param")) read_parameter(line);
            else if (starts(line, ".maxntid")) kernel_.threads_max = std::stoi(line.substr(8));
            else if (line == "{") break;
            else if (!line.empty() && line != ")" && !starts(line, ".minnctapersm")) fail("a parameter");
        }
        for (at_++; at_ < lines_.size(); at_++) {
            std::string line = code();
            if (line == "}") break;
            if (line.empty() || starts(line, ".reg") || starts(line, ".pragma") || starts(line, ".loc")) continue;
            if (starts(line, ".shared")) read_shared(line);
            else if (line.back() == ':') labels_[line.substr(0, line.size() - 1)] = static_cast<int>(kernel_.code.size());
            else read_instruction(line);
        }
        for (auto& [index, label] : jumps_) {
            if (!labels_.count(label)) throw Unsupported("no label " + label + " in " + kernel_.name);
            kernel_.code[index].target = labels_[label];
        }
        if (kernel_.code.empty() || kernel_.code.back().op != Op::RET) fail("a kernel that ends in ret");
        module_.kernels[kernel_.name] = kernel_;
    }

    // .param .u64 name   or   .param .u64 .ptr .align 1 name
    void read_parameter(std::string line) {
        if (line.back() == ',') line.pop_back();
        auto words = split(line, ' ');
        words.erase(std::remove_if(words.begin(), words.end(), [](auto& w) { return trim(w).empty(); }), words.end());
        const std::string type = trim(words.at(1)), name = trim(words.back());
        int bytes = type == ".u64" || type == ".b64" ? 8 : type == ".u32" || type == ".b32" ? 4 : 0;
        if (bytes == 0) fail("a parameter of 32 or 64 bits");
        int offset = (kernel_.parameter_bytes + bytes - 1) / bytes * bytes;
        kernel_.parameters[name] = {offset, bytes};
        kernel_.parameter_list.push_back({offset, bytes});
        kernel_.parameter_bytes = offset + bytes;
    }

    // .shared .align 4 .b8 name[8704];
    void read_shared(const std::string& line) {
        size_t open = line.find('['), close = line.find(']'), align = line.find(".align"), type = line.find(".b8");
        if (open == std::string::npos || align == std::string::npos || type == std::string::npos) fail("shared bytes");
        int alignment = std::stoi(line.substr(align + 6)), bytes = std::stoi(line.substr(open + 1, close - open - 1));
        kernel_.shared_bytes = (kernel_.shared_bytes + alignment - 1) / alignment * alignment;
        kernel_.shared[trim(line.substr(type + 3, open - type - 3))] = kernel_.shared_bytes;
        kernel_.shared_bytes += bytes;
    }

    int reg(const std::string& name) {
        return kernel_.registers.emplace(name, static_cast<int>(kernel_.registers.size())).first->second;
    }

    Operand operand(std::string text) {
        static const std::map<std::string, Special> specials = {
            {"%tid.x", Special::TID_X}, {"%ntid.x", Special::NTID_X}, {"%ctaid.x", Special::CTAID_X},
            {"%nctaid.x", Special::NCTAID_X}, {"%laneid", Special::LANEID},
        };
        text = trim(text);
        Operand found;
        if (auto special = specials.find(text); special != specials.end()) {
            found.kind = Operand::Kind::SPECIAL;
            found.index = static_cast<int>(special->second);
        } else if (text[0] == '%') {
            found.kind = Operand::Kind::REGISTER;
            found.index = reg(text);
        } else if (auto shared = kernel_.shared.find(text); shared != kernel_.shared.end()) {
            found.kind = Operand::Kind::IMMEDIATE;
            found.value = shared->second;
        } else if (std::isdigit(static_cast<unsigned char>(text[0])) || text[0] == '-') {
            found.kind = Operand::Kind::IMMEDIATE;
            found.value = text[0] == '-' ? -std::stoull(text.substr(1), nullptr, 0) : std::stoull(text, nullptr, 0);
        } else {
            fail("a register, a number or a shared array");
        }
        return found;
    }

    // [%rd1+16], [name], [name+4]
    Operand address(const std::string& text) {
        std::string inner = trim(text.substr(1, text.find(']') - 1));
        size_t plus = inner.find('+');
        std::string base = trim(inner.substr(0, plus));
        int64_t offset = plus == std::string::npos ? 0 : std::stoll(trim(inner.substr(plus + 1)));
        Operand found;
        if (auto parameter = kernel_.parameters.find(base); parameter != kernel_.parameters.end()) {
            found.kind = Operand::Kind::IMMEDIATE;
            found.value = parameter->second.offset;
        } else {
            found = operand(base);
        }
        found.value += offset;  // of a register: added to what it holds
        return found;
    }

    void read_instruction(std::string line) {
        if (line.back() != ';') fail("an instruction on a line of its own");
        line.pop_back();
        Instruction made{};
        made.line = static_cast<int>(at_ + 1);
        if (line[0] == '@') {
            size_t blank = line.find_first_of(" \t");
            std::string guard = line.substr(1, blank - 1);
            made.guard_negated = guard[0] == '!';
            made.guard = reg(guard.substr(made.guard_negated ? 1 : 0));
            line = trim(line.substr(blank));
        }
        size_t blank = line.find_first_of(" \t");
        auto words = split(line.substr(0, blank), '.');
        std::string rest = blank == std::string::npos ? "" : trim(line.substr(blank));
        decode(made, words, rest);
        kernel_.code.push_back(made);
    }

    bool has(const std::vector<std::string>& words, const char* word) const {
        return std::find(words.begin(), words.end(), word) != words.end();
    }

    void type(Instruction& made, const std::string& word, int* bits) const {
        if (word == "pred") {
            made.is_predicate = true;
            *bits = 1;
            return;
        }
        if (word.size() < 2 || !std::strchr("usb", word[0])) fail("an integer type");
        *bits = std::stoi(word.substr(1));
        if (*bits != 32 && *bits != 64 && *bits != 8 && *bits != 16) fail("8, 16, 32 or 64 bits");
        made.is_signed = word[0] == 's';
    }

    void decode(Instruction& made, std::vector<std::string>& words, const std::string& rest) {
        static const std::map<std::string, Op> plain = {
            {"add", Op::ADD}, {"sub", Op::SUB}, {"neg", Op::NEG}, {"min", Op::MIN}, {"max", Op::MAX}, {"and", Op::AND},
            {"or", Op::OR}, {"xor", Op::XOR}, {"not", Op::NOT}, {"shl", Op::SHL}, {"shr", Op::SHR}, {"selp", Op::SELP},
            {"mov", Op::MOV}, {"prmt", Op::PRMT}, {"lop3", Op::LOP3},
        };
        static const std::map<std::string, Compare> compares = {
            {"eq", Compare::EQ}, {"ne", Compare::NE}, {"lt", Compare::LT}, {"le", Compare::LE}, {"gt", Compare::GT},
            {"ge", Compare::GE}, {"lo", Compare::LT}, {"ls", Compare::LE}, {"hi", Compare::GT}, {"hs", Compare::GE},
        };
        const std::string& name = words[0];
        auto known = [&](std::initializer_list<const char*> modifiers) {  // whatever else stands there changes the meaning
            for (size_t i = 1; i + 1 < words.size(); i++)
                if (std::none_of(modifiers.begin(), modifiers.end(), [&](auto* m) { return words[i] == m; }))
                    fail("a modifier of " + name + " that is known");
        };
        if (name == "ret") {
            made.op = Op::RET;
            return;
        }
        if (name == "bar" || name == "barrier") {
            if (trim(rest) != "0" || !has(words, "sync")) fail("bar.sync 0");
            made.op = Op::BAR;
            return;
        }
        if (name == "bra") {
            made.op = Op::BRA;
            jumps_.emplace_back(static_cast<int>(kernel_.code.size()), trim(rest));
            return;
        }
        if (name == "ld" || name == "st") {
            known({"param", "global", "shared", "nc", "v2", "v4"});
            made.op = name == "ld" ? Op::LD : Op::ST;
            made.space = has(words, "param") ? Space::PARAM : has(words, "global") ? Space::GLOBAL
                         : has(words, "shared") ? Space::SHARED : Space::NONE;
            if (made.space == Space::NONE) fail("a state space: no generic addresses");
            made.vector = has(words, "v4") ? 4 : has(words, "v2") ? 2 : 1;
            type(made, words.back(), &made.bits);
            read_access(made, rest);
            return;
        }
        if (name == "mov" && rest.find('{') != std::string::npos) {  // {low, high} of 64 bits; _ for a half not wanted
            if (words.back() != "b64") fail("mov.b64 of two halves");
            made.op = rest[0] == '{' ? Op::UNPACK : Op::PACK;
            std::string flat = rest;
            flat.erase(std::remove_if(flat.begin(), flat.end(), [](char c) { return c == '{' || c == '}'; }), flat.end());
            auto parts = split(flat, ',');
            if (parts.size() != 3) fail("two halves");
            for (size_t i = 0; i < 3; i++)
                if (trim(parts[i]) != "_") made.operands[i] = operand(parts[i]);
            return;
        }
        if (name == "cvta") {  // state spaces are told apart by the instruction, so addresses stay as they are
            known({"to", "global"});
            made.op = Op::MOV;
            made.bits = 64;
        } else if (name == "cvt") {
            if (words.size() != 3) fail("cvt between two integer types");
            made.op = Op::CVT;
            type(made, words[1], &made.bits);
            type(made, words[2], &made.from_bits);  // the source's signedness decides how it is widened
        } else if (name == "setp") {
            if (words.size() != 3 || !compares.count(words[1])) fail("setp with one comparison");
            made.op = Op::SETP;
            made.compare = compares.at(words[1]);
            type(made, words[2], &made.bits);
        } else if (name == "shf") {
            known({"l", "r", "wrap"});
            if (!has(words, "wrap")) fail("shf.wrap");
            made.op = words[1] == "l" ? Op::SHF_L : Op::SHF_R;
        } else if (name == "mul" || name == "mad") {
            known({"lo", "hi", "wide"});
            bool wide = words[1] == "wide";
            if (name == "mad") made.op = wide ? Op::MAD_WIDE : words[1] == "lo" ? Op::MAD_LO : (fail("mad.lo"), Op::MAD_LO);
            else made.op = wide ? Op::MUL_WIDE : words[1] == "lo" ? Op::MUL_LO : Op::MUL_HI;
            type(made, words.back(), &made.bits);
        } else if (auto found = plain.find(name); found != plain.end()) {
            known({});
            made.op = found->second;
            type(made, words.back(), &made.bits);
        } else {
            fail("an instruction that is known");
        }
        auto parts = split(rest, ',');
        if (parts.size() > made.operands.size()) fail("fewer operands");
        for (size_t i = 0; i < parts.size(); i++) made.operands[i] = operand(parts[i]);
    }

    // {%r1, %r2}, [address]   or   %r1, [address]   (ld; the other way round in st)
    void read_access(Instruction& made, const std::string& rest) {
        size_t open = rest.find('['), close = rest.find(']');
        if (open == std::string::npos || close == std::string::npos) fail("an address in brackets");
        made.operands[0] = address(rest.substr(open, close - open + 1));
        std::string values = made.op == Op::LD ? rest.substr(0, open) : rest.substr(close + 1);
        std::replace_if(values.begin(), values.end(), [](char c) { return c == '{' || c == '}'; }, ' ');
        int count = 0;
        for (auto& part : split(values, ','))
            if (!trim(part).empty()) {
                if (count == made.vector) fail("as many registers as the vector has");
                made.operands[1 + count++] = operand(part);
            }
        if (count != made.vector) fail("as many registers as the vector has");
    }

    std::vector<std::string> lines_;
    size_t at_ = 0;
    Module module_;
    Kernel kernel_;
    std::map<std::string, int> labels_;
    std::vector<std::pair<int, std::string>> jumps_;
};

}  // namespace

Module parse(const std::string& text) { return Reader(text).read(); }

}  // namespace ptx
