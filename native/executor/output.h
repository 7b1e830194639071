// What the driver writes to the standard streams of this process for device code: the output of
// printf, the texts of failed assertions. It belongs to the client's streams, so it is caught here
// and sent in front of the reply of the call that made the driver print it.
//
// The descriptors 1 and 2 become memory files: writing never blocks, and looking costs one fstat.
// Our own log keeps the descriptor that standard error had (log.h); so does the software driver's.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace vgpu::executor {

class CaughtOutput {
 public:
  // From here on this process's output is caught. Once, before the driver is opened.
  static CaughtOutput* begin();
  // What came on descriptor `stream` (1 or 2) since the last time, at most `most` bytes. False:
  // nothing. Main loop only.
  bool take(int stream, size_t most, std::string& text);
  // For what the client cannot take: written to the descriptor that was there before.
  void put_back(int stream, const std::string& text);
  // The end of catching: the descriptors are as they were, and have what nobody took.
  void end();
  // Gives what nobody took to the descriptors that were there before. Async-signal-safe.
  void release();

 private:
  CaughtOutput() = default;
  bool replace(int stream);

  int before_[2] = {-1, -1};
  int file_[2] = {-1, -1};
  off_t taken_[2] = {0, 0};
};

}  // namespace vgpu::executor
