// The part of libzmq's C interface that we use, declared by ourselves (the pyzmq wheel carries the
// library without its header), and its private load: an application may have another libzmq loaded
// globally, and neither may take over the other's calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace vgpu::transport {

// Layouts and numbers of libzmq 4.x; its ABI promises them.
struct ZmqMessage {
  alignas(void*) unsigned char opaque[64];
};

namespace zmq {

enum SocketType : int { kPair = 0, kRep = 4, kDealer = 5, kRouter = 6 };
enum ContextOption : int { kIoThreads = 1 };
enum Flags : int { kDontWait = 1, kSendMore = 2 };
enum MessageProperty : int { kMore = 1, kSourceFd = 2 };
enum Option : int {
  kAffinity = 4,
  kFd = 14,
  kEvents = 15,
  kLinger = 17,
  kReconnectIvl = 18,
  kMaxMsgSize = 22,
  kSndHwm = 23,
  kRcvHwm = 24,
  kLastEndpoint = 32,
  kRouterMandatory = 33,
  kIpv6 = 42,
  kCurveServer = 47,
  kCurvePublicKey = 48,
  kCurveSecretKey = 49,
  kCurveServerKey = 50,
  kZapDomain = 55,
  kHandshakeIvl = 66,
};
enum Readiness : int { kPollIn = 1 };
enum Event : int {
  kEventConnected = 0x0001,
  kEventConnectRetried = 0x0004,
  kEventDisconnected = 0x0200,
  kEventHandshakeFailed = 0x0800,
  kEventHandshakeSucceeded = 0x1000,
  kEventHandshakeFailedProtocol = 0x2000,
  kEventHandshakeFailedAuth = 0x4000,
};
inline constexpr int kErrorTerminated = 156384765;  // ETERM
inline constexpr size_t kKeyText = 40;              // a Z85 key

}  // namespace zmq

struct ZmqApi {
  void* (*ctx_new)();
  int (*ctx_set)(void*, int, int);
  int (*ctx_shutdown)(void*);
  int (*ctx_term)(void*);
  void* (*socket)(void*, int);
  int (*close)(void*);
  int (*setsockopt)(void*, int, const void*, size_t);
  int (*getsockopt)(void*, int, void*, size_t*);
  int (*bind)(void*, const char*);
  int (*connect)(void*, const char*);
  int (*socket_monitor)(void*, const char*, int);
  int (*msg_init)(ZmqMessage*);
  int (*msg_init_size)(ZmqMessage*, size_t);
  int (*msg_init_data)(ZmqMessage*, void*, size_t, void (*)(void*, void*), void*);
  int (*msg_send)(ZmqMessage*, void*, int);
  int (*msg_recv)(ZmqMessage*, void*, int);
  int (*msg_close)(ZmqMessage*);
  void* (*msg_data)(ZmqMessage*);
  size_t (*msg_size)(const ZmqMessage*);
  int (*msg_get)(const ZmqMessage*, int);
  int (*last_errno)();
  const char* (*strerror)(int);
  int (*curve_keypair)(char*, char*);
  uint8_t* (*z85_decode)(uint8_t*, const char*);

  // Loads the library once. Null with `error` naming where it was looked for.
  static const ZmqApi* get(std::string& error);
};

}  // namespace vgpu::transport
