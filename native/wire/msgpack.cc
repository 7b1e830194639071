#include "wire/msgpack.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "wire/reader.h"

namespace vgpu::wire {

Value::Value(int64_t value) {
  if (value < 0) {
    data_ = value;
  } else {
    data_ = static_cast<uint64_t>(value);
  }
}

Value Value::binary(std::span<const std::byte> bytes) {
  return Binary{std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())};
}

std::optional<bool> Value::boolean() const {
  const bool* value = std::get_if<bool>(&data_);
  return value ? std::optional(*value) : std::nullopt;
}

std::optional<int64_t> Value::integer() const {
  if (const int64_t* value = std::get_if<int64_t>(&data_)) return *value;
  const uint64_t* value = std::get_if<uint64_t>(&data_);
  if (value == nullptr || *value > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
  return static_cast<int64_t>(*value);
}

std::optional<uint64_t> Value::unsigned_integer() const {
  const uint64_t* value = std::get_if<uint64_t>(&data_);
  return value ? std::optional(*value) : std::nullopt;
}

std::optional<double> Value::number() const {
  if (const double* value = std::get_if<double>(&data_)) return *value;
  if (const int64_t* value = std::get_if<int64_t>(&data_)) return static_cast<double>(*value);
  if (const uint64_t* value = std::get_if<uint64_t>(&data_)) return static_cast<double>(*value);
  return std::nullopt;
}

std::string_view Value::text() const {
  const std::string* value = std::get_if<std::string>(&data_);
  return value ? std::string_view(*value) : std::string_view();
}

std::span<const std::byte> Value::bytes() const {
  const Binary* value = std::get_if<Binary>(&data_);
  const std::string_view view = value ? std::string_view(value->bytes) : text();
  return std::as_bytes(std::span(view.data(), view.size()));
}

const Value::Array& Value::elements() const {
  static const Array& none = *new Array;
  const Array* value = std::get_if<Array>(&data_);
  return value ? *value : none;
}

const Value::Map& Value::pairs() const {
  static const Map& none = *new Map;
  const Map* value = std::get_if<Map>(&data_);
  return value ? *value : none;
}

const Value& Value::operator[](std::string_view key) const {
  static const Value& nil = *new Value;
  for (const auto& [name, value] : pairs()) {
    if (name.is_text() && name.text() == key) return value;
  }
  return nil;
}

bool Value::has(std::string_view key) const {
  return std::any_of(pairs().begin(), pairs().end(), [key](const auto& pair) {
    return pair.first.is_text() && pair.first.text() == key;
  });
}

void Value::set(std::string_view key, Value value) {
  if (is_nil()) data_ = Map();
  Map* map = std::get_if<Map>(&data_);
  if (map == nullptr) return;
  for (auto& [name, old] : *map) {
    if (name.is_text() && name.text() == key) {
      old = std::move(value);
      return;
    }
  }
  map->emplace_back(Value(key), std::move(value));
}

void Value::push(Value value) {
  if (is_nil()) data_ = Array();
  if (Array* array = std::get_if<Array>(&data_)) array->push_back(std::move(value));
}

// Writes the shortest spelling of each value.
class Packer {
 public:
  std::string out;

  void put(const Value& value) {
    std::visit([this](const auto& one) { put_one(one); }, value.data_);
  }

 private:
  template <typename T>
  void big(uint8_t tag, T value) {
    out.push_back(static_cast<char>(tag));
    for (int shift = static_cast<int>(sizeof(T)) * 8 - 8; shift >= 0; shift -= 8) {
      out.push_back(static_cast<char>(value >> shift));
    }
  }
  // `fixed`: tag with the length in its low bits, for lengths below `limit`. A tag of 0 is not
  // there.
  void length(size_t size, uint8_t fixed, size_t limit, uint8_t tag8, uint8_t tag16,
              uint8_t tag32) {
    if (size < limit) {
      out.push_back(static_cast<char>(fixed | size));
    } else if (tag8 != 0 && size <= 0xff) {
      big(tag8, static_cast<uint8_t>(size));
    } else if (size <= 0xffff) {
      big(tag16, static_cast<uint16_t>(size));
    } else {
      big(tag32, static_cast<uint32_t>(size));
    }
  }

  void put_one(std::monostate) { out.push_back('\xc0'); }
  void put_one(bool value) { out.push_back(value ? '\xc3' : '\xc2'); }
  void put_one(uint64_t value) {
    if (value < 0x80) {
      out.push_back(static_cast<char>(value));
    } else if (value <= 0xff) {
      big(0xcc, static_cast<uint8_t>(value));
    } else if (value <= 0xffff) {
      big(0xcd, static_cast<uint16_t>(value));
    } else if (value <= 0xffffffff) {
      big(0xce, static_cast<uint32_t>(value));
    } else {
      big(0xcf, value);
    }
  }
  void put_one(int64_t value) {
    const auto bits = static_cast<uint64_t>(value);
    if (value >= -32) {
      out.push_back(static_cast<char>(value));
    } else if (value >= INT8_MIN) {
      big(0xd0, static_cast<uint8_t>(bits));
    } else if (value >= INT16_MIN) {
      big(0xd1, static_cast<uint16_t>(bits));
    } else if (value >= INT32_MIN) {
      big(0xd2, static_cast<uint32_t>(bits));
    } else {
      big(0xd3, bits);
    }
  }
  void put_one(double value) { big(0xcb, std::bit_cast<uint64_t>(value)); }
  void put_one(const std::string& text) {
    length(text.size(), 0xa0, 32, 0xd9, 0xda, 0xdb);
    out += text;
  }
  void put_one(const Value::Binary& binary) {
    length(binary.bytes.size(), 0, 0, 0xc4, 0xc5, 0xc6);
    out += binary.bytes;
  }
  void put_one(const Value::Array& array) {
    length(array.size(), 0x90, 16, 0, 0xdc, 0xdd);
    for (const Value& one : array) put(one);
  }
  void put_one(const Value::Map& map) {
    length(map.size(), 0x80, 16, 0, 0xde, 0xdf);
    for (const auto& [key, one] : map) {
      put(key);
      put(one);
    }
  }
};

namespace {

class Unpacker {
 public:
  explicit Unpacker(std::span<const std::byte> bytes) : in_(bytes) {}

  bool whole(Value& value, std::string& error) {
    value = get(0);
    if (!in_.ok()) fail("it ends in the middle of a value");
    if (problem_.empty() && in_.remaining() != 0) fail("bytes follow the value");
    error = problem_;
    return problem_.empty();
  }

 private:
  Value fail(const char* problem) {
    if (problem_.empty()) problem_ = problem;
    in_.fail();
    return {};
  }

  template <typename T>
  T big() {
    T value = 0;
    for (std::byte byte : in_.take(sizeof(T))) {
      value = static_cast<T>(static_cast<uint64_t>(value) << 8 | std::to_integer<uint64_t>(byte));
    }
    return value;
  }
  std::string string(uint64_t size) {
    const auto bytes = in_.take(size);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // Every element takes a byte or more: a count that cannot be true allocates nothing.
  bool plausible(uint64_t count, int depth) {
    if (depth >= kMaxMessageDepth) fail("it is nested too deeply");
    if (count > in_.remaining()) fail("it ends in the middle of a value");
    return in_.ok();
  }
  Value array(uint64_t count, int depth) {
    Value::Array array;
    if (plausible(count, depth)) array.reserve(std::min<uint64_t>(count, 1024));
    for (uint64_t i = 0; i < count && in_.ok(); ++i) array.push_back(get(depth + 1));
    return array;
  }
  Value map(uint64_t count, int depth) {
    Value::Map map;
    plausible(count, depth);
    for (uint64_t i = 0; i < count && in_.ok(); ++i) {
      Value key = get(depth + 1);
      if (in_.ok() && !key.is_text() && !key.integer() && !key.unsigned_integer()) {
        return fail("a map's key is neither a text nor an integer");
      }
      map.emplace_back(std::move(key), get(depth + 1));
    }
    return map;
  }

  Value get(int depth) {
    if (++values_ > kMaxMessageValues) return fail("it holds too many values");
    const auto tag = in_.get<uint8_t>();
    if (!in_.ok()) return {};
    if (tag < 0x80) return static_cast<uint64_t>(tag);
    if (tag < 0x90) return map(tag & 0x0f, depth);
    if (tag < 0xa0) return array(tag & 0x0f, depth);
    if (tag < 0xc0) return string(tag & 0x1f);
    if (tag >= 0xe0) return static_cast<int64_t>(static_cast<int8_t>(tag));
    return tagged(tag, depth);
  }
  Value tagged(uint8_t tag, int depth) {
    switch (tag) {
      case 0xc0:
        return {};
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return Value::Binary{string(big<uint8_t>())};
      case 0xc5:
        return Value::Binary{string(big<uint16_t>())};
      case 0xc6:
        return Value::Binary{string(big<uint32_t>())};
      case 0xca:
        return static_cast<double>(std::bit_cast<float>(big<uint32_t>()));
      case 0xcb:
        return std::bit_cast<double>(big<uint64_t>());
      case 0xcc:
        return static_cast<uint64_t>(big<uint8_t>());
      case 0xcd:
        return static_cast<uint64_t>(big<uint16_t>());
      case 0xce:
        return static_cast<uint64_t>(big<uint32_t>());
      case 0xcf:
        return big<uint64_t>();
      case 0xd0:
        return static_cast<int64_t>(static_cast<int8_t>(big<uint8_t>()));
      case 0xd1:
        return static_cast<int64_t>(static_cast<int16_t>(big<uint16_t>()));
      case 0xd2:
        return static_cast<int64_t>(static_cast<int32_t>(big<uint32_t>()));
      case 0xd3:
        return static_cast<int64_t>(big<uint64_t>());
      case 0xd9:
        return string(big<uint8_t>());
      case 0xda:
        return string(big<uint16_t>());
      case 0xdb:
        return string(big<uint32_t>());
      case 0xdc:
        return array(big<uint16_t>(), depth);
      case 0xdd:
        return array(big<uint32_t>(), depth);
      case 0xde:
        return map(big<uint16_t>(), depth);
      case 0xdf:
        return map(big<uint32_t>(), depth);
      default:
        return fail("it holds a type that is not used here");
    }
  }

  Reader in_;
  size_t values_ = 0;
  std::string problem_;
};

}  // namespace

std::string pack(const Value& value) {
  Packer packer;
  packer.put(value);
  return std::move(packer.out);
}

bool unpack(std::span<const std::byte> bytes, Value& value, std::string& error) {
  if (bytes.size() > kMaxMessage) {
    error = "a message of " + std::to_string(bytes.size()) + " bytes";
    return false;
  }
  return Unpacker(bytes).whole(value, error);
}

bool unpack(std::string_view bytes, Value& value, std::string& error) {
  return unpack(std::as_bytes(std::span(bytes.data(), bytes.size())), value, error);
}

}  // namespace vgpu::wire
