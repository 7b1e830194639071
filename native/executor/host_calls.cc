#include "executor/host_calls.h"

#include <utility>

#include "executor/host_plan.h"

namespace vgpu::executor {

HostCalls::HostCalls(Inbox& inbox) : inbox_(inbox) {}
HostCalls::~HostCalls() = default;

HostCalls& HostCalls::make_for_ever(Inbox& inbox) { return *new HostCalls(inbox); }

std::shared_ptr<HostEntry> HostCalls::add(HostEntry entry) {
  auto made = std::make_shared<HostEntry>(std::move(entry));
  made->calls = this;
  const std::lock_guard lock(mutex_);
  if (made->id == 0 || !entries_.emplace(made->id, made).second) return nullptr;
  if (made->staging) staging_[made->staging->data] = made->id;
  entries_count_ = entries_.size();
  return made;
}

std::shared_ptr<HostEntry> HostCalls::remove(uint64_t id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return nullptr;
  std::shared_ptr<HostEntry> gone = std::move(found->second);
  entries_.erase(found);
  if (gone->staging) staging_.erase(gone->staging->data);
  entries_count_ = entries_.size();
  return gone;
}

void HostCalls::discard(uint64_t id) {
  std::shared_ptr<HostEntry> gone;  // ends without the mutex
  const std::lock_guard lock(mutex_);
  gone = remove(id);
}

std::shared_ptr<HostEntry> HostCalls::find(uint64_t id) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : found->second;
}

std::shared_ptr<HostEntry> HostCalls::find_staging(const void* memory) const {
  const std::lock_guard lock(mutex_);
  const auto found = staging_.find(memory);
  if (found == staging_.end()) return nullptr;
  const auto entry = entries_.find(found->second);
  return entry == entries_.end() ? nullptr : entry->second;
}

// Not here: the callback that this is called from may make no call of the driver, and an entry's
// end gives pinned memory back.
void HostCalls::drop(uint64_t id, wire::HostAction farewell) {
  const std::lock_guard lock(mutex_);
  if (closed_) return;
  inbox_.post([this, id, farewell] {
    std::shared_ptr<HostEntry> gone;
    {
      const std::lock_guard lock(mutex_);
      gone = remove(id);
    }
    if (gone == nullptr) return;
    const wire::HostAction told = on_drop(*gone, farewell);
    if (told == wire::HostAction::kForget && gone->kind != HostEntry::Kind::kMemory) {
      const std::lock_guard lock(mutex_);
      farewells_.emplace_back(told, id);
    } else {
      ask({{told, id}}, nullptr);
    }
  });
}

void HostCalls::push(Actions actions, std::function<void()> done, uint64_t* serial) {
  *serial = ++serial_;
  jobs_.push_back({*serial, std::move(actions), std::move(done)});
}

void HostCalls::ask(Actions actions, std::function<void()> done) {
  uint64_t serial = 0;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    push(std::move(actions), std::move(done), &serial);
  }
  deliver();
}

void HostCalls::ask_and_wait(Actions actions) {
  std::unique_lock lock(mutex_);
  if (closed_) return;
  uint64_t serial = 0;
  push(std::move(actions), nullptr, &serial);
  awaited_.insert(serial);
  hold(true);
  inbox_.post([this] { deliver(); });
  finished_changed_.wait(lock, [&] { return closed_ || !awaited_.contains(serial); });
  awaited_.erase(serial);
  hold(!awaited_.empty());
}

void HostCalls::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  jobs_.clear();
  running_.clear();
  finished_changed_.notify_all();
}

void HostCalls::begin_run(std::shared_ptr<const HostPlan> plan) {
  const std::lock_guard lock(mutex_);
  run_ = std::make_unique<PlanRun>(std::move(plan));
}

HostCalls::Actions HostCalls::end_run() {
  const std::lock_guard lock(mutex_);
  Actions actions = run_->after_launch();
  run_ = nullptr;
  return actions;
}

void HostCalls::run_function(void* entry) {
  const auto& self = *static_cast<HostEntry*>(entry);
  HostCalls& calls = *self.calls;
  Actions actions;
  {
    const std::lock_guard lock(calls.mutex_);
    if (calls.run_ == nullptr) return;  // of no launch of ours
    actions = calls.run_->around_function(self.id);
  }
  calls.ask_and_wait(std::move(actions));
}

// u64 serial, u32 n, [u32 action, u64 entry]*n
bool HostCalls::take(wire::Writer& out) {
  if (jobs_.empty()) return false;
  Job job = std::move(jobs_.front());
  jobs_.pop_front();
  running_[job.serial] = std::move(job.done);
  job.actions.insert(job.actions.begin(), farewells_.begin(), farewells_.end());
  farewells_.clear();
  out.put(job.serial);
  out.put(static_cast<uint32_t>(job.actions.size()));
  for (const auto& [action, id] : job.actions) {
    out.put(static_cast<uint32_t>(action));
    out.put(id);
  }
  return true;
}

void HostCalls::deliver() {
  wire::Writer out;
  transport::Command command;
  {
    const std::lock_guard lock(mutex_);
    if (!waiting_ || !take(out)) return;
    waiting_ = false;
    command = waiter_;
  }
  answer(command, out);
}

bool HostCalls::wait(uint64_t done, const transport::Command& command, wire::Writer& out) {
  std::function<void()> callback;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = running_.find(done); found != running_.end()) {
      callback = std::move(found->second);
      running_.erase(found);
      if (awaited_.erase(done) != 0) finished_changed_.notify_all();
    }
  }
  if (callback) callback();
  wire::Writer nothing;
  nothing.put(uint64_t{0});
  nothing.put(uint32_t{0});
  if (std::exchange(waiting_, false)) answer(waiter_, nothing);  // only one waits at a time
  const std::lock_guard lock(mutex_);
  if (take(out)) return false;
  waiting_ = true;
  waiter_ = command;
  return true;
}

}  // namespace vgpu::executor
