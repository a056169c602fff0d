// Codes of kNN vectors for the filter of knn_filter.cu, and the bounds on their errors.
//
// WHAT    rows: nb,d or queries: nq,d -> f16 codes and bounds (knn_index.cuh)
// READS   a gallery three times (its first 2048 rows for the mean, the largest component, the codes), queries
//         twice · WRITES 2 bytes an element, 28 bytes a row
// FLOPS   some ten in f64 an element
// LAUNCH  the mean: a thread a component; the rest: a warp a row
// LIMITS  d below kMaxDimensions
// SOURCE  docs/derivations/knn_certificate.md. Sums are taken in an order of their own: their errors are
//         within eta in any order, and nothing of this decides what a search returns.
#include "kernels/cuda/knn_index.cuh"

#include <cmath>
#include <vector>

namespace panda::kernels::PANDA_TARGET {

namespace {

/// Rows whose mean is the center: any point is right, a near one makes norms small.
constexpr int64_t kCenterRows = 2048;
/// A larger d would make the bound on f32 sums meaningless.
constexpr int64_t kMaxDimensions = int64_t{1} << 16;
/// Rounding of y = x * factor - mu, and of the sums on it, beyond what eta covers; see "Centring".
constexpr double kCentringSlack = 0x1p-50;
/// Exponents of a query's scale beyond which its f32 thresholds could leave their range.
constexpr int kMaxScaleExponent = 100;

/// gamma: bound on a tensor core's sum of d products of f16, relative to |X| |Y|. Up to 16 products and the
/// sum so far are aligned to the largest of them and cut off below 24 bits, then cut once more: 18 errors of
/// 2^-23 of what is at most |X| |Y| for every 16 terms (for every 8, 10 errors; for every 4, 6): 1.5 2^-23 a
/// term. Whole numbers up to 128, times powers of two, lose nothing while their sum has 24 bits.
double product_error(int64_t d, bool whole_numbers) {
  constexpr int64_t kExactDimensions = (1 << 24) / (128 * 128) - 1;
  if (whole_numbers && d <= kExactDimensions) return 0;
  return 1.5 * static_cast<double>(d + 16) * 0x1p-23;
}

/// A vector as it enters the products: y_i = (factor x_i - mu_i) / scale.
struct Centering {
  const double* mu;     ///< nullptr: not centred
  const double* norms;  ///< kCosine: factor is 1 / norm (0 of a zero vector); nullptr: 1
  double inverse;       ///< 1 / scale
  int64_t d;
};
__device__ double factor_of(const Centering& how, int64_t row) {
  if (how.norms == nullptr) return 1;
  return how.norms[row] > 0 ? 1 / how.norms[row] : 0;
}
template <typename T>
__device__ double centered(const Centering& how, const T* x, double factor, int64_t i) {
  return (factor * widened(x[i]) - (how.mu != nullptr ? how.mu[i] : 0.0)) * how.inverse;
}

__device__ double warp_sum(double value) {
  for (int step = kWarpThreads / 2; step >= 1; step /= 2) value += __shfl_xor_sync(kWholeWarp, value, step);
  return value;
}

/// Bits of the f32 that is next above the largest |y_i| of a row; by a whole warp, which all get it.
template <typename T>
__device__ uint32_t largest_bits(const Centering& how, const T* x, double factor) {
  double largest = 0;
  for (int64_t i = threadIdx.x % kWarpThreads; i < how.d; i += kWarpThreads) {
    const double y = centered(how, x, factor, i);
    largest = largest < fabs(y) ? fabs(y) : largest;
  }
  for (int step = kWarpThreads / 2; step >= 1; step /= 2) {
    const double other = __shfl_xor_sync(kWholeWarp, largest, step);
    largest = largest < other ? other : largest;
  }
  return __float_as_uint(-round_down(-largest));
}

/// Sums over a vector and its codes, squares of y, of y - scale Y, of scale Y, and the products y_i center_i.
struct CodeSums {
  double squares = 0;
  double errors = 0;
  double codes = 0;
  double with_center = 0;
};
/// Where a vector's codes go.
struct CodePlace {
  Float16* codes;
  int64_t vector;
  int64_t blocks;
  __device__ void put(int64_t i, Float16 code) const {
    codes[knn_chunk_at(vector, i / 8, blocks) + i % 8] = code;
  }
};
/// Zeros from component `first` on; by a whole warp.
__device__ void fill_codes(const CodePlace& place, int64_t first) {
  for (int64_t i = first + threadIdx.x % kWarpThreads; i < place.blocks * kKnnBlockDepth; i += kWarpThreads)
    place.put(i, Float16{});
}
/// Encodes a row at `scale`, a power of two whose inverse is given too; by a whole warp, which all get the
/// sums.
template <typename T>
__device__ CodeSums encode_row(const Centering& how, const T* x, double factor, double scale, double inverse,
                               const double* center, const CodePlace& place) {
  CodeSums sums;
  for (int64_t i = threadIdx.x % kWarpThreads; i < how.d; i += kWarpThreads) {
    const double y = centered(how, x, factor, i);
    const Float16 code = from_float<Float16>(__double2float_rn(y * inverse));
    place.put(i, code);
    const double coded = widened(code) * scale;
    sums.squares += y * y;
    sums.errors += (y - coded) * (y - coded);
    sums.codes += coded * coded;
    if (center != nullptr) sums.with_center += y * center[i] * how.inverse;
  }
  fill_codes(place, how.d);
  return {warp_sum(sums.squares), warp_sum(sums.errors), warp_sum(sums.codes), warp_sum(sums.with_center)};
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    mean_rows(const T* __restrict__ x, const double* norms, double* mu, int64_t rows, int64_t count,
              int64_t d) {
  const int64_t i = thread_index();
  if (i >= d) return;
  const Centering how = {nullptr, norms, 1, d};
  double sum = 0;
  for (int64_t j = 0; j < count; ++j) {
    const int64_t row = rows / count * j;
    sum += factor_of(how, row) * widened(x[row * d + i]);
  }
  mu[i] = sum / static_cast<double>(count);
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    largest_component(const T* __restrict__ x, Centering how, int64_t rows, uint32_t* largest) {
  const int64_t row = thread_index() / kWarpThreads;
  if (row >= rows) return;
  const uint32_t bits = largest_bits(how, x + row * how.d, factor_of(how, row));
  if (threadIdx.x % kWarpThreads == 0) atomicMax(largest, bits);  // a maximum has no order
}

struct GalleryArgs {
  Centering how;
  KnnMetric metric;
  int64_t rows, padded_rows;
  double center_norm;
  Float16* codes;
  int64_t blocks;
  KnnRowBounds* bounds;
  float* c;
};
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    encode_gallery(const T* __restrict__ x, const GalleryArgs args) {
  const int64_t row = thread_index() / kWarpThreads;
  const bool writes = threadIdx.x % kWarpThreads == 0;
  const CodePlace place = {args.codes, row, args.blocks};
  if (row >= args.rows) {  // whole warps
    if (row >= args.padded_rows) return;
    fill_codes(place, 0);
    if (writes) args.c[row] = INFINITY;
    return;
  }
  const CodeSums sums =
      encode_row(args.how, x + row * args.how.d, factor_of(args.how, row), 1, 1, nullptr, place);
  if (!writes) return;
  const double eta = knn_eta(args.how.d);
  const double norm = sqrt(sums.squares) * (1 + eta);
  const double length = (args.metric == KnnMetric::kCosine ? args.how.inverse : norm) + args.center_norm;
  double error = sqrt(sums.errors) * (1 + eta) + kCentringSlack * (norm + length);
  // The rounding of D itself, where it is not relative to D.
  if (args.metric != KnnMetric::kL2) error += 8 * eta * length;
  const double c = args.metric == KnnMetric::kL2 ? sums.squares * (1 - 2 * eta) : 0;
  args.bounds[row] = {c, error, norm + kCentringSlack * length};
  args.c[row] = round_down(c);
}

/// A block a tile.
__global__ void __launch_bounds__(kKnnTileRows)
    bound_tiles(const KnnRowBounds* rows, int64_t count, KnnTileBounds* tiles) {
  PANDA_SHARED(KnnTileBounds, largest, [kKnnTileRows]);
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t row = int64_t{blockIdx.x} * kKnnTileRows + thread;
  largest[thread] = row < count ? KnnTileBounds{rows[row].error, rows[row].norm} : KnnTileBounds{0, 0};
  for (int step = kKnnTileRows / 2; step >= 1; step /= 2) {
    __syncthreads();  // the last step's maxima are there before they are read
    if (thread >= step) continue;
    const KnnTileBounds& other = largest[thread + step];
    KnnTileBounds& mine = largest[thread];
    mine.radius = mine.radius < other.radius ? other.radius : mine.radius;
    mine.reach = mine.reach < other.reach ? other.reach : mine.reach;
  }
  if (thread == 0) tiles[blockIdx.x] = largest[0];
}

struct QueryArgs {
  Centering how;
  KnnMetric metric;
  int64_t rows, padded_rows;
  double center_norm;
  const double* center;  ///< other metrics than kL2: N is -<y, center>
  double gamma;
  double bound_factor;
  Float16* codes;
  int64_t blocks;
  KnnQueryBounds* bounds;
};
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    encode_queries(const T* __restrict__ x, const QueryArgs args) {
  const int64_t row = thread_index() / kWarpThreads;
  const CodePlace place = {args.codes, row, args.blocks};
  if (row >= args.rows) {  // whole warps
    if (row < args.padded_rows) fill_codes(place, 0);
    return;
  }
  const bool l2 = args.metric == KnnMetric::kL2;
  const double factor = factor_of(args.how, row);
  const int exponent = knn_scale_exponent(largest_bits(args.how, x + row * args.how.d, factor));
  const bool filters = exponent > -kMaxScaleExponent && exponent < kMaxScaleExponent;
  const double scale = __longlong_as_double(static_cast<long long>(1023 + (filters ? exponent : 0)) << 52);
  const CodeSums sums =
      encode_row(args.how, x + row * args.how.d, factor, scale, 1 / scale, args.center, place);
  if (threadIdx.x % kWarpThreads != 0) return;
  const double eta = knn_eta(args.how.d);
  const double norm = sqrt(sums.squares) * (1 + eta);
  const double length = l2 ? norm + args.center_norm : norm;
  const double error = sqrt(sums.errors) * (1 + eta) + kCentringSlack * (norm + length);
  double product_norm = sqrt(sums.codes) * (1 + eta);
  if (!l2 && product_norm < norm * (1 + kKnnBoundSlack)) product_norm = norm * (1 + kKnnBoundSlack);
  const double bound = args.bound_factor * (l2 ? 2 : 1) * (1 + kKnnBoundSlack);
  KnnQueryBounds bounds;
  if (l2) {
    bounds.low = sums.squares * (1 - 2 * eta);
    bounds.high = sums.squares * (1 + 2 * eta);
  } else {
    // 1 of kCosine, in units of scale^2.
    const double one = args.metric == KnnMetric::kCosine ? args.how.inverse * args.how.inverse : 0;
    const double slack = eta * (norm * args.center_norm + one);
    bounds.low = one - sums.with_center - slack;
    bounds.high = one - sums.with_center + slack;
  }
  // gamma |X| |Y| with |X| <= n + e.
  bounds.beta = bound * product_norm * (1 + args.gamma);
  bounds.epsilon = bound * (error + args.gamma * product_norm);
  bounds.unit = filters ? (l2 ? 2 : 1) * scale : 0;
  args.bounds[row] = bounds;
}

std::unique_ptr<Storage> allocate(GpuDevice& device, int64_t count, size_t bytes) {
  return std::make_unique<Storage>(device, checked_mul(count, static_cast<int64_t>(bytes)), "knn gallery");
}

/// Anything but f16 is measured without a filter, or with this one where it is finer than what was asked for.
KnnFilter available_filter(KnnFilter wanted, const ConstTensorView& rows) {
  const int64_t count = rows.shape()[0];
  const int64_t d = rows.shape()[1];
  if (wanted == KnnFilter::kNone || wanted == KnnFilter::kF32 || wanted == KnnFilter::kInt16)
    return KnnFilter::kNone;
  return count == 0 || count > UINT32_MAX || d == 0 || d > kMaxDimensions ? KnnFilter::kNone
                                                                          : KnnFilter::kF16;
}

}  // namespace

GpuKnnIndex::GpuKnnIndex(GpuDevice& device, const KnnGalleryPrepareArgs& args)
    : metric_(args.metric),
      automatic_(args.filter == KnnFilter::kAuto),
      filter_(available_filter(args.filter, args.rows)),
      size_(args.rows.shape()[0]),
      d_(args.rows.shape()[1]) {
  const bool cosine = metric_ == KnnMetric::kCosine;
  norms_ = allocate(device, cosine ? size_ : 0, sizeof(double));
  if (cosine && size_ > 0) launch_norms(device, args.rows, static_cast<double*>(norms_->data()));
  if (filter_ == KnnFilter::kNone) return;
  find_center(device, args.rows);
  find_scale(device, args.rows);
  encode(device, args.rows);
}

int64_t GpuKnnIndex::bytes() const {
  int64_t total = 0;
  for (const auto* storage : {&norms_, &center_, &codes_, &row_bounds_, &c_, &tile_bounds_}) {
    if (*storage != nullptr) total += (*storage)->bytes();
  }
  return total;
}

void GpuKnnIndex::find_center(GpuDevice& device, const ConstTensorView& rows) {
  center_ = allocate(device, d_, sizeof(double));
  auto* const mu = static_cast<double*>(center_->data());
  std::vector<double> on_host(static_cast<size_t>(d_), 128.0);
  if (rows.dtype() == DType::kU8 && metric_ == KnnMetric::kL2) {  // whole numbers: their codes are exact
    device.copy_from_host(mu, on_host.data(), center_->bytes());
  } else {
    with_vector_type(rows.dtype(), [&](auto element) {
      using T = decltype(element);
      PANDA_LAUNCH((mean_rows<T>), grid_for(d_, kBlockThreads), dim3(kBlockThreads), 0, device,
                   rows.data<T>(), metric_ == KnnMetric::kCosine ? norms() : nullptr, mu, size_,
                   std::min(size_, kCenterRows), d_);
    });
    device.copy_to_host(on_host.data(), mu, center_->bytes());
  }
  double square = 0;
  for (const double value : on_host) square += value * value;
  center_norm_ = std::sqrt(square) * (1 + knn_eta(d_));
}

void GpuKnnIndex::find_scale(GpuDevice& device, const ConstTensorView& rows) {
  const Storage largest(device, sizeof(uint32_t), "knn gallery");
  device.fill(largest.data(), 0, largest.bytes());
  const Centering how = {center(), metric_ == KnnMetric::kCosine ? norms() : nullptr, 1, d_};
  with_vector_type(rows.dtype(), [&](auto element) {
    using T = decltype(element);
    PANDA_LAUNCH((largest_component<T>), grid_for(size_, kBlockThreads / kWarpThreads), dim3(kBlockThreads),
                 0, device, rows.data<T>(), how, size_, static_cast<uint32_t*>(largest.data()));
  });
  uint32_t bits = 0;
  device.copy_to_host(&bits, largest.data(), sizeof bits);
  scale_ = std::ldexp(1.0, knn_scale_exponent(bits));
  center_norm_ /= scale_;
}

void GpuKnnIndex::encode(GpuDevice& device, const ConstTensorView& rows) {
  codes_ = allocate(device, code_count(size_), sizeof(Float16));
  row_bounds_ = allocate(device, size_, sizeof(KnnRowBounds));
  c_ = allocate(device, tiles() * kKnnTileRows, sizeof(float));
  tile_bounds_ = allocate(device, tiles(), sizeof(KnnTileBounds));
  auto* const bounds = static_cast<KnnRowBounds*>(row_bounds_->data());
  const GalleryArgs args = {
      .how = {center(), metric_ == KnnMetric::kCosine ? norms() : nullptr, 1 / scale_, d_},
      .metric = metric_,
      .rows = size_,
      .padded_rows = tiles() * kKnnTileRows,
      .center_norm = center_norm_,
      .codes = static_cast<Float16*>(codes_->data()),
      .blocks = blocks(),
      .bounds = bounds,
      .c = static_cast<float*>(c_->data())};
  with_vector_type(rows.dtype(), [&](auto element) {
    using T = decltype(element);
    PANDA_LAUNCH((encode_gallery<T>), grid_for(tiles() * kKnnTileRows, kBlockThreads / kWarpThreads),
                 dim3(kBlockThreads), 0, device, rows.data<T>(), args);
  });
  PANDA_LAUNCH(bound_tiles, grid_for(tiles(), 1), dim3(kKnnTileRows), 0, device, bounds, size_,
               static_cast<KnnTileBounds*>(tile_bounds_->data()));
}

void knn_encode_queries(GpuDevice& device, const GpuKnnIndex& index, const KnnProblem& problem,
                        const ConstTensorView& queries, const double* norms, double bound_factor,
                        Float16* codes, KnnQueryBounds* bounds) {
  const bool l2 = problem.metric == KnnMetric::kL2;
  const int64_t rows = queries.shape()[0];
  const int64_t padded_rows = round_up(rows, 2 * kKnnTileRows);
  const bool whole = l2 && queries.dtype() == DType::kU8 && problem.gallery.dtype() == DType::kU8;
  const QueryArgs args = {
      .how = {l2 ? index.center() : nullptr, problem.metric == KnnMetric::kCosine ? norms : nullptr,
              1 / index.scale(), index.d()},
      .metric = problem.metric,
      .rows = rows,
      .padded_rows = padded_rows,
      .center_norm = index.center_norm(),
      .center = l2 ? nullptr : index.center(),
      .gamma = product_error(index.blocks() * kKnnBlockDepth, whole),
      .bound_factor = bound_factor,
      .codes = codes,
      .blocks = index.blocks(),
      .bounds = bounds};
  with_vector_type(queries.dtype(), [&](auto element) {
    using T = decltype(element);
    PANDA_LAUNCH((encode_queries<T>), grid_for(padded_rows, kBlockThreads / kWarpThreads),
                 dim3(kBlockThreads), 0, device, queries.data<T>(), args);
  });
}

}  // namespace panda::kernels::PANDA_TARGET
