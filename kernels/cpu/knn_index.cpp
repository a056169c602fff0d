#include "kernels/cpu/knn_index.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/knn_nearest.h"
#include "kernels/cpu/knn_search.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

/// Rows whose mean is the center: any point is right, a near one makes norms small.
constexpr int64_t kCenterRows = 2048;
/// Codes of kI8 stay within 2^29 / 2^14 dimensions, f32 sums within an error bound that means something.
constexpr int64_t kMaxInt8Dimensions = 32000;
/// Rows up to which, and dimensions from which on, a gallery has 16-bit codes beside its 8-bit ones: of few
/// dimensions, what bounds the codes' errors would be more than the rows themselves.
constexpr int64_t kMaxFineRows = 2048;
constexpr int64_t kMinFineDimensions = 128;
constexpr int64_t kMaxFloatDimensions = int64_t{1} << 20;
/// Rounding of y = x * factor - mu, and of the sums on it, beyond what eta covers; see "Centring".
constexpr double kCentringSlack = 0x1p-50;

KnnFilter available_filter(const CpuDevice& device, KnnFilter wanted, int64_t d) {
  if (wanted == KnnFilter::kAuto) wanted = KnnFilter::kInt8;
  if (wanted == KnnFilter::kInt8 &&
      (d > kMaxInt8Dimensions || device.knn().filter[static_cast<int>(KnnCode::kI8)] == nullptr)) {
    wanted = KnnFilter::kInt16;
  }
  return d == 0 || d > kMaxFloatDimensions ? KnnFilter::kNone : wanted;
}

KnnCode code_of(const CpuDevice& device, KnnFilter filter) {
  if (filter == KnnFilter::kInt8) return KnnCode::kI8;
  if (filter != KnnFilter::kInt16) return KnnCode::kF32;
  return device.knn_tiles() != nullptr ? KnnCode::kI8Pair : KnnCode::kI16;
}

int64_t groups_of(KnnCode code, int64_t d) {
  if (code == KnnCode::kI8Pair) return 2 * ceil_div(d, 4);
  return ceil_div(d, code == KnnCode::kI8 ? 4 : code == KnnCode::kI16 ? 2 : 1);
}

bool of_bytes(KnnCode code) {
  return code == KnnCode::kI8 || code == KnnCode::kI8Pair;
}

/// i16 codes become the bytes of KnnCode::kI8Pair, both signed.
void split_codes(char* codes, int64_t groups) {
  for (int64_t at = 0; at < groups * 4; at += 8) {
    int16_t whole[4];
    int8_t bytes[8];
    std::memcpy(whole, codes + at, 8);
    for (int j = 0; j < 4; ++j) {
      bytes[4 + j] = static_cast<int8_t>(whole[j]);
      bytes[j] = static_cast<int8_t>((whole[j] - bytes[4 + j]) >> 8);
    }
    std::memcpy(codes + at, bytes, 8);
  }
}

}  // namespace

const float* KnnRows::widened_row(int64_t i, float* buffer) const {
  const int64_t width = d();
  switch (view_.dtype()) {
    case DType::kF16:
      micro_->f16_to_f32(reinterpret_cast<const uint16_t*>(view_.data<Float16>()) + i * width, buffer, width);
      return buffer;
    case DType::kBF16:
      micro_->bf16_to_f32(reinterpret_cast<const uint16_t*>(view_.data<BFloat16>()) + i * width, buffer,
                          width);
      return buffer;
    case DType::kU8: {
      const uint8_t* x = view_.data<uint8_t>() + i * width;
      for (int64_t j = 0; j < width; ++j) buffer[j] = static_cast<float>(x[j]);
      return buffer;
    }
    default:
      return view_.data<float>() + i * width;
  }
}

