// Compiled only with PANDA_RACE_CHECK.
#include "kernels/simt/race.h"

#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/simt/runtime.h"
#include "kernels/tensor/error.h"

namespace panda::kernels::simt::emulator::race {

namespace {

/// Who accessed a byte, and when, packed in 64 bits: a byte's shadow is two of them. 0: nobody.
struct Stamp {
  uint64_t bits = 0;

  static constexpr int kThreadBits = 10;
  static constexpr int kEpochBits = 14;
  static constexpr int kBlockBits = 24;
  static constexpr uint64_t kEpochMask = (uint64_t{1} << kEpochBits) - 1;

  /// `lane_epoch`: __syncwarps that the thread had passed; `barrier`: __syncthreads; `block`: number of the
  /// block among all that ran, from 1.
  static Stamp make(uint64_t thread, uint64_t lane_epoch, uint64_t barrier, uint64_t block, uint64_t flags) {
    return {thread | lane_epoch << kThreadBits | barrier << (kThreadBits + kEpochBits) |
            block << (kThreadBits + 2 * kEpochBits) | flags << (kThreadBits + 2 * kEpochBits + kBlockBits)};
  }
  [[nodiscard]] uint32_t thread() const { return bits & ((1u << kThreadBits) - 1); }
  [[nodiscard]] uint64_t lane_epoch() const { return bits >> kThreadBits & kEpochMask; }
  [[nodiscard]] uint64_t barrier() const { return bits >> (kThreadBits + kEpochBits) & kEpochMask; }
  [[nodiscard]] uint64_t block() const {
    return bits >> (kThreadBits + 2 * kEpochBits) & ((uint64_t{1} << kBlockBits) - 1);
  }
  [[nodiscard]] uint64_t flags() const { return bits >> (kThreadBits + 2 * kEpochBits + kBlockBits); }
  friend bool operator==(Stamp a, Stamp b) { return a.bits == b.bits; }
};

// In place of a write: nobody may access the byte.
constexpr Stamp kForbidden = {~uint64_t{0}};
// Flags of a write.
constexpr uint64_t kAtomic = 1;
constexpr uint64_t kUnderWay = 2;  // by cp_async16
// Flags of a read: who else has read since the last write, without a barrier between.
constexpr uint64_t kOneThread = 0;
constexpr uint64_t kOneWarp = 1;
constexpr uint64_t kOneBlock = 2;
constexpr uint64_t kManyBlocks = 3;

struct Shadow {
  Stamp write;
  Stamp read;
};

struct DeviceMemory {
  uintptr_t begin;
  size_t bytes;
  std::vector<Shadow> shadow;  // made at the first access
};

// Static and dynamic shared memory of one block, and the bands around each variable.
constexpr size_t kArenaBytes = 512 * 1024;

struct Checker {
  std::unique_ptr<unsigned char[]> arena = std::make_unique<unsigned char[]>(kArenaBytes);
  size_t arena_used = 0;
  std::vector<Shadow> arena_shadow = std::vector<Shadow>(kArenaBytes);
  std::vector<DeviceMemory> device_memory;  // sorted by address
  size_t last_hit = 0;
  uint64_t block = 0;
  uint64_t launch_first_block = 0;
  uint64_t barrier = 0;
  /// clocks[thread][lane]: __syncwarps of that lane of the thread's warp that the thread knows of.
  std::vector<std::array<uint32_t, 32>> clocks;
  bool active = false;     // a kernel runs
  bool inside = false;     // a hook runs: what it calls may be instrumented too
  bool in_atomic = false;  // between atomic_begin and atomic_end
  std::string found;       // the first race of the block
};

Checker& checker() {
  static Checker instance;
  return instance;
}

/// "kernels/cuda/reduce.cu:40", or the offset in the program if the debug information cannot be read.
std::string source_line(const void* return_address) {
  uintptr_t base = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* result) {
        *static_cast<uintptr_t*>(result) = info->dlpi_addr;
        return 1;  // the program itself comes first
      },
      &base);
  const uintptr_t offset = reinterpret_cast<uintptr_t>(return_address) - base - 1;  // within the call
  char command[96];
  std::snprintf(command, sizeof command, "addr2line -e /proc/%d/exe 0x%zx 2>/dev/null", getpid(), offset);
  char line[512] = "";
  if (FILE* pipe = popen(command, "r"); pipe != nullptr) {
    if (std::fgets(line, sizeof line, pipe) == nullptr) line[0] = '\0';
    pclose(pipe);
  }
  line[std::strcspn(line, "\n")] = '\0';
  if (line[0] == '\0' || line[0] == '?') std::snprintf(line, sizeof line, "program+0x%zx", offset);
  return line;
}

