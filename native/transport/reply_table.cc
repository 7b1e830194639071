#include "transport/reply_table.h"

namespace vgpu::transport {

Reply lost_reply(std::string reason) {
  Reply reply;
  reply.error = std::move(reason);
  reply.header.result = 999;  // CUDA_ERROR_UNKNOWN
  return reply;
}

uint32_t ReplyTable::add(std::shared_ptr<Waiter>& waiter) {
  waiter = std::make_shared<Waiter>();
  std::lock_guard lock(mutex_);
  if (failed_) {
    waiter->reply = lost_reply(reason_);
    waiter->done.store(1, std::memory_order_release);
    return 0;
  }
  while (next_ == 0 || waiters_.contains(next_)) ++next_;
  waiters_.emplace(next_, waiter);
  return next_++;
}

void ReplyTable::wait(Waiter& waiter) {
  auto done = [&waiter] { return waiter.done.load(std::memory_order_acquire) != 0; };
  if (spinner_.until(done)) return;
  while (!done()) waiter.done.wait(0, std::memory_order_acquire);
}

void ReplyTable::remove(uint32_t call) {
  std::lock_guard lock(mutex_);
  waiters_.erase(call);
}

bool ReplyTable::deliver(const wire::ReplyHeader& header, std::span<const std::byte> payload,
                         uint64_t landed) {
  std::shared_ptr<Waiter> waiter;
  {
    std::lock_guard lock(mutex_);
    auto found = waiters_.find(header.call);
    if (found == waiters_.end()) return false;
    waiter = std::move(found->second);
    waiters_.erase(found);
  }
  waiter->reply.delivered = true;
  waiter->reply.header = header;
  waiter->reply.payload.assign(payload.begin(), payload.end());
  if (header.bulk_through > landed) {
    held_.push_back({std::move(waiter), header.bulk_through});
  } else {
    finish(*waiter);
  }
  return true;
}

void ReplyTable::landed(uint64_t landed) {
  std::erase_if(held_, [landed](const Held& held) {
    if (held.bulk_through > landed) return false;
    finish(*held.waiter);
    return true;
  });
}

void ReplyTable::fail(const std::string& reason) {
  auto lose = [&reason](Waiter& waiter) {
    waiter.reply = lost_reply(reason);
    finish(waiter);
  };
  std::lock_guard lock(mutex_);
  failed_ = true;
  reason_ = reason;
  for (auto& [call, waiter] : waiters_) lose(*waiter);
  waiters_.clear();
  for (auto& held : held_) lose(*held.waiter);
  held_.clear();
}

// SYNC: reply done. Written by the transport thread after the reply, read by the caller.
void ReplyTable::finish(Waiter& waiter) {
  waiter.done.store(1, std::memory_order_release);
  waiter.done.notify_one();
}

}  // namespace vgpu::transport
