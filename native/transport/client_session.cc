#include "transport/client_session.h"

#include <algorithm>
#include <cstring>
#include <exception>

namespace vgpu::transport {
namespace {

// Frames taken from one lane before the other gets its turn, and chunks before replies are looked
// at.
constexpr int kFramesPerTurn = 64;
constexpr int kChunksPerTurn = 4;
// Small frames are acknowledged at the latest after this many, so that the peer can let them go.
constexpr uint64_t kAcknowledgeEvery = 256;

// A frame whose memory returns to the pool when channel and acknowledgement have let go of it.
Frame batch_frame(std::shared_ptr<BatchPool> pool, std::vector<std::byte> batch) {
  struct Holder {
    std::shared_ptr<BatchPool> pool;
    std::vector<std::byte> bytes;
    ~Holder() { pool->give(std::move(bytes)); }
  };
  auto holder = std::make_shared<Holder>(std::move(pool), std::move(batch));
  const std::byte* data = holder->bytes.data();
  const size_t size = holder->bytes.size();
  return {std::move(holder), data, size};
}

}  // namespace

ClientSession::ClientSession(std::unique_ptr<Channel> channel, ClientLinkOptions options)
    : batcher(options.batch_bytes, options.command_window),
      uploads(options.chunk_bytes, options.bulk_window),
      channel_(std::move(channel)),
      options_(std::move(options)),
      lanes_{LaneEnd(options_.silence_timeout_ms), LaneEnd(options_.silence_timeout_ms)},
      opened_by_(Clock::now() + std::chrono::milliseconds(options_.connect_timeout_ms)) {}

void ClientSession::run() noexcept {
  try {
    greet();
    while (phase_ != Phase::kEnded) turn();
  } catch (const std::exception& error) {
    end(std::string("the client's transport failed: ") + error.what(), true);
  }
  channel_->close(lost() ? 0 : 200);
  std::lock_guard lock(mutex_);
  finished_ = true;
  changed_.notify_all();
}

void ClientSession::greet() {
  for (Lane which : {Lane::kCommand, Lane::kBulk}) {
    HelloBody hello{};
    hello.major = wire::kMajor;
    hello.minor = wire::kMinor;
    hello.lane = static_cast<uint8_t>(which);
    hello.token = options_.token;
    hello.command_window = options_.command_window;
    hello.bulk_window = options_.bulk_window;
    send_control(which, FrameKind::kHello, bytes_of(hello));
  }
}

void ClientSession::turn() {
  bool busy = receive(Lane::kCommand);
  busy = receive(Lane::kBulk) || busy;
  if (phase_ == Phase::kEnded) return;
  if (phase_ != Phase::kOpening) {
    busy = send_batches() || busy;
    busy = send_chunks() || busy;
    send_reports();
    check_closing();
  }
  check_time();
  if (!busy && phase_ != Phase::kEnded) channel_->wait(patience());
}

bool ClientSession::receive(Lane which) {
  int taken = 0;
  while (taken < kFramesPerTurn && phase_ != Phase::kEnded) {
    auto frame = channel_->receive(which);
    if (!frame) break;
    ++taken;
    handle(which, *frame);
  }
  return taken > 0;
}

void ClientSession::handle(Lane which, const Frame& frame) {
  LaneEnd& from = lane(which);
  from.liveness.heard();
  counters.bytes_received.fetch_add(frame.size, std::memory_order_relaxed);
  Decoded decoded;
  std::string error;
  if (!decode({frame.data, frame.size}, decoded, error) ||
      !from.state.accept(decoded.header, error) || !handle_kind(which, decoded, error)) {
    end("the executor sent something that this client does not understand: " + error +
            "; check that client and worker have the same major version",
        true);
    return;
  }
  if (which == Lane::kCommand) {
    batcher.credit(decoded.header.credit);
    if ((decoded.header.flags & kIdleFlag) != 0 && decoded.header.ack == from.state.sent()) {
      batcher.peer_idle();
    }
  } else {
    uploads.credit(decoded.header.credit);
  }
}

bool ClientSession::handle_kind(Lane which, const Decoded& frame, std::string& error) {
  const bool command = which == Lane::kCommand;
  switch (frame.header.kind) {
    case FrameKind::kWelcome:
      welcome(which, frame.welcome);
      return true;
    case FrameKind::kRefuse:
      end("the executor refused this client: " + frame.text, true);
      return true;
    case FrameKind::kAcknowledgement:
    case FrameKind::kHeartbeat:
      return true;
    case FrameKind::kIdle:
      return command;
    case FrameKind::kReplies:
      return command && take_replies(frame, error);
    case FrameKind::kBulkChunk:
      return !command && take_chunk(frame, error);
    case FrameKind::kGoodbye:
      end(said_goodbye_ ? "closed" : "the executor ended the session: " + frame.text,
          !said_goodbye_);
      return true;
    default:
      error = "a " + std::string(name(frame.header.kind)) + " frame";
      return false;
  }
}

void ClientSession::welcome(Lane which, const WelcomeBody& body) {
  if (body.major != wire::kMajor) {
    end("the executor speaks protocol " + std::to_string(body.major) + "." +
            std::to_string(body.minor) + ", this client " + std::to_string(wire::kMajor) + "." +
            std::to_string(wire::kMinor) + ": install the same major version on both sides",
        true);
    return;
  }
  LaneEnd& from = lane(which);
  from.welcomed = true;
  const uint64_t window = which == Lane::kCommand ? body.reply_window : body.download_window;
  from.report_at = std::clamp<uint64_t>(window / 4, 1, kMaxWindow);
  if (which == Lane::kCommand) {
    batcher.set_window(body.command_window);
  } else {
    uploads.set_window(body.bulk_window);
  }
  if (!lanes_[0].welcomed || !lanes_[1].welcomed) return;
  std::lock_guard lock(mutex_);
  if (phase_ == Phase::kOpening) phase_ = Phase::kOpen;
  changed_.notify_all();
}

bool ClientSession::take_replies(const Decoded& frame, std::string& error) {
  ReplySequence sequence(frame.body);
  wire::ReplyHeader header{};
  std::span<const std::byte> payload;
  while (sequence.next(header, payload, kMaxReplies)) {
    if (header.call == wire::kOutputCall) {
      if (options_.on_output) {
        options_.on_output(static_cast<uint32_t>(header.result),
                           {reinterpret_cast<const char*>(payload.data()), payload.size()});
      }
      continue;
    }
    if (!replies.deliver(header, payload, landed_)) {
      error = "a reply to call " + std::to_string(header.call) + " that nobody made";
      return false;
    }
  }
  lane(Lane::kCommand).state.consume(frame.body.size());
  error = "a malformed reply";
  return sequence.ok();
}

bool ClientSession::take_chunk(const Decoded& frame, std::string& error) {
  bool landed = false;
  if (!downloads.receive(frame.chunk, frame.body, landed, error)) return false;
  lane(Lane::kBulk).state.consume(frame.body.size());
  if (landed) {
    counters.bulk_received.fetch_add(1, std::memory_order_relaxed);
    replies.landed(++landed_);
  }
  return true;
}

bool ClientSession::send_batches() {
  std::vector<std::byte> batch;
  bool sent = false;
  while (batcher.take(batch)) {
    LaneState& state = lane(Lane::kCommand).state;
    const FrameHeader header = state.next_header(FrameKind::kBatch);
    std::memcpy(batch.data(), &header, sizeof header);
    send_numbered(Lane::kCommand, header.number, batch_frame(batcher.pool(), std::move(batch)));
    counters.batches.fetch_add(1, std::memory_order_relaxed);
    sent = true;
  }
  return sent;
}

bool ClientSession::send_chunks() {
  Chunk chunk;
  int sent = 0;
  while (sent < kChunksPerTurn && uploads.take(chunk)) {
    const FrameHeader header = lane(Lane::kBulk).state.next_header(FrameKind::kBulkChunk);
    send_numbered(Lane::kBulk, header.number, chunk_frame(chunk, header));
    ++sent;
  }
  return sent > 0;
}

void ClientSession::send_reports() {
  for (Lane which : {Lane::kCommand, Lane::kBulk}) {
    const LaneEnd& end = lane(which);
    if (end.state.unreported() >= end.report_at ||
        end.state.unacknowledged() >= kAcknowledgeEvery) {
      send_control(which, FrameKind::kAcknowledgement);
    }
  }
}

void ClientSession::send_control(Lane which, FrameKind kind, std::span<const std::byte> body) {
  auto bytes = encode(lane(which).state.next_header(kind), {body});
  counters.bytes_sent.fetch_add(bytes.size(), std::memory_order_relaxed);
  lane(which).liveness.spoke();
  channel_->send(which, Frame::own(std::move(bytes)));
}

void ClientSession::send_numbered(Lane which, uint64_t number, Frame frame) {
  counters.bytes_sent.fetch_add(frame.size, std::memory_order_relaxed);
  lane(which).liveness.spoke();
  lane(which).state.keep(number, frame);
  channel_->send(which, std::move(frame));
}

void ClientSession::check_time() {
  if (phase_ == Phase::kEnded) return;
  if (channel_->state() == ChannelState::kDown) {
    end(said_goodbye_ ? "closed" : channel_->reason(), !said_goodbye_);
  } else if (phase_ == Phase::kOpening) {
    if (Clock::now() >= opened_by_) {
      end("the executor did not answer the hello within " +
              std::to_string(options_.connect_timeout_ms) + " ms: see the worker's log",
          true);
    }
  } else if (lanes_[0].liveness.silent() || lanes_[1].liveness.silent()) {
    end("no sign of life from the executor for " + std::to_string(options_.silence_timeout_ms) +
            " ms: the network or the worker's host is down, or the executor hangs",
        true);
  } else {
    for (Lane which : {Lane::kCommand, Lane::kBulk}) {
      if (lane(which).liveness.heartbeat_due()) send_control(which, FrameKind::kHeartbeat);
    }
  }
}

void ClientSession::check_closing() {
  if (!close_wanted_.load(std::memory_order_acquire)) return;
  if (!said_goodbye_) {
    batcher.flush();
    while (send_batches() || send_chunks()) {
    }
    said_goodbye_ = true;
    send_control(Lane::kCommand, FrameKind::kGoodbye,
                 bytes_of(GoodbyeBody{lane(Lane::kBulk).state.sent()}));
  }
  Clock::time_point close_by;
  {
    std::lock_guard lock(mutex_);
    close_by = close_by_;
  }
  if (Clock::now() >= close_by) end("closed; the executor did not confirm in time", false);
}

int ClientSession::patience() const {
  if (close_wanted_.load(std::memory_order_acquire)) return 10;
  const int interval = lanes_[0].liveness.interval_ms();
  return phase_ == Phase::kOpening ? std::min(interval, 50) : interval;
}

// Transport thread: nothing is sent or delivered after this.
void ClientSession::end(const std::string& reason, bool lost) {
  {
    std::lock_guard lock(mutex_);
    if (phase_ == Phase::kEnded) return;
    phase_ = Phase::kEnded;
    reason_ = reason;
    lost_.store(true, std::memory_order_release);
    changed_.notify_all();
  }
  batcher.fail();
  uploads.fail();
  replies.fail(reason);
  if (lost && options_.on_lost) options_.on_lost(reason);
}

bool ClientSession::wait_open(std::string& error) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return phase_ != Phase::kOpening; });
  error = reason_;
  return phase_ == Phase::kOpen;
}

void ClientSession::ask_close(int deadline_ms) {
  {
    std::lock_guard lock(mutex_);
    close_by_ = Clock::now() + std::chrono::milliseconds(deadline_ms);
  }
  close_wanted_.store(true, std::memory_order_release);
  wake();
}

bool ClientSession::wait_finished(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [this] { return finished_; });
}

std::string ClientSession::reason() {
  std::lock_guard lock(mutex_);
  return reason_;
}

}  // namespace vgpu::transport
