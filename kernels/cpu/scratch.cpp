#include "kernels/cpu/scratch.h"

#include <algorithm>

#include "kernels/tensor/checked_math.h"

namespace panda::kernels::cpu {

namespace {
// A convolution with converted input, residual and output, bias and per-thread buffers holds five blocks at
// once.
constexpr size_t kKeptBlocks = 8;
constexpr int64_t kPage = 4096;
}  // namespace

Scratch::~Scratch() {
  if (storage_ != nullptr) cache_->give_back(std::move(storage_));
}

Scratch ScratchCache::take(int64_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    auto best = kept_.end();
    for (auto it = kept_.begin(); it != kept_.end(); ++it) {
      if ((*it)->bytes() >= bytes && (best == kept_.end() || (*it)->bytes() < (*best)->bytes())) best = it;
    }
    if (best != kept_.end()) {
      std::unique_ptr<Storage> storage = std::move(*best);
      kept_.erase(best);
      return {*this, std::move(storage)};
    }
  }
  return {*this, std::make_unique<Storage>(device_, round_up(std::max<int64_t>(bytes, 1), kPage), "scratch")};
}

void ScratchCache::give_back(std::unique_ptr<Storage> storage) noexcept {
  const std::lock_guard lock(mutex_);
  if (kept_.capacity() < kKeptBlocks) kept_.reserve(kKeptBlocks);
  if (kept_.size() < kKeptBlocks) {
    kept_.push_back(std::move(storage));
    return;
  }
  // Full: the smallest block goes.
  auto smallest = std::min_element(kept_.begin(), kept_.end(),
                                   [](const auto& a, const auto& b) { return a->bytes() < b->bytes(); });
  if ((*smallest)->bytes() < storage->bytes()) std::swap(*smallest, storage);
}

}  // namespace panda::kernels::cpu
