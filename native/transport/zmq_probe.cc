#include "transport/zmq_probe.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include "transport/url.h"

namespace vgpu::transport {
namespace {

using Clock = std::chrono::steady_clock;

// The ZMTP 3 greeting: signature, version, mechanism, role, filler.
constexpr size_t kGreeting = 64;
constexpr size_t kMechanismAt = 12;
constexpr size_t kMechanismSize = 20;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

bool wait_for(int fd, short events, Clock::time_point end) {
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    if (left.count() <= 0) return false;
    pollfd one{fd, events, 0};
    const int ready = poll(&one, 1, static_cast<int>(left.count()));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

// 0 or an errno.
int finish_connect(int fd, const sockaddr* address, socklen_t size, Clock::time_point end) {
  if (connect(fd, address, size) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  if (!wait_for(fd, POLLOUT, end)) return ETIMEDOUT;
  int problem = 0;
  socklen_t length = sizeof problem;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &length);
  return problem;
}

constexpr int kKind = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

Descriptor connect_ipc(const Url& url, Clock::time_point end, std::string& problem) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, url.path.data(),
              std::min(url.path.size(), sizeof address.sun_path - 1));
  Descriptor fd(socket(AF_UNIX, kKind, 0));
  const int code =
      finish_connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address, end);
  if (code != 0) problem = std::strerror(code);
  return fd;
}

Descriptor connect_tcp(const Url& url, Clock::time_point end, std::string& problem) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int code = getaddrinfo(url.host.c_str(), std::to_string(url.port).c_str(), &hints, &found);
  if (code != 0) {
    problem = std::string("the name cannot be resolved (") + gai_strerror(code) + ")";
    return Descriptor(-1);
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, freeaddrinfo);
  int last = 0;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    Descriptor fd(socket(one->ai_family, kKind, 0));
    if (fd.get() < 0) continue;
    last = finish_connect(fd.get(), one->ai_addr, one->ai_addrlen, end);
    if (last == 0) return fd;
  }
  problem = std::strerror(last);
  return Descriptor(-1);
}

// Says hello as ZeroMQ would and returns what the peer says first: 64 bytes from a ZeroMQ peer.
// Only signature and version are sent: a peer that reads a mechanism it does not like hangs up
// unheard.
std::string greet(int fd, Clock::time_point end) {
  std::array<char, 12> mine{};
  mine[0] = static_cast<char>(0xff);
  mine[9] = 0x7f;
  mine[10] = 3;
  if (send(fd, mine.data(), mine.size(), MSG_NOSIGNAL) < 0) return {};
  std::string answer;
  std::array<char, kGreeting> part{};
  while (answer.size() < kGreeting && wait_for(fd, POLLIN, end)) {
    const ssize_t count = recv(fd, part.data(), kGreeting - answer.size(), 0);
    if (count <= 0) break;
    answer.append(part.data(), static_cast<size_t>(count));
    if (answer[0] != static_cast<char>(0xff)) break;  // something else: its first words will do
  }
  return answer;
}

bool is_zeromq(const std::string& answer) {
  return answer.size() >= 10 && answer[0] == static_cast<char>(0xff) && answer[9] == 0x7f;
}

// "it said 'SSH-2.0-...'", from a peer that is something else.
std::string quote(const std::string& answer) {
  std::string shown;
  for (char c : answer.substr(0, 32)) {
    if (c < 0x20 || c > 0x7e) break;
    shown += c;
  }
  return shown.empty() ? "it said nothing" : "it said '" + shown + "'";
}

std::string explain_mechanism(const std::string& url, const std::string& peer, bool encrypted,
                              const std::string& answer) {
  const std::string mechanism =
      answer.size() == kGreeting ? answer.substr(kMechanismAt, kMechanismSize).c_str() : "";
  if (mechanism == "CURVE" && !encrypted) {
    return url +
           " requires encryption: give this client the worker's public key and its own keys "
           "(VGPU_KEYS, made by `vgpu keys`)";
  }
  if (mechanism == "NULL" && encrypted) {
    return url +
           " does not use encryption, but this client was told to: start the worker with keys, "
           "or unset VGPU_KEYS";
  }
  if (encrypted) return explain_curve(url, peer);
  return url + " speaks ZeroMQ but does not answer as " + peer +
         " does: check the address; the worker's log may say more";
}

}  // namespace

std::string explain_curve(const std::string& url, const std::string& peer) {
  return "encrypted connection to " + url + " refused: either " + peer +
         " does not accept this client's key, or the worker's public key given to this client is "
         "wrong; check VGPU_KEYS on both sides (`vgpu keys`)";
}

std::string explain_failure(const std::string& text, const std::string& peer, bool encrypted,
                            int limit_ms) {
  Url url;
  std::string problem;
  if (!parse_url(text, url, problem)) return problem;
  const auto end = Clock::now() + std::chrono::milliseconds(limit_ms);
  const Descriptor fd = url.scheme == Url::Scheme::kIpc ? connect_ipc(url, end, problem)
                                                        : connect_tcp(url, end, problem);
  if (!problem.empty()) {
    return "cannot reach " + text + ": " + problem + "; is " + peer +
           " running there, and does a firewall let this client through?";
  }
  const std::string answer = greet(fd.get(), end);
  if (!is_zeromq(answer)) {
    return text + " is not " + peer + ": it accepts connections but does not speak ZeroMQ (" +
           quote(answer) + "); check host and port";
  }
  return explain_mechanism(text, peer, encrypted, answer);
}

}  // namespace vgpu::transport
