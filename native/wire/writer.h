// Appends scalars, strings and arrays to a byte vector: the counterpart of Reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace vgpu::wire {

class Writer {
 public:
  template <typename T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    raw(&value, sizeof(T));
  }
  void blob(const void* data, size_t size) {
    put(static_cast<uint32_t>(size));
    raw(data, size);
  }
  void text(std::string_view value) { blob(value.data(), value.size()); }
  // A uint32 count, then the elements.
  void array(const void* data, size_t count, size_t element) {
    put(static_cast<uint32_t>(count));
    raw(data, count * element);
  }
  void raw(const void* data, size_t size) {
    if (size == 0) return;
    const size_t at = bytes_.size();
    bytes_.resize(at + size);
    std::memcpy(bytes_.data() + at, data, size);
  }
  void pad8() { bytes_.resize((bytes_.size() + 7) & ~size_t{7}); }

  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
  [[nodiscard]] size_t size() const { return bytes_.size(); }
  std::vector<std::byte>& buffer() { return bytes_; }
  void clear() { bytes_.clear(); }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace vgpu::wire
