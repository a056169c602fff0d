// Scores on f32 vectors, of any instruction set.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/knn_nearest_scores.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

/// Queries that share a panel while it is in L1 or L2.
constexpr int64_t kVectorBlock = 96;
/// The state of NearestPanelArgs, and rows that do not lie together.
int64_t vector_block_bytes(int64_t lanes, int64_t d) {
  return kVectorBlock * (3 * lanes + d) * 4;
}

/// Rows as f32 panels [rows / width][d][width], the last one narrower, by whole vectors.
class VectorScores final : public NearestScores {
 public:
  VectorScores(CpuDevice& device, const KnnRows& rows);
  [[nodiscard]] int64_t block() const override { return kVectorBlock; }
  [[nodiscard]] int64_t block_bytes() const override { return vector_block_bytes(lanes_, d_); }
  void find(const float* queries, const int64_t* members, int64_t count, char* memory,
            NearestFound* found) const override;
  [[nodiscard]] double square_error() const override { return 2 * knn_eta(d_); }

 private:
  [[nodiscard]] double error(double norm) const {
    const double gamma = 1.01 * 2 * static_cast<double>(d_) * 0x1p-24;
    return 2 * gamma * norm * longest_ + 0x1p-22 * longest_ * (longest_ + 2 * norm) + 0x1p-120;
  }

  const MicroKernels& micro_;
  int64_t rows_;
  int64_t d_;
  int64_t lanes_;
  Scratch scratch_;
  float* panels_;
  std::vector<float> norms_;  ///< |c|^2; infinite after the last row, up to a whole panel
};

VectorScores::VectorScores(CpuDevice& device, const KnnRows& rows)
    : micro_(device.micro()),
      rows_(rows.count()),
      d_(rows.d()),
      lanes_(micro_.vector_floats),
      scratch_(device.scratch().take_array<float>(round_up(rows_, lanes_) * d_)),
      panels_(scratch_.data<float>()) {
  const int64_t width = micro_.gemm_columns;
  const float* const x = rows.row(0, nullptr);
  norms_.assign(static_cast<size_t>(round_up(rows_, width)), INFINITY);
  for (int64_t first = 0; first < rows_; first += width) {
    const int64_t columns = std::min(width, rows_ - first);
    const int64_t stride = round_up(columns, lanes_);
    if (stride != columns) std::fill_n(panels_ + first * d_, stride * d_, 0.0F);
    micro_.transpose(x + first * d_, d_, columns, d_, panels_ + first * d_, stride);
  }
  for (int64_t i = 0; i < rows_; ++i) {
    const double square = micro_.dot(x + i * d_, x + i * d_, d_);
    norms_[static_cast<size_t>(i)] = static_cast<float>(square);
    longest_ = std::max(longest_, std::sqrt(square) * (1 + knn_eta(d_)));
  }
}

void VectorScores::find(const float* queries, const int64_t* members, int64_t count, char* memory,
                        NearestFound* found) const {
  auto* const state = reinterpret_cast<float*>(memory);
  if (members != nullptr) {
    float* const gathered = state + kVectorBlock * 3 * lanes_;
    for (int64_t i = 0; i < count; ++i) std::copy_n(queries + members[i] * d_, d_, gathered + i * d_);
    queries = gathered;
  }
  std::fill_n(state, 3 * lanes_ * count, INFINITY);
  for (int64_t first = 0; first < rows_; first += micro_.gemm_columns) {
    micro_.nearest_panel({.a = queries,
                          .row_stride = d_,
                          .rows = count,
                          .d = d_,
                          .panel = panels_ + first * d_,
                          .columns = std::min(micro_.gemm_columns, rows_ - first),
                          .first_column = first,
                          .norms = norms_.data() + first,
                          .state = state});
  }
  for (int64_t i = 0; i < count; ++i) {
    const float* const lanes = state + i * 3 * lanes_;
    float best = INFINITY;
    float second = INFINITY;
    int32_t row = 0;
    for (int64_t j = 0; j < lanes_; ++j) {
      if (lanes[j] < best) {
        second = std::min(best, lanes[lanes_ + j]);
        best = lanes[j];
        std::memcpy(&row, lanes + 2 * lanes_ + j, sizeof row);
      } else {
        second = std::min(second, lanes[j]);
      }
    }
    const float* const x = queries + i * d_;
    const double square = micro_.dot(x, x, d_);
    const double norm = std::sqrt(square) * (1 + knn_eta(d_));
    found[i] = {best, second, row, norm, error(norm), error(norm), square};
  }
}

std::unique_ptr<NearestScores> make(CpuDevice& device, const KnnRows& rows) {
  return std::make_unique<VectorScores>(device, rows);
}

int64_t bytes(CpuDevice& device, int64_t rows, int64_t d) {
  const int64_t lanes = device.micro().vector_floats;
  return round_up(rows, lanes) * d * 4 + device.threads().thread_count() * vector_block_bytes(lanes, d);
}

/// Two multiply-adds of a vector a cycle, of which a quarter is lost; the best two of a vector take some 6
/// instructions.
double cycles(const CpuDevice& device, int64_t rows, int64_t d) {
  const auto lanes = static_cast<double>(device.micro().vector_floats);
  return static_cast<double>(rows) * (static_cast<double>(d) / 1.5 + 6) / lanes + 4 * lanes;
}

}  // namespace

const NearestWay kNearestVectors = {.filter = KnnFilter::kF32,
                                    .exists = [](const CpuDevice&) { return true; },
                                    .make = make,
                                    .bytes = bytes,
                                    .cycles = cycles};

}  // namespace panda::kernels::cpu
