#include "kernels/cpu/knn_candidates.h"

#include <algorithm>
#include <limits>

namespace panda::kernels::cpu {

namespace {

/// Pushes between two prunings: each costs a pass over the candidates.
constexpr int64_t kPushes = 16;

}  // namespace

KnnCandidates::KnnCandidates(KnnCandidate* memory, int64_t k, double slack)
    : items_(memory), k_(k), slack_(slack), tau_(std::numeric_limits<double>::infinity()) {
  set_next_prune();
}

void KnnCandidates::set_next_prune() {
  prune_at_ = std::min(capacity(k_), std::max(size_, k_) + std::max(kPushes, k_ / 4));
}

bool KnnCandidates::prune(double* scratch) {
  if (size_ >= k_) {
    for (int64_t i = 0; i < size_; ++i) scratch[i] = items_[i].high;
    std::nth_element(scratch, scratch + k_ - 1, scratch + size_);
    lower_tau(scratch[k_ - 1]);
  }
  const double limit = discard_above();
  const KnnCandidate* end =
      std::remove_if(items_, items_ + size_, [&](const KnnCandidate& one) { return one.low > limit; });
  size_ = end - items_;
  set_next_prune();
  return size_ + kPushes <= prune_at_;
}

void KnnCandidates::keep_first(int64_t size) {
  const auto earlier = [](const KnnCandidate& a, const KnnCandidate& b) {
    return a.low < b.low || (a.low == b.low && a.row() < b.row());
  };
  size_ = std::min(size, k_);
  if (size > k_) std::nth_element(items_, items_ + k_ - 1, items_ + size, earlier);
  std::sort(items_, items_ + size_, earlier);
  if (size_ == k_) lower_tau(items_[k_ - 1].low);
  set_next_prune();
}

}  // namespace panda::kernels::cpu
