#include "stub/statistics.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "stub/log.h"
#include "stub/process.h"

extern char* program_invocation_short_name;

namespace vgpu::stub {
namespace {

constinit Counters the_counters;

struct Row {
  const char* name;
  uint64_t value;
};
inline constexpr int kRows = 11;

// The order is part of vgpu_client_statistics: append only.
void collect(Row (&rows)[kRows]) {
  transport::LinkStatistics link;
  const Process* process = stub::process();
  if (process != nullptr && process->link() != nullptr) link = process->link()->statistics();
  const Counters& own = counters();
  const Row all[kRows] = {
      {"round_trips", link.round_trips},
      {"records", link.records},
      {"batches", link.batches},
      {"bytes_sent", link.bytes_sent},
      {"bytes_received", link.bytes_received},
      {"late_errors", own.late_errors.load()},
      {"unsupported_calls", own.unsupported_calls.load()},
      {"launches", own.launches.load()},
      {"local_synchronizes", own.local_synchronizes.load()},
      {"bulk_sent", link.bulk_sent},
      {"bulk_received", link.bulk_received},
  };
  for (int i = 0; i < kRows; ++i) rows[i] = all[i];
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char letter : text) {
    if (letter == '"' || letter == '\\') out += '\\';
    if (static_cast<unsigned char>(letter) >= 0x20) out += letter;
  }
  return out;
}

// "name": count for each call that waited, the busiest first.
std::vector<std::pair<uint64_t, const char*>> waiting_calls() {
  std::vector<std::pair<uint64_t, const char*>> calls;
  for (size_t i = 0; i < kCallCount; ++i) {
    const uint64_t count = counters().waits[i].load(std::memory_order_relaxed);
    if (count != 0) calls.emplace_back(count, kCalls[i].name);
  }
  std::sort(calls.begin(), calls.end(),
            [](const auto& a, const auto& b) { return a.first > b.first; });
  return calls;
}

}  // namespace

Counters& counters() { return the_counters; }

void write_statistics() {
  const Process* process = stub::process();
  if (process == nullptr || process->settings.statistics.empty()) return;
  Row rows[kRows];
  collect(rows);
  const std::string& target = process->settings.statistics;
  if (target == "stderr") {
    std::string text;
    for (const auto& [name, value] : rows) {
      text += std::string(text.empty() ? "" : ", ") + name + " " + std::to_string(value);
    }
    std::string waits;
    for (const auto& [count, name] : waiting_calls()) {
      waits += std::string(waits.empty() ? "" : ", ") + name + " " + std::to_string(count);
    }
    message("statistics (%s): %s", process->path().c_str(), text.c_str());
    message("calls that waited: %s", waits.c_str());
    return;
  }
  std::string line = "{\"pid\": " + std::to_string(::getpid()) + ", \"program\": \"" +
                     escaped(program_invocation_short_name) + "\", \"path\": \"" +
                     escaped(process->path()) + "\"";
  for (const auto& [name, value] : rows) {
    line += std::string(", \"") + name + "\": " + std::to_string(value);
  }
  line += ", \"calls\": {";
  bool first = true;
  for (const auto& [count, name] : waiting_calls()) {
    line += std::string(first ? "\"" : ", \"") + name + "\": " + std::to_string(count);
    first = false;
  }
  line += "}}\n";
  const int file = ::open(target.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0) return message("cannot write the statistics to %s", target.c_str());
  [[maybe_unused]] const ssize_t written = ::write(file, line.data(), line.size());
  ::close(file);
}

}  // namespace vgpu::stub

// Fills at most `count` counters, in this order: round_trips, records, batches, bytes_sent,
// bytes_received, late_errors, unsupported_calls, launches, local_synchronizes, bulk_sent,
// bulk_received. Returns how many there are.
extern "C" [[gnu::visibility("default")]] int vgpu_client_statistics(uint64_t* values, int count) {
  using namespace vgpu::stub;
  Row rows[kRows];
  collect(rows);
  for (int i = 0; values != nullptr && i < count && i < kRows; ++i) values[i] = rows[i].value;
  return kRows;
}

// Tells a worker that this library is the stub, which it must never drive.
extern "C" [[gnu::visibility("default")]] const int vgpu_stub_marker = 1;
