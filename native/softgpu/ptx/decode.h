// Turns the statements of one body into instructions. Families of instructions are decoded in
// decode_*.cc; each returns false after fail() when it has no handler for a form.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "softgpu/ptx/flow.h"
#include "softgpu/ptx/lanes/isa.h"
#include "softgpu/ptx/module.h"

namespace vgpu::softgpu::ptx {

class Decoder {
 public:
  Decoder(ModuleText& module, Function& function) : module_(module), function_(function) {}
  std::unique_ptr<Code> run(std::string& log);

  // What families use.
  using Family = bool (Decoder::*)();

 private:
  // Families.
  bool decode_move();  // mov, cvta, isspacep, selp, slct, set, setp, activemask
  bool decode_arithmetic();
  bool decode_carry();
  bool decode_convert();
  bool decode_load();
  bool decode_store();
  bool decode_branch();
  bool decode_call();
  bool decode_barrier();
  bool decode_exchange();
  bool decode_atomic();
  bool decode_matrix();
  bool decode_async();
  bool decode_texture();  // tex, tld4, txq, suq
  bool decode_cluster();  // mapa, getctarank
  bool decode_bulk();
  bool decode_tensor_copy();
  bool bulk_reduction(BulkInfo& info);
  // The completion of st.async and red.async, which take effect at once.
  bool complete_bytes(const Operand& barrier, uint32_t bytes);
  bool bulk_place(BulkInfo::Place& place, const Operand& given, Space space);
  bool decode_surface();  // suld, sust, sured
  bool decode_other();
  bool decode_stack();
  bool decode_video();

  bool decode_comparison(Instr& in);
  bool decode_setp();
  bool decode_set();
  bool decode_convert_pack();
  bool decode_mixed(Op op);
  bool decode_slct();
  bool decode_lop3_predicate(uint32_t value);
  bool decode_set_pair(Type to, uint32_t lower, uint32_t upper);
  bool decode_mov();
  bool decode_unpack(const Operand& vector, const Operand& scalar, Type type);
  bool decode_cvta();
  const Function* call_target(std::string_view name);
  bool decode_call_values(const Operand* actual, const std::vector<LocalVariable>& formals,
                          bool results, std::vector<CallInfo::Piece>& out, uint32_t& end);
  bool decode_param_load(const Operand& address, const LocalVariable& variable);
  bool decode_brx();
  bool decode_redux();
  bool decode_matrix_rows(bool store);
  bool decode_wmma_memory(MatrixInfo& info);
  bool decode_matrix_product(MatrixInfo& info);
  bool decode_matrix_scaled(MatrixInfo& info);
  bool decode_mbarrier();
  bool decode_mbarrier_op(MBarrier kind, const Operand& place, const Operand* value,
                          const Operand* to);
  bool decode_texture_query();
  bool texture_place(TextureInfo& info, const Operand& place, bool integer);
  bool texture_vector(const Operand& given, const TextureInfo& info, Type type,
                      uint32_t (&rows)[3]);
  bool texture_results(TextureInfo& info, const Operand& given, Type type);
  static Family family_of(std::string_view base);

  bool fail(const std::string& why);
  bool lower_guards();
  void move_formals(std::vector<Statement>& out, bool results, size_t position, uint32_t loc);
  void find_invariants();
  [[nodiscard]] bool invariant_source(const Operand& operand) const;
  [[nodiscard]] bool invariant_statement(const Statement& statement) const;
  bool decode_invariants(const Statement** failed);
  uint32_t pool_row(uint32_t bytes);
  [[nodiscard]] bool never_read(const Operand& to) const;
  bool decode_statement(const Statement& statement);
  void split_opcode(std::string_view opcode);
  [[nodiscard]] bool has(std::string_view modifier) const;
  [[nodiscard]] const Operand& operand(size_t i) const;
  [[nodiscard]] size_t operands() const { return statement_->operands.size(); }
  [[nodiscard]] uint32_t arithmetic_mods() const;
  [[nodiscard]] Space space_of_opcode() const;

  // Operands. Types say how wide the row must be; narrower or wider registers are resized.
  uint32_t source(const Operand& operand, Type type);
  uint32_t predicate(const Operand& operand);
  uint32_t result(const Operand& operand, Type type);
  uint32_t predicate_result(const Operand& operand);
  uint32_t constant(uint64_t bits, uint32_t bytes);
  uint32_t symbol_address(const Operand& operand, uint32_t bytes);
  uint32_t scratch(uint32_t bytes);
  uint32_t special(const Operand& operand, uint32_t bytes);
  uint64_t literal(const Operand& operand, Type type) const;
  // Base register and offset of an address operand, into a, imm and mods.
  bool address(Instr& in, const Operand& operand);
  std::vector<uint32_t> rows_of(const Operand& operand, Type type, bool results);
  const uint32_t* list(std::vector<uint32_t> operands);
  [[nodiscard]] const LocalVariable* variable(const Operand& operand) const;

