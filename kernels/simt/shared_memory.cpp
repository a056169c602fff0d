// Shared memory of the block that runs: one heap block per variable, so that an overrun of one is not a
// silent write to another.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "kernels/simt/race.h"
#include "kernels/simt/runtime.h"
#include "kernels/tensor/error.h"

namespace panda::kernels::simt::emulator {

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kBand = 0;
#else
constexpr size_t kBand = 64;
#endif
constexpr unsigned char kBandByte = 0xd7;
// What dialect.cuh promises for shared variables, and no more: malloc's blocks are aligned to exactly this.
static_assert(alignof(std::max_align_t) == 16);

}  // namespace

GuardedBlock::GuardedBlock(size_t bytes)
#if defined(PANDA_RACE_CHECK)
    : bytes_(bytes),
      memory_(static_cast<unsigned char*>(race::allocate_shared(bytes + 2 * kBand)), [](void*) {}) {
#else
    : bytes_(bytes), memory_(static_cast<unsigned char*>(std::malloc(bytes + 2 * kBand)), std::free) {
#endif
  if (memory_ == nullptr && bytes + 2 * kBand > 0) throw std::bad_alloc();
  data_ = memory_.get() + kBand;
  if (kBand > 0) {
    std::memset(memory_.get(), kBandByte, kBand);
    std::memset(data_ + bytes, kBandByte, kBand);
  }
}

bool GuardedBlock::contains(const void* pointer, size_t bytes) const {
  const auto begin = reinterpret_cast<uintptr_t>(data_);
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  return address >= begin && address + bytes <= begin + bytes_;
}

std::string GuardedBlock::damage() const {
  const auto intact = [](unsigned char byte) { return byte == kBandByte; };
  if (!std::all_of(memory_.get(), memory_.get() + kBand, intact)) return "written before its first byte";
  if (!std::all_of(data_ + bytes_, data_ + bytes_ + kBand, intact)) return "written past its last byte";
  return "";
}

void* shared_variable(const void* key, size_t bytes, const char* name, const char* file, int line) {
  Runtime& r = runtime;
  SharedVariable* found = nullptr;
  for (SharedVariable& variable : r.shared) {
    if (variable.key == key) found = &variable;
  }
  if (found != nullptr && found->live) return found->block.data();
  size_t total = bytes;
  for (const SharedVariable& variable : r.shared) total += variable.live ? variable.block.bytes() : 0;
  if (total > kMaxStaticSharedBytes) {
    fail({"PANDA_SHARED", file, line}, text("static shared memory is ", total, " bytes with ", name,
                                            ", a GPU has ", kMaxStaticSharedBytes));
  }
  if (found == nullptr) {
    r.shared.push_back({key, name, file, line, GuardedBlock(bytes), false});
    found = &r.shared.back();
  }
  found->live = true;
  std::memset(found->block.data(), r.poison, bytes);
  return found->block.data();
}

void* dynamic_shared() {
  if (runtime.dynamic == nullptr) {
    throw InternalError(text(launch_name(), thread_name(*runtime.current),
                             ": PANDA_DYNAMIC_SHARED in a launch with 0 bytes of it"));
  }
  return runtime.dynamic->data();
}

void require_shared(const void* pointer, size_t bytes, const Site& site) {
  const Runtime& r = runtime;
  if (r.dynamic != nullptr && r.dynamic->contains(pointer, bytes)) return;
  for (const SharedVariable& variable : r.shared) {
    if (variable.live && variable.block.contains(pointer, bytes)) return;
  }
  fail(site, text("its ", bytes, " bytes are not within one shared variable"));
}

}  // namespace panda::kernels::simt::emulator
