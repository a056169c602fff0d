// Shuffles, votes and reductions of a warp: what the last lane to arrive computes for all.
#include "kernels/simt/warp.h"

#include "kernels/simt/race.h"
#include "kernels/simt/runtime.h"
#include "kernels/tensor/error.h"

namespace panda::kernels::simt {

namespace emulator {

namespace {

struct Shuffled {
  uint64_t value;
  int source;
  uint64_t result;
};

void complete_shuffle(uint32_t mask, void* const* operands) {
  for (int lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    auto& own = *static_cast<Shuffled*>(operands[lane]);
    if ((mask >> own.source & 1) != 0) {
      own.result = static_cast<const Shuffled*>(operands[own.source])->value;
    } else {
      own.result = 0x0101010101010101u * poison_byte();
    }
  }
}

/// First lane of this lane's segment.
int segment(int width, const Site& site) {
  if (width < 1 || width > 32 || (width & (width - 1)) != 0)
    fail(site, text("width ", width, ", expected a power of two up to 32"));
  return lane_index() & ~(width - 1);
}

}  // namespace

uint64_t shuffle(uint32_t mask, uint64_t value, int source, const Site& site) {
  Shuffled own = {value, source, 0};
  rendezvous(mask, &own, complete_shuffle, site);
  return own.result;
}

int index_source(int source, int width, const Site& site) {
  return segment(width, site) + (source & (width - 1));
}

// A source beyond the segment is the lane itself.
int up_source(unsigned delta, int width, const Site& site) {
  const int first = segment(width, site);
  const int source = lane_index() - static_cast<int>(delta & 31);
  return source >= first ? source : lane_index();
}
int down_source(unsigned delta, int width, const Site& site) {
  const int last = segment(width, site) + width - 1;
  const int source = lane_index() + static_cast<int>(delta & 31);
  return source <= last ? source : lane_index();
}
// Below the segment it is allowed: PTX compares with the last lane only.
int xor_source(int lane_mask, int width, const Site& site) {
  const int last = segment(width, site) + width - 1;
  const int source = lane_index() ^ (lane_mask & 31);
  return source <= last ? source : lane_index();
}

namespace {

/// Operand and result of a vote or reduction over 32-bit words.
struct Voted {
  uint32_t value;
  uint32_t result;
};

uint32_t value_of(void* operand) {
  return static_cast<const Voted*>(operand)->value;
}

void give_all(uint32_t mask, void* const* operands, uint32_t result) {
  for (int lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) != 0) static_cast<Voted*>(operands[lane])->result = result;
  }
}

uint32_t ballot(uint32_t mask, bool predicate, const Site& site) {
  Voted own = {predicate ? 1u : 0u, 0};
  rendezvous(
      mask, &own,
      [](uint32_t lanes, void* const* operands) {
        uint32_t votes = 0;
        for (int lane = 0; lane < 32; ++lane) {
          if ((lanes >> lane & 1) != 0) votes |= value_of(operands[lane]) << lane;
        }
        give_all(lanes, operands, votes);
      },
      site);
  return own.result;
}

template <typename Operation>
uint32_t reduce(uint32_t mask, uint32_t value, const Site& site, Operation) {
  require_capability(80, site);
  Voted own = {value, 0};
  rendezvous(
      mask, &own,
      [](uint32_t lanes, void* const* operands) {
        uint32_t result = 0;
        bool first = true;
        for (int lane = 0; lane < 32; ++lane) {
          if ((lanes >> lane & 1) == 0) continue;
          result = first ? value_of(operands[lane]) : Operation{}(result, value_of(operands[lane]));
          first = false;
        }
        give_all(lanes, operands, result);
      },
      site);
  return own.result;
}

}  // namespace

uint32_t match_any(uint32_t mask, uint64_t value, const Site& site) {
  Shuffled own = {value, 0, 0};
  rendezvous(
      mask, &own,
      [](uint32_t lanes, void* const* operands) {
        for (int lane = 0; lane < 32; ++lane) {
          if ((lanes >> lane & 1) == 0) continue;
          auto& one = *static_cast<Shuffled*>(operands[lane]);
          for (int other = 0; other < 32; ++other) {
            if ((lanes >> other & 1) == 0) continue;
            if (static_cast<const Shuffled*>(operands[other])->value == one.value)
              one.result |= uint64_t{1} << other;
          }
        }
      },
      site);
  return static_cast<uint32_t>(own.result);
}

}  // namespace emulator

void __syncwarp(unsigned mask, const char* file, int line) {
  emulator::rendezvous(mask, nullptr,
                       [](uint32_t lanes, void* const*) {
                         emulator::race::warp_barrier(emulator::runtime.current->warp->first_thread, lanes);
                       },
                       {"__syncwarp", file, line});
}

unsigned __ballot_sync(unsigned mask, int predicate, const char* file, int line) {
  return emulator::ballot(mask, predicate != 0, {"__ballot_sync", file, line});
}
int __any_sync(unsigned mask, int predicate, const char* file, int line) {
  return emulator::ballot(mask, predicate != 0, {"__any_sync", file, line}) != 0;
}
int __all_sync(unsigned mask, int predicate, const char* file, int line) {
  return emulator::ballot(mask, predicate != 0, {"__all_sync", file, line}) == mask;
}

#define PANDA_SIMT_REDUCE(name, Type, expression)                                                      \
  Type name(unsigned mask, Type value, const char* file, int line) {                                   \
    return static_cast<Type>(emulator::reduce(mask, static_cast<uint32_t>(value), {#name, file, line}, \
                                              [](uint32_t x, uint32_t y) {                             \
                                                const auto a = static_cast<Type>(x);                   \
                                                const auto b = static_cast<Type>(y);                   \
                                                return static_cast<uint32_t>(expression);              \
                                              }));                                                     \
  }
PANDA_SIMT_REDUCE(__reduce_add_sync, unsigned, a + b)
PANDA_SIMT_REDUCE(__reduce_add_sync, int, static_cast<uint32_t>(a) + static_cast<uint32_t>(b))
PANDA_SIMT_REDUCE(__reduce_min_sync, unsigned, b < a ? b : a)
PANDA_SIMT_REDUCE(__reduce_min_sync, int, b < a ? b : a)
PANDA_SIMT_REDUCE(__reduce_max_sync, unsigned, a < b ? b : a)
PANDA_SIMT_REDUCE(__reduce_max_sync, int, a < b ? b : a)
PANDA_SIMT_REDUCE(__reduce_and_sync, unsigned, a& b)
PANDA_SIMT_REDUCE(__reduce_or_sync, unsigned, a | b)
PANDA_SIMT_REDUCE(__reduce_xor_sync, unsigned, a ^ b)
#undef PANDA_SIMT_REDUCE

}  // namespace panda::kernels::simt