  Instr& emit(Handler handler);  // the reference holds until the next emit: find operands first
  bool push(const Instr& in);
  bool finish_code();

  struct Fixup {
    size_t instr;  // whose target it is, or kNone
    uint32_t block;
    BranchInfo* branch = nullptr;
    size_t slot = 0;  // target index; SIZE_MAX: the join
  };
  struct Pending {
    uint32_t from, to, from_bytes, to_bytes;
    bool is_signed;
  };

  ModuleText& module_;
  Function& function_;
  Body body_;
  Flow flow_;
  Rows rows_;
  std::unique_ptr<Code> code_;
  std::vector<Fixup> fixups_;
  std::vector<size_t> block_start_;
  std::map<std::pair<uint64_t, uint32_t>, uint32_t> constants_;
  std::map<uint32_t, std::pair<std::vector<uint32_t>, size_t>> scratch_;  // by row bytes
  std::vector<Pending> pending_;
  std::vector<bool> invariant_register_, invariant_statement_;
  std::vector<uint32_t> mentions_;  // how often statements name a register
  bool once_ = false;               // what is emitted now runs once per launch
  uint32_t carry_ = 0;              // the condition code register, once used

  const Statement* statement_ = nullptr;
  std::vector<std::string_view> parts_;  // of the opcode
  std::vector<Type> types_;              // among them
  Type type_ = Type::kNone;              // the last of them
  std::string error_;
  Operand none_;
};

// Handlers that need no lanes of their own (control.cc, special.cc, calls.cc).
namespace handlers {
const Instr* guard(Warp& w, const Instr* in);         // a: predicate; imm: how many instructions
const Instr* jump(Warp& w, const Instr* in);          // target
const Instr* branch(Warp& w, const Instr* in);        // a: predicate; data: BranchInfo
const Instr* branch_table(Warp& w, const Instr* in);  // a: index row; data: BranchInfo
const Instr* join(Warp& w, const Instr* in);
const Instr* exit(Warp& w, const Instr* in);  // a: predicate
const Instr* trap(Warp& w, const Instr* in);
const Instr* ret(Warp& w, const Instr* in);
const Instr* nothing(Warp& w, const Instr* in);
const Instr* fence(Warp& w, const Instr* in);
const Instr* nanosleep(Warp& w, const Instr* in);
const Instr* call(Warp& w, const Instr* in);  // data: CallInfo
const Instr* barrier(Warp& w,
                     const Instr* in);  // a: id row, b: count row or 0; imm: 0 sync, 1 arrive
const Instr* barrier_reduce(Warp& w, const Instr* in);  // c: predicate; imm: 2 popc, 3 and, 4 or; d
const Instr* warp_barrier(Warp& w, const Instr* in);    // a: member mask
const Instr* local_address(Warp& w, const Instr* in);   // d = frame's local base + imm
const Instr* frame_load(Warp& w, const Instr* in);  // d, imm: offset, mods: bytes | row bytes << 8
const Instr* frame_store(Warp& w, const Instr* in);
const Instr* is_space(Warp& w, const Instr* in);  // d = a in window; imm: window, 0 global, 5
                                                  // const; mods: 1 not of another block
const Instr* redux(Warp& w, const Instr* in);
const Instr* video(Warp& w, const Instr* in);             // d, a, b, c; data: VideoInfo
const Instr* stack_grow(Warp& w, const Instr* in);        // d, a: size; imm: alignment, mods: bytes
const Instr* stack_save(Warp& w, const Instr* in);        // d; mods: bytes
const Instr* stack_restore(Warp& w, const Instr* in);     // a; mods: bytes
const Instr* predicate_to_row(Warp& w, const Instr* in);  // d = a ? imm : 0, mods: row bytes
const Instr* texture_fetch(Warp& w, const Instr* in);     // data: TextureInfo
const Instr* texture_query(Warp& w, const Instr* in);     // imm: 1 for a surface
const Instr* surface_load(Warp& w, const Instr* in);
const Instr* surface_store(Warp& w, const Instr* in);
const Instr* surface_reduce(Warp& w, const Instr* in);
const Instr* cluster_arrive(Warp& w, const Instr* in);
const Instr* cluster_wait(Warp& w, const Instr* in);
const Instr* map_address(Warp& w, const Instr* in);  // d, a, b: rank; mods: bytes; imm: 1 generic
const Instr* rank_of_address(Warp& w, const Instr* in);
const Instr* bulk_copy(Warp& w, const Instr* in);       // data: BulkInfo
const Instr* tensor_copy(Warp& w, const Instr* in);     // data: BulkInfo
const Instr* complete_bytes(Warp& w, const Instr* in);  // data: BulkInfo; imm: bytes
// Special registers; null when unknown. Rows of `bytes`.
Handler special(std::string_view name, uint32_t& id, uint32_t& bytes);
}  // namespace handlers

}  // namespace vgpu::softgpu::ptx
