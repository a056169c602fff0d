// The candidates of one query while a gallery passes by: pairs between two bounds, or measured.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/cpu/simd/knn_kernels.h"
#include "kernels/tensor/checked_math.h"

namespace panda::kernels::cpu {

/// A gallery row whose distance D lies in [low, high]. `index` >= 0; ~index once it is measured: low = high =
/// D.
struct KnnCandidate {
  double low;
  double high;
  int64_t index;

  [[nodiscard]] bool measured() const { return index < 0; }
  [[nodiscard]] int64_t row() const { return index < 0 ? ~index : index; }
  /// In the order of (distance, row), of measured ones.
  [[nodiscard]] bool before(const KnnCandidate& other) const {
    return low < other.low || (low == other.low && row() < other.row());
  }
};

/// The k smallest of the numbers offered, one per row, and with them a bound on the k-th smallest distance.
class KnnBound {
 public:
  KnnBound(double* memory, int64_t k) : heap_(memory), k_(k) {}

  /// Infinite while fewer than k were offered.
  [[nodiscard]] double value() const {
    return size_ < k_ ? std::numeric_limits<double>::infinity() : heap_[0];
  }
  /// Returns whether value() fell.
  bool offer(double high) {
    if (size_ < k_) {
      heap_[size_++] = high;
      std::push_heap(heap_, heap_ + size_);
      return size_ == k_;
    }
    if (!(high < heap_[0])) return false;
    std::pop_heap(heap_, heap_ + size_);
    heap_[size_ - 1] = high;
    std::push_heap(heap_, heap_ + size_);
    return true;
  }
  void clear() { size_ = 0; }

 private:
  double* heap_;
  int64_t k_;
  int64_t size_ = 0;
};

/// Holds every row seen that may be among the k first. The caller pushes rows with low <= discard_above()
/// only, prunes when `full`, and measures when that does not help.
class KnnCandidates {
 public:
  /// Up to this k, tau follows every push (a heap of k numbers); beyond, it is found when pruning, which
  /// costs less than a heap then.
  static constexpr int64_t kEagerK = 16;
  [[nodiscard]] static int64_t bound_count(int64_t k) { return k < kEagerK ? k : kEagerK; }
  /// Room for k measured ones, and as many again before they are compared.
  [[nodiscard]] static int64_t capacity(int64_t k) { return checked_add(checked_mul(2, k), 64); }

  /// Memory for capacity(k) candidates and bound_count(k) numbers. `slack`: D may exceed its bounds by this
  /// relative amount (kL2's rounding), so a row is out if low > tau * (1 + slack).
  KnnCandidates(KnnCandidate* items, double* bounds, int64_t k, double slack)
      : items_(items), bound_(bounds, k), k_(k), prune_at_(capacity(k)), slack_(slack) {}

  /// Returns whether tau fell.
  bool push(const KnnCandidate& candidate) {
    items_[size_++] = candidate;
    return k_ <= kEagerK && bound_.offer(candidate.high) && lower_tau(bound_.value());
  }
  /// A row whose bound tau() knows already.
  void put(const KnnCandidate& candidate) { items_[size_++] = candidate; }
  [[nodiscard]] bool full() const { return size_ >= prune_at_; }

  /// An upper bound on the k-th smallest distance; infinite while fewer than k rows were seen.
  [[nodiscard]] double tau() const { return tau_; }
  /// Returns whether it fell.
  bool lower_tau(double bound) {
    if (!(bound < tau_)) return false;
    tau_ = bound;
    discard_above_ = bound * (1 + slack_);
    return true;
  }
  /// A row with `low` above this is not among the k first.
  [[nodiscard]] double discard_above() const { return discard_above_; }

  /// Drops what is out. `scratch`: room for capacity(k) numbers. Returns false if that leaves too little
  /// room: then everything is to be measured.
  [[nodiscard]] bool prune(const KnnKernels& kernels, double* scratch);
  /// Lowers tau to the k-th smallest `high` of items()[0, size), or a little above.
  void tighten(const KnnKernels& kernels, int64_t size, double* scratch);

  [[nodiscard]] KnnCandidate* items() { return items_; }
  [[nodiscard]] int64_t size() const { return size_; }
  /// Forgets all but items()[0, size).
  void shrink(int64_t size) { size_ = size; }
  /// After items()[0, size) are measured: keeps the k first of them, in any order.
  void keep_first(int64_t size);
  /// When all are measured: the k first, in the order of (distance, row). `scratch` as for prune().
  void finish(const KnnKernels& kernels, double* scratch);

 private:
  KnnCandidate* items_;
  KnnBound bound_;
  int64_t k_;
  int64_t size_ = 0;
  int64_t prune_at_;
  double slack_;
  double tau_ = std::numeric_limits<double>::infinity();
  double discard_above_ = std::numeric_limits<double>::infinity();
};

}  // namespace panda::kernels::cpu
