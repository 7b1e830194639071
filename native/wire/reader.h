// Bounded reader with sticky failure: decode in a straight line, test ok() once at the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

namespace vgpu::wire {

class Reader {
 public:
  Reader() = default;
  explicit Reader(std::span<const std::byte> data) : data_(data) {}

  // A scalar in little endian, unaligned. Zero after a failure.
  template <typename T>
  T get() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    if (auto bytes = take(sizeof(T)); bytes.data() != nullptr) {
      std::memcpy(&value, bytes.data(), sizeof(T));
    }
    return value;
  }

  // A uint32 length, then that many bytes; the view lives as long as the data does.
  std::span<const std::byte> blob() { return take(get<uint32_t>()); }
  std::string_view text() {
    auto bytes = blob();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // A uint32 count, then `count` elements of `element` bytes.
  std::span<const std::byte> array(size_t element) {
    const uint64_t count = get<uint32_t>();
    return take(count * element);
  }
  std::span<const std::byte> take(uint64_t size) {
    if (size > data_.size() - at_ || failed_) {
      failed_ = true;
      return {};
    }
    auto view = data_.subspan(at_, size);
    at_ += size;
    return view;
  }

  void fail() { failed_ = true; }
  [[nodiscard]] bool ok() const { return !failed_; }
  [[nodiscard]] size_t remaining() const { return data_.size() - at_; }

 private:
  std::span<const std::byte> data_;
  size_t at_ = 0;
  bool failed_ = false;
};

}  // namespace vgpu::wire