void knn_widen(const float* x, int64_t d, double* to) {
  int64_t i = 0;
  for (; i + 16 <= d; i += 16) {  // a fixed count, which the compiler vectorises
    for (int64_t j = 0; j < 16; ++j) to[i + j] = x[i + j];
  }
  for (; i < d; ++i) to[i] = x[i];
  std::fill(to + d, to + round_up(d, 16), 0.0);
}

double knn_norm(const CpuDevice& device, const float* x, int64_t d, double* widened) {
  knn_widen(x, d, widened);
  double square = 0;
  device.exact().distance_rows(
      {.query = widened, .rows = &x, .count = 1, .d = d, .distances = &square, .term = ExactTerm::kProduct});
  return std::sqrt(square);
}

double knn_scale(KnnCode code, double largest, double norm, int64_t d) {
  if (largest == 0) return 1;
  if (code == KnnCode::kI8) return largest / 127;
  if (code == KnnCode::kI16 || code == KnnCode::kI8Pair) {
    // |codes| <= 2^14.5, half a unit per component included: products of two such vectors stay below 2^29.
    const double room = 23170 - 0.5 * std::sqrt(static_cast<double>(d)) - 1;
    return std::max(largest / 32767, norm / room);
  }
  int exponent = 0;
  static_cast<void>(std::frexp(largest, &exponent));
  return std::ldexp(1.0, exponent);
}

KnnCoded knn_encode(const CpuDevice& device, KnnFilter filter, KnnCode code, const double* y, double scale,
                    int64_t d, int64_t groups, char* codes) {
  const KnnKernels& kernels = device.knn();
  const int64_t last = code == KnnCode::kI8Pair ? 8 : 4;
  std::memset(codes + groups * 4 - last, 0, static_cast<size_t>(last));
  kernels.encode_row(code, y, 1 / scale, d, codes);
  if (filter == KnnFilter::kF16 || filter == KnnFilter::kBF16) {
    auto* values = reinterpret_cast<float*>(codes);
    for (int64_t i = 0; i < d; ++i)
      values[i] =
          filter == KnnFilter::kF16 ? to_float(to_float16(values[i])) : to_float(to_bfloat16(values[i]));
  }
  double squares = 0;
  const double error = kernels.code_error(code, y, scale, codes, d, &squares);
  // 128 is added to every byte, so 256 * 128 + 128 to a pair.
  const uint32_t added = code == KnnCode::kI8 ? 128 : code == KnnCode::kI8Pair ? 256 * 128 + 128 : 0;
  const auto bias = static_cast<int32_t>(added * kernels.code_sum(code, codes, d));
  if (code == KnnCode::kI8Pair) split_codes(codes, groups);
  const double up = 1 + knn_eta(d);
  return {std::sqrt(error) * up, std::sqrt(squares) * scale * up, bias};
}

void throw_not_finite(const char* kernel, const char* name, const KnnRows& rows, int64_t row,
                      int64_t first_row) {
  std::vector<float> buffer(static_cast<size_t>(rows.d()));
  const float* x = rows.row(row, buffer.data());
  for (int64_t i = 0; i < rows.d(); ++i) {
    PANDA_CHECK(std::isfinite(x[i]), kernel, ": ", name, " row ", first_row + row, " holds ", x[i],
                " at component ", i);
  }
  throw InternalError(text(kernel, ": ", name, " row ", row, " is finite after all"));
}

CpuKnnIndex::CpuKnnIndex(CpuDevice& device, const KnnGalleryPrepareArgs& args, const char* kernel,
                         int64_t first_row, bool few_searches)
    : device_(&device),
      metric_(args.metric),
      automatic_(args.filter == KnnFilter::kAuto),
      rows_(device, args.rows) {
  set_filter(device, available_filter(device, args.filter, d()));
  check_rows(device, kernel, first_row);
  if (filter_ == KnnFilter::kNone || size() == 0) return;
  whole_numbers_ = rows_.dtype() == DType::kU8 && metric_ == KnnMetric::kL2 && code_ == KnnCode::kI8;
  find_center();
  encode(device);
  if (automatic_ && code_ == KnnCode::kI8 && !whole_numbers_ && !few_searches &&
      !knn_eight_bits_pay(device, *this)) {
    set_filter(device, KnnFilter::kInt16);
    encode(device);
  }
  if (automatic_ && code_ == KnnCode::kI8 && !whole_numbers_ && !few_searches && size() <= kMaxFineRows &&
      d() >= kMinFineDimensions) {
    const KnnGalleryPrepareArgs fine{args.rows, metric_, KnnFilter::kInt16, nullptr};
    fine_ = std::make_unique<const CpuKnnIndex>(device, fine, kernel, first_row, true);
  }
}