std::string memory_name(uintptr_t address) {
  for (const SharedVariable& variable : runtime.shared) {
    const auto begin = reinterpret_cast<uintptr_t>(variable.block.data());
    if (address >= begin && address < begin + variable.block.bytes())
      return text("shared variable ", variable.name, ", byte ", address - begin);
  }
  if (runtime.dynamic != nullptr && runtime.dynamic->contains(reinterpret_cast<void*>(address), 1)) {
    return text("dynamic shared memory, byte ",
                address - reinterpret_cast<uintptr_t>(runtime.dynamic->data()));
  }
  for (const DeviceMemory& memory : checker().device_memory) {
    if (address - (memory.begin - kDeviceBand) < memory.bytes + 2 * kDeviceBand) {
      return text("device memory, byte ", static_cast<int64_t>(address - memory.begin), " of ", memory.bytes);
    }
  }
  return "memory";
}

std::string owner(Stamp stamp) {
  const Checker& c = checker();
  if (stamp.block() != c.block) return text("block number ", stamp.block() - c.launch_first_block);
  const uint3& index = runtime.threads[stamp.thread()].index;
  return text("thread (", index.x, ",", index.y, ",", index.z, ")");
}

void note(const void* pc, uintptr_t address, const std::string& what) {
  Checker& c = checker();
  if (!c.found.empty()) return;
  c.found =
      text(thread_name(*runtime.current), ": ", memory_name(address), ": ", what, ", at ", source_line(pc));
}

/// Whether everything before `stamp` in its thread is known to the running thread.
bool ordered_before(Stamp stamp) {
  const Checker& c = checker();
  if (stamp.block() != c.block) return stamp.block() < c.launch_first_block;
  const auto self = static_cast<uint32_t>(runtime.current->linear);
  if (stamp.thread() == self || stamp.barrier() < c.barrier) return true;
  return stamp.thread() / 32 == self / 32 && c.clocks[self][stamp.thread() % 32] > stamp.lane_epoch();
}

/// The same for a read stamp, which may stand for several readers.
bool reads_ordered_before(Stamp stamp) {
  const Checker& c = checker();
  if (stamp.block() != c.block || stamp.flags() == kOneThread || stamp.barrier() < c.barrier)
    return ordered_before(stamp);
  if (stamp.flags() != kOneWarp) return false;
  const auto self = static_cast<uint32_t>(runtime.current->linear);
  if (stamp.thread() / 32 != self / 32) return false;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    const bool exists = (runtime.current->warp->lanes >> lane & 1) != 0;
    if (exists && lane != self % 32 && c.clocks[self][lane] <= stamp.lane_epoch()) return false;
  }
  return true;
}

Stamp now(uint64_t flags) {
  const Checker& c = checker();
  const auto self = static_cast<size_t>(runtime.current->linear);
  return Stamp::make(self, c.clocks[self][self % 32], c.barrier, c.block, flags);
}

/// The stamp of a byte's readers, after the running thread has joined them.
Stamp joined(Stamp readers, bool shared) {
  const Checker& c = checker();
  if (readers.bits == 0 || readers.block() < c.launch_first_block) return now(kOneThread);
  if (shared && readers.block() != c.block) return now(kOneThread);
  if (readers.block() != c.block || readers.flags() == kManyBlocks) return now(kManyBlocks);
  if (readers.barrier() < c.barrier) return now(kOneThread);
  const auto self = static_cast<uint32_t>(runtime.current->linear);
  if (readers.flags() == kOneBlock || readers.thread() / 32 != self / 32) return now(kOneBlock);
  if (readers.thread() != self || readers.flags() == kOneWarp) return now(kOneWarp);
  return now(kOneThread);
}

Shadow* shadow_of_memory(DeviceMemory& memory) {
  if (memory.shadow.empty()) memory.shadow.resize(memory.bytes);
  return memory.shadow.data();
}

