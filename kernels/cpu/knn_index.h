// A gallery prepared for the cpu device: codes of its vectors in panels of 32, and what bounds their error.
// The letters are those of docs/derivations/knn_certificate.md.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "kernels/cpu/cpu_device.h"
#include "kernels/knn.h"
#include "kernels/tensor/checked_math.h"

namespace panda::kernels::cpu {

/// Rows of any dtype, read as f32 (exactly).
class KnnRows {
 public:
  KnnRows(const CpuDevice& device, const ConstTensorView& view)
      : micro_(&device.micro()),
        view_(view),
        d_(view.shape()[1]),
        plain_(view.dtype() == DType::kF32 ? view.data<float>() : nullptr) {}
  [[nodiscard]] int64_t count() const { return view_.shape()[0]; }
  [[nodiscard]] int64_t d() const { return d_; }
  [[nodiscard]] DType dtype() const { return view_.dtype(); }
  /// Row i: where it lies, or widened into `buffer` (d floats).
  [[nodiscard]] const float* row(int64_t i, float* buffer) const {
    return plain_ != nullptr ? plain_ + i * d_ : widened_row(i, buffer);
  }

 private:
  [[nodiscard]] const float* widened_row(int64_t i, float* buffer) const;

  const MicroKernels* micro_;
  ConstTensorView view_;
  int64_t d_;
  const float* plain_;  ///< null: not f32
};

/// Relative bound, with room, on the rounding of every f64 sum over d terms that this search takes.
[[nodiscard]] inline double knn_eta(int64_t d) {
  return static_cast<double>(d + 64) * 0x1p-52;
}

/// Relative bound on KnnKernels::squared_distances, no overflow or underflow met: a term is rounded three
/// times and then added at most d / 16 + 25 times.
[[nodiscard]] inline double knn_refined_error(int64_t d) {
  return (static_cast<double>(d) / 16 + 40) * 0x1.2p-24;
}

/// A vector's exact norm sqrt(S(x^2)), as kCosine divides by it. `widened`: room for d rounded up to 16.
[[nodiscard]] double knn_norm(const CpuDevice& device, const float* x, int64_t d, double* widened);

/// x as f64, zeros up to the next multiple of 16.
void knn_widen(const float* x, int64_t d, double* to);

class CpuKnnIndex final : public KnnIndex {
 public:
  /// `kernel` and `first_row`, which the first of these rows is called, are for messages. `few_searches`: the
  /// filter is not worth a trial.
  CpuKnnIndex(CpuDevice& device, const KnnGalleryPrepareArgs& args, const char* kernel, int64_t first_row = 0,
              bool few_searches = false);
  [[nodiscard]] int64_t bytes() const override;
  [[nodiscard]] KnnFilter filter() const override { return filter_; }
  [[nodiscard]] std::unique_ptr<const KnnNearestSearch> nearest_search(int64_t queries) const override;
  /// The same rows with 16-bit codes, for searches of a small gallery of which much is wanted: 8-bit codes
  /// would leave twice as much to measure. Null if there are none.
  [[nodiscard]] const CpuKnnIndex* fine() const { return fine_.get(); }
  /// The filter was this device's choice, and each search may do without it.
  [[nodiscard]] bool automatic() const { return automatic_; }

  [[nodiscard]] KnnMetric metric() const { return metric_; }
  [[nodiscard]] KnnCode code() const { return code_; }
  [[nodiscard]] const KnnRows& rows() const { return rows_; }
  [[nodiscard]] int64_t size() const { return rows_.count(); }
  [[nodiscard]] int64_t d() const { return rows_.d(); }
  /// Groups of four bytes per vector.
  [[nodiscard]] int64_t groups() const { return groups_; }
  [[nodiscard]] int64_t panels() const { return ceil_div(size(), kKnnPanel); }
  [[nodiscard]] int64_t panel_bytes() const { return groups_ * kKnnPanel * 4; }
  [[nodiscard]] const uint8_t* panel(int64_t p) const { return codes_.data<uint8_t>() + p * panel_bytes(); }