void CpuKnnIndex::set_filter(const CpuDevice& device, KnnFilter filter) {
  filter_ = filter;
  code_ = code_of(device, filter);
  groups_ = groups_of(code_, d());
}

int64_t CpuKnnIndex::bytes() const {
  int64_t total =
      static_cast<int64_t>(panel_bounds_.size() * sizeof(PanelBounds) + center_.size() * sizeof(double));
  for (const Tensor* tensor : {&codes_, &c_, &e_, &n_, &norms_}) {
    if (tensor->present()) total += tensor->bytes();
  }
  return fine_ == nullptr ? total : total + fine_->bytes();
}

double CpuKnnIndex::factor(int64_t row) const {
  return metric_ == KnnMetric::kCosine && norm(row) > 0 ? 1 / norm(row)
         : metric_ == KnnMetric::kCosine                ? 0
                                                        : 1;
}

/// Every element finite; the norms of kCosine.
void CpuKnnIndex::check_rows(CpuDevice& device, const char* kernel, int64_t first_row) {
  if (metric_ == KnnMetric::kCosine) norms_ = Tensor(device, DType::kF64, {size()}, "knn gallery");
  const int64_t parts = parts_for(1, size(), device.threads().thread_count());
  FirstNotFinite first_bad(size());
  device.threads().parallel_for(parts, [&](int64_t part, int) {
    std::vector<float> buffer(static_cast<size_t>(d()));
    std::vector<double> widened(static_cast<size_t>(round_up(d(), 16)));
    const Range range = part_of(size(), parts, part);
    for (int64_t row = range.begin; row < range.end; ++row) {
      const float* x = rows_.row(row, buffer.data());
      if (device.knn().largest_magnitude(x, d()) >= 0x7f800000u) {  // infinity or NaN
        first_bad.found(row);
        return;
      }
      if (norms_.present()) norms_.data<double>()[row] = knn_norm(device, x, d(), widened.data());
    }
  });
  if (first_bad.any()) throw_not_finite(kernel, "gallery", rows_, first_bad.row(), first_row);
}

void CpuKnnIndex::find_center() {
  center_.assign(static_cast<size_t>(d()), whole_numbers_ ? 128.0 : 0.0);
  if (!whole_numbers_) {
    const int64_t count = std::min(size(), kCenterRows);
    std::vector<float> buffer(static_cast<size_t>(d()));
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = size() / count * i;
      const float* x = rows_.row(row, buffer.data());
      const double weight = factor(row) / static_cast<double>(count);
      for (int64_t j = 0; j < d(); ++j) center_[static_cast<size_t>(j)] += weight * double{x[j]};
    }
  }
  double square = 0;
  for (const double value : center_) square += value * value;
  center_norm_ = std::sqrt(square) * (1 + knn_eta(d()));
}

