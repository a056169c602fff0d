#include "kernels/cpu/knn_candidates.h"

namespace panda::kernels::cpu {

void KnnCandidates::tighten(int64_t size, double* scratch) {
  if (size < k_) return;
  for (int64_t i = 0; i < size; ++i) scratch[i] = items_[i].high;
  std::nth_element(scratch, scratch + k_ - 1, scratch + size);
  lower_tau(scratch[k_ - 1]);
}

bool KnnCandidates::prune(double* scratch) {
  if (k_ > kEagerK) tighten(size_, scratch);
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

void KnnCandidates::sort() {
  std::sort(items_, items_ + size_, [](const KnnCandidate& a, const KnnCandidate& b) { return a.before(b); });
}

}  // namespace panda::kernels::cpu