/// Shadow of [address, address + bytes), or nullptr for memory that is no kernel's affair.
Shadow* shadow_of(uintptr_t address, size_t bytes, bool& shared, const void* pc) {
  Checker& c = checker();
  const Stack& stack = *runtime.current->stack;
  if (address - reinterpret_cast<uintptr_t>(stack.memory) < stack.bytes) return nullptr;
  const uintptr_t in_arena = address - reinterpret_cast<uintptr_t>(c.arena.get());
  shared = in_arena < kArenaBytes;
  if (shared) {
    return &c.arena_shadow[in_arena];
  }
  const auto within = [&](const DeviceMemory& one) {
    return address - (one.begin - kDeviceBand) < one.bytes + 2 * kDeviceBand;
  };
  if (c.last_hit >= c.device_memory.size() || !within(c.device_memory[c.last_hit])) {
    const auto after =
        std::upper_bound(c.device_memory.begin(), c.device_memory.end(), address,
                         [](uintptr_t a, const DeviceMemory& one) { return a < one.begin - kDeviceBand; });
    if (after == c.device_memory.begin() || !within(*(after - 1))) return nullptr;
    c.last_hit = static_cast<size_t>(after - 1 - c.device_memory.begin());
  }
  DeviceMemory& memory = c.device_memory[c.last_hit];
  if (address - memory.begin >= memory.bytes || bytes > memory.bytes - (address - memory.begin)) {
    note(pc, address, text("an access of ", bytes, " bytes past the allocation"));
    return nullptr;
  }
  return &shadow_of_memory(memory)[address - memory.begin];
}

void check_read(uintptr_t address, const Shadow& cell, bool shared, const void* pc) {
  if (cell.write == kForbidden) {
    note(pc, address, "read, but it lies outside the tensor");
  } else if (shared && cell.write.block() != checker().block) {
    note(pc, address, "read before the block wrote it");
  } else if (cell.write.bits != 0 && (cell.write.flags() & kUnderWay) != 0 &&
             cell.write.block() == checker().block) {
    note(pc, address, "read while a cp_async16 to it is under way");
  } else if (cell.write.bits != 0 && !ordered_before(cell.write)) {
    note(pc, address, text("read, but ", owner(cell.write), " wrote it and no barrier lies between"));
  }
}

void check_write(uintptr_t address, const Shadow& cell, bool shared, uint64_t flags, const void* pc) {
  if (cell.write == kForbidden) return note(pc, address, "written, but it lies outside the tensor");
  // What other blocks did with these bytes of shared memory they did with their own.
  const auto concerns_us = [&](Stamp stamp) {
    return stamp.bits != 0 && (!shared || stamp.block() == checker().block);
  };
  const bool both_atomic = (flags & cell.write.flags() & kAtomic) != 0;
  if (concerns_us(cell.write) && !both_atomic && !ordered_before(cell.write))
    note(pc, address, text("written, but ", owner(cell.write), " wrote it and no barrier lies between"));
  if (concerns_us(cell.read) && !reads_ordered_before(cell.read))
    note(pc, address, text("written, but ", owner(cell.read), " read it and no barrier lies between"));
}

/// Bytes of one access nearly always have one history: it is checked once.
template <typename Check>
void for_each_history(uintptr_t address, const Shadow* cells, size_t bytes, Check check) {
  for (size_t i = 0; i < bytes; ++i) {
    if (i == 0 || !(cells[i].write == cells[i - 1].write) || !(cells[i].read == cells[i - 1].read))
      check(address + i, cells[i]);
  }
}

void on_read(const void* pointer, size_t bytes, const void* pc) {
  Checker& c = checker();
  if (!c.active || c.inside || c.in_atomic) return;
  c.inside = true;
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  bool shared = false;
  if (Shadow* cells = shadow_of(address, bytes, shared, pc); cells != nullptr) {
    for_each_history(address, cells, bytes,
                     [&](uintptr_t at, const Shadow& cell) { check_read(at, cell, shared, pc); });
    Stamp previous = {~uint64_t{0}};
    Stamp next = {};
    for (size_t i = 0; i < bytes; ++i) {
      if (!(cells[i].read == previous)) next = joined(cells[i].read, shared);
      previous = cells[i].read;
      cells[i].read = next;
    }
  }
  c.inside = false;
}

/// The access itself may end the program: the thread is left where it stands, and the launch fails.
void on_misaligned(const void* pointer, size_t alignment, const char* file, uint32_t line) {
  const Checker& c = checker();
  if (!c.active || c.inside) return;
  runtime.error = std::make_exception_ptr(InternalError(text(
      launch_name(), thread_name(*runtime.current), ": ", memory_name(reinterpret_cast<uintptr_t>(pointer)),
      ": an access that is not aligned to ", alignment, " bytes, at ", file, ":", line)));
  switch_stacks(*runtime.current->stack, runtime.launcher);
}

