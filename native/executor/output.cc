#include "executor/output.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "executor/log.h"

namespace vgpu::executor {
namespace {

// Taken bytes are given back to the system in steps of this size.
constexpr off_t kPunch = off_t{1} << 20;

CaughtOutput* caught = nullptr;

// What a dying process said last must not be lost with its memory.
void on_crash(int signal_number) {
  if (caught != nullptr) caught->release();
  raise(signal_number);  // SA_RESETHAND: the default action
}

}  // namespace

CaughtOutput* CaughtOutput::begin() {
  auto* output = new CaughtOutput;
  if (!output->replace(1) || !output->replace(2)) {
    output->release();
    delete output;
    return nullptr;
  }
  caught = output;
  set_log_descriptor(output->before_[1]);
  setenv("VGPU_LOG_FD", std::to_string(output->before_[1]).c_str(), 1);
  struct sigaction action = {};
  action.sa_handler = on_crash;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
  for (const int number : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV}) {
    sigaction(number, &action, nullptr);
  }
  return output;
}

bool CaughtOutput::replace(int stream) {
  const int at = stream - 1;
  std::fflush(stream == 1 ? stdout : stderr);
  before_[at] = fcntl(stream, F_DUPFD_CLOEXEC, 3);
  file_[at] = memfd_create("vgpu device output", MFD_CLOEXEC);
  if (before_[at] < 0 || file_[at] < 0) return false;
  return fcntl(file_[at], F_SETFL, O_APPEND) == 0 && dup2(file_[at], stream) == stream;
}

bool CaughtOutput::take(int stream, size_t most, std::string& text) {
  const int at = stream - 1;
  if (stream == 1) std::fflush(stdout);
  struct stat status = {};
  if (fstat(file_[at], &status) != 0 || status.st_size <= taken_[at]) return false;
  text.resize(std::min<size_t>(most, static_cast<size_t>(status.st_size - taken_[at])));
  const ssize_t got = pread(file_[at], text.data(), text.size(), taken_[at]);
  if (got <= 0) return false;
  text.resize(static_cast<size_t>(got));
  const off_t before = taken_[at];
  taken_[at] += got;
  if (before / kPunch != taken_[at] / kPunch) {
    fallocate(file_[at], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
              taken_[at] / kPunch * kPunch);
  }
  return true;
}

void CaughtOutput::put_back(int stream, const std::string& text) {
  [[maybe_unused]] const auto written = write(before_[stream - 1], text.data(), text.size());
}

void CaughtOutput::end() {
  std::fflush(nullptr);
  for (const int stream : {1, 2}) dup2(before_[stream - 1], stream);
  release();
}

void CaughtOutput::release() {
  for (int at = 0; at < 2; ++at) {
    char bytes[4096];
    ssize_t got = 0;
    while (file_[at] >= 0 && (got = pread(file_[at], bytes, sizeof(bytes), taken_[at])) > 0) {
      taken_[at] += got;
      if (write(before_[at], bytes, static_cast<size_t>(got)) != got) break;
    }
  }
}

}  // namespace vgpu::executor
