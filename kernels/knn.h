// Exact k nearest neighbours.
//
// The result is the first k gallery rows in the order of (distance, index), where the distance is one number
// on every device. With S(t_0 .. t_{d-1}) for the f64 sum in 16 parts, s_j over the i with i mod 16 = j in
// rising order, then s_j += s_{j+8}, s_{j+4}, s_{j+2}, s_{j+1} (every operation rounded to f64, no fused
// multiply-add):
//
//   kL2            D(q, x) = S((q_i - x_i)^2)                             squared Euclidean
//   kInnerProduct  D(q, x) = -S(q_i x_i)                                  the largest product comes first
//   kCosine        D(q, x) = 1 - S(q_i x_i) / (sqrt(S(q_i^2)) sqrt(S(x_i^2))), and 1 where a vector is zero
//
// So indices and distances have the same bits for any device, instruction set, thread count, batch and tile.
// Equal distances are ordered by index.
//
// Speed comes from a filter: low-precision products with a rigorous error bound discard what cannot be among
// the first k (docs/derivations/knn_certificate.md); only the rest is measured by D. A filter that discards
// too little is given up for the query rows concerned. Neither changes the result, nor does the workspace.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/tensor/tensor.h"

namespace panda::kernels {

enum class KnnMetric : uint8_t { kL2, kCosine, kInnerProduct };
/// "l2", "cosine", "ip": what --metric takes.
[[nodiscard]] const char* knn_metric_name(KnnMetric metric);
/// Inverse of knn_metric_name; throws InvalidArgument.
[[nodiscard]] KnnMetric knn_metric_from_name(const std::string& name);

/// kNone measures every pair by D. kF32, kF16, kBF16, kInt16 and kInt8 name the filter's operands; a device
/// may use a finer one than was asked for (KnnStatistics says which). kAuto: the device's choice.
enum class KnnFilter : uint8_t { kAuto, kNone, kF32, kF16, kBF16, kInt16, kInt8 };
/// "auto", "none", "f32", "f16", "bf16", "int16", "int8": what --filter takes.
[[nodiscard]] const char* knn_filter_name(KnnFilter filter);
/// Inverse of knn_filter_name; throws InvalidArgument.
[[nodiscard]] KnnFilter knn_filter_from_name(const std::string& name);

/// queries: f32 nq,d · gallery: f32 nb,d, nb >= k >= 1 · distances: f32 or f64 nq,k (D of kL2, rounded once
/// to f32), rising · indices: i64 nq,k. A NaN or an infinity in queries or gallery is an InvalidArgument that
/// names the row. For a gallery that is searched more than once, prepare it (KnnGallery below).
struct KnnSearchArgs {
  ConstTensorView queries;
  ConstTensorView gallery;
  int64_t k = 1;
  TensorView distances;
  TensorView indices;
};
void knn_search(Device& device, const KnnSearchArgs& args);

/// queries: f32 nq,d, dense · rows: which of them are searched, rising · indices: of each such row r the
/// nearest gallery vector, first in the order of (D, index), to indices[r] · within[r] >= the Euclidean
/// distance to it, beyond[r] <= that to every other gallery vector. Others' places are left alone. All on the
/// host. A NaN or an infinity in a query is an InvalidArgument that names the (first) row.
struct KnnNearestArgs {
  ConstTensorView queries;
  std::span<const int64_t> rows;
  int64_t* indices = nullptr;
  float* within = nullptr;
  float* beyond = nullptr;
};

/// The search that K-means asks for: of the nearest vector alone, and how far the others are at least.
class KnnNearestSearch {
 public:
  KnnNearestSearch() = default;
  KnnNearestSearch(const KnnNearestSearch&) = delete;
  KnnNearestSearch& operator=(const KnnNearestSearch&) = delete;
  virtual ~KnnNearestSearch() = default;
  virtual void search(const KnnNearestArgs& args) const = 0;
  /// distances[r] = D of query r to gallery vector indices[r].
  virtual void measure(const ConstTensorView& queries, const int64_t* indices, double* distances) const = 0;
};

/// What a device makes of a gallery once; that device's affair.
class KnnIndex {
 public:
  KnnIndex() = default;
  KnnIndex(const KnnIndex&) = delete;
  KnnIndex& operator=(const KnnIndex&) = delete;
  virtual ~KnnIndex() = default;
  /// Bytes held beside the rows themselves.
  [[nodiscard]] virtual int64_t bytes() const = 0;
  /// What the codes are; kNone if there are none.
  [[nodiscard]] virtual KnnFilter filter() const = 0;
  /// For searches of some `queries` at a time; it must not outlive this. Null where the device has none, or
  /// knn_gallery_search would be faster.
  [[nodiscard]] virtual std::unique_ptr<const KnnNearestSearch> nearest_search(int64_t queries) const {
    static_cast<void>(queries);
    return nullptr;
  }
};

/// rows: f32, f16, bf16 or u8 nb,d, dense, on the device; must outlive the index · index: filled. A NaN or an
/// infinity is an InvalidArgument that names the (first) row.
struct KnnGalleryPrepareArgs {
  ConstTensorView rows;
  KnnMetric metric = KnnMetric::kL2;
  KnnFilter filter = KnnFilter::kAuto;
  std::shared_ptr<const KnnIndex>* index = nullptr;
};
void knn_gallery_prepare(Device& device, const KnnGalleryPrepareArgs& args);

/// A gallery prepared for one device. Copies share rows and index. It is not part of a fitted model's file:
/// preparing reads each row once, which costs less than reading the codes from a disk would, and codes depend
/// on the instruction set.
class KnnGallery {
 public:
  KnnGallery() = default;
  /// `rows` as in KnnGalleryPrepareArgs, kept (not copied). A device without prepared galleries serves kL2 of
  /// f32 rows by knn_search.
  explicit KnnGallery(Device& device, Tensor rows, KnnMetric metric = KnnMetric::kL2,
                      KnnFilter filter = KnnFilter::kAuto);

