// The links over ZeroMQ: tcp, ipc and CURVE, and what a user is told when a connection fails. Under
// ThreadSanitizer it needs tsan.supp: libzmq comes from a wheel, without instrumentation.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <sstream>
#include <thread>

#include "transport/url.h"
#include "transport_behaviours.h"

namespace {

using namespace echo;
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

}  // namespace

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

namespace {

using vgpu::transport::Channel;
using vgpu::transport::Frame;
using vgpu::transport::Lane;

Frame some_frame() { return Frame::own(std::vector<std::byte>(8)); }

// Looks at both lanes, as an owner does before it waits.
bool take(Channel& channel) {
  static_cast<void>(channel.receive(Lane::kBulk));
  return channel.receive(Lane::kCommand).has_value();
}

bool arrives(Channel& channel) {
  for (int i = 0; i < 100; ++i) {
    if (take(channel)) return true;
    channel.wait(50);
  }
  return false;
}

}  // namespace

// libzmq's descriptor announces a message once. Asking for the state must not use that up: the next
// wait() would sleep although a message is there.
TEST(tcp_state_hides_no_message) {
  std::string error;
  auto listener = ZmqListener::bind(kTcp, "", error);
  auto server = listener->channel();
  ZmqEndpoints endpoints = listener->endpoints();
  endpoints.curve.reset();
  auto client = vgpu::transport::connect_zmq(endpoints, error);
  CHECK_EQ(error, "");
  client->send(Lane::kCommand, some_frame());
  CHECK(arrives(*server));
  for (int i = 0; i < 5; ++i) {
    while (take(*client)) {
    }
    server->send(Lane::kCommand, some_frame());
    // The case is that it arrives before state(); if it comes later, wait() sees it all the same.
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    static_cast<void>(client->state());
    bool taken = false;  // a wait may end for another reason, such as a monitor's event
    for (int waits = 0; waits < 3 && !taken; ++waits) {
      client->wait(5000);
      taken = take(*client);
    }
    CHECK(taken);
  }
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

namespace {

ZmqEndpoints ipc_endpoints(const char* name) {
  const std::string base = "/tmp/vgpu-test-" + std::to_string(getpid()) + "-" + name;
  return {"ipc://" + base + "-c", "ipc://" + base + "-b", std::nullopt};
}
void remove_ipc(const ZmqEndpoints& endpoints) {
  unlink(endpoints.command.c_str() + 6);
  unlink(endpoints.bulk.c_str() + 6);
}

// A TCP port that accepts connections and answers with a fixed text, or with silence.
struct PlainListener {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int port = 0;
  std::thread thread;
  std::atomic<bool> stop{false};

  explicit PlainListener(std::string says) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    CHECK(bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(fd, 16) == 0);
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    thread = std::thread([this, says = std::move(says)] {
      std::vector<int> peers;
      while (!stop) {
        pollfd one{fd, POLLIN, 0};
        if (poll(&one, 1, 20) <= 0) continue;
        const int peer = accept(fd, nullptr, nullptr);
        if (!says.empty()) send(peer, says.data(), says.size(), MSG_NOSIGNAL);
        peers.push_back(peer);
      }
      for (int peer : peers) close(peer);
    });
  }
  ~PlainListener() {
    stop = true;
    thread.join();
    close(fd);
  }
  [[nodiscard]] std::string url() const { return "tcp://127.0.0.1:" + std::to_string(port); }
};

// A port where nobody listens.
std::string closed_port() {
  PlainListener listener("");
  return listener.url();
}

// Why a client that connects to these endpoints fails; must be known within 5 s.
std::string failure(ZmqEndpoints endpoints) {
  const auto start = std::chrono::steady_clock::now();
  std::string error;
  auto channel = vgpu::transport::connect_zmq(endpoints, error);
  std::unique_ptr<ClientLink> client;
  if (channel) client = ClientLink::open(std::move(channel), {}, error);
  CHECK(client == nullptr);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  return error;
}
std::string failure(const std::string& url) { return failure({url, url, std::nullopt}); }

}  // namespace

TEST(ipc_echo_and_bulk) {
  const ZmqEndpoints endpoints = ipc_endpoints("echo");
  ZmqPair pair(endpoints);
  CHECK(pair.connect());
  if (pair.client) {
    echoes(*pair.client);
    moves_bulk_both_ways(*pair.client, 20u << 20, 2);
  }
  remove_ipc(endpoints);
}

TEST(refused_connection_is_named) {
  const std::string url = closed_port();
  const std::string error = failure(url);
  CHECK(contains(error, url));
  CHECK(contains(error, "Connection refused"));
  CHECK(contains(failure("ipc:///tmp/vgpu-test-no-such-socket"), "No such file"));
}

TEST(silent_server_is_named) {
  PlainListener listener("");
  CHECK(contains(failure(listener.url()), "does not speak ZeroMQ"));
}

TEST(other_server_is_named) {
  PlainListener listener("SSH-2.0-OpenSSH_9.2p1 Debian\r\n");
  CHECK(contains(failure(listener.url()), "it said 'SSH-2.0-OpenSSH"));
}

