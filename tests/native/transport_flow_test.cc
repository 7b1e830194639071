// Windows, batching and idleness: what keeps memory bounded and nobody waiting in vain.
#include "check.h"
#include "transport_echo.h"

namespace {

using namespace echo;
using namespace vgpu::transport;

struct Pair {
  std::string error;
  std::unique_ptr<Server> server;
  std::unique_ptr<ClientLink> client;

  explicit Pair(ClientLinkOptions options = {}, ServerLinkOptions server_options = {}) {
    auto ends = make_inproc_pair();
    server = std::make_unique<Server>(std::move(ends.second), server_options);
    client = ClientLink::open(std::move(ends.first), std::move(options), error);
    CHECK(client != nullptr);
  }
};

}  // namespace

TEST(a_record_is_executed_without_any_further_call) {
  Pair pair;
  CHECK(count(*pair.client, 1, 1));
  CHECK(eventually([&] { return pair.server->counted == 1; }));
  CHECK_EQ(pair.client->statistics().round_trips, 0u);
  // And so is one that came while the server was busy.
  pair.server->hold(true);
  CHECK(count(*pair.client, 1, 2));
  CHECK(eventually([&] { return pair.client->statistics().batches == 2; }));
  CHECK(count(*pair.client, 1, 3));
  pair.server->hold(false);
  CHECK(eventually([&] { return pair.server->counted == 3; }));
}

TEST(records_of_a_busy_server_are_batched) {
  Pair pair;
  pair.server->hold(true);
  for (uint32_t i = 1; i <= 1000; ++i) CHECK(count(*pair.client, 1, i));
  CHECK(pair.client->statistics().batches <= 2);
  pair.server->hold(false);
  CHECK(eventually([&] { return pair.server->counted == 1000; }));
}

TEST(a_full_command_window_makes_appends_wait) {
  ClientLinkOptions options;
  options.command_window = 4096;
  Pair pair(options);
  pair.server->hold(true);
  std::atomic<uint32_t> appended{0};
  std::thread thread([&] {
    for (uint32_t i = 1; i <= 2000; ++i) {
      CHECK(count(*pair.client, 1, i));
      appended = i;
    }
  });
  CHECK(eventually([&] { return appended >= 4096 / 40; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(appended <= 4096 / 40 + 1);
  pair.server->hold(false);
  thread.join();
  CHECK(eventually([&] { return pair.server->counted == 2000; }));
}

TEST(tiny_windows_in_all_directions_make_progress) {
  ClientLinkOptions options;
  options.command_window = 512;
  options.bulk_window = 3000;
  options.chunk_bytes = 2048;
  ServerLinkOptions server_options;
  server_options.bulk_window = 3000;
  server_options.chunk_bytes = 2048;
  server_options.reply_window = 64;
  Pair pair(options, server_options);
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::byte> data(50000 + static_cast<size_t>(t), std::byte{5});
      for (int i = 0; i < 20; ++i) {
        if (t % 3 == 0) CHECK(upload(*pair.client, data));
        if (t % 3 == 1) CHECK(download(*pair.client, data.size()));
        if (t % 3 == 2) {
          for (uint64_t k = 0; k < 50; ++k) CHECK(call(*pair.client, kEcho, k).delivered);
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(uploads_wait_until_the_server_admits_them) {
  ClientLinkOptions options;
  options.bulk_window = 1u << 20;
  options.chunk_bytes = 1u << 16;
  Pair pair(options);
  pair.server->admit = false;
  std::atomic<bool> sent{false};
  std::thread thread([&] {
    CHECK(upload(*pair.client, std::vector<std::byte>(3u << 20, std::byte{9})));
    sent = true;
  });
  CHECK(eventually([&] { return pair.client->statistics().bytes_sent > 1u << 20; }));
  CHECK(download(*pair.client, 100000));  // the other direction and the command lane go on
  CHECK(!sent);
  pair.server->admit = true;
  pair.server->hold(false);  // a turn
  thread.join();
  CHECK(sent);
}

TEST(a_reply_names_the_transfers_it_depends_on) {
  Pair pair;
  for (int i = 0; i < 200; ++i) CHECK(download(*pair.client, 300000));
}

TEST(a_withdrawn_destination_is_not_written_to) {
  Pair pair;
  std::vector<std::byte> data(1000, std::byte{1});
  const uint64_t transfer = pair.client->expect_bulk(data.data(), data.size());
  pair.client->forget_bulk(transfer);
  const uint64_t size = data.size();
  CHECK(call(*pair.client, kDownload, transfer, size).delivered);
  CHECK(data == std::vector<std::byte>(1000, std::byte{1}));
  CHECK(download(*pair.client, 1000));
}

TEST(too_long_a_record_is_not_sent_and_harms_nothing) {
  Pair pair;
  std::vector<std::byte> payload(vgpu::wire::kMaxRecord);
  const std::vector<std::span<const std::byte>> parts = {payload};
  vgpu::wire::RecordHeader header{};
  header.opcode = kEcho;
  const Reply reply = pair.client->call(header, parts);
  CHECK(!reply.delivered);
  CHECK(reply.error.find("longer") != std::string::npos);
  CHECK(!pair.client->lost());
  CHECK(call(*pair.client, kEcho, 5).delivered);
}

TEST(close_sends_what_was_appended) {
  Pair pair;
  pair.server->hold(true);
  CHECK(count(*pair.client, 1, 1));
  for (uint32_t i = 2; i <= 500; ++i) CHECK(count(*pair.client, 1, i));
  pair.server->hold(false);
  pair.client->close(3000);
  CHECK(eventually([&] { return pair.server->ended.load(); }));
  CHECK(pair.server->clean);
  CHECK_EQ(pair.server->received.load(), 500u);
}

TEST(closing_a_dead_session_takes_no_longer_than_its_deadline) {
  Pair pair;
  pair.server->freeze(true);
  const auto start = std::chrono::steady_clock::now();
  pair.client->close(200);
  const auto taken = std::chrono::steady_clock::now() - start;
  CHECK(taken >= std::chrono::milliseconds(150));
  CHECK(taken < std::chrono::milliseconds(1500));
  pair.server->freeze(false);
}
