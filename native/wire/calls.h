// clang-format off: a table, laid out by hand
// What the payload of each wire call holds, where the rule of the generator does not say it already.
// Written by the stub's side, read by the executor's. Append-only, like the record layout.
//
// The rule (generated calls, and manual ones that are not listed below): the `in` parameters in the
// order of the C signature, then, in the reply, the `out` parameters in that order. size_t and
// CUdeviceptr travel as u64, enums and CUdevice as u32 (a CUdevice is the worker's ordinal, not the
// client's), handles as u64 ids, an out handle that the client chooses as an `in` u64 id at its
// place. A CUstream that orders the call is in RecordHeader::stream only (0: the legacy stream; the
// per-thread handle never travels: the stub made a stream for it). A reply carries its payload
// whatever its result is.
//
// Only the calls named in this file and the generated ones travel: the stub maps every other entry
// point onto these (cuMemcpyHtoD_v2 and cuMemcpy become cuMemcpyHtoDAsync_v2, cuStreamCreate becomes
// cuStreamCreateWithPriority, cuLaunchKernel_ptsz becomes cuLaunchKernel with another stream, ...).
//
// Notation: `u32 a, u64 b` fields back to back without padding; `text` a u32 length and the bytes;
// `bytes[n]` raw; `[..]*n` repeated n times; `->` what the reply holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "wire/handle.h"

