// Control messages: every type survives, and nothing that comes from a socket can do harm.
#include "wire/msgpack.h"

#include <cstdint>
#include <limits>
#include <random>

#include "check.h"

namespace {

using vgpu::wire::pack;
using vgpu::wire::unpack;
using vgpu::wire::Value;

Value round_trip(const Value& value) {
  Value back;
  std::string error;
  CHECK(unpack(pack(value), back, error));
  CHECK_EQ(error, "");
  return back;
}

std::string problem(std::string_view bytes) {
  Value value;
  std::string error;
  return unpack(bytes, value, error) ? "" : error;
}

Value sample() {
  Value::Array numbers;
  for (int64_t i : {0L, 1L, 127L, 128L, 255L, 256L, 65535L, 65536L, -1L, -32L, -33L, -128L, -129L,
                    -32768L, -32769L, 4294967295L, 4294967296L, std::numeric_limits<int64_t>::min(),
                    std::numeric_limits<int64_t>::max()}) {
    numbers.emplace_back(i);
  }
  Value attributes = Value::Map{{Value(75), Value(13)}, {Value(76), Value(0)}};
  return Value::map({{"t", "attached"},
                     {"numbers", numbers},
                     {"big", std::numeric_limits<uint64_t>::max()},
                     {"half", 0.5},
                     {"nothing", nullptr},
                     {"yes", true},
                     {"uuid", Value::Binary{std::string("\0\1\2\377", 4)}},
                     {"attributes", attributes},
                     {"long", std::string(70000, 'x')},
                     {"middle", std::string(200, 'y')}});
}

}  // namespace

TEST(every_type_survives) {
  const Value value = sample();
  const Value back = round_trip(value);
  CHECK(back == value);
  CHECK_EQ(back["t"].text(), "attached");
  CHECK_EQ(back["half"].number().value_or(0), 0.5);
  CHECK(back["nothing"].is_nil());
  CHECK(back["absent"].is_nil());
  CHECK(!back.has("absent"));
  CHECK_EQ(back["uuid"].bytes().size(), 4u);
  CHECK(!back["big"].integer().has_value());
  CHECK_EQ(back["attributes"].pairs().size(), 2u);
  CHECK_EQ(back["attributes"].pairs()[0].first.integer().value_or(0), 75);
  Value many;
  for (int i = 0; i < 70000; ++i) many.push(i % 3);
  CHECK(round_trip(many) == many);
}

TEST(spelling_is_the_shortest) {
  CHECK_EQ(pack(Value(5)), std::string("\x05"));
  CHECK_EQ(pack(Value(-1)), std::string("\xff"));
  CHECK_EQ(pack(Value("ab")), std::string("\xa2"
                                          "ab"));
  CHECK_EQ(pack(Value::map({{"a", 1}})), std::string("\x81\xa1"
                                                     "a\x01"));
  CHECK_EQ(pack(Value(int64_t{-129})), std::string("\xd1\xff\x7f"));
}

TEST(set_replaces) {
  Value value;
  value.set("a", 1);
  value.set("a", 2);
  value.set("b", "x");
  CHECK_EQ(value.pairs().size(), 2u);
  CHECK_EQ(value["a"].integer().value_or(0), 2);
}

TEST(every_prefix_is_refused) {
  const std::string whole = pack(sample());
  for (size_t size = 0; size < whole.size(); size += size < 400 ? 1 : 997) {
    CHECK(!problem(std::string_view(whole).substr(0, size)).empty());
  }
  CHECK_EQ(problem(whole + "x"), "bytes follow the value");
}

TEST(hostile_messages_are_refused) {
  CHECK(problem(std::string("\xdd\xff\xff\xff\xff", 5)) == "it ends in the middle of a value");
  CHECK(problem(std::string("\xdf\xff\xff\xff\xff", 5)) == "it ends in the middle of a value");
  CHECK_EQ(problem(std::string(1000, '\x91')), "it is nested too deeply");
  CHECK_EQ(problem("\xd4"
                   "ab"),
           "it holds a type that is not used here");
  CHECK_EQ(problem("\x81\x90\x01"), "a map's key is neither a text nor an integer");
  std::string many("\xdd\x00\x20\x00\x00", 5);
  CHECK_EQ(problem(many + std::string(0x200000, '\x01')), "it holds too many values");
}

TEST(mutations_do_no_harm) {
  const std::string whole = pack(sample());
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = whole.substr(0, 700);
    for (unsigned n = 1 + random() % 4; n > 0; --n) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    Value value;
    std::string error;
    if (unpack(bytes, value, error)) static_cast<void>(pack(value));
  }
}
