// What a session does over every kind of channel.
#pragma once

#include "check.h"
#include "transport_echo.h"

namespace echo {

inline bool contains(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) std::fprintf(stderr, "'%s' lacks '%s'\n", text.c_str(), part.c_str());
  return found;
}

inline void echoes(ClientLink& link) {
  for (uint32_t i = 0; i < 1000; ++i) {
    Reply reply = call(link, kEcho, i);
    CHECK(reply.delivered);
    CHECK_EQ(reply.reader().get<uint32_t>(), i);
  }
  CHECK_EQ(link.statistics().round_trips, 1000u);
}

inline void keeps_order(ClientLink& link) {
  constexpr uint32_t kThreads = 8;
  constexpr uint32_t kEach = 20000;
  std::vector<std::thread> threads;
  for (uint32_t t = 1; t <= kThreads; ++t) {
    threads.emplace_back([&link, t] {
      for (uint32_t i = 1; i <= kEach; ++i) {
        if (!count(link, t, i)) return;
        if (i % 5000 == 0) CHECK(call(link, kEcho, i).delivered);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  Reply reply = call(link, kReport);
  auto in = reply.reader();
  CHECK_EQ(in.get<uint64_t>(), uint64_t{kThreads} * kEach);
  CHECK_EQ(in.get<uint64_t>(), 0u);
}

inline void moves_bulk_both_ways(ClientLink& link, size_t size, int rounds) {
  std::thread up([&] {
    std::vector<std::byte> data(size);
    for (size_t i = 0; i < size; ++i) data[i] = static_cast<std::byte>(i * 7);
    for (int i = 0; i < rounds; ++i) CHECK(upload(link, data));
  });
  std::thread down([&] {
    for (int i = 0; i < rounds; ++i) CHECK(download(link, size));
  });
  up.join();
  down.join();
  for (size_t small : {size_t{0}, size_t{1}, size_t{1} << 20, (size_t{1} << 20) + 1}) {
    CHECK(upload(link, std::vector<std::byte>(small, std::byte{3})));
    CHECK(download(link, small));
  }
}

}  // namespace echo
