#include "softgpu/ptx/print.h"

#include <cstdio>
#include <cstring>

#include "softgpu/ptx/block.h"

namespace vgpu::softgpu::ptx {
namespace {

constexpr size_t kMostText = 64 << 10;  // a runaway string ends

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

}  // namespace

int format_printf(Warp& w, int lane, uint64_t format, uint64_t arguments, std::string& out) {
  const std::string text = read_text(w, lane, format);
  Arguments next(w, lane, arguments);
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      out += text[at];
      continue;
    }
    std::string spec = "%";
    bool wide = false;
    for (++at; at < text.size(); ++at) {
      const char c = text[at];
      if (c == '*') {
        spec += std::to_string(next.next<int32_t>());
      } else if (std::strchr("-+ #0123456789.", c) != nullptr) {
        spec += c;
      } else if (c == 'l' || c == 'z' || c == 'j' || c == 't') {
        wide = true;
      } else if (c != 'h' && c != 'L') {
        break;
      }
    }
    if (at >= text.size()) break;
    const char c = text[at];
    if (c == '%') {
      out += '%';
    } else if (std::strchr("di", c) != nullptr) {
      spec += wide ? std::string("ll") + c : std::string(1, c);
      wide ? print_one(spec, next.next<long long>(), out)
           : print_one(spec, next.next<int32_t>(), out);
    } else if (std::strchr("uoxX", c) != nullptr) {
      spec += wide ? std::string("ll") + c : std::string(1, c);
      wide ? print_one(spec, next.next<unsigned long long>(), out)
           : print_one(spec, next.next<uint32_t>(), out);
    } else if (c == 'c') {
      print_one(spec + c, next.next<int32_t>(), out);
    } else if (std::strchr("fFeEgGaA", c) != nullptr) {
      print_one(spec + c, next.next<double>(), out);
    } else if (c == 's') {
      const auto address = next.next<uint64_t>();
      print_one(spec + c, address == 0 ? "(null)" : read_text(w, lane, address).c_str(), out);
    } else if (c == 'p') {
      print_one(spec + "#llx", next.next<unsigned long long>(), out);
    } else {
      out += spec + c;
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
