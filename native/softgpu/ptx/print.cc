#include "softgpu/ptx/print.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "softgpu/ptx/block.h"

namespace vgpu::softgpu::ptx {
namespace {

constexpr size_t kMostText = 64 << 10;  // a runaway string ends
constexpr size_t kMostDigits = 4;       // of a width or a precision
constexpr int kMostArguments = 32;      // CUDA C++ Programming Guide, "Formatted Output"

// Bytes at a generic address of one lane; false when they are not there.
bool read(Warp& w, int lane, uint64_t address, void* to, uint32_t bytes) {
  const uint64_t offset = address & ~kWindowMask;
  const std::byte* from = nullptr;
  switch (address & kWindowMask) {
    case 0: {
      if (find_range(*w.thread->snapshot, address, bytes) == nullptr) return false;
      from = reinterpret_cast<const std::byte*>(address);
      break;
    }
    case kSharedWindow:
      if (offset + bytes > w.run->shared_bytes) return false;
      from = w.block->shared + offset;
      break;
    case kLocalWindow:
      if (offset + bytes > w.local_stride) return false;
      from = w.local + static_cast<size_t>(lane) * w.local_stride + offset;
      break;
    default:
      return false;
  }
  std::memcpy(to, from, bytes);
  return true;
}

std::string read_text(Warp& w, int lane, uint64_t address) {
  std::string text;
  char c = 0;
  while (text.size() < kMostText && read(w, lane, address++, &c, 1) && c != 0) text += c;
  return text;
}

template <class T>
void print_one(const std::string& spec, T value, std::string& out) {
  char buffer[512];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
  const int length = std::snprintf(buffer, sizeof(buffer), spec.c_str(), value);
  if (length >= static_cast<int>(sizeof(buffer))) {
    std::string large(static_cast<size_t>(length) + 1, 0);
    std::snprintf(large.data(), large.size(), spec.c_str(), value);
    out.append(large.data(), static_cast<size_t>(length));
#pragma GCC diagnostic pop
    return;
  }
  if (length > 0) out.append(buffer, static_cast<size_t>(length));
}

// Arguments lie one after the other at their own alignment: 4 bytes, or 8 for doubles, pointers
// and long long.
class Arguments {
 public:
  Arguments(Warp& w, int lane, uint64_t address) : w_(w), lane_(lane), address_(address) {}
  template <class T>
  T next() {
    offset_ = (offset_ + sizeof(T) - 1) / sizeof(T) * sizeof(T);
    T value{};
    read(w_, lane_, address_ + offset_, &value, sizeof(T));
    offset_ += sizeof(T);
    ++count_;
    return value;
  }
  [[nodiscard]] int count() const { return count_; }

 private:
  Warp& w_;
  int lane_;
  uint64_t address_;
  uint64_t offset_ = 0;
  int count_ = 0;
};

// One conversion: %[flags][width][.precision][size]type. Everything else is printed as it stands.
struct Spec {
  size_t length = 1;    // in the text, with its %
  std::string printed;  // for the host's printf, up to size and type; '*' replaced when printed
  unsigned stars = 0;
  unsigned halves = 0;  // h, hh
  bool wide = false;    // l, ll and their kin: 64 bits
  char conversion = 0;  // 0: none that CUDA knows

  [[nodiscard]] int arguments() const { return static_cast<int>(stars) + 1; }
};

Spec read_spec(const std::string& text, size_t percent) {
  Spec spec;
  size_t at = percent + 1;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (std::strchr("-+ #0123456789.*", c) != nullptr) {
      spec.printed += c;
      spec.stars += c == '*';
    } else if (c == 'h') {
      ++spec.halves;
    } else if (std::strchr("lzjt", c) != nullptr) {
      spec.wide = true;
    } else if (c != 'L') {
      break;
    }
  }
  if (at < text.size() && std::strchr("cdiouxXpeEfFgGaAs%", text[at]) != nullptr) {
    spec.conversion = text[at++];
  }
  spec.length = at - percent;
  return spec;
}

// With its %. Digits that ask for more than anybody reads would only cost memory.
std::string bounded(const std::string& flags) {
  std::string result = "%";
  for (size_t at = 0; at < flags.size();) {
    const size_t digits = std::min(flags.find_first_not_of("0123456789", at), flags.size());
    if (digits - at > kMostDigits) {
      result += std::to_string(kMostText);
    } else {
      result.append(flags, at, digits - at);
    }
    if (digits < flags.size()) result += flags[digits];
    at = digits + 1;
  }
  return result;
}

void print_spec(Warp& w, int lane, const Spec& spec, Arguments& next, std::string& out) {
  std::string format;
  for (const char c : spec.printed) {
    if (c == '*') {
      format += std::to_string(next.next<int32_t>());
    } else {
      format += c;
    }
  }
  format = bounded(format);
  const char c = spec.conversion;
  if (std::strchr("di", c) != nullptr) {
    if (spec.wide) return print_one(format + "ll" + c, next.next<long long>(), out);
    print_one(format + std::string(spec.halves, 'h') + c, next.next<int32_t>(), out);
  } else if (std::strchr("uoxX", c) != nullptr) {
    if (spec.wide) return print_one(format + "ll" + c, next.next<unsigned long long>(), out);
    print_one(format + std::string(spec.halves, 'h') + c, next.next<uint32_t>(), out);
  } else if (c == 'c') {
    print_one(format + c, next.next<int32_t>(), out);
  } else if (c == 's') {
    const auto address = next.next<uint64_t>();
    print_one(format + c, address == 0 ? "(null)" : read_text(w, lane, address).c_str(), out);
  } else if (c == 'p') {
    print_one(format + c, reinterpret_cast<void*>(next.next<uint64_t>()), out);
  } else {
    print_one(format + c, next.next<double>(), out);
  }
}

}  // namespace

int format_printf(Warp& w, int lane, uint64_t format, uint64_t arguments, std::string& out) {
  if (format == 0) return -1;
  const std::string text = read_text(w, lane, format);
  Arguments next(w, lane, arguments);
  for (size_t at = 0; at < text.size();) {
    const size_t percent = std::min(text.find('%', at), text.size());
    out.append(text, at, percent - at);
    if (percent == text.size()) break;
    const Spec spec = read_spec(text, percent);
    at = percent + spec.length;
    if (spec.conversion == '%') {
      out += '%';
    } else if (spec.conversion == 0 || next.count() + spec.arguments() > kMostArguments) {
      out.append(text, percent, spec.length);
    } else {
      print_spec(w, lane, spec, next, out);
    }
  }
  return next.count();
}

std::string format_assertion(Warp& w, int lane, uint64_t condition, uint64_t file, uint64_t line,
                             uint64_t function) {
  const uint32_t* block = w.block->index;
  const uint32_t thread = w.index * kLanes + static_cast<uint32_t>(lane);
  const Dim3& size = w.run->launch->block;
  char place[160];
  std::snprintf(place, sizeof(place), "block: [%u,%u,%u], thread: [%u,%u,%u]", block[0], block[1],
                block[2], thread % size.x, thread / size.x % size.y, thread / size.x / size.y);
  return read_text(w, lane, file) + ":" + std::to_string(static_cast<uint32_t>(line)) + ": " +
         read_text(w, lane, function) + ": " + place + " Assertion `" +
         read_text(w, lane, condition) + "` failed.\n";
}

}  // namespace vgpu::softgpu::ptx