  /// mu, d elements, and a bound on |mu|.
  [[nodiscard]] const double* center() const { return center_.data(); }
  [[nodiscard]] double center_norm() const { return center_norm_; }
  /// Per panel: a, and the largest e and n of its vectors.
  [[nodiscard]] double scale(int64_t p) const { return panel_bounds_[static_cast<size_t>(p)].scale; }
  [[nodiscard]] double radius(int64_t p) const { return panel_bounds_[static_cast<size_t>(p)].radius; }
  [[nodiscard]] double reach(int64_t p) const { return panel_bounds_[static_cast<size_t>(p)].reach; }
  /// Per vector, padded to whole panels (infinite c there): c, e, n.
  [[nodiscard]] const double* c() const { return c_.data<double>(); }
  [[nodiscard]] const double* e() const { return e_.data<double>(); }
  [[nodiscard]] const double* n() const { return n_.data<double>(); }
  /// kCosine: knn_norm of each row.
  [[nodiscard]] double norm(int64_t row) const { return norms_.data<double>()[row]; }
  /// u8 rows: codes are exact at scale 1.
  [[nodiscard]] bool whole_numbers() const { return whole_numbers_; }

 private:
  struct PanelBounds {
    double scale;
    double radius;
    double reach;
  };
  void set_filter(const CpuDevice& device, KnnFilter filter);
  void check_rows(CpuDevice& device, const char* kernel, int64_t first_row);
  void find_center();
  void encode(CpuDevice& device);
  void encode_panel(const CpuDevice& device, int64_t p, double* centered, float* buffer, char* row_codes);
  [[nodiscard]] double factor(int64_t row) const;

  CpuDevice* device_;
  KnnMetric metric_;
  bool automatic_;
  KnnFilter filter_ = KnnFilter::kNone;
  KnnCode code_ = KnnCode::kF32;
  KnnRows rows_;
  int64_t groups_ = 0;
  bool whole_numbers_ = false;
  std::vector<double> center_;
  double center_norm_ = 0;
  std::vector<PanelBounds> panel_bounds_;
  Tensor codes_;
  Tensor c_;
  Tensor e_;
  Tensor n_;
  Tensor norms_;
  std::unique_ptr<const CpuKnnIndex> fine_;
};

/// One vector's codes at one scale: what both sides of the search do alike.
struct KnnCoded {
  double error;      ///< >= |y - scale * codes|, rounding of y not included
  double code_norm;  ///< >= |scale * codes|
  /// What the 128s that are added to a gallery's bytes add to the products of these codes, modulo 2^32.
  int32_t bias;
};
/// Encodes y (d elements) at `scale` into `codes` (groups * 4 bytes, zeros after d).
[[nodiscard]] KnnCoded knn_encode(const CpuDevice& device, KnnFilter filter, KnnCode code, const double* y,
                                  double scale, int64_t d, int64_t groups, char* codes);
/// The scale at which vectors of this largest component and norm become codes without leaving their range.
[[nodiscard]] double knn_scale(KnnCode code, double largest, double norm, int64_t d);

/// Throws the InvalidArgument that names this row, which is not finite, as number first_row + row.
[[noreturn]] void throw_not_finite(const char* kernel, const char* name, const KnnRows& rows, int64_t row,
                                   int64_t first_row);

/// The lowest of the rows that threads find not finite.
class FirstNotFinite {
 public:
  /// `none`: beyond every row.
  explicit FirstNotFinite(int64_t none) : none_(none), row_(none) {}
  void found(int64_t row) {
    int64_t seen = row_.load();
    while (row < seen && !row_.compare_exchange_weak(seen, row)) {
    }
  }
  [[nodiscard]] bool any() const { return row_.load() < none_; }
  [[nodiscard]] int64_t row() const { return row_.load(); }

 private:
  int64_t none_;
  std::atomic<int64_t> row_;
};

}  // namespace panda::kernels::cpu
