#include "executor/control.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace vgpu::executor {

Control::Control(int fd) : fd_(fd) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signals_ = signalfd(-1, &set, SFD_CLOEXEC);
}

Control::~Control() { close(signals_); }

Control::Event Control::wait(wire::Value& message, std::string& reason) {
  for (;;) {
    bool broken = false;
    if (take_message(message, reason, broken)) return Event::kMessage;
    if (broken) return Event::kClosed;
    pollfd polled[2] = {{fd_, POLLIN, 0}, {signals_, POLLIN, 0}};
    if (poll(polled, 2, -1) < 0) {
      if (errno == EINTR) continue;
      reason = std::string("poll: ") + std::strerror(errno);
      return Event::kClosed;
    }
    if ((polled[1].revents & POLLIN) != 0) {
      signalfd_siginfo info{};
      [[maybe_unused]] const auto size = read(signals_, &info, sizeof(info));
      reason = std::string("the executor was told to stop by ") +
               (info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
      return Event::kSignal;
    }
    if (polled[0].revents != 0 && !read_some()) {
      reason = "the worker of this executor has gone";
      return Event::kClosed;
    }
  }
}

bool Control::read_some() {
  char buffer[16384];
  const ssize_t size = read(fd_, buffer, sizeof(buffer));
  if (size < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (size <= 0) return false;
  received_.append(buffer, static_cast<size_t>(size));
  return true;
}

bool Control::take_message(wire::Value& message, std::string& reason, bool& broken) {
  uint32_t length = 0;
  if (received_.size() < sizeof(length)) return false;
  std::memcpy(&length, received_.data(), sizeof(length));
  if (length > wire::kMaxMessage) {
    reason = "the worker sent a message of " + std::to_string(length) + " bytes";
    broken = true;
    return false;
  }
  if (received_.size() < sizeof(length) + length) return false;
  std::string error;
  const std::string_view body(received_.data() + sizeof(length), length);
  if (!wire::unpack(body, message, error)) {
    reason = "the worker sent a malformed message: " + error;
    broken = true;
    return false;
  }
  received_.erase(0, sizeof(length) + length);
  return true;
}

void Control::send(const wire::Value& message) {
  const std::string body = wire::pack(message);
  const auto length = static_cast<uint32_t>(body.size());
  std::string frame(reinterpret_cast<const char*>(&length), sizeof(length));
  frame += body;
  const std::lock_guard lock(send_mutex_);
  size_t sent = 0;
  while (sent < frame.size()) {
    ssize_t size = ::send(fd_, frame.data() + sent, frame.size() - sent, MSG_NOSIGNAL);
    if (size < 0 && errno == ENOTSOCK) size = write(fd_, frame.data() + sent, frame.size() - sent);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return;
    sent += static_cast<size_t>(size);
  }
}

void Control::send(const char* type, wire::Value message) {
  message.set("t", type);
  send(message);
}

}  // namespace vgpu::executor
