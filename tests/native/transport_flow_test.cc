// Windows, batching, idleness and processes: what keeps memory bounded and nobody waiting in vain.
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "transport/zmq_socket.h"
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

TEST(a_forked_child_fails_fast_and_the_parent_goes_on) {
  std::string error;
  auto listener =
      ZmqListener::bind({"tcp://127.0.0.1:0", "tcp://127.0.0.1:0", std::nullopt}, "", error);
  CHECK(listener != nullptr);
  const auto endpoints = listener->endpoints();
  Server server(listener->channel());
  auto client = ClientLink::open(connect_zmq(endpoints, error), {}, error);
  CHECK(client != nullptr);
  const pid_t child = fork();
  if (child == 0) {
    alarm(10);
    const bool refused = client->lost() && !count(*client, 1, 1) &&
                         !call(*client, kEcho, 1).delivered && client->send_bulk("x", 1) == 0 &&
                         client->lost_reason().find("fork") != std::string::npos;
    client->close(100);
    client.reset();
    _exit(refused ? 0 : 1);
  }
  int status = -1;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
  for (int i = 0; i < 100; ++i) CHECK(call(*client, kEcho, i).delivered);
}

namespace {

// A worker's control port that answers with what it was asked.
struct ControlServer {
  std::string error;
  std::shared_ptr<ZmqContext> context = ZmqContext::make(1, error);
  ZmqSocket socket{context, zmq::kRouter};
  std::string url;
  std::atomic<bool> stop{false}, silent{false};
  std::thread thread;

  explicit ControlServer(const CurveKeys* keys = nullptr) {
    if (keys != nullptr) socket.set_curve(*keys, true);
    CHECK(socket.bind("tcp://127.0.0.1:*", error));
    url = socket.last_endpoint();
    thread = std::thread([this] {
      while (!stop) {
        bool more = false;
        auto id = socket.receive(more);
        if (!id) {
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
          continue;
        }
        auto body = socket.receive(more);
        if (silent) continue;
        socket.send(std::move(*id), true);
        socket.send(std::move(*body));
      }
      socket.close(0);
    });
  }
  ~ControlServer() {
    stop = true;
    thread.join();
  }
};

}  // namespace

TEST(control_requests_are_answered_or_explained) {
  ControlServer server;
  std::string error;
  std::string answer;
  auto client = ControlClient::connect(server.url, std::nullopt, error);
  CHECK(client != nullptr);
  for (int i = 0; i < 100; ++i) {
    CHECK(client->request("question " + std::to_string(i), answer, 2000, error));
    CHECK_EQ(answer, "question " + std::to_string(i));
  }
  server.silent = true;
  CHECK(!client->request("hello?", answer, 100, error));
  CHECK(error.find("did not answer within 100 ms") != std::string::npos);
  server.silent = false;
  CHECK(client->request("again", answer, 2000, error));
  CHECK_EQ(answer, "again");
}

TEST(control_failures_name_the_address) {
  std::string error;
  std::string answer;
  auto client = ControlClient::connect("tcp://127.0.0.1:1", std::nullopt, error);
  const auto start = std::chrono::steady_clock::now();
  CHECK(!client->request("hello", answer, 10000, error));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  CHECK(error.find("tcp://127.0.0.1:1") != std::string::npos);
  CHECK(error.find("Connection refused") != std::string::npos);
  CHECK(ControlClient::connect("worker:7000", std::nullopt, error) == nullptr);
  const CurveKeys keys = make_curve_keys();
  ControlServer server(&keys);
  client = ControlClient::connect(server.url, std::nullopt, error);
  CHECK(!client->request("hello", answer, 10000, error));
  CHECK(error.find("requires encryption") != std::string::npos);
  const CurveKeys mine = make_curve_keys();
  client = ControlClient::connect(
      server.url, CurveKeys{mine.public_key, mine.secret_key, keys.public_key}, error);
  CHECK(client->request("hello", answer, 10000, error));
  client = ControlClient::connect(
      server.url, CurveKeys{mine.public_key, mine.secret_key, mine.public_key}, error);
  CHECK(!client->request("hello", answer, 10000, error));
  CHECK(error.find("public key given to this client is wrong") != std::string::npos);
}