void CpuKnnIndex::encode(CpuDevice& device) {
  // Tiles read beyond a panel (KnnTileKernels).
  const int64_t beyond = (knn_tiled_step(code_) - 1) * kKnnPanel * 4;
  codes_ = Tensor(device, DType::kU8, {panels() * panel_bytes() + beyond}, "knn gallery");
  const Shape padded{panels() * kKnnPanel};
  for (Tensor* tensor : {&c_, &e_, &n_}) *tensor = Tensor(device, DType::kF64, padded, "knn gallery");
  panel_bounds_.resize(static_cast<size_t>(panels()));
  const int64_t centered_bytes = kKnnPanel * d() * 8;
  const int64_t row_bytes = round_up(d() * 4, 64);
  const int64_t bytes = round_up(centered_bytes + row_bytes + groups_ * 4, 64);
  const Scratch scratch = device.scratch().take(checked_mul(bytes, device.threads().thread_count()));
  device.threads().parallel_for(panels(), [&](int64_t p, int thread) {
    char* memory = scratch.data<char>() + thread * bytes;
    encode_panel(device, p, reinterpret_cast<double*>(memory),
                 reinterpret_cast<float*>(memory + centered_bytes), memory + centered_bytes + row_bytes);
  });
}

void CpuKnnIndex::encode_panel(const CpuDevice& device, int64_t p, double* centered, float* buffer,
                               char* row_codes) {
  const double eta = knn_eta(d());
  const int64_t count = std::min(kKnnPanel, size() - p * kKnnPanel);
  double largest = 0;
  double longest = 0;
  double squares[kKnnPanel];
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = p * kKnnPanel + i;
    largest = std::max(largest, device.knn().center_row(rows_.row(row, buffer), center(), factor(row), d(),
                                                        centered + i * d(), &squares[i]));
    longest = std::max(longest, std::sqrt(squares[i]));
  }
  PanelBounds& bounds = panel_bounds_[static_cast<size_t>(p)];
  bounds = {whole_numbers_ ? 1.0 : knn_scale(code_, largest, longest, d()), 0, 0};
  uint8_t* panel_codes = codes_.data<uint8_t>() + p * panel_bytes();
  // Codes of value 0, for lanes without a vector.
  std::memset(panel_codes, of_bytes(code_) ? 128 : 0, static_cast<size_t>(panel_bytes()));
  const uint32_t flip = of_bytes(code_) ? 0x80808080u : 0;
  for (int64_t i = 0; i < kKnnPanel; ++i) {
    const int64_t row = p * kKnnPanel + i;
    if (i >= count) {
      c_.data<double>()[row] = INFINITY;
      e_.data<double>()[row] = n_.data<double>()[row] = 0;
      continue;
    }
    const KnnCoded coded =
        knn_encode(device, filter_, code_, centered + i * d(), bounds.scale, d(), groups_, row_codes);
    for (int64_t g = 0; g < groups_; ++g) {
      uint32_t word;
      std::memcpy(&word, row_codes + g * 4, 4);
      word ^= flip;
      std::memcpy(panel_codes + (g * kKnnPanel + i) * 4, &word, 4);
    }
    const double norm = std::sqrt(squares[i]) * (1 + eta);
    const double length = metric_ == KnnMetric::kCosine ? 1 + center_norm_ : norm + center_norm_;
    double error = coded.error + kCentringSlack * (norm + length);
    if (code_ == KnnCode::kF32) error += static_cast<double>(d() + 2) * 0x1.2p-24 * coded.code_norm;
    // The rounding of D itself, where it is not relative to D.
    if (metric_ != KnnMetric::kL2) error += 8 * eta * length;
    c_.data<double>()[row] = metric_ == KnnMetric::kL2 ? squares[i] * (1 - 2 * eta) : 0;
    e_.data<double>()[row] = error;
    n_.data<double>()[row] = norm + kCentringSlack * length;
    bounds.radius = std::max(bounds.radius, error);
    bounds.reach = std::max(bounds.reach, n_.data<double>()[row]);
  }
}

void knn_gallery_prepare(Device& base, const KnnGalleryPrepareArgs& args) {
  *args.index = std::make_shared<CpuKnnIndex>(cpu_device(base), args, "knn_gallery_prepare");
}

std::unique_ptr<const KnnNearestSearch> CpuKnnIndex::nearest_search(int64_t queries) const {
  return make_nearest_search(*device_, *this, queries);
}

}  // namespace panda::kernels::cpu
