// Sessions and forked processes, and requests to the worker's control port.
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "transport/zmq_socket.h"
#include "transport_echo.h"

namespace {

using namespace echo;
using namespace vgpu::transport;

}  // namespace

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