namespace vgpu::wire {

// --- Fixed identities ------------------------------------------------------------------------------
// primary_context(ordinal) is in handle.h. The default memory pool of a device likewise exists without
// being created: the executor resolves it with cuDeviceGetDefaultMemPool.
constexpr uint64_t default_mem_pool(int ordinal) {
  return make_handle(HandleKind::kMemPool, 0x100u + static_cast<uint64_t>(ordinal));
}
inline constexpr uint64_t kFirstCreatedMemPool = 0x1000;

// --- context ---------------------------------------------------------------------------------------
// Sent in front of the first real call that needs the context; header.context is the id it is about.
// cuDevicePrimaryCtxRetain    async  u32 device, u64 context (= primary_context(device))
// cuDevicePrimaryCtxRelease_v2 async u32 device        (only when the client's last reference went)
// cuDevicePrimaryCtxReset_v2  sync   u32 device
// cuDevicePrimaryCtxSetFlags_v2 async u32 device, u32 flags   (before the Retain it is meant for)
// cuCtxCreate_v2              sync   u64 context, u32 flags, u32 device  (v2, v3 and v4 alike)
// cuCtxDestroy_v2             sync   u64 context
// cuCtxSynchronize            sync   (nothing; the context is header.context; _v2 alike)
// cuCtxGetLimit               sync   u32 limit -> u64 value
// cuCtxSetLimit               sync   u32 limit, u64 value
// cuCtxResetPersistingL2Cache async  (nothing)
// cuCtxEnablePeerAccess       sync   u64 peer context, u32 flags
// cuCtxDisablePeerAccess      sync   u64 peer context
// cuDeviceCanAccessPeer       sync   u32 device, u32 peer -> i32 can     (cached by the client)
// cuDeviceGetP2PAttribute     sync   u32 attribute, u32 source, u32 destination -> i32 value

// --- memory ----------------------------------------------------------------------------------------
// cuMemAlloc_v2       sync   u64 size -> u64 address
// cuMemAllocPitch_v2  sync   u64 width, u64 height, u32 element -> u64 address, u64 pitch
// cuMemFree_v2        async  u64 address
// cuMemGetInfo_v2     sync   (nothing) -> u64 free, u64 total
// Memsets: generated; the synchronous ones travel as ...Async on the legacy (or per-thread) stream.

// --- copies ----------------------------------------------------------------------------------------
// Host to device. The bytes follow inline, or travel as the bulk transfer named first (kHasBulk).
// cuMemcpyHtoDAsync_v2  async  [kHasBulk: u64 transfer] u64 destination, u64 size [no bulk: bytes[size]]
// Device to host. With kHasBulk the data goes out on the bulk lane under that number; without it (only
// with kReplyWanted, size <= kMaxInline) the data is the reply's payload. With kReplyWanted the reply
// says that the copy is complete, and comes after its data.
// cuMemcpyDtoHAsync_v2  [kHasBulk: u64 transfer] u64 source, u64 size -> [no bulk: bytes[size]]
// In both cases the reply also says whether the stream had nothing else to do: it is in order, so it
// had, and the client answers a cuStreamSynchronize that follows at once by itself.
// cuMemcpyDtoDAsync_v2  async  u64 destination, u64 source, u64 size
// cuMemcpyPeerAsync     async  u64 destination, u64 destination context, u64 source, u64 source context,
//                              u64 size
// cuMemcpy3DPeerAsync   async  Copy3d, u64 source context, u64 destination context  (no host side)
// cuMemcpy3DAsync_v2 (also for every 2D copy): a host side is always tightly packed (pitch = width,
// slice height = height, origin 0): the client gathers and scatters rows.
// cuMemcpy3DAsync_v2    [kHasBulk: u64 transfer] Copy3d [source host and no bulk: bytes[w * h * d]]
//                       -> [destination host and no bulk: bytes[w * h * d]]
// In a graph (under capture too) a host side is a host entry, no bytes follow, and the call is async.
struct CopyEnd {
  uint32_t memory_type;  // CUmemorytype: 1 host, 2 device, 3 array
  uint32_t lod;
  uint64_t pointer;  // device address, or array id; for host 0, in a graph the host entry
  uint64_t pitch;    // bytes per row; 0 for array; for a host entry the first address that is touched
  uint64_t height;   // rows per slice; 0 for array; for a host entry how many bytes from there
  uint64_t x_bytes;
  uint64_t y;
  uint64_t z;
};
struct Copy3d {
  CopyEnd source;
  CopyEnd destination;
  uint64_t width_bytes;
  uint64_t height;
  uint64_t depth;
};
static_assert(sizeof(CopyEnd) == 56 && sizeof(Copy3d) == 136);
static_assert(std::is_trivially_copyable_v<Copy3d>);

// --- stream-ordered memory -------------------------------------------------------------------------
// cuMemAllocAsync          sync   u64 size -> u64 address                 (stream in the header)
// cuMemAllocFromPoolAsync  sync   u64 size, u64 pool -> u64 address       (stream in the header)
//                          under capture both end in u64 host entry, which stands for the memory
// cuMemFreeAsync           async  u64 address                             (stream in the header)
// cuMemPoolCreate          sync   u64 pool, MemPoolProps
// cuMemPoolDestroy         async  u64 pool
// cuMemPoolTrimTo          async  u64 pool, u64 keep
// cuMemPoolSetAttribute    async  u64 pool, u32 attribute, u64 value      (int attributes widened)
// cuMemPoolGetAttribute    sync   u64 pool, u32 attribute -> u64 value
// cuMemPoolSetAccess       sync   u64 pool, u32 n, [u32 location type, i32 ordinal, u32 flags]*n
// cuMemPoolGetAccess       sync   u64 pool, u32 location type, i32 ordinal -> u32 flags
// cuDeviceSetMemPool       async  u32 device, u64 pool
struct MemPoolProps {
  uint32_t alloc_type;
  uint32_t handle_types;
  uint32_t location_type;
  int32_t location_id;  // the worker's ordinal when the type is CU_MEM_LOCATION_TYPE_DEVICE
  uint64_t max_size;
  uint32_t usage;
  uint32_t reserved;
};
static_assert(sizeof(MemPoolProps) == 32);

// --- virtual memory management ---------------------------------------------------------------------
// cuMemAddressReserve  sync   u64 size, u64 alignment, u64 hint, u64 flags -> u64 address
// cuMemAddressFree     sync   u64 address, u64 size
// cuMemCreate          sync   u64 allocation, u64 size, MemAllocationProps, u64 flags
// cuMemRelease         async  u64 allocation
// cuMemMap             sync   u64 address, u64 size, u64 offset, u64 allocation, u64 flags
// cuMemUnmap           sync   u64 address, u64 size
// cuMemSetAccess       sync   u64 address, u64 size, u32 n, [u32 location type, i32 ordinal, u32 flags]*n
// cuMemGetAccess       sync   u64 address, u32 location type, i32 ordinal -> u64 flags
// cuMemGetAllocationGranularity sync MemAllocationProps, u32 option -> u64 granularity (cached)
struct MemAllocationProps {
  uint32_t type;
  uint32_t requested_handle_types;
  uint32_t location_type;
  int32_t location_id;
  uint8_t compression;
  uint8_t gpu_direct_rdma;
  uint16_t usage;
  uint32_t reserved;
};
static_assert(sizeof(MemAllocationProps) == 24);

// --- streams and events ----------------------------------------------------------------------------
// cuStreamCreateWithPriority  async  u64 stream, u32 flags, i32 priority
// cuStreamDestroy_v2          async  u64 stream            (header.stream is the same stream)
// cuStreamSynchronize         sync   (nothing)
// cuStreamQuery               sync   (nothing)             result SUCCESS or NOT_READY
// cuStreamWaitEvent           async  u64 event, u32 flags
// cuEventCreate               async  u64 event, u32 flags
// cuEventDestroy_v2           async  u64 event
// cuEventRecordWithFlags      async  u64 event, u32 flags  (cuEventRecord too)
// cuEventQuery                sync   u64 event             order: after the record it is about
// cuEventSynchronize          sync   u64 event
// cuEventElapsedTime          sync   u64 start, u64 end -> f32 milliseconds
// cuStreamSetAttribute        async  u32 attribute, bytes[64]
// cuStreamGetAttribute        sync   u32 attribute -> bytes[64]
// cuStreamCopyAttributes      async  u64 destination, u64 source
// cuStreamWriteValue32_v2 / WaitValue32_v2 async  u64 address, u32 value, u32 flags; ...64_v2: u64 value
// cuStreamBatchMemOp_v2       async  u32 n, bytes[n * 48], u32 flags

// A host function runs in the client. The stub records an event of its own in the stream, then appends
// cuLaunchHostFunc without waiting: it parks the stream's queue. A thread of the stub waits for the event
// (cuEventSynchronize), runs the function, and then calls cuStreamAddCallback with the same ticket: "the
// function has returned". That call takes no stream, and is handled when it is decoded, out of every
// queue; while the ticket is not known yet it answers INVALID_VALUE and is repeated.
// cuLaunchHostFunc     async  u64 ticket                  (stream in the header)
// cuStreamAddCallback  sync   u64 ticket
// While the stream is capturing, the ticket of cuLaunchHostFunc is a host entry (below).
//
// Graphs name things of the client by *host entries*: numbers that the client chooses, for a function, a
// host side of a copy, memory that the graph allocates, or a user object. While a graph runs the executor
// asks the client for what it needs: a thread of the stub keeps a kWait waiting (cuStreamAddCallback with
// ticket 0), does what its reply says, and says so with its next one.
// cuStreamAddCallback  sync   [kHasBulk: u64 transfer] u64 0, u32 verb, ...
//   kWait   u64 serial that is done (0: none) -> u64 serial, u32 n, [u32 HostAction, u64 entry]*n
//   kSend   u64 entry, u64 offset, u64 size [no bulk: bytes[size]]       what a copy of the graph reads
//   kFetch  u64 entry, u64 offset, u64 size -> [no bulk: bytes[size]]    what it has written
enum class HostVerb : uint32_t { kWait = 0, kSend = 1, kFetch = 2 };
enum class HostAction : uint32_t {
  kRunFunction = 0,
  kSendSource = 1,
  kFetchDestination = 2,
  kForget = 3,         // no graph names the entry any more
  kDestroyObject = 4,  // the user object has lost its last reference
  kKeepMemory = 5,     // no graph has the memory any more, but a launch has left it
};

// --- modules and libraries -------------------------------------------------------------------------
// The image: `kind` is image::Kind (kPtx, kElf, kFatbin; never kWrapper). Several parts (wrapper
// version 2) are fat binaries that belong to one module; part 0 is the first. PTX is sent without its
// terminating zero. The bytes of all parts follow each other, inline or as one bulk transfer.
// cuModuleLoadDataEx  sync  [kHasBulk: u64 transfer] u64 module, LoadImage, [u64 size]*parts,
//                           [u32 option, u64 value]*options, [no bulk: bytes]
//                           -> text info log, text error log
// cuLibraryLoadData   sync  the same with a library id (options: JIT options; library options stay
//                           with the client)
// Options are the ones that carry a plain value; log buffers are not among them: `info_bytes` and
// `error_bytes` say how much log the caller has room for (0: none wanted; the executor asks the driver
// for an error log anyway and sends it, for the client's log).
struct LoadImage {
  uint32_t kind;
  uint32_t parts;
  uint32_t options;
  uint32_t info_bytes;
  uint32_t error_bytes;
  uint32_t log_verbose;
};
static_assert(sizeof(LoadImage) == 24);
// cuModuleUnload       async  u64 module
// cuLibraryUnload      async  u64 library
// cuModuleGetFunction  sync   u64 module, u64 function, text name   -> FunctionInfo
// cuLibraryGetKernel   sync   u64 library, u64 kernel, text name    -> FunctionInfo
// cuLibraryGetModule   sync   u64 library, u64 module (id to give it)
// cuModuleEnumerateFunctions  sync  u64 module, u64 first id, u32 room  -> u32 total, u32 n,
//                                   FunctionInfo*n      ids first, first + 1, ... are bound to them
// cuLibraryEnumerateKernels   sync  u64 library, u64 first id, u32 room -> the same
// cuModuleGetGlobal_v2 sync   u64 module, text name  -> u64 address, u64 size
// cuLibraryGetGlobal   sync   u64 library, text name -> u64 address, u64 size
// FunctionInfo: text name, u32 count, [i32 value]*count (CUfunction_attribute 0.., INT32_MIN where the
//               driver refused; at least 0..15), u32 parameters, [u64 offset, u64 size]*parameters
// A kernel id is accepted wherever a function id is, as the driver accepts a CUkernel.
// cuFuncSetAttribute   async  u64 function, u32 attribute, i32 value
// cuKernelSetAttribute async  u32 attribute, i32 value, u64 kernel, u32 device
// cuFuncSetCacheConfig async  u64 function, u32 config
// cuFuncLoad           sync   u64 function

// --- launches --------------------------------------------------------------------------------------
// cuLaunchKernel             async  u64 function, u32 grid[3], u32 block[3], u32 shared bytes,
//                                   u32 parameter bytes, bytes
// cuLaunchCooperativeKernel  async  the same
// cuLaunchKernelEx           async  u64 function, u32 grid[3], u32 block[3], u32 shared bytes,
//                                   u32 attributes, [u32 id, u32 0, bytes[64]]*attributes,
//                                   u32 parameter bytes, bytes
// Parameters are packed as the layout in FunctionInfo says: pass them on with
// CU_LAUNCH_PARAM_BUFFER_POINTER. Handles inside attribute values (events: ids 7 and 12) are ids.
struct LaunchHeader {
  uint64_t function;
  uint32_t grid[3];
  uint32_t block[3];
  uint32_t shared_bytes;
};
static_assert(sizeof(LaunchHeader) == 40 && offsetof(LaunchHeader, shared_bytes) == 32);
// (the struct ends in 4 bytes of padding: only its first 36 bytes travel)
inline constexpr size_t kLaunchHeaderBytes = 36;

// --- occupancy -------------------------------------------------------------------------------------
// cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags sync u64 function, i32 block, u64 shared,
//                                                           u32 flags -> i32 blocks
// cuOccupancyAvailableDynamicSMemPerBlock sync  u64 function, i32 blocks, i32 block size -> u64 bytes
// cuOccupancyMaxPotentialBlockSizeWithFlags: the client computes it from the first one.
// cuOccupancyMaxActiveClusters / cuOccupancyMaxPotentialClusterSize
//                                         sync  like cuLaunchKernelEx without parameter bytes -> i32

// --- graphs ----------------------------------------------------------------------------------------
// The executor keeps a reverse map from driver handles to ids: a graph or node that it shows again
// keeps its id. `fresh graph` and `first node` are ids that it may use up for those it shows first;
// `room` is how many.
// cuStreamBeginCapture_v2      async  u32 mode (always relaxed)
// cuStreamEndCapture           sync   u64 fresh graph -> u64 graph (0 with an error)
// cuStreamIsCapturing          sync   -> u32 status
// cuStreamGetCaptureInfo_v2    sync   u64 fresh graph, u64 first node, u32 room
//                                     -> u32 status, u64 capture id, u64 graph, u32 n, [u64 node]*n,
//                                        u32 edges, bytes[edges * 8]  (CUgraphEdgeData; may be 0)
// cuStreamUpdateCaptureDependencies sync u32 n, [u64 node]*n, u32 flags
// cuThreadExchangeStreamCaptureMode: local
// cuGraphCreate                async  u64 graph, u32 flags
// cuGraphDestroy               async  u64 graph
// cuGraphClone                 sync   u64 fresh graph, u64 original
// cuGraphInstantiateWithFlags  sync   u64 exec, u64 graph, u64 flags    (and ...WithParams' flags)
//                                     -> u32 InstanceKinds
// cuGraphExecDestroy           async  u64 exec
// cuGraphLaunch                async  u64 exec
// cuGraphUpload                async  u64 exec
// cuGraphGetNodes              sync   u64 graph, u64 first node, u32 room -> u64 total, u32 n, [u64]*n
// cuGraphGetRootNodes          sync   the same
// cuGraphGetEdges              sync   u64 graph, u64 first node, u32 room -> u64 total, u32 n,
//                                     [u64 from]*n, [u64 to]*n
// cuGraphNodeGetType           sync   u64 node -> u32 type
// cuGraphNodeGetDependencies / DependentNodes sync u64 node, u64 first node, u32 room -> u64 total,
//                                     u32 n, [u64]*n
// cuGraphExecUpdate            sync   u64 exec, u64 graph, u64 first node (two ids) -> u32 update result,
//                                     u64 error node, u64 error from node (or 0), u32 InstanceKinds
// cuGraphDestroyNode           sync   u64 node
// cuGraphAddEmptyNode          sync   u64 node, u64 graph, u32 n, [u64 dependency]*n
// cuGraphAddDependencies       sync   u64 graph, u32 n, [u64 from]*n, [u64 to]*n
// cuGraphAddKernelNode_v2      sync   u64 node, u64 graph, u32 n, [u64]*n, LaunchHeader[36], u32
//                                     parameter bytes, bytes
// cuGraphAddMemsetNode         sync   u64 node, u64 graph, u32 n, [u64]*n, u64 context, u64 address,
//                                     u64 pitch, u32 value, u32 element, u64 width, u64 height
// cuGraphAddMemcpyNode         sync   u64 node, u64 graph, u32 n, [u64]*n, u64 context, Copy3d
// cuStreamBeginCaptureToGraph  sync   u64 graph, u32 n, [u64 dependency]*n
// cuGraphRemoveDependencies    sync   like cuGraphAddDependencies
// cuGraphAddNode_v2            sync   u64 node, u64 graph, u32 n, [u64]*n, NodeParams -> u64 address of an
//                                     allocation (0 otherwise)
// cuGraphNodeSetParams         sync   u64 node, NodeParams
// cuGraphExecNodeSetParams     sync   u64 exec, u64 node, NodeParams
// cuGraph...NodeGetParams, ...GetEvent  sync  u64 node -> what follows the type in NodeParams (kernel
//                                     nodes: without context; allocations: the address behind it)
// NodeParams: u32 CUgraphNodeType, then
//   kernel       LaunchHeader[36], u32 parameter bytes, bytes
//   memcpy       u64 context, Copy3d
//   memset       u64 context, u64 address, u64 pitch, u32 value, u32 element, u64 width, u64 height
//   host         u64 host entry
//   graph        u64 graph, u32 CUgraphChildGraphNodeOwnership
//   event        u64 event
//   batch        u64 context, u32 n, bytes[48]*n, u32 flags
//   allocation   u64 host entry, MemPoolProps, u32 n, [u32 location type, i32 ordinal, u32 flags]*n, u64 size
//   free         u64 address
//   conditional  u64 context, u64 conditional handle, u32 type, u32 n, [u64 body graph]*n
// cuGraphChildGraphNodeGetGraph sync  u64 node, u64 fresh graph -> u64 graph
// cuGraphNodeFindInClone       sync   u64 original node, u64 clone, u64 fresh node -> u64 node
// cuGraphKernelNodeGetAttribute sync  u64 node, u32 attribute -> bytes[64]
// cuGraphKernelNodeSetAttribute sync  u64 node, u32 attribute, bytes[64]
// cuGraphConditionalHandleCreate sync u64 graph, u64 context, u32 default, u32 flags -> u64 handle
// cuGraphDebugDotPrint         sync   u64 graph, u32 flags -> text
// cuDeviceGetGraphMemAttribute sync   u32 device, u32 attribute -> u64
// cuDeviceSetGraphMemAttribute sync   u32 device, u32 attribute, u64
// cuUserObjectCreate           sync   u64 object, u64 host entry, u32 references
// cuUserObjectRetain / Release sync   u64 object, u32 count
// cuGraphRetainUserObject      sync   u64 graph, u64 object, u32 count, u32 flags
// cuGraphReleaseUserObject     sync   u64 graph, u64 object, u32 count

enum InstanceKinds : uint32_t {
  kInvolvesHost = 1u << 0,  // launches call functions, or touch memory, of the client
  kMemoryStays = 1u << 1,   // a launch may be refused for memory that is still, or not yet, there
};

// --- link ------------------------------------------------------------------------------------------
// cuLinkCreate_v2   sync  u64 link, u32 options, u32 info_bytes, u32 error_bytes, [u32, u64]*options
// cuLinkAddData_v2  sync  [kHasBulk: u64 transfer] u64 link, u32 type, text name, u64 size, u32 options,
//                         [u32, u64]*options, [no bulk: bytes[size]] -> text info log, text error log
//                         (cuLinkAddFile too: the client reads the file)
// cuLinkComplete    sync  u64 link -> u64 size, text info log, text error log, bytes[size]
// cuLinkDestroy     async u64 link

// --- arrays ----------------------------------------------------------------------------------------
// cuArray3DCreate_v2  sync  u64 array, u64 width, u64 height, u64 depth, u32 format, u32 channels,
//                           u32 flags                       (cuArrayCreate_v2 too)
// cuArrayDestroy      async u64 array
// cuMipmappedArrayCreate    sync  u64 mipmapped array, u64 width, u64 height, u64 depth, u32 format,
//                                 u32 channels, u32 flags, u32 levels
// cuMipmappedArrayGetLevel  sync  u64 array (id to give it), u64 mipmapped array, u32 level
// cuMipmappedArrayDestroy   async u64 mipmapped array
// Texture and surface objects are the driver's own values, since device code reads them.
// cuTexObjectCreate   sync  ResourceDesc, TextureDesc, ResourceViewDesc -> u64 object
// cuTexObjectDestroy  async u64 object
// cuSurfObjectCreate  sync  ResourceDesc -> u64 object
// cuSurfObjectDestroy async u64 object
struct ResourceDesc {
  uint32_t type;     // CUresourcetype
  uint32_t flags;
  uint64_t pointer;  // id of an array or mipmapped array; device address
  uint32_t format;   // this and what follows: of linear and pitched memory
  uint32_t channels;
  uint64_t width;    // bytes of linear memory, elements of pitched memory
  uint64_t height;
  uint64_t pitch;
};
struct TextureDesc {
  uint32_t address_modes[3];
  uint32_t filter_mode;
  uint32_t flags;
  uint32_t max_anisotropy;
  uint32_t level_filter_mode;
  float level_bias;
  float least_level;
  float most_level;
  float border[4];
};
struct ResourceViewDesc {
  uint32_t present;  // 0: no view, all else is 0
  uint32_t format;
  uint64_t width;
  uint64_t height;
  uint64_t depth;
  uint32_t first_level;
  uint32_t last_level;
  uint32_t first_layer;
  uint32_t last_layer;
};
static_assert(sizeof(ResourceDesc) == 48 && sizeof(TextureDesc) == 56);
static_assert(sizeof(ResourceViewDesc) == 48);
// cuTensorMapEncodeTiled  sync  TensorMapDesc -> bytes[128]   (what a kernel gets as its parameter)
struct TensorMapDesc {
  uint64_t address;
  uint64_t dimensions[5];
  uint64_t strides[4];
  uint32_t box[5];
  uint32_t steps[5];
  uint32_t type;  // this and what follows: the driver's enumerations
  uint32_t rank;
  uint32_t interleave;
  uint32_t swizzle;
  uint32_t promotion;
  uint32_t fill;
};
static_assert(sizeof(TensorMapDesc) == 144);
inline constexpr size_t kTensorMapBytes = 128;

}  // namespace vgpu::wire
