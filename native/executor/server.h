// The main loop of a session: records in, driver calls in order, replies and data out.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>

#include "executor/scheduler.h"
#include "executor/session.h"
#include "generated/opcode.h"
#include "transport/server_link.h"

namespace vgpu::executor {

struct ServerEvents {
  std::function<void()> began;                               // the client said hello
  std::function<void(const Statistics& statistics)> report;  // now and then
};

class Server : private Scheduler::Issuer {
 public:
  Server(const SessionOptions& session, std::unique_ptr<transport::Channel> channel,
         const transport::ServerLinkOptions& link, ServerEvents events);
  ~Server() override;

  // Serves until the session ends.
  void run();
  // Makes run() return soon. Any thread.
  void stop(const std::string& reason);

  [[nodiscard]] const std::string& reason() const { return reason_; }
  [[nodiscard]] bool clean() const { return clean_; }
  Session& session() { return session_; }

 private:
  void on_command(Command command);
  std::byte* on_allocate(uint64_t transfer, uint64_t size);
  void on_bulk(uint64_t transfer);
  void end(const std::string& reason, bool clean);
  void refuse(const Command& command, const char* why, CUresult result);

  Scheduler::Progress issue(Work& work) override;
  Scheduler::Progress issue_slow(const Work& work, const CallInfo& info);
  CUresult handle(const Command& command, wire::Writer& out);
  void drop_bulk(uint64_t transfer);
  void answer(const Command& command, CUresult result, const wire::Writer& out);
  void count(const Command& command, const CallInfo& info);

  ServerEvents events_;
  Session session_;
  Scheduler scheduler_;
  std::unique_ptr<transport::ServerLink> link_;
  std::unordered_set<uint64_t> bulk_complete_;
  std::unordered_set<uint32_t> refused_;  // opcodes already logged
  wire::Writer out_;
  bool received_ = false;
  bool ended_ = false;
  bool clean_ = false;
  std::string reason_;
};

// The handles that a call uses outside its stream (scheduler.h).
std::vector<Resource> resources(Opcode opcode, std::span<const std::byte> payload);
// What a launch of a graph uses beside the graph: its events, and the host side of other launches.
void add_graph_resources(const Session& session, const Command& command,
                         std::vector<Resource>& uses);
// The transfer that a call with kHasBulk consumes; 0 when the data goes the other way.
uint64_t inbound_transfer(const Command& command);
// Whether it may be a copy that is ordered with the work of two devices.
bool may_cross_devices(const Command& command);
// Calls that make, end or configure contexts: none has to be current for them.
bool manages_contexts(Opcode opcode);
// The context that such a call ends: what was given to it comes first. 0 for all other calls.
uint64_t subject_context(const Command& command);

}  // namespace vgpu::executor
