// Barriers in memory, bulk copies and warpgroup products of sm_90. What they do: kernels/cuda/ptx_sm90.cuh.
#include "kernels/simt/ptx_sm90_twins.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "kernels/simt/runtime.h"
#include "kernels/tensor/dtype.h"
#include "kernels/tensor/error.h"

namespace panda::kernels::simt {

namespace emulator {

namespace {

constexpr uint32_t kAllLanes = 0xffffffffu;

// A barrier's word: 16 bits of arrivals per phase, 16 of arrivals still to come, 31 of bytes still to come
// (they may come before they are expected: plus 2^30), and the phase's parity.
constexpr unsigned long long kNoBytes = 1ULL << 30;
struct BarrierState {
  unsigned arrivals;
  unsigned pending;
  long long bytes;
  unsigned parity;
};
BarrierState state_of(const MBarrier* barrier, const Site& site) {
  require_shared(barrier, sizeof *barrier, site);
  if (reinterpret_cast<uintptr_t>(barrier) % sizeof *barrier != 0)
    fail(site, "the barrier is not aligned to 8 bytes");
  const MBarrier word = *barrier;
  const BarrierState state = {
      static_cast<unsigned>(word & 0xffff), static_cast<unsigned>(word >> 16 & 0xffff),
      static_cast<long long>(word >> 32 & 0x7fffffff) - static_cast<long long>(kNoBytes),
      static_cast<unsigned>(word >> 63)};
  if (state.arrivals == 0 || state.arrivals > static_cast<unsigned>(kMaxThreads) ||
      state.pending > state.arrivals)
    fail(site, "the barrier was not initialised");
  return state;
}
void store(MBarrier* barrier, BarrierState state) {
  if (state.pending == 0 && state.bytes == 0) {  // the phase is complete
    state.parity ^= 1;
    state.pending = state.arrivals;
  }
  runtime.idle_yields = 0;
  *barrier = static_cast<unsigned long long>(state.parity) << 63 |
             (static_cast<unsigned long long>(state.bytes) + kNoBytes) << 32 | state.pending << 16 |
             state.arrivals;
}

void arrive(MBarrier* barrier, unsigned bytes, const Site& site) {
  require_capability(90, site);
  BarrierState state = state_of(barrier, site);
  if (state.pending == 0)
    fail(site, text("more arrivals in a phase than the ", state.arrivals, " it was made for"));
  --state.pending;
  state.bytes += bytes;
  store(barrier, state);
}

/// One of the block's copies that are under way arrives.
void land_one() {
  auto& copies = runtime.bulk_copies;
  size_t chosen = 0;
  if (runtime.order == Order::kReverse) chosen = copies.size() - 1;
  if (runtime.order == Order::kRandom) {
    runtime.bulk_random = runtime.bulk_random * 6364136223846793005ULL + 1442695040888963407ULL;
    chosen = static_cast<size_t>(runtime.bulk_random >> 33) % copies.size();
  }
  const PendingBulkCopy copy = copies[chosen];
  copies.erase(copies.begin() + static_cast<std::ptrdiff_t>(chosen));
  std::memcpy(copy.destination, copy.source, copy.bytes);
  BarrierState state = state_of(copy.barrier, copy.site);
  state.bytes -= copy.bytes;
  store(copy.barrier, state);
}

constexpr int kWarpRows = 16;
constexpr int kDepth = 16;
constexpr int kColumns = 128;
/// Rows of a swizzled operand are 128 bytes; the places of their 16-byte chunks repeat every 8 rows.
constexpr uintptr_t kRowBytes = 128;
constexpr uintptr_t kPatternBytes = 8 * kRowBytes;

/// f16 element (row, k) of an operand: the address has three bits exchanged with those of the row.
float element(const unsigned char* operand, int row, int k) {
  const auto plain = reinterpret_cast<uintptr_t>(operand) + static_cast<uintptr_t>(row) * kRowBytes +
                     2 * static_cast<uintptr_t>(k);
  const uintptr_t swizzled = plain ^ (plain >> 7 & 7) << 4;
  Float16 value;
  std::memcpy(&value, reinterpret_cast<const void*>(swizzled), sizeof value);
  return to_float(value);
}

using Quad = float __attribute__((vector_size(16)));

/// The sums of one product of the 32 lanes of a warp, whose sums so far are in `saved`.
void multiply(Thread* const* lanes, size_t product) {
  const PendingProduct& first = lanes[0]->products[product];
  const int warp_row = lanes[0]->linear / 32 % 4 * kWarpRows;
  float a[kWarpRows][kDepth];
  Quad b[kDepth][kColumns / 4];
  for (int k = 0; k < kDepth; ++k) {
    for (int row = 0; row < kWarpRows; ++row) a[row][k] = element(first.a, warp_row + row, k);
    for (int n = 0; n < kColumns; ++n) b[k][n / 4][n % 4] = element(first.b, n, k);
  }
  Quad sums[kWarpRows][kColumns / 4];
  const auto each = [&](auto&& body) {
    for (int lane = 0; lane < 32; ++lane) {
      for (int i = 0; i < 64; ++i) {
        const int row = lane / 4 + i / 2 % 2 * 8;
        const int column = i / 4 * 8 + lane % 4 * 2 + i % 2;
        body(lanes[lane]->products[product].saved[static_cast<size_t>(i)], sums[row][column / 4], column % 4);
      }
    }
  };
  each([&](float& saved, Quad& sum, int place) { sum[place] = first.add ? saved : 0; });
  for (int row = 0; row < kWarpRows; ++row) {
    for (int k = 0; k < kDepth; ++k) {
      for (int n = 0; n < kColumns / 4; ++n) sums[row][n] += a[row][k] * b[k][n];
    }
  }
  each([&](float& saved, Quad& sum, int place) { saved = sum[place]; });
}

/// Makes the products of all groups but the newest.
void complete_wait(uint32_t, void* const* operands) {
  Thread* lanes[32];
  for (int lane = 0; lane < 32; ++lane) lanes[lane] = static_cast<Thread*>(operands[lane]);
  const int newest = lanes[0]->wait_newest;
  for (;;) {
    Thread& first = *lanes[0];
    if (first.products.empty() || first.products.front().group >= first.product_groups - newest) return;
    multiply(lanes, 0);
    for (Thread* lane : lanes) {
      const PendingProduct done = lane->products.front();
      lane->products.erase(lane->products.begin());
      const auto next = std::find_if(lane->products.begin(), lane->products.end(),
                                     [&](const PendingProduct& one) { return one.d == done.d; });
      if (next != lane->products.end()) {
        next->saved = done.saved;
      } else {
        std::copy(done.saved.begin(), done.saved.end(), done.d);
      }
    }
  }
}

void complete_nothing(uint32_t, void* const*) {}

void require_operand(const void* operand, size_t rows, const Site& site) {
  const auto address = reinterpret_cast<uintptr_t>(operand);
  if (address % 16 != 0 || address % kPatternBytes >= kRowBytes)
    fail(site, "an operand does not begin in the first row of a 1024-byte pattern");
  require_shared(reinterpret_cast<const void*>(address / kPatternBytes * kPatternBytes), rows * kRowBytes,
                 site);
}

}  // namespace

void wgmma_wait(int newest, const Site& site) {
  Thread& self = *runtime.current;
  self.wait_newest = newest;
  rendezvous(kAllLanes, &self, complete_wait, site);
}

}  // namespace emulator

void mbarrier_init(MBarrier* barrier, unsigned arrivals, const char* file, int line) {
  using namespace emulator;
  const Site site = {"mbarrier_init", file, line};
  require_capability(90, site);
  require_shared(barrier, sizeof *barrier, site);
  if (arrivals == 0 || arrivals > static_cast<unsigned>(kMaxThreads)) fail(site, text(arrivals, " arrivals"));
  *barrier = 0;
  store(barrier, {arrivals, arrivals, 0, 0});
}

void mbarrier_arrive(MBarrier* barrier, const char* file, int line) {
  emulator::arrive(barrier, 0, {"mbarrier_arrive", file, line});
}

void mbarrier_arrive_expect(MBarrier* barrier, unsigned bytes, const char* file, int line) {
  emulator::arrive(barrier, bytes, {"mbarrier_arrive_expect", file, line});
}

void mbarrier_wait(MBarrier* barrier, unsigned parity, const char* file, int line) {
  using namespace emulator;
  const Site site = {"mbarrier_wait", file, line};
  require_capability(90, site);
  while (state_of(barrier, site).parity == parity) {
    if (!runtime.bulk_copies.empty()) land_one();
    yield(site);
  }
}

void bulk_copy(void* shared, const void* global, unsigned bytes, MBarrier* barrier, const char* file,
               int line) {
  using namespace emulator;
  const Site site = {"bulk_copy", file, line};
  require_capability(90, site);
  if (reinterpret_cast<uintptr_t>(shared) % 16 != 0 || reinterpret_cast<uintptr_t>(global) % 16 != 0 ||
      bytes % 16 != 0)
    fail(site, text("addresses and the ", bytes, " bytes must be multiples of 16"));
  require_shared(shared, bytes, site);
  (void)state_of(barrier, site);
  std::memset(shared, poison_byte(), bytes);
  runtime.bulk_copies.push_back(
      {static_cast<unsigned char*>(shared), static_cast<const unsigned char*>(global), bytes, barrier, site});
}

void wgmma_fence(const char* file, int line) {
  emulator::rendezvous(emulator::kAllLanes, nullptr, emulator::complete_nothing, {"wgmma_fence", file, line});
}

void wgmma_commit() {
  ++emulator::runtime.current->product_groups;
}

void wgmma_f16(float (&d)[64], const void* a, const void* b, bool add, const char* file, int line) {
  using namespace emulator;
  const Site site = {"wgmma_f16", file, line};
  require_capability(90, site);
  require_operand(a, 64, site);
  require_operand(b, kColumns, site);
  Thread& self = *runtime.current;
  PendingProduct product = {d,
                            static_cast<const unsigned char*>(a),
                            static_cast<const unsigned char*>(b),
                            add,
                            self.product_groups,
                            {},
                            site};
  const bool first = std::none_of(self.products.begin(), self.products.end(),
                                  [&](const PendingProduct& one) { return one.d == d; });
  if (first) {
    std::copy(d, d + 64, product.saved.begin());
    std::memset(d, poison_byte(), sizeof d);
  }
  self.products.push_back(product);
}

}  // namespace panda::kernels::simt