void on_write(const void* pointer, size_t bytes, uint64_t flags, const void* pc) {
  Checker& c = checker();
  if (!c.active || c.inside || c.in_atomic) return;
  c.inside = true;
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  bool shared = false;
  if (Shadow* cells = shadow_of(address, bytes, shared, pc); cells != nullptr) {
    for_each_history(address, cells, bytes,
                     [&](uintptr_t at, const Shadow& cell) { check_write(at, cell, shared, flags, pc); });
    const Shadow next = {now(flags), {}};
    for (size_t i = 0; i < bytes; ++i) {
      if (!(cells[i].write == kForbidden)) cells[i] = next;
    }
  }
  c.inside = false;
}

}  // namespace

void* allocate_shared(size_t bytes) {
  Checker& c = checker();
  const size_t begin = (c.arena_used + 15) / 16 * 16;
  if (begin + bytes > kArenaBytes) return nullptr;
  c.arena_used = begin + bytes;
  return c.arena.get() + begin;
}

void free_shared() {
  checker().arena_used = 0;
}

void device_memory_allocated(const void* address, size_t bytes) {
  Checker& c = checker();
  DeviceMemory memory = {reinterpret_cast<uintptr_t>(address), bytes, {}};
  const auto after = std::upper_bound(c.device_memory.begin(), c.device_memory.end(), memory.begin,
                                      [](uintptr_t a, const DeviceMemory& one) { return a < one.begin; });
  c.device_memory.insert(after, std::move(memory));
}

void device_memory_freed(const void* address) {
  Checker& c = checker();
  std::erase_if(c.device_memory,
                [&](const DeviceMemory& one) { return one.begin == reinterpret_cast<uintptr_t>(address); });
}

void forbid(const void* address, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(address);
  for (DeviceMemory& memory : checker().device_memory) {
    if (begin - memory.begin < memory.bytes) {
      Shadow* cells = shadow_of_memory(memory) + (begin - memory.begin);
      for (size_t i = 0; i < bytes; ++i) cells[i].write = kForbidden;
    }
  }
}

void launch_started() {
  Checker& c = checker();
  constexpr uint64_t kRoom = uint64_t{1} << (Stamp::kBlockBits - 1);
  if (c.block >= kRoom) {  // start counting again, with nothing remembered
    c.block = 0;
    std::fill(c.arena_shadow.begin(), c.arena_shadow.end(), Shadow{});
    for (DeviceMemory& memory : c.device_memory) memory.shadow.clear();
  }
  c.launch_first_block = c.block + 1;
  c.found.clear();
}

void launch_ended() {
  Checker& c = checker();
  c.active = false;
  c.in_atomic = false;
  free_shared();
}

void block_started(size_t threads) {
  Checker& c = checker();
  ++c.block;
  c.barrier = 0;
  c.clocks.assign(threads, {});
  c.active = true;
}

void block_barrier() {
  Checker& c = checker();
  if (++c.barrier > Stamp::kEpochMask)
    throw InternalError(
        text(launch_name(), "the race checker counts ", Stamp::kEpochMask, " barriers per block"));
}

void warp_barrier(int first_thread, uint32_t mask) {
  Checker& c = checker();
  std::array<uint32_t, 32> known = {};
  auto* lanes = &c.clocks[static_cast<size_t>(first_thread)];
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    // What a lane did until now is what its next epoch comes after.
    if (++lanes[lane][lane] > Stamp::kEpochMask)
      throw InternalError(text(launch_name(), "the race checker counts ", Stamp::kEpochMask, " __syncwarps"));
    for (uint32_t other = 0; other < 32; ++other) known[other] = std::max(known[other], lanes[lane][other]);
  }
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) != 0) lanes[lane] = known;
  }
}

void read(const void* address, size_t bytes) {
  on_read(address, bytes, __builtin_return_address(0));
}
void write(const void* address, size_t bytes) {
  on_write(address, bytes, 0, __builtin_return_address(0));
}
void copy_issued(const void* address, size_t bytes) {
  on_write(address, bytes, kUnderWay, __builtin_return_address(0));
}

