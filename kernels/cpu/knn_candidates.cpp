#include "kernels/cpu/knn_candidates.h"

namespace panda::kernels::cpu {

bool KnnCandidates::prune() {
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
  bound_.clear();
  for (int64_t i = 0; i < size_; ++i) bound_.offer(items_[i].low);
  lower_tau(bound_.value());
}

void KnnCandidates::sort() {
  std::sort(items_, items_ + size_, [](const KnnCandidate& a, const KnnCandidate& b) { return a.before(b); });
}

}  // namespace panda::kernels::cpu
