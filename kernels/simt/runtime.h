// The emulator's inside: the block that runs, its threads, and who runs next. Kernels see emulator.h.
#pragma once

#include <array>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "kernels/simt/emulator.h"
#include "kernels/simt/simt_options.h"
#include "kernels/simt/stack.h"
#include "kernels/simt/vector_types.h"

namespace panda::kernels::simt::emulator {

inline constexpr int kMaxThreads = 1024;  // per block
inline constexpr size_t kMaxStaticSharedBytes = 48 * 1024;

/// A cp_async16 under way.
struct PendingCopy {
  unsigned char* destination;
  const unsigned char* source;
  int valid_bytes;
  int group;  ///< number of the thread's groups that were closed before it
  Site site;
};

/// A bulk_copy under way, of the block.
struct PendingBulkCopy {
  unsigned char* destination;
  const unsigned char* source;
  unsigned bytes;
  unsigned long long* barrier;
  Site site;
};

/// A thread's share of a wgmma_f16 under way.
struct PendingProduct {
  float* d;
  const unsigned char* a;
  const unsigned char* b;
  bool add;
  int group;                    ///< number of the thread's groups that were closed before it
  std::array<float, 64> saved;  ///< of the first one of its sums: these; of the others filled when it is done
  Site site;
};

enum class ThreadState : uint8_t { kReady, kAtBarrier, kAtRendezvous, kDone };

struct Warp;

struct Thread {
  Stack* stack = nullptr;  ///< null before its first instruction
  Warp* warp = nullptr;
  uint3 index = {};
  int linear = 0;
  int lane = 0;
  ThreadState state = ThreadState::kReady;
  uint32_t mask = 0;  ///< of the rendezvous it waits at
  Site site = {};     ///< where it waits
  void* operands = nullptr;
  int copy_groups = 0;
  std::vector<PendingCopy> copies;
  int product_groups = 0;
  int wait_newest = 0;  ///< groups that its wgmma_wait leaves under way
  std::vector<PendingProduct> products;
};

/// Lanes that have come to one rendezvous.
struct Meeting {
  uint32_t mask;
  uint32_t arrived;
  Site site;
};

struct Warp {
  uint32_t lanes = 0;  ///< that the block has
  uint32_t exited = 0;
  int first_thread = 0;
  std::vector<Meeting> meetings;
};

/// Threads that can run, taken in the launch's order.
class ReadyQueue {
 public:
  void start(Order order, uint64_t seed);
  [[nodiscard]] bool empty() const { return count_ == 0; }
  void push(Thread& thread);
  /// At the end that is taken last, whatever the order: a thread that waits must not be asked again at once.
  void push_last(Thread& thread);
  [[nodiscard]] Thread& take();

 private:
  static constexpr uint32_t kCapacity = kMaxThreads;  // a power of two
  Thread* ring_[kCapacity] = {};
  uint32_t head_ = 0;
  uint32_t count_ = 0;
  Order order_ = Order::kFifo;
  uint64_t random_ = 0;
};

/// Memory of exactly `bytes` bytes. Under AddressSanitizer its redzones are the guard; elsewhere bands on
/// both sides, compared when asked.
class GuardedBlock {
 public:
  explicit GuardedBlock(size_t bytes);
  [[nodiscard]] unsigned char* data() const { return data_; }
  [[nodiscard]] size_t bytes() const { return bytes_; }
  [[nodiscard]] bool contains(const void* pointer, size_t bytes) const;
  /// "" or which side was written.
  [[nodiscard]] std::string damage() const;

 private:
  size_t bytes_;
  std::unique_ptr<unsigned char, void (*)(void*)> memory_;
  unsigned char* data_;
};

struct SharedVariable {
  const void* key;
  const char* name;
  const char* file;
  int line;
  GuardedBlock block;
  bool live;  ///< declared by a thread of the block that runs
};

/// The one launch that runs. Launches from several OS threads wait for each other.
struct Runtime {
  // The launch.
  const char* kernel = "";
  void (*body)(void*) = nullptr;
  void* context = nullptr;
  int compute_capability = 0;
  Order order = Order::kFifo;
  uint64_t seed = 0;
  unsigned char poison = 0xff;

  // The block.
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  ReadyQueue ready;
  Thread* current = nullptr;
  int live = 0;
  int at_barrier = 0;
  int barrier_votes = 0;
  int barrier_result = 0;
  Site barrier_site = {};
  int idle_yields = 0;  ///< since anything but a yield happened
  std::vector<PendingBulkCopy> bulk_copies;
  uint64_t bulk_random = 0;  ///< draws which of them arrives
  std::vector<SharedVariable> shared;
  std::unique_ptr<GuardedBlock> dynamic;
  std::exception_ptr error;

  Stack launcher;
  StackPool stacks;

  Runtime();
  void run_block(dim3 block);
  void start_block(dim3 block);
  void finish_block();
  /// Suspends the thread that runs and goes on with the next one.
  void suspend();
  void make_current(Thread& thread);
  /// The next thread that can run. None while some wait is a deadlock: null, and `error` says who waits
  /// where.
  [[nodiscard]] Thread* next_thread();
  void end_thread();
  [[noreturn]] void thread_loop();
};

extern Runtime runtime;

/// "block (0,0,0), thread (3,0,0)".
[[nodiscard]] std::string thread_name(const Thread& thread);
/// "0x0000ffff".
[[nodiscard]] std::string hex(uint32_t mask);
[[nodiscard]] std::string site_name(const Site& site);
/// "simt: KERNEL, order random:7: "
[[nodiscard]] std::string launch_name();

}  // namespace panda::kernels::simt::emulator