void report() {
  Checker& c = checker();
  if (c.found.empty()) return;
  throw InternalError(text(launch_name(), "race: ", std::exchange(c.found, "")));
}

}  // namespace panda::kernels::simt::emulator::race

namespace panda::kernels::simt::emulator {

void atomic_begin(const void* address, size_t bytes) {
  race::on_write(address, bytes, race::kAtomic, __builtin_return_address(0));
  race::checker().in_atomic = true;
}
void atomic_end() {
  race::checker().in_atomic = false;
}

}  // namespace panda::kernels::simt::emulator

// The compiler's calls.
extern "C" {

#define PANDA_READ_HOOK(name, bytes)                            \
  void __tsan_##name##bytes(void* address) {                    \
    namespace race = panda::kernels::simt::emulator::race;      \
    race::on_read(address, bytes, __builtin_return_address(0)); \
  }
#define PANDA_WRITE_HOOK(name, bytes)                               \
  void __tsan_##name##bytes(void* address) {                        \
    namespace race = panda::kernels::simt::emulator::race;          \
    race::on_write(address, bytes, 0, __builtin_return_address(0)); \
  }
#define PANDA_ACCESS_HOOKS(bytes)         \
  PANDA_READ_HOOK(read, bytes)            \
  PANDA_READ_HOOK(volatile_read, bytes)   \
  PANDA_READ_HOOK(unaligned_read, bytes)  \
  PANDA_WRITE_HOOK(write, bytes)          \
  PANDA_WRITE_HOOK(volatile_write, bytes) \
  PANDA_WRITE_HOOK(unaligned_write, bytes)
PANDA_ACCESS_HOOKS(1)
PANDA_ACCESS_HOOKS(2)
PANDA_ACCESS_HOOKS(4)
PANDA_ACCESS_HOOKS(8)
PANDA_ACCESS_HOOKS(16)

void __tsan_read_range(void* address, size_t bytes) {
  panda::kernels::simt::emulator::race::on_read(address, bytes, __builtin_return_address(0));
}
void __tsan_write_range(void* address, size_t bytes) {
  panda::kernels::simt::emulator::race::on_write(address, bytes, 0, __builtin_return_address(0));
}

// -fsanitize=alignment, without libubsan: the first members of what the compiler passes.
struct MisalignedAccess {
  const char* file;
  uint32_t line;
  uint32_t column;
  const void* type;
  unsigned char log_alignment;
};
void __ubsan_handle_type_mismatch_v1(MisalignedAccess* where, void* pointer) {
  panda::kernels::simt::emulator::race::on_misaligned(pointer, size_t{1} << where->log_alignment, where->file,
                                                      where->line);
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

// Host code beside the kernels (reference counts, guards of local statics) has std::atomic's operations.
#define PANDA_ATOMIC_HOOKS(bits, Type)                                                                    \
  Type __tsan_atomic##bits##_load(const volatile Type* a, int) {                                          \
    return __atomic_load_n(a, __ATOMIC_SEQ_CST);                                                          \
  }                                                                                                       \
  void __tsan_atomic##bits##_store(volatile Type* a, Type v, int) {                                       \
    __atomic_store_n(a, v, __ATOMIC_SEQ_CST);                                                             \
  }                                                                                                       \
  Type __tsan_atomic##bits##_exchange(volatile Type* a, Type v, int) {                                    \
    return __atomic_exchange_n(a, v, __ATOMIC_SEQ_CST);                                                   \
  }                                                                                                       \
  Type __tsan_atomic##bits##_fetch_add(volatile Type* a, Type v, int) {                                   \
    return __atomic_fetch_add(a, v, __ATOMIC_SEQ_CST);                                                    \
  }                                                                                                       \
  Type __tsan_atomic##bits##_fetch_sub(volatile Type* a, Type v, int) {                                   \
    return __atomic_fetch_sub(a, v, __ATOMIC_SEQ_CST);                                                    \
  }                                                                                                       \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile Type* a, Type* expected, Type v, int, int) { \
    return __atomic_compare_exchange_n(a, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);        \
  }                                                                                                       \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile Type* a, Type* expected, Type v, int, int) {   \
    return __atomic_compare_exchange_n(a, expected, v, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);         \
  }
PANDA_ATOMIC_HOOKS(8, uint8_t)
PANDA_ATOMIC_HOOKS(32, uint32_t)
PANDA_ATOMIC_HOOKS(64, uint64_t)

}  // extern "C"