  [[nodiscard]] const Tensor& rows() const { return rows_; }
  [[nodiscard]] int64_t size() const { return rows_.shape()[0]; }
  [[nodiscard]] int64_t dimension() const { return rows_.shape()[1]; }
  [[nodiscard]] KnnMetric metric() const { return metric_; }
  /// Null on a device without prepared galleries.
  [[nodiscard]] const KnnIndex* index() const { return index_.get(); }
  /// Bytes held beside the rows.
  [[nodiscard]] int64_t prepared_bytes() const { return index_ == nullptr ? 0 : index_->bytes(); }

  /// The gallery of these rows followed by `more` (same dtype and d): the same results as a fresh one,
  /// because it is one: rows are copied and prepared again, in the time of one pass over them.
  [[nodiscard]] KnnGallery with_added(const ConstTensorView& more) const;
  /// The gallery without these rows (rising, distinct indices); later rows move up. Throws InvalidArgument
  /// for an index that does not exist.
  [[nodiscard]] KnnGallery with_removed(const std::vector<int64_t>& indices) const;

 private:
  Device* device_ = nullptr;
  Tensor rows_;
  KnnMetric metric_ = KnnMetric::kL2;
  KnnFilter filter_ = KnnFilter::kAuto;
  std::shared_ptr<const KnnIndex> index_;
};

struct KnnOptions {
  /// Temporary memory of one search, beside its operands and the gallery. It is a bound, not a demand; a
  /// search that cannot do with it is an InvalidArgument that names what it needs.
  int64_t workspace_bytes = int64_t{256} << 20;
};

struct KnnStatistics {
  KnnFilter filter = KnnFilter::kNone;  ///< what was used
  int64_t kept_pairs = 0;               ///< pairs that the filter could not discard when it met them
  int64_t survivors = 0;                ///< pairs that were left to be measured by D
  int64_t rescanned_rows = 0;           ///< query rows whose filter was given up
};

/// queries: f32, f16, bf16 or u8 nq,d · gallery: made for this device, k <= its size · distances: f32 or f64
/// nq,k, rising; absent: not wanted, which may spare taking them · indices: i64 nq,k · statistics:
/// overwritten; may be null. A NaN or an infinity in a query is an InvalidArgument that names the (first)
/// row.
struct KnnGallerySearchArgs {
  ConstTensorView queries;
  const KnnGallery* gallery = nullptr;
  int64_t k = 1;
  TensorView distances = {};
  TensorView indices;
  KnnOptions options = {};
  KnnStatistics* statistics = nullptr;
};
void knn_gallery_search(Device& device, const KnnGallerySearchArgs& args);

/// For a gallery searched in parts: into distances f64 nq,k and indices i64 nq,k, both on the host and
/// ordered, merges those of another part (nq,k2), whose indices grow by `offset`. Rows stay ordered by
/// (distance, index); an index of -1 stands for "none yet" and goes last.
void knn_merge(const TensorView& distances, const TensorView& indices, const ConstTensorView& more_distances,
               const ConstTensorView& more_indices, int64_t offset);

}  // namespace panda::kernels
