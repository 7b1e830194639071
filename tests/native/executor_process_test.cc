// vgpu-executor as a process: what it says to its worker, and how it ends.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "check.h"
#include "executor/ledger.h"
#include "generated/opcode.h"
#include "transport/client_link.h"
#include "transport/endpoints.h"
#include "wire/handle.h"
#include "wire/msgpack.h"
#include "wire/writer.h"

namespace {

namespace wire = vgpu::wire;
using vgpu::Opcode;
using vgpu::transport::ClientLink;

std::string build_directory() {
  char self[4096] = {};
  if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0) std::abort();
  std::string path = self;
  path = path.substr(0, path.rfind('/'));
  return path.substr(0, path.rfind('/'));
}
std::string program() { return build_directory() + "/vgpu/native/bin/vgpu-executor"; }
std::string software_driver() { return build_directory() + "/vgpu/native/softgpu/libcuda.so.1"; }

// The worker's side of one executor.
class Executor {
 public:
  explicit Executor(std::vector<std::string> more = {}, std::string driver = software_driver()) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) std::abort();
    fcntl(pair[0], F_SETFD, FD_CLOEXEC);
    std::vector<std::string> words = {program(), "--driver", driver, "--control-fd",
                                      std::to_string(pair[1])};
    words.insert(words.end(), more.begin(), more.end());
    child_ = fork();
    if (child_ == 0) {
      std::vector<char*> pointers;
      for (auto& word : words) pointers.push_back(word.data());
      pointers.push_back(nullptr);
      execv(pointers[0], pointers.data());
      _exit(127);
    }
    close(pair[1]);
    fd_ = pair[0];
  }
  ~Executor() {
    hang_up();
    if (child_ > 0) wait_for_end();
  }

  void send_bytes(std::string_view bytes) {
    CHECK_EQ(write(fd_, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  void send(const wire::Value& message) {
    const std::string body = wire::pack(message);
    const auto length = static_cast<uint32_t>(body.size());
    send_bytes(std::string(reinterpret_cast<const char*>(&length), 4) + body);
  }
  // The next message, or nil when none came in 10 s or the executor hung up.
  wire::Value receive() {
    wire::Value value;
    std::string error;
    uint32_t length = 0;
    if (!read_all(&length, 4)) return value;
    std::string body(length, 0);
    if (!read_all(body.data(), length)) return value;
    CHECK(wire::unpack(body, value, error));
    return value;
  }
  // The next message of a type; others are passed over.
  wire::Value receive(std::string_view type) {
    for (;;) {
      wire::Value value = receive();
      if (value.is_nil() || value["t"].text() == type) return value;
    }
  }
  void hang_up() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  // The status of waitpid; -1 and killed when it does not end in 10 s.
  int wait_for_end() {
    for (int i = 0; i < 1000; ++i) {
      int status = 0;
      if (waitpid(child_, &status, WNOHANG) == child_) {
        child_ = -1;
        return status;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    child_ = -1;
    return -1;
  }
  [[nodiscard]] pid_t pid() const { return child_; }

 private:
  bool read_all(void* data, size_t size) {
    auto* at = static_cast<char*>(data);
    while (size != 0) {
      pollfd polled{fd_, POLLIN, 0};
      if (poll(&polled, 1, 10000) != 1) return false;
      const ssize_t got = read(fd_, at, size);
      if (got <= 0) return false;
      at += got;
      size -= static_cast<size_t>(got);
    }
    return true;
  }

  pid_t child_ = -1;
  int fd_ = -1;
};

wire::Value bind_message(std::initializer_list<wire::Value> devices = {0}) {
  const std::array<std::byte, 16> token{std::byte{1}};
  return wire::Value::map({{"t", "bind"},
                           {"token", wire::Value::binary(token)},
                           {"command", "tcp://127.0.0.1:*"},
                           {"bulk", "tcp://127.0.0.1:*"},
                           {"server_public", ""},
                           {"server_secret", ""},
                           {"client_public", ""},
                           {"environment", wire::Value::Map{}},
                           {"devices", wire::Value::Array(devices)},
                           {"disable_features", wire::Value::Array{}}});
}

std::unique_ptr<ClientLink> connect(const wire::Value& bound) {
  std::string error;
  vgpu::transport::ZmqEndpoints endpoints;
  endpoints.command = bound["command"].text();
  endpoints.bulk = bound["bulk"].text();
  auto channel = vgpu::transport::connect_zmq(endpoints, error);
  CHECK(channel != nullptr);
  vgpu::transport::ClientLinkOptions options;
  options.token[0] = std::byte{1};
  auto link = ClientLink::open(std::move(channel), options, error);
  CHECK_EQ(error, "");
  return link;
}

int allocate(ClientLink& link, uint64_t size) {
  wire::RecordHeader header{};
  header.opcode = static_cast<uint16_t>(Opcode::cuMemAlloc_v2);
  header.thread = 1;
  header.context = wire::primary_context(0);
  const std::span<const std::byte> part = std::as_bytes(std::span(&size, 1));
  const auto reply = link.call(header, {&part, 1});
  CHECK(reply.delivered);
  return reply.header.result;
}

}  // namespace

TEST(a_session_from_ready_to_ended) {
  Executor executor({"--warm"});
  const wire::Value ready = executor.receive();
  CHECK_EQ(ready["t"].text(), "ready");
  CHECK_EQ(ready["pid"].integer().value_or(0), executor.pid());
  CHECK_EQ(ready["driver"].text(), "soft");
  CHECK(ready["driver_version"].integer().value_or(0) >= 12000);
  CHECK_EQ(ready["devices"].elements().size(), 1u);
  CHECK_EQ(ready["devices"].elements()[0]["uuid"].bytes().size(), 16u);
  CHECK(!ready["opcodes"].elements().empty());
  executor.send(bind_message());
  const wire::Value bound = executor.receive();
  CHECK_EQ(bound["t"].text(), "bound");
  auto link = connect(bound);
  CHECK_EQ(executor.receive()["t"].text(), "began");
  CHECK_EQ(allocate(*link, 1000), 0);
  link->close(1000);
  const wire::Value statistics = executor.receive("statistics");
  CHECK_EQ(statistics["records"].integer().value_or(0), 1);
  const wire::Value ended = executor.receive("ended");
  CHECK_EQ(ended["clean"].boolean().value_or(false), true);
  CHECK_EQ(executor.wait_for_end(), 0);
}

TEST(a_driver_that_is_none_is_an_error) {
  Executor executor({}, "/nonexistent/libcuda.so.1");
  const wire::Value error = executor.receive();
  CHECK_EQ(error["t"].text(), "error");
  CHECK(error["message"].text().find("/nonexistent/libcuda.so.1") != std::string_view::npos);
  CHECK_EQ(executor.wait_for_end(), 1 << 8);
}

TEST(a_bad_binding_is_refused_and_the_next_one_served) {
  Executor executor;
  executor.receive("ready");
  executor.send(bind_message({5}));
  CHECK_EQ(executor.receive()["t"].text(), "error");
  wire::Value no_token = bind_message();
  no_token.set("token", "short");
  executor.send(no_token);
  CHECK_EQ(executor.receive()["t"].text(), "error");
  executor.send(bind_message());
  auto link = connect(executor.receive("bound"));
  CHECK_EQ(allocate(*link, 1000), 0);
  link->close(1000);
}

TEST(the_quota_of_the_worker_holds) {
  const int fd = memfd_create("test-ledger", 0);
  const std::string command = program() + " --make-ledger --ledger-fd " + std::to_string(fd) +
                              " --limits 1048576 --slots 4";
  CHECK_EQ(std::system(command.c_str()), 0);
  std::string error;
  auto ledger = vgpu::executor::Ledger::open(fd, 3, error);
  CHECK_EQ(error, "");
  {
    Executor executor({"--ledger-fd", std::to_string(fd), "--slot", "2"});
    executor.receive("ready");
    executor.send(bind_message());
    auto link = connect(executor.receive("bound"));
    CHECK_EQ(allocate(*link, 1 << 19), 0);
    CHECK_EQ(ledger->used(0), uint64_t{1} << 19);
    CHECK_EQ(allocate(*link, (1 << 19) + 1), 2);  // CUDA_ERROR_OUT_OF_MEMORY
    CHECK(ledger->reserve(0, 1 << 19));
    CHECK_EQ(allocate(*link, 1), 2);
    link->close(1000);
  }
  close(fd);
}

TEST(it_dies_with_its_worker) {
  for (const bool bound : {false, true}) {
    Executor executor;
    executor.receive("ready");
    std::unique_ptr<ClientLink> link;
    if (bound) {
      executor.send(bind_message());
      link = connect(executor.receive("bound"));
    }
    executor.hang_up();
    CHECK_EQ(executor.wait_for_end(), 0);
    if (link != nullptr) link->close(100);
  }
}

TEST(it_stops_when_told_to) {
  for (const int signal : {SIGTERM, SIGINT}) {
    Executor executor;
    executor.receive("ready");
    executor.send(bind_message());
    auto link = connect(executor.receive("bound"));
    CHECK_EQ(allocate(*link, 1), 0);
    kill(executor.pid(), signal);
    const wire::Value ended = executor.receive("ended");
    CHECK_EQ(ended["clean"].boolean().value_or(true), false);
    CHECK_EQ(executor.wait_for_end(), 0);
    link->close(100);
  }
}

TEST(noise_from_the_worker_ends_it) {
  for (const std::string& noise :
       {std::string("\xff\xff\xff\xff", 4), std::string("\x04\0\0\0\xc1\xc1\xc1\xc1", 8),
        std::string("\x02\0\0\0\x91", 5)}) {
    Executor executor;
    executor.receive("ready");
    executor.send_bytes(noise);
    executor.hang_up();
    CHECK_EQ(executor.wait_for_end(), 0);
  }
}
