#include "executor/scheduler.h"

#include <algorithm>
#include <utility>

namespace vgpu::executor {

Scheduler::StreamKey Scheduler::key(const Work& work) {
  const auto& header = work.command.header;
  return {header.context, work.order == Order::kLegacy ? 0 : header.stream};
}

void Scheduler::forget_stream(uint64_t context, uint64_t stream) {
  non_blocking_.erase(stream);
  set_full(context, stream, false);
  tails_.erase({context, stream});
}

// Nothing is pending anywhere, so nothing can be in its way.
bool Scheduler::ready_at_once(const Work& work) const {
  return nodes_.empty() && !running_ && (work.bulk == 0 || work.bulk_arrived) &&
         (full_.empty() || work.order == Order::kNone || !full_.contains(key(work)));
}

void Scheduler::submit(Work work) {
  const uint64_t ticket = next_ticket_++;
  work.ticket = ticket;
  if (ready_at_once(work)) {
    // The node is made first only if the call turns out to go on elsewhere.
    running_ = true;
    const Progress progress = issuer_.issue(work);
    running_ = false;
    if (progress == Progress::kDone) {
      run();
      return;
    }
    Node& node = nodes_[ticket];
    node.work = std::move(work);
    node.issued = true;
    depend_on_queues(node);
    depend_on_resources(node);
    run();
    return;
  }
  Node& node = nodes_[ticket];
  node.work = std::move(work);
  depend_on_queues(node);
  depend_on_resources(node);
  if (node.blockers == 0) runnable_.push_back(ticket);
  run();
}

void Scheduler::depend(Node& node, uint64_t ticket) {
  if (ticket == 0 || ticket == node.work.ticket) return;
  const auto other = nodes_.find(ticket);
  if (other == nodes_.end()) return;
  auto& dependents = other->second.dependents;
  if (!dependents.empty() && dependents.back() == node.work.ticket) return;
  dependents.push_back(node.work.ticket);
  ++node.blockers;
}

// Finds what must come before the call, and makes the call the new end of its queue.
void Scheduler::depend_on_queues(Node& node) {
  const StreamKey at = key(node.work);
  const uint64_t ticket = node.work.ticket;
  const auto first = tails_.lower_bound({at.context, 0});
  switch (node.work.order) {
    case Order::kStream:
    case Order::kLegacy:
      node.queued = true;
      if (!non_blocking_.contains(at.stream)) depend(node, barrier_);
      if (node.work.everywhere) {
        for (const auto& [stream, tail] : tails_) {
          if (!non_blocking_.contains(stream.stream)) depend(node, tail);
        }
        barrier_ = ticket;
      }
      if (at.stream == 0) {  // the legacy stream waits for every blocking stream
        for (auto it = first; it != tails_.end() && it->first.context == at.context; ++it) {
          if (!non_blocking_.contains(it->first.stream)) depend(node, it->second);
        }
      } else {
        if (auto own = tails_.find(at); own != tails_.end()) depend(node, own->second);
        if (auto legacy = tails_.find({at.context, 0});
            legacy != tails_.end() && !non_blocking_.contains(at.stream)) {
          depend(node, legacy->second);
        }
      }
      tails_[at] = ticket;
      break;
    case Order::kContext:
      for (auto it = first; it != tails_.end() && it->first.context == at.context; ++it) {
        depend(node, it->second);
      }
      for (const uint64_t other : loose_[at.context]) depend(node, other);
      loose_[at.context].push_back(ticket);
      break;
    case Order::kNone:
      loose_[at.context].push_back(ticket);
      break;
  }
}

void Scheduler::depend_on_resources(Node& node) {
  for (const Resource& use : node.work.uses) {
    Users& users = users_[use.id];
    depend(node, users.writer);
    if (use.writes) {
      for (const uint64_t reader : users.readers) depend(node, reader);
      users.readers.clear();
      users.writer = node.work.ticket;
    } else {
      users.readers.push_back(node.work.ticket);
    }
  }
}

bool Scheduler::has_to_wait(const Work& work) const {
  if (nodes_.empty()) return false;
  for (const Resource& use : work.uses) {
    const auto users = users_.find(use.id);
    if (users != users_.end() && nodes_.contains(users->second.writer)) return true;
  }
  if (work.order != Order::kStream && work.order != Order::kLegacy) return false;
  const StreamKey at = key(work);
  if (!non_blocking_.contains(at.stream) && nodes_.contains(barrier_)) return true;
  const auto unfinished = [&](const StreamKey& stream) {
    const auto tail = tails_.find(stream);
    return tail != tails_.end() && nodes_.contains(tail->second);
  };
  if (at.stream != 0) {
    return unfinished(at) || (!non_blocking_.contains(at.stream) && unfinished({at.context, 0}));
  }
  for (auto it = tails_.lower_bound(at); it != tails_.end() && it->first.context == at.context;
       ++it) {
    if (!non_blocking_.contains(it->first.stream) && nodes_.contains(it->second)) return true;
  }
  return false;
}

void Scheduler::bulk_arrived(uint64_t transfer) {
  const auto [first, last] = bulk_waiters_.equal_range(transfer);
  std::vector<uint64_t> woken;
  for (auto it = first; it != last; ++it) woken.push_back(it->second);
  bulk_waiters_.erase(first, last);
  for (auto& [ticket, node] : nodes_) {
    if (node.work.bulk == transfer) node.work.bulk_arrived = true;
  }
  runnable_.insert(runnable_.end(), woken.begin(), woken.end());
  run();
}

void Scheduler::set_full(uint64_t context, uint64_t stream, bool full) {
  const StreamKey at{context, stream};
  if (full) {
    full_.try_emplace(at);
    return;
  }
  const auto it = full_.find(at);
  if (it == full_.end()) return;
  runnable_.insert(runnable_.end(), it->second.begin(), it->second.end());
  full_.erase(it);
  run();
}

void Scheduler::finished(uint64_t ticket) {
  settle(ticket);
  run();
}

// True when the call has to wait for something that is no other call.
bool Scheduler::parked(Node& node) {
  if (node.work.bulk != 0 && !node.work.bulk_arrived) {
    bulk_waiters_.emplace(node.work.bulk, node.work.ticket);
    return true;
  }
  if (node.queued && !full_.empty()) {
    if (auto it = full_.find(key(node.work)); it != full_.end()) {
      it->second.push_back(node.work.ticket);
      return true;
    }
  }
  return false;
}

// Removes a finished call and lets go of what waited for it.
void Scheduler::settle(uint64_t ticket) {
  const auto it = nodes_.find(ticket);
  if (it == nodes_.end()) return;
  Node node = std::move(it->second);
  nodes_.erase(it);
  for (const uint64_t dependent : node.dependents) {
    const auto next = nodes_.find(dependent);
    if (next != nodes_.end() && --next->second.blockers == 0) runnable_.push_back(dependent);
  }
  if (!node.queued) std::erase(loose_[node.work.command.header.context], ticket);
  if (nodes_.empty()) {  // every ticket that these name is finished
    users_.clear();
    tails_.clear();
    loose_.clear();
  }
}

void Scheduler::run() {
  if (running_) return;  // the outer call goes on with what was added
  running_ = true;
  while (!runnable_.empty()) {
    const uint64_t ticket = runnable_.front();
    runnable_.pop_front();
    const auto it = nodes_.find(ticket);
    if (it == nodes_.end() || it->second.issued || it->second.blockers != 0) continue;
    if (parked(it->second)) continue;
    it->second.issued = true;
    // The issuer may submit more, which may move the map's nodes' neighbours but not this one.
    if (issuer_.issue(it->second.work) == Progress::kDone) settle(ticket);
  }
  running_ = false;
}

}  // namespace vgpu::executor
