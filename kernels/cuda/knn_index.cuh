// A gallery prepared for a GPU: f16 codes of its vectors and what bounds their error, with the letters of
// docs/derivations/knn_certificate.md. All of it is in units of one power of two, `scale`: z / scale has
// components of at most 2^14, and its codes need no scale of their own.
#pragma once

#include <memory>

#include "kernels/cuda/knn_vectors.cuh"

namespace panda::kernels::PANDA_TARGET {

/// Gallery rows that share a radius and a reach: those of a tile of the filter.
inline constexpr int kKnnTileRows = 128;

/// Codes lie as the filter reads them: tiles of 128 vectors, of these blocks of 64 components, of these the
/// vectors' 128 bytes one after another, in which chunk c (16 bytes) of vector r lies in place c ^ (r % 8),
/// as swizzled_operand of ptx_sm90.cuh wants it. Zeros after the last component and after the last vector.
inline constexpr int kKnnBlockDepth = 64;
inline constexpr int kKnnBlockBytes = kKnnTileRows * kKnnBlockDepth * 2;

/// Place of a vector's chunk of 8 components among codes of `blocks` blocks a tile, in f16.
__host__ __device__ inline int64_t knn_chunk_at(int64_t vector, int64_t chunk, int64_t blocks) {
  constexpr int kChunk = 8;
  const int64_t row = vector % kKnnTileRows;
  const int64_t block = vector / kKnnTileRows * blocks + chunk / kChunk;
  return (block * kKnnTileRows + row) * kKnnBlockDepth + ((chunk ^ row) & (kChunk - 1)) * kChunk;
}

struct KnnRowBounds {
  double c;      ///< rounded down
  double error;  ///< e: of the codes, and of D itself
  double norm;   ///< n
};
struct KnnTileBounds {
  double radius;  ///< the largest error
  double reach;   ///< the largest norm
};

/// Covers the rounding of sums of a few f64 bounds.
inline constexpr double kKnnBoundSlack = 0x1p-49;

/// Relative bound, with room, on the rounding of a f64 sum over d terms.
__host__ __device__ inline double knn_eta(int64_t d) {
  return static_cast<double>(d + 64) * 0x1p-52;
}

/// The power of two s for which x / s lies in [2^13, 2^14], of a positive normal x given as the bits of a
/// f32.
__host__ __device__ inline int knn_scale_exponent(uint32_t bits) {
  const auto exponent = static_cast<int>(bits >> 23);
  return exponent == 0 ? 0 : exponent - 127 + 1 - 14;
}

/// The largest f32 that is not above x.
__device__ inline float round_down(double x) {
  const float nearest = __double2float_rn(x);
  if (!(nearest > x)) return nearest;
  const uint32_t bits = __float_as_uint(nearest);
  if (nearest == 0) return -1e-45F;
  return __uint_as_float(nearest > 0 ? bits - 1 : bits + 1);
}

class GpuKnnIndex final : public KnnIndex {
 public:
  /// The rows are finite. `filter`: kF16 or kNone.
  GpuKnnIndex(GpuDevice& device, const KnnGalleryPrepareArgs& args);
  [[nodiscard]] int64_t bytes() const override;
  [[nodiscard]] KnnFilter filter() const override { return filter_; }
  /// The filter was this device's choice, and each search may do without it.
  [[nodiscard]] bool automatic() const { return automatic_; }
  [[nodiscard]] int64_t size() const { return size_; }
  [[nodiscard]] int64_t d() const { return d_; }
  /// Blocks of 64 components of each tile.
  [[nodiscard]] int64_t blocks() const { return ceil_div(d_, kKnnBlockDepth); }
  /// f16 that the codes of so many vectors take.
  [[nodiscard]] int64_t code_count(int64_t vectors) const {
    return checked_mul(round_up(vectors, kKnnTileRows), blocks() * kKnnBlockDepth);
  }
  [[nodiscard]] int64_t tiles() const { return ceil_div(size_, kKnnTileRows); }
  /// kCosine: sqrt(S(x^2)) of each row.
  [[nodiscard]] const double* norms() const { return static_cast<const double*>(norms_->data()); }
  [[nodiscard]] double scale() const { return scale_; }
  /// |mu| / scale, rounded up.
  [[nodiscard]] double center_norm() const { return center_norm_; }
  /// mu, d, not scaled.
  [[nodiscard]] const double* center() const { return static_cast<const double*>(center_->data()); }
  [[nodiscard]] const Float16* codes() const { return static_cast<const Float16*>(codes_->data()); }
  [[nodiscard]] const KnnRowBounds* row_bounds() const {
    return static_cast<const KnnRowBounds*>(row_bounds_->data());
  }
  /// c of each row as f32, rounded down once more; infinite after the last row, up to whole tiles.
  [[nodiscard]] const float* c() const { return static_cast<const float*>(c_->data()); }
  [[nodiscard]] const KnnTileBounds* tile_bounds() const {
    return static_cast<const KnnTileBounds*>(tile_bounds_->data());
  }

 private:
  void find_center(GpuDevice& device, const ConstTensorView& rows);
  void find_scale(GpuDevice& device, const ConstTensorView& rows);
  void encode(GpuDevice& device, const ConstTensorView& rows);

  KnnMetric metric_;
  bool automatic_;
  KnnFilter filter_;
  int64_t size_;
  int64_t d_;
  double scale_ = 1;
  double center_norm_ = 0;
  std::unique_ptr<Storage> norms_, center_, codes_, row_bounds_, c_, tile_bounds_;
};

/// Queries as the filter takes them.
struct KnnQueryBounds {
  double low, high;  ///< N
  double beta;       ///< m b (1 + gamma): times a row's error
  double epsilon;    ///< m (e + gamma b): times a row's norm
  double unit;       ///< m times the codes' scale; 0: this query cannot be filtered
};
/// codes: index.code_count of nq rounded up to two tiles, with zeros after the last query · bounds: nq ·
/// norms: those of queries for kCosine. `bound_factor`: 1; less makes the certificate false, for a test of
/// the tests.
void knn_encode_queries(GpuDevice& device, const GpuKnnIndex& index, const KnnProblem& problem,
                        const ConstTensorView& queries, const double* norms, double bound_factor,
                        Float16* codes, KnnQueryBounds* bounds);

}  // namespace panda::kernels::PANDA_TARGET
