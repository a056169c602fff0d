// The candidates of one query while a gallery passes by: pairs between two bounds, or measured.
#pragma once

#include <cstdint>

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
};

/// Holds every row seen that may be among the k first, in memory for `capacity` candidates. The caller pushes
/// only rows with low <= discard_above(), prunes when `full`, and measures when pruning does not help.
class KnnCandidates {
 public:
  /// Room for k measured ones, and as many again before they are compared.
  [[nodiscard]] static int64_t capacity(int64_t k) { return checked_add(checked_mul(2, k), 128); }

  /// `slack`: D may exceed its bounds by this relative amount (kL2's rounding), so a row is out if low >
  /// tau * (1 + slack).
  KnnCandidates(KnnCandidate* memory, int64_t k, double slack);

  void push(const KnnCandidate& candidate) { items_[size_++] = candidate; }
  [[nodiscard]] bool full() const { return size_ >= prune_at_; }

  /// An upper bound on the k-th smallest distance; infinite while fewer than k rows were seen.
  [[nodiscard]] double tau() const { return tau_; }
  void lower_tau(double bound) { tau_ = bound < tau_ ? bound : tau_; }
  /// A row with `low` above this is not among the k first.
  [[nodiscard]] double discard_above() const { return tau_ * (1 + slack_); }

  /// Sets tau from the k-th smallest `high` and drops what is out. `scratch`: room for capacity(k) doubles.
  /// Returns false if that leaves too little room: then everything is to be measured.
  [[nodiscard]] bool prune(double* scratch);

  [[nodiscard]] KnnCandidate* items() { return items_; }
  [[nodiscard]] int64_t size() const { return size_; }
  /// After all of items()[0, size) are measured: keeps the k first in the order of (distance, row).
  void keep_first(int64_t size);

 private:
  void set_next_prune();

  KnnCandidate* items_;
  int64_t k_;
  int64_t size_ = 0;
  int64_t prune_at_;
  double slack_;
  double tau_;
};

}  // namespace panda::kernels::cpu
