#include "kernels/cpu/knn_candidates.h"

#include <numeric>

namespace panda::kernels::cpu {

void KnnCandidates::tighten(const KnnKernels& kernels, int64_t size, double* scratch) {
  if (size < k_) return;
  for (int64_t i = 0; i < size; ++i) scratch[i] = items_[i].high;
  lower_tau(kernels.about_kth(scratch, size, k_));
}

bool KnnCandidates::prune(const KnnKernels& kernels, double* scratch) {
  if (k_ > kEagerK) tighten(kernels, size_, scratch);
  const double limit = discard_above_;
  const KnnCandidate* end =
      std::remove_if(items_, items_ + size_, [&](const KnnCandidate& one) { return one.low > limit; });
  size_ = end - items_;
  // Half the room must be free, or pruning comes too often.
  return size_ <= (k_ + capacity(k_)) / 2;
}

void KnnCandidates::keep_first(int64_t size) {
  size_ = std::min(size, k_);
  if (size > k_) {
    std::nth_element(items_, items_ + k_ - 1, items_ + size,
                     [](const KnnCandidate& a, const KnnCandidate& b) { return a.before(b); });
  }
  if (k_ <= kEagerK) {
    bound_.clear();
    for (int64_t i = 0; i < size_; ++i) bound_.offer(items_[i].low);
  }
  if (size_ < k_) return;
  double last = items_[0].low;
  for (int64_t i = 1; i < size_; ++i) last = std::max(last, items_[i].low);
  lower_tau(last);
}

void KnnCandidates::finish(const KnnKernels& kernels, double* scratch) {
  if (size_ <= kKnnMostRanked) {
    int32_t ranks[kKnnMostRanked];
    for (int64_t i = 0; i < size_; ++i) scratch[i] = items_[i].low;
    kernels.ranks(scratch, size_, ranks);
    // Of equal ones the next ranks are missing.
    const int64_t sum = std::accumulate(ranks, ranks + size_, int64_t{0});
    if (sum == size_ * (size_ - 1) / 2) {
      KnnCandidate sorted[kKnnMostRanked];
      for (int64_t i = 0; i < size_; ++i) sorted[ranks[i]] = items_[i];
      size_ = std::min(size_, k_);
      std::copy_n(sorted, size_, items_);
      return;
    }
  }
  keep_first(size_);
  std::sort(items_, items_ + size_, [](const KnnCandidate& a, const KnnCandidate& b) { return a.before(b); });
}

}  // namespace panda::kernels::cpu