TEST(wrong_token_is_refused_and_the_right_client_still_gets_in) {
  ServerLinkOptions options;
  options.token[3] = std::byte{7};
  ZmqPair pair(kTcp, options);
  CHECK(!pair.connect());
  CHECK(contains(pair.error, "wrong session token"));
  CHECK(!pair.server->ended);
  ClientLinkOptions right;
  right.token = options.token;
  CHECK(pair.connect(right));
  if (pair.client) CHECK(call(*pair.client, kEcho, 1).delivered);
}

TEST(curve_lets_exactly_one_key_in) {
  const CurveKeys server = vgpu::transport::make_curve_keys();
  const CurveKeys client = vgpu::transport::make_curve_keys();
  const CurveKeys stranger = vgpu::transport::make_curve_keys();
  ZmqEndpoints bind_to = kTcp;
  bind_to.curve = server;
  ZmqPair pair(bind_to, {}, client.public_key);
  CHECK_EQ(pair.error, "");
  CHECK(contains(failure(pair.endpoints), "requires encryption"));
  pair.endpoints.curve = CurveKeys{stranger.public_key, stranger.secret_key, server.public_key};
  CHECK(contains(failure(pair.endpoints), "does not accept this client's key"));
  pair.endpoints.curve = CurveKeys{client.public_key, client.secret_key, stranger.public_key};
  CHECK(contains(failure(pair.endpoints), "key given to this client is wrong"));
  pair.endpoints.curve = CurveKeys{client.public_key, client.secret_key, server.public_key};
  CHECK(pair.connect());
  CHECK_EQ(pair.error, "");
  if (pair.client) {
    echoes(*pair.client);
    moves_bulk_both_ways(*pair.client, 5u << 20, 1);
  }
}

TEST(encrypting_client_at_plain_server_is_named) {
  ZmqPair pair(kTcp);
  const CurveKeys keys = vgpu::transport::make_curve_keys();
  pair.endpoints.curve = CurveKeys{keys.public_key, keys.secret_key, keys.public_key};
  CHECK(contains(failure(pair.endpoints), "does not use encryption"));
}

TEST(bad_addresses_are_named) {
  CHECK(contains(failure("localhost:80"), "no scheme"));
  CHECK(contains(failure("tcp://localhost"), "port is missing"));
  CHECK(contains(failure("tcp://::1:80"), "needs brackets"));
  CHECK(contains(failure("http://x:1"), "scheme 'http' is unknown"));
  std::string error;
  CHECK(ZmqListener::bind({"tcp://203.0.113.1:0", "tcp://203.0.113.1:0", std::nullopt}, "",
                          error) == nullptr);
  CHECK(contains(error, "choose an address of this host"));
  CHECK_EQ(vgpu::transport::with_host("tcp://*:5", "tcp://[::1]:9"), "tcp://[::1]:5");
}

TEST(server_stop_wakes_every_waiter) {
  ZmqPair pair(kTcp);
  CHECK(pair.connect());
  pair.server->hold(true);
  std::vector<std::thread> threads;
  std::atomic<int> told{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      if (contains(call(*pair.client, kEcho, i).error, "ended the session")) ++told;
    });
  }
  CHECK(eventually([&] { return pair.client->statistics().round_trips == 4; }));
  pair.server->stop();
  for (auto& thread : threads) thread.join();
  CHECK_EQ(told.load(), 4);
  CHECK(pair.client->lost());
  CHECK(!count(*pair.client, 1, 1));
  CHECK(!call(*pair.client, kEcho, 1).delivered);
  CHECK_EQ(pair.client->send_bulk("x", 1), 0u);
}

// A child process that serves until it is killed: what a crash of the executor looks like.
TEST(killed_server_wakes_the_waiters) {
  int channel[2];
  CHECK(pipe(channel) == 0);
  const pid_t child = fork();
  if (child == 0) {
    ZmqPair pair(kTcp);
    if (pair.server) pair.server->hold(true);
    const std::string text = pair.endpoints.command + " " + pair.endpoints.bulk + " ";
    if (write(channel[1], text.data(), text.size()) < 0) _exit(1);
    pause();
    _exit(0);
  }
  char text[256] = {};
  CHECK(read(channel[0], text, sizeof text - 1) > 0);
  close(channel[0]);
  close(channel[1]);
  std::istringstream words(text);
  ZmqEndpoints endpoints;
  words >> endpoints.command >> endpoints.bulk;
  std::string error;
  auto client = ClientLink::open(vgpu::transport::connect_zmq(endpoints, error), {}, error);
  CHECK(client != nullptr);
  std::thread killer([&] {
    eventually([&] { return client->statistics().round_trips > 0; });
    kill(child, SIGKILL);
  });
  const auto start = std::chrono::steady_clock::now();
  const Reply reply = call(*client, kEcho, 1);
  CHECK(!reply.delivered);
  CHECK(contains(reply.error, "closed by the other side"));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  killer.join();
  waitpid(child, nullptr, 0);
}
