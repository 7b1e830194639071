// The quota is exact across processes, and survives the death of one inside the lock.
#include "executor/ledger.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "check.h"

using vgpu::executor::Ledger;
using vgpu::executor::LedgerHeader;

namespace {

int make(std::span<const uint64_t> limits, uint32_t slots) {
  const int fd = memfd_create("ledger-test", MFD_CLOEXEC);
  std::string error;
  CHECK(Ledger::make(fd, limits, slots, error));
  return fd;
}

std::unique_ptr<Ledger> open(int fd, uint32_t slot) {
  std::string error;
  auto ledger = Ledger::open(fd, slot, error);
  CHECK(ledger != nullptr);
  CHECK_EQ(error, "");
  return ledger;
}

}  // namespace

TEST(requests_count_rounded_up) {
  CHECK_EQ(Ledger::rounded(0), 0u);
  CHECK_EQ(Ledger::rounded(1), 512u);
  CHECK_EQ(Ledger::rounded(512), 512u);
  CHECK_EQ(Ledger::rounded(513), 1024u);
  CHECK_EQ(Ledger::rounded(UINT64_MAX), UINT64_MAX);
}

TEST(the_limit_is_exact) {
  const std::array<uint64_t, 2> limits{1 << 20, 0};
  const int fd = make(limits, 2);
  auto one = open(fd, 0);
  auto two = open(fd, 1);
  CHECK(!one->reserve(0, (1 << 20) + 512));
  CHECK(one->reserve(0, (1 << 20) - 512));
  CHECK(two->reserve(0, 512));
  CHECK(!two->reserve(0, 512));
  CHECK(!two->reserve(0, UINT64_MAX));
  CHECK_EQ(one->used(0), uint64_t{1} << 20);
  CHECK_EQ(two->used_here(0), 512u);
  one->release(0, 512);
  CHECK(two->reserve(0, 512));
  CHECK(one->reserve(1, uint64_t{1} << 60));  // no limit on the second device
  close(fd);
}

TEST(rows_are_where_the_worker_looks) {
  const std::array<uint64_t, 3> limits{7, 8, 9};
  const int fd = make(limits, 4);
  auto ledger = open(fd, 2);
  CHECK(ledger->reserve(1, 5));
  uint64_t value = 0;
  CHECK_EQ(pread(fd, &value, 8, 256 + 8), 8);
  CHECK_EQ(value, 8u);
  CHECK_EQ(pread(fd, &value, 8, 256 + 3 * 8 + (2 * 3 + 1) * 8), 8);
  CHECK_EQ(value, 5u);
  close(fd);
}

TEST(a_wrong_file_is_refused) {
  std::string error;
  const int fd = memfd_create("ledger-test", MFD_CLOEXEC);
  CHECK(Ledger::open(fd, 0, error) == nullptr);
  CHECK_EQ(ftruncate(fd, 4096), 0);
  CHECK(Ledger::open(fd, 0, error) == nullptr);
  close(fd);
  const std::array<uint64_t, 1> limits{1};
  const int good = make(limits, 1);
  CHECK(Ledger::open(good, 1, error) == nullptr);
  CHECK(!Ledger::make(good, {}, 1, error));
  close(good);
}

TEST(processes_share_it_and_one_may_die_in_the_lock) {
  const std::array<uint64_t, 1> limits{1000 * 512};
  const int fd = make(limits, 3);
  std::array<pid_t, 2> children{};
  for (uint32_t slot = 0; slot < 2; ++slot) {
    children[slot] = fork();
    if (children[slot] == 0) {
      std::string error;
      auto mine = Ledger::open(fd, slot, error);
      int got = 0;
      for (int i = 0; i < 1000; ++i) got += mine->reserve(0, 512) ? 1 : 0;
      _exit(mine->used_here(0) == static_cast<uint64_t>(got) * 512 ? 0 : 1);
    }
  }
  for (const pid_t child : children) {
    int status = -1;
    waitpid(child, &status, 0);
    CHECK_EQ(status, 0);
  }
  auto here = open(fd, 2);
  CHECK_EQ(here->used(0), 1000u * 512);
  const pid_t child = fork();
  if (child == 0) {
    void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    pthread_mutex_lock(&static_cast<LedgerHeader*>(memory)->mutex);
    kill(getpid(), SIGKILL);
  }
  waitpid(child, nullptr, 0);
  CHECK(!here->reserve(0, 512));  // gets the lock
  here->release(0, 0);
  close(fd);
}
