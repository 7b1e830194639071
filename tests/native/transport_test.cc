// The links over every channel: order, windows, bulk both ways, loss, and what a hostile peer may
// send.
#include "check.h"
#include "transport_echo.h"

namespace {

using namespace echo;

struct InprocPair {
  std::string error;
  Server server;
  std::unique_ptr<ClientLink> client;

  explicit InprocPair(ClientLinkOptions options = {}, ServerLinkOptions server_options = {})
      : InprocPair(vgpu::transport::make_inproc_pair(), std::move(options), server_options) {}

 private:
  InprocPair(std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>> ends,
             ClientLinkOptions options, ServerLinkOptions server_options)
      : server(std::move(ends.second), server_options),
        client(ClientLink::open(std::move(ends.first), std::move(options), error)) {}
};

using vgpu::transport::CurveKeys;
using vgpu::transport::ZmqEndpoints;
using vgpu::transport::ZmqListener;

// A listener on free ports (or ipc paths), its server, and a client that connects to it.
struct ZmqPair {
  std::string error;
  ZmqEndpoints endpoints;
  std::unique_ptr<Server> server;
  std::unique_ptr<ClientLink> client;

  explicit ZmqPair(const ZmqEndpoints& bind_to, ServerLinkOptions options = {},
                   const std::string& client_public = "") {
    auto listener = ZmqListener::bind(bind_to, client_public, error);
    if (!listener) return;
    endpoints = listener->endpoints();
    endpoints.curve.reset();
    server = std::make_unique<Server>(listener->channel(), options);
  }
  bool connect(ClientLinkOptions options = {}) {
    auto channel = vgpu::transport::connect_zmq(endpoints, error);
    if (channel) client = ClientLink::open(std::move(channel), std::move(options), error);
    return client != nullptr;
  }
};
const ZmqEndpoints kTcp = {"tcp://127.0.0.1:0", "tcp://127.0.0.1:*", std::nullopt};

void echoes(ClientLink& link) {
  for (uint32_t i = 0; i < 1000; ++i) {
    Reply reply = call(link, kEcho, i);
    CHECK(reply.delivered);
    CHECK_EQ(reply.reader().get<uint32_t>(), i);
  }
  CHECK_EQ(link.statistics().round_trips, 1000u);
}

void keeps_order(ClientLink& link) {
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

void moves_bulk_both_ways(ClientLink& link, size_t size, int rounds) {
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

}  // namespace

TEST(inproc_echo) {
  InprocPair pair;
  CHECK(pair.client != nullptr);
  echoes(*pair.client);
  pair.client->close(2000);
  CHECK(eventually([&] { return pair.server.ended.load(); }));
  CHECK(pair.server.clean);
}

TEST(inproc_order) {
  InprocPair pair;
  keeps_order(*pair.client);
}

TEST(inproc_bulk) {
  InprocPair pair;
  moves_bulk_both_ways(*pair.client, 50u << 20, 3);
}

TEST(tcp_echo) {
  ZmqPair pair(kTcp);
  CHECK(pair.connect());
  CHECK_EQ(pair.error, "");
  if (!pair.client) return;
  echoes(*pair.client);
  pair.client->close(2000);
  CHECK(eventually([&] { return pair.server->ended.load(); }));
  CHECK(pair.server->clean);
}

TEST(tcp_order) {
  ZmqPair pair(kTcp);
  CHECK(pair.connect());
  keeps_order(*pair.client);
}

TEST(tcp_bulk) {
  ZmqPair pair(kTcp);
  CHECK(pair.connect());
  moves_bulk_both_ways(*pair.client, 50u << 20, 3);
}
