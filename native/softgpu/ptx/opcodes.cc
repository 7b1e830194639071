#include "softgpu/ptx/opcodes.h"

#include <cctype>
#include <unordered_set>

namespace vgpu::softgpu::ptx {
namespace {

// Base opcodes of PTX ISA 9.1, section 9.7.
const std::unordered_set<std::string_view>& opcodes() {
  static const std::unordered_set<std::string_view> set{
      "abs",          "activemask",    "add",       "addc",       "alloca",
      "and",          "applypriority", "atom",      "bar",        "barrier",
      "bfe",          "bfi",           "bfind",     "bmsk",       "bra",
      "brev",         "brkpt",         "brx",       "call",       "clusterlaunchcontrol",
      "clz",          "cnot",          "copysign",  "cos",        "cp",
      "createpolicy", "cvt",           "cvta",      "discard",    "div",
      "dp2a",         "dp4a",          "elect",     "ex2",        "exit",
      "fence",        "fma",           "fns",       "getctarank", "griddepcontrol",
      "isspacep",     "istypep",       "ld",        "ldmatrix",   "ldu",
      "lg2",          "lop3",          "mad",       "mad24",      "madc",
      "mapa",         "match",         "max",       "mbarrier",   "membar",
      "min",          "mma",           "mov",       "movmatrix",  "mul",
      "mul24",        "multimem",      "nanosleep", "neg",        "not",
      "or",           "pmevent",       "popc",      "prefetch",   "prefetchu",
      "prmt",         "rcp",           "red",       "redux",      "rem",
      "ret",          "rsqrt",         "sad",       "selp",       "set",
      "setmaxnreg",   "setp",          "shf",       "shfl",       "shl",
      "shr",          "sin",           "slct",      "sqrt",       "st",
      "stackrestore", "stacksave",     "stmatrix",  "sub",        "subc",
      "suld",         "suq",           "sured",     "sust",       "szext",
      "tanh",         "tcgen05",       "tensormap", "testp",      "tex",
      "tld4",         "trap",          "txq",       "vabsdiff",   "vabsdiff2",
      "vabsdiff4",    "vadd",          "vadd2",     "vadd4",      "vavrg2",
      "vavrg4",       "vmad",          "vmax",      "vmax2",      "vmax4",
      "vmin",         "vmin2",         "vmin4",     "vote",       "vset",
      "vset2",        "vset4",         "vshl",      "vshr",       "vsub",
      "vsub2",        "vsub4",         "wgmma",     "wmma",       "xor"};
  return set;
}

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$' || c == '%' ||
         c == '.';
}

// Walks the statements of a body without decoding their operands.
class Scan {
 public:
  Scan(std::string_view text, size_t begin, size_t end) : text_(text.substr(0, end)), at_(begin) {}

  size_t first_unknown() {
    for (skip_blank(); at_ < text_.size(); skip_blank()) {
      if (text_[at_] == '{' || text_[at_] == '}' || text_[at_] == ';') {
        ++at_;
        continue;
      }
      if (text_[at_] == '@') skip_guard();
      const size_t start = at_;
      const std::string_view word = take_word();
      skip_blank();
      // A label; `::` belongs to an opcode's modifier (.L2::evict_last).
      if (at_ < text_.size() && text_[at_] == ':' && text_.substr(at_, 2) != "::") {
        ++at_;
        continue;
      }
      if (word == ".loc" || word == ".file") {  // these end with their line
        at_ = text_.find('\n', start);
        continue;
      }
      if (!word.starts_with('.') && !opcodes().contains(word.substr(0, word.find('.')))) {
        return start;
      }
      skip_statement();
    }
    return std::string_view::npos;
  }

 private:
  std::string_view take_word() {
    const size_t start = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    return text_.substr(start, at_ - start);
  }
  void skip_guard() {
    ++at_;
    skip_blank();
    if (at_ < text_.size() && text_[at_] == '!') ++at_;
    skip_blank();
    take_word();
    skip_blank();
  }
  bool skip_comment() {
    if (text_.substr(at_, 2) == "//") {
      at_ = text_.find('\n', at_);
    } else if (text_.substr(at_, 2) == "/*") {
      at_ = text_.find("*/", at_ + 2);
      if (at_ != std::string_view::npos) at_ += 2;
    } else {
      return false;
    }
    return true;
  }
  void skip_blank() {
    while (at_ < text_.size()) {
      if (std::isspace(static_cast<unsigned char>(text_[at_])) != 0) {
        ++at_;
      } else if (text_[at_] != '/' || !skip_comment()) {
        return;
      }
    }
  }
  void skip_statement() {
    while (at_ < text_.size() && text_[at_] != ';') {
      if (text_[at_] == '"') {
        at_ = text_.find('"', at_ + 1);
        if (at_ == std::string_view::npos) return;
      }
      if (text_[at_] != '/' || !skip_comment()) ++at_;
    }
  }

  std::string_view text_;
  size_t at_;
};

}  // namespace

size_t first_unknown_opcode(std::string_view text, size_t begin, size_t end) {
  return Scan(text, begin, end).first_unknown();
}

}  // namespace vgpu::softgpu::ptx
