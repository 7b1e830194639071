// The links against bare ZeroMQ, in turn within one run: only the ratios are worth reporting
// (absolute microseconds move by ten times from minute to minute on a shared machine).
//
//   transport_bench [rounds]
//
// Prints the median over the rounds of each figure, and of each ratio taken within a round.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

#include "transport/zmq_socket.h"
#include "transport_echo.h"

namespace {

using namespace echo;
using namespace vgpu::transport;
using Clock = std::chrono::steady_clock;

constexpr int kPings = 2000;
constexpr size_t kBulk = 64u << 20;
constexpr size_t kChunk = 1u << 20;
constexpr uint32_t kRecords = 500000;

double seconds(const std::function<void()>& body) {
  const auto start = Clock::now();
  body();
  return std::chrono::duration<double>(Clock::now() - start).count();
}
void check(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "failed: %s\n", what);
  std::exit(1);
}

// A blocking receive, as a program without our links would write it.
size_t receive_one(const ZmqSocket& socket, ZmqMessage& message) {
  const ZmqApi& api = socket.context().api();
  check(api.msg_recv(&message, socket.native(), 0) >= 0, "zmq_msg_recv");
  return api.msg_size(&message);
}

// Bare DEALER against ROUTER over tcp, each blocking on its own thread; the server returns small
// messages and answers the last of a row of chunks.
struct Bare {
  std::string error;
  std::shared_ptr<ZmqContext> near_context = ZmqContext::make(1, error);
  std::shared_ptr<ZmqContext> far_context = ZmqContext::make(1, error);
  ZmqSocket client{near_context, zmq::kDealer};
  ZmqSocket server{far_context, zmq::kRouter};
  std::thread thread;

  Bare() {
    for (ZmqSocket* socket : {&client, &server}) {
      socket->set(zmq::kSndHwm, 0);
      socket->set(zmq::kRcvHwm, 0);
    }
    check(server.bind("tcp://127.0.0.1:*", error), "bind");
    check(client.connect(server.last_endpoint(), error), "connect");
    thread = std::thread([this] { serve(); });
  }
  ~Bare() {
    send(client, std::vector<std::byte>(1));
    thread.join();
  }

  static void send(ZmqSocket& socket, std::vector<std::byte> bytes) {
    check(socket.send(Frame::own(std::move(bytes))) == 0, "send");
  }
  void serve() {
    const ZmqApi& api = far_context->api();
    ZmqMessage id, body;
    api.msg_init(&id);
    api.msg_init(&body);
    size_t chunks = 0;
    while (true) {
      receive_one(server, id);
      const size_t size = receive_one(server, body);
      if (size == 1) break;
      if (size == kChunk && ++chunks % (kBulk / kChunk) != 0) continue;
      std::vector<std::byte> name(api.msg_size(&id));
      std::memcpy(name.data(), api.msg_data(&id), name.size());
      server.send(Frame::own(name), true);
      send(server, std::vector<std::byte>(64));
    }
    api.msg_close(&id);
    api.msg_close(&body);
  }
  void ping(const std::vector<std::byte>& message) {
    send(client, message);
    ZmqMessage answer;
    near_context->api().msg_init(&answer);
    receive_one(client, answer);
    near_context->api().msg_close(&answer);
  }
  // Zero copy from one warm buffer, the fastest that libzmq does.
  void upload(const std::shared_ptr<std::vector<std::byte>>& chunk) {
    for (size_t i = 0; i < kBulk / kChunk; ++i) {
      client.send(Frame{chunk, chunk->data(), chunk->size()});
    }
    ZmqMessage answer;
    near_context->api().msg_init(&answer);
    receive_one(client, answer);
    near_context->api().msg_close(&answer);
  }
};

struct Link {
  std::string error;
  std::unique_ptr<Server> server;
  std::unique_ptr<ClientLink> client;
  explicit Link(bool tcp) {
    if (tcp) {
      auto listener =
          ZmqListener::bind({"tcp://127.0.0.1:0", "tcp://127.0.0.1:0", std::nullopt}, "", error);
      check(listener != nullptr, error.c_str());
      const auto endpoints = listener->endpoints();
      server = std::make_unique<Server>(listener->channel());
      client = ClientLink::open(connect_zmq(endpoints, error), {}, error);
    } else {
      auto ends = make_inproc_pair();
      server = std::make_unique<Server>(std::move(ends.second));
      client = ClientLink::open(std::move(ends.first), {}, error);
    }
    check(client != nullptr, error.c_str());
  }
};

