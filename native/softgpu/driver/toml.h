// A strict reader of the part of TOML 1.0 that our configuration needs: comments, `key = value`
// with bare or quoted keys, [table], [[array of tables]], one-line basic and literal strings,
// integers, floats, booleans, and arrays of these. What else TOML has (dotted keys, inline tables,
// multi-line strings, dates) is an error that says so.
//
// Our own because no package of PyPI carries a C++ reader, and building needs nothing else.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vgpu::softgpu::toml {

enum class Kind { kString, kInteger, kFloat, kBoolean, kArray };

struct Value {
  Kind kind = Kind::kString;
  std::string text;  // a string's content; a number without its underscores; true or false
  std::vector<Value> elements;
};

struct Entry {
  std::string key;
  Value value;
  int line = 0;
};

struct Table {
  std::string name;  // empty: what stands before the first header
  bool of_array = false;
  int line = 0;
  std::vector<Entry> entries;
};

struct Error {
  int line = 0;
  std::string message;
};

// The first table is the one without a name. Nullopt with `error` on anything that is not read.
std::optional<std::vector<Table>> parse(std::string_view text, Error& error);

}  // namespace vgpu::softgpu::toml
