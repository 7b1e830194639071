// MessagePack, as far as control messages need it (protocol/README.md): a value tree, a writer, and
// a reader that is safe on anything that comes from a socket. Extension types are refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace vgpu::wire {

class Value {
 public:
  using Array = std::vector<Value>;
  // In the order in which the pairs were written. Keys are texts or integers.
  using Map = std::vector<std::pair<Value, Value>>;
  struct Binary {
    std::string bytes;
    bool operator==(const Binary&) const = default;
  };

  Value() = default;  // nil
  Value(std::nullptr_t) {}
  Value(bool value) : data_(value) {}
  Value(int value) : Value(static_cast<int64_t>(value)) {}
  Value(unsigned value) : data_(static_cast<uint64_t>(value)) {}
  Value(int64_t value);  // kept as unsigned unless negative: both spellings of a number are equal
  Value(uint64_t value) : data_(value) {}
  Value(long long value) : Value(static_cast<int64_t>(value)) {}
  Value(unsigned long long value) : data_(static_cast<uint64_t>(value)) {}
  Value(double value) : data_(value) {}
  Value(const char* text) : data_(std::string(text)) {}
  Value(std::string text) : data_(std::move(text)) {}
  Value(std::string_view text) : data_(std::string(text)) {}
  Value(Binary binary) : data_(std::move(binary)) {}
  Value(Array array) : data_(std::move(array)) {}
  Value(Map map) : data_(std::move(map)) {}
  static Value binary(std::span<const std::byte> bytes);
  // Value::map({{"t", "hello"}, {"version", Value::array({1, 0})}})
  static Value map(std::initializer_list<std::pair<Value, Value>> pairs) { return Map(pairs); }
  static Value array(std::initializer_list<Value> values) { return Array(values); }

  [[nodiscard]] bool is_nil() const { return std::holds_alternative<std::monostate>(data_); }
  // Empty when the value is of another type, or does not fit.
  [[nodiscard]] std::optional<bool> boolean() const;
  [[nodiscard]] std::optional<int64_t> integer() const;
  [[nodiscard]] std::optional<uint64_t> unsigned_integer() const;
  [[nodiscard]] std::optional<double> number() const;
  // Empty views and containers when the value is of another type.
  [[nodiscard]] std::string_view text() const;
  [[nodiscard]] std::span<const std::byte> bytes() const;  // of a binary or a text
  [[nodiscard]] const Array& elements() const;
  [[nodiscard]] const Map& pairs() const;
  [[nodiscard]] bool is_text() const { return std::holds_alternative<std::string>(data_); }
  [[nodiscard]] bool is_binary() const { return std::holds_alternative<Binary>(data_); }
  [[nodiscard]] bool is_array() const { return std::holds_alternative<Array>(data_); }
  [[nodiscard]] bool is_map() const { return std::holds_alternative<Map>(data_); }

  // The value of a map's key; nil when there is none, or when this is no map.
  [[nodiscard]] const Value& operator[](std::string_view key) const;
  [[nodiscard]] bool has(std::string_view key) const;
  // Adds a pair, or replaces the one with that key. Makes a map of nil.
  void set(std::string_view key, Value value);
  // Adds an element. Makes an array of nil.
  void push(Value value);

  bool operator==(const Value&) const = default;

 private:
  friend class Packer;
  std::variant<std::monostate, bool, int64_t, uint64_t, double, std::string, Binary, Array, Map>
      data_;
};

// Control messages are small; more than this is refused unread.
inline constexpr size_t kMaxMessage = 16u << 20;
inline constexpr int kMaxMessageDepth = 16;
// A Value takes some 40 bytes: a short message must not grow without bound in memory.
inline constexpr size_t kMaxMessageValues = 1u << 20;

std::string pack(const Value& value);
// The whole of `bytes` must be one value. False with `error` otherwise.
bool unpack(std::span<const std::byte> bytes, Value& value, std::string& error);
bool unpack(std::string_view bytes, Value& value, std::string& error);

}  // namespace vgpu::wire
