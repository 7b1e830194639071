// Instructions of clusters, and bulk copies between global memory and a cluster's shared memory.
#include <utility>

#include "softgpu/ptx/bulk.h"
#include "softgpu/ptx/decode.h"

namespace vgpu::softgpu::ptx {

// mapa d, a, rank; getctarank d, a. An address without .shared::cluster is generic.
bool Decoder::decode_cluster() {
  const bool shared = has("shared::cluster");
  Instr in;
  in.mods = size_of(type_);
  if (in.mods != 4 && in.mods != 8) return fail("an address of this type");
  in.a = source(operand(1), type_);
  if (parts_[0] == "getctarank") {
    in.d = result(operand(0), Type::kU32);
    in.run = handlers::rank_of_address;
    return push(in);
  }
  in.b = source(operand(2), Type::kU32);
  in.d = result(operand(0), type_);
  in.imm = shared ? 0 : 1;
  in.run = handlers::map_address;
  return push(in);
}

bool Decoder::bulk_place(BulkInfo::Place& place, const Operand& given, Space space) {
  Instr in;
  if (!address(in, given)) return false;
  place = {in.a, in.imm, (in.mods & kAddress32) != 0, space};
  return true;
}

bool Decoder::complete_bytes(const Operand& barrier, uint32_t bytes) {
  BulkInfo& info = code_->bulks.emplace_back();
  if (!has("mbarrier::complete_tx::bytes")) return fail("completion without an mbarrier");
  if (!bulk_place(info.barrier, barrier, Space::kShared)) return false;
  Instr in;
  in.imm = bytes;
  in.data = &info;
  in.run = handlers::complete_bytes;
  return push(in);
}

bool Decoder::bulk_reduction(BulkInfo& info) {
  constexpr std::pair<std::string_view, BulkOp> kOps[] = {
      {"add", BulkOp::kAdd}, {"min", BulkOp::kMin}, {"max", BulkOp::kMax}, {"inc", BulkOp::kInc},
      {"dec", BulkOp::kDec}, {"and", BulkOp::kAnd}, {"or", BulkOp::kOr},   {"xor", BulkOp::kXor}};
  for (const auto& [name, op] : kOps) {
    if (!has(name)) continue;
    info.op = op;
    return true;
  }
  return false;
}

// cp.async.bulk.tensor.Nd.shared.global...  [to], [map, {coordinates}], [barrier] {, mask} {,
// policy} cp{.reduce}.async.bulk.tensor.Nd.global.shared::cta...  [map, {coordinates}], [from] {,
// policy}
bool Decoder::decode_tensor_copy() {
  Instr in;
  in.run = handlers::nothing;
  if (has("prefetch")) return push(in);
  if (has("im2col") || has("im2col_no_offs") || has("tile::gather4") || has("tile::scatter4") ||
      has("im2col::w") || has("im2col::w::128")) {
    return fail("only tile mode is supported");
  }
  BulkInfo& info = code_->bulks.emplace_back();
  for (uint32_t rank = 1; rank <= 5; ++rank) {
    if (has(std::to_string(rank) + "d")) info.rank = rank;
  }
  info.has_barrier = info.loads = has("mbarrier::complete_tx::bytes");
  const Operand& tensor = operand(info.loads ? 1 : 0);
  if (!tensor.is(Operand::Kind::kAddress) || tensor.parts.size() != 2 || info.rank == 0 ||
      tensor.parts[1].parts.size() != info.rank) {
    return fail("expected [map, {coordinates}]");
  }
  Operand map = tensor;
  map.parts.resize(1);
  if (!bulk_place(info.map, map, Space::kGeneric)) return false;
  for (uint32_t d = 0; d < info.rank; ++d) {
    info.coordinates[d] = source(tensor.parts[1].parts[d], Type::kS32);
  }
  if (!bulk_place(info.to, operand(info.loads ? 0 : 1), Space::kShared)) return false;
  if (info.loads && !bulk_place(info.barrier, operand(2), Space::kShared)) return false;
  if (has("multicast::cluster")) info.multicast = source(operand(3), Type::kU16);
  info.reduces = has("reduce");
  if (info.reduces && !bulk_reduction(info)) return fail("unknown reduction");
  in.data = &info;
  in.run = handlers::tensor_copy;
  return push(in);
}

// cp{.reduce}.async.bulk.dst.src.completion{.multicast}{.cache hint}{.op.type}
//     [to], [from], size {, [barrier]} {, mask} {, policy}
bool Decoder::decode_bulk() {
  Instr in;
  in.run = handlers::nothing;
  if (has("commit_group") || has("wait_group") || has("prefetch")) return push(in);
  BulkInfo& info = code_->bulks.emplace_back();
  std::vector<Space> spaces;
  for (const std::string_view part : parts_) {
    if (part == "global") spaces.push_back(Space::kGlobal);
    if (part == "shared::cta" || part == "shared::cluster") spaces.push_back(Space::kShared);
  }
  if (spaces.size() != 2) return fail("unknown spaces of a bulk copy");
  if (has("cp_mask") || has("ignore_oob")) return fail("byte masks are not supported");
  if (!bulk_place(info.to, operand(0), spaces[0])) return false;
  if (!bulk_place(info.from, operand(1), spaces[1])) return false;
  info.size = source(operand(2), Type::kU32);
  size_t next = 3;
  info.has_barrier = has("mbarrier::complete_tx::bytes");
  if (info.has_barrier && !bulk_place(info.barrier, operand(next++), Space::kShared)) return false;
  if (has("multicast::cluster")) info.multicast = source(operand(next++), Type::kU16);
  info.reduces = has("reduce");
  if (info.reduces) {
    info.type = type_;
    const bool known = size_of(type_) >= 4 || type_ == Type::kF16 || type_ == Type::kBF16;
    if (!known || !bulk_reduction(info)) return fail("unknown reduction");
  }
  in.data = &info;
  in.run = handlers::bulk_copy;
  return push(in);
}

}  // namespace vgpu::softgpu::ptx
