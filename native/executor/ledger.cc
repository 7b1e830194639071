#include "executor/ledger.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace vgpu::executor {
namespace {

uint64_t total_size(uint64_t devices, uint64_t slots) {
  return sizeof(LedgerHeader) + (1 + slots) * devices * sizeof(uint64_t);
}

LedgerHeader* map(int fd, uint64_t size) {
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<LedgerHeader*>(memory);
}

std::string system_error(const char* what) {
  return std::string("quota ledger: ") + what + ": " + std::strerror(errno);
}

void make_mutex(pthread_mutex_t* mutex) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(mutex, &attributes);
  pthread_mutexattr_destroy(&attributes);
}

}  // namespace

bool Ledger::make(int fd, std::span<const uint64_t> limits, uint32_t slots, std::string& error) {
  if (limits.empty() || limits.size() > kMaxDevices || slots == 0 || slots > kMaxSlots) {
    error = "quota ledger: 1 to 128 limits and 1 to 65536 slots are needed";
    return false;
  }
  const uint64_t size = total_size(limits.size(), slots);
  if (ftruncate(fd, 0) != 0 || ftruncate(fd, static_cast<off_t>(size)) != 0) {
    error = system_error("cannot set its size");
    return false;
  }
  LedgerHeader* header = map(fd, size);
  if (header == nullptr) {
    error = system_error("cannot map it");
    return false;
  }
  header->version = kVersion;
  header->devices = static_cast<uint32_t>(limits.size());
  header->slots = slots;
  make_mutex(&header->mutex);
  std::memcpy(header + 1, limits.data(), limits.size_bytes());
  header->magic = kMagic;
  munmap(header, size);
  return true;
}

std::unique_ptr<Ledger> Ledger::open(int fd, uint32_t slot, std::string& error) {
  struct stat status{};
  if (fstat(fd, &status) != 0) {
    error = system_error("not an open file");
    return nullptr;
  }
  const auto size = static_cast<uint64_t>(status.st_size);
  LedgerHeader* header = size < sizeof(LedgerHeader) ? nullptr : map(fd, size);
  if (header == nullptr) {
    error = "quota ledger: file descriptor " + std::to_string(fd) + " holds none";
    return nullptr;
  }
  auto ledger = std::unique_ptr<Ledger>(new Ledger);
  ledger->header_ = header;
  ledger->size_ = size;
  ledger->slot_ = slot;
  if (header->magic != kMagic || header->version != kVersion || header->devices > kMaxDevices ||
      size < total_size(header->devices, header->slots) || slot >= header->slots) {
    error = "quota ledger: wrong magic, version, size or slot";
    return nullptr;
  }
  return ledger;
}

std::unique_ptr<Ledger> Ledger::open_private(std::span<const uint64_t> limits, std::string& error) {
  const int fd = memfd_create("vgpu-ledger", MFD_CLOEXEC);
  if (fd < 0) {
    error = system_error("memfd_create");
    return nullptr;
  }
  std::unique_ptr<Ledger> ledger;
  if (make(fd, limits, 1, error)) ledger = open(fd, 0, error);
  close(fd);
  return ledger;
}

Ledger::~Ledger() {
  if (header_ != nullptr) munmap(header_, size_);
}

void Ledger::lock() const {
  // An executor that died inside left at most its own row half done, which the worker clears.
  if (pthread_mutex_lock(&header_->mutex) == EOWNERDEAD) pthread_mutex_consistent(&header_->mutex);
}

void Ledger::unlock() const { pthread_mutex_unlock(&header_->mutex); }

uint64_t* Ledger::row(uint32_t slot) const {
  auto* limits = reinterpret_cast<uint64_t*>(header_ + 1);
  return limits + static_cast<uint64_t>(slot + 1) * header_->devices;
}

uint64_t Ledger::limit(uint32_t device) const {
  return device < header_->devices ? reinterpret_cast<const uint64_t*>(header_ + 1)[device] : 0;
}

uint64_t Ledger::used(uint32_t device) const {
  if (device >= header_->devices) return 0;
  uint64_t sum = 0;
  for (uint32_t slot = 0; slot < header_->slots; ++slot) {
    sum += __atomic_load_n(row(slot) + device, __ATOMIC_RELAXED);
  }
  return sum;
}

uint64_t Ledger::used_here(uint32_t device) const {
  return device < header_->devices ? __atomic_load_n(row(slot_) + device, __ATOMIC_RELAXED) : 0;
}

bool Ledger::reserve(uint32_t device, uint64_t bytes) {
  if (device >= header_->devices) return true;  // the ledger does not know it: no quota
  lock();
  const uint64_t most = limit(device);
  const uint64_t before = used(device);
  const bool fits = most == 0 || (before <= most && bytes <= most - before);
  if (fits) __atomic_store_n(row(slot_) + device, used_here(device) + bytes, __ATOMIC_RELAXED);
  unlock();
  return fits;
}

void Ledger::release(uint32_t device, uint64_t bytes) {
  if (device >= header_->devices) return;
  lock();
  const uint64_t before = used_here(device);
  __atomic_store_n(row(slot_) + device, before >= bytes ? before - bytes : 0, __ATOMIC_RELAXED);
  unlock();
}

}  // namespace vgpu::executor