struct Figures {
  std::vector<double> values;
  void add(double value) { values.push_back(value); }
  [[nodiscard]] double at(double share) const {
    auto sorted = values;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1))];
  }
  void print(const char* name, const char* unit) const {
    std::printf("%-44s %10.3f %-6s [%.3f .. %.3f]\n", name, at(0.5), unit, at(0), at(1));
  }
};

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 7;
  Figures bare_rtt, tcp_rtt, inproc_rtt, rtt_ratio, bare_rate, up_rate, down_rate, up_ratio,
      down_ratio, inproc_up, inproc_down, append;
  const std::vector<std::byte> message(64, std::byte{1});
  auto chunk = std::make_shared<std::vector<std::byte>>(kChunk, std::byte{1});
  std::vector<std::byte> data(kBulk, std::byte{3});
  const double gigabytes = static_cast<double>(kBulk) / 1e9;
  Bare bare;
  Link tcp(true);
  Link inproc(false);
  for (int round = -1; round < rounds; ++round) {  // the first one warms up
    const double a = seconds([&] {
      for (int i = 0; i < kPings; ++i) bare.ping(message);
    });
    auto pings = [](ClientLink& link) {
      return seconds([&] {
        for (uint64_t i = 0; i < kPings; ++i) check(call(link, kEcho, i).delivered, "echo");
      });
    };
    const double b = pings(*tcp.client);
    const double c = pings(*inproc.client);
    const double d = seconds([&] { bare.upload(chunk); });
    auto up = [&data](ClientLink& link) {
      return seconds([&] {
        const uint64_t transfer = link.send_bulk(data.data(), data.size());
        check(call(link, kDiscard, transfer).delivered, "upload");
      });
    };
    auto down = [&data](ClientLink& link) {
      return seconds([&] {
        const uint64_t transfer = link.expect_bulk(data.data(), data.size());
        const uint64_t size = data.size();
        check(call(link, kProduce, transfer, size).delivered, "download");
      });
    };
    const double e = up(*tcp.client);
    const double f = down(*tcp.client);
    const double g = up(*inproc.client);
    const double h = down(*inproc.client);
    const double k = seconds([&] {
      for (uint32_t i = 1; i <= kRecords; ++i) check(count(*tcp.client, 9, i), "append");
    });
    check(call(*tcp.client, kEcho, k).delivered, "drain");
    if (round < 0) continue;
    bare_rtt.add(a / kPings * 1e6);
    tcp_rtt.add(b / kPings * 1e6);
    inproc_rtt.add(c / kPings * 1e6);
    rtt_ratio.add(b / a);
    bare_rate.add(gigabytes / d);
    up_rate.add(gigabytes / e);
    down_rate.add(gigabytes / f);
    up_ratio.add(d / e);
    down_ratio.add(d / f);
    inproc_up.add(gigabytes / g);
    inproc_down.add(gigabytes / h);
    append.add(k / kRecords * 1e9);
  }
  std::printf("%d rounds of %d calls and %zu MiB; median [min .. max]\n", rounds, kPings,
              kBulk >> 20);
  bare_rtt.print("bare zmq tcp DEALER/ROUTER round trip", "us");
  tcp_rtt.print("blocking call over tcp", "us");
  rtt_ratio.print("  ratio to bare zmq (lower is better)", "x");
  inproc_rtt.print("blocking call in process", "us");
  bare_rate.print("bare zmq tcp upload, 1 MiB zero copy", "GB/s");
  up_rate.print("upload over tcp", "GB/s");
  up_ratio.print("  ratio to bare zmq (higher is better)", "x");
  down_rate.print("download over tcp", "GB/s");
  down_ratio.print("  ratio to bare zmq (higher is better)", "x");
  inproc_up.print("upload in process", "GB/s");
  inproc_down.print("download in process", "GB/s");
  append.print("append of a record, tcp, server busy too", "ns");
  return 0;
}
