#include "kernels/cpu/knn_nearest_scores.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/simd/amx_kernels.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

// --- f32 --------------------------------------------------------------------------------------------------

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
    found[i] = {best, second, row, norm, error(norm), square};
  }
}

// --- bf16 pairs on AMX tiles ------------------------------------------------------------------------------

/// Groups of 32 queries in a block, as many as their codes leave room for in L2.
constexpr int64_t kTileGroups = 8;
constexpr int64_t kTileQueryBytes = int64_t{512} << 10;
/// Panels that stay in L2 while a block's groups pass.
constexpr int64_t kTilePanelBytes = int64_t{768} << 10;

int64_t tile_group_bytes(int64_t d) {
  return ceil_div(d, kAmxDepth) * kAmxStepBytes;
}
int64_t tile_groups(int64_t d) {
  return std::clamp<int64_t>(kTileQueryBytes / tile_group_bytes(d), 1, kTileGroups);
}
/// Codes, and the best two of every row.
int64_t tile_block_bytes(int64_t d) {
  return tile_groups(d) * (tile_group_bytes(d) + kAmxGroup * kAmxState * 4);
}

class TileScores final : public NearestScores {
 public:
  TileScores(CpuDevice& device, const KnnRows& rows);
  [[nodiscard]] int64_t block() const override { return groups_ * kAmxGroup; }
  [[nodiscard]] int64_t block_bytes() const override { return tile_block_bytes(d_); }
  void find(const float* queries, const int64_t* members, int64_t count, char* memory,
            NearestFound* found) const override;
  /// A sum of squares: its terms, subtraction and square, and their addition.
  [[nodiscard]] double square_error() const override {
    return (static_cast<double>(d_) / 16 + 8) * 0x1.1p-24;
  }

 private:
  /// Of a query with these bounds on |x - m| and r.
  [[nodiscard]] double error(double norm) const;
  [[nodiscard]] double coarse_error(double norm, double rest) const;
  [[nodiscard]] double rounding(double norm, int64_t products) const;
  [[nodiscard]] double norm_above(float square) const;
  /// >= r, the f32 subtraction of m included, from sums of squares of fl(x - m) and of what high leaves of
  /// it.
  [[nodiscard]] double rest_norm(float square, float rest) const;
  void score(const float* queries, const int64_t* members, int64_t count, bool coarse, char* memory,
             NearestFound* found) const;

  const AmxKernels& kernels_;
  int64_t d_;
  int64_t steps_;
  int64_t group_bytes_;
  int64_t groups_;
  int64_t panels_;
  Scratch scratch_;
  std::vector<float> center_;
  std::vector<float> norms_;  ///< |y|^2; infinite after the last row, up to a whole panel
  double rest_ = 0;           ///< R
};

TileScores::TileScores(CpuDevice& device, const KnnRows& rows)
    : kernels_(*device.amx()),
      d_(rows.d()),
      steps_(ceil_div(d_, kAmxDepth)),
      group_bytes_(tile_group_bytes(d_)),
      groups_(tile_groups(d_)),
      panels_(ceil_div(rows.count(), kAmxGroup)),
      scratch_(device.scratch().take(panels_ * group_bytes_)),
      center_(static_cast<size_t>(d_)),
      norms_(static_cast<size_t>(panels_ * kAmxGroup), INFINITY) {
  const float* const x = rows.row(0, nullptr);
  std::vector<double> sums(static_cast<size_t>(d_), 0.0);
  device.micro().reduce_columns(SimdReduce::kSum, x, rows.count(), d_, d_, sums.data());
  for (size_t i = 0; i < center_.size(); ++i)
    center_[i] = static_cast<float>(sums[i] / static_cast<double>(rows.count()));
  for (int64_t panel = 0; panel < panels_; ++panel) {
    const int64_t first = panel * kAmxGroup;
    float squares[kAmxGroup];
    float rests[kAmxGroup];
    kernels_.split_rows({.x = x + first * d_,
                         .members = nullptr,
                         .rows = std::min(kAmxGroup, rows.count() - first),
                         .d = d_,
                         .center = center_.data(),
                         .factor = -2,
                         .columns = true,
                         .coarse = false,
                         .group = scratch_.data<char>() + panel * group_bytes_,
                         .squares = squares,
                         .rests = rests});
    for (int64_t i = 0; i < kAmxGroup; ++i) rest_ = std::max(rest_, rest_norm(squares[i], rests[i] / 4));
  }
  for (int64_t i = 0; i < rows.count(); ++i) {
    double square = 0;
    for (int64_t j = 0; j < d_; ++j) {
      const double y = double{x[i * d_ + j]} - double{center_[static_cast<size_t>(j)]};
      square += y * y;
    }
    norms_[static_cast<size_t>(i)] = static_cast<float>(square);
    longest_ = std::max(longest_, std::sqrt(square) * (1 + knn_eta(d_)));
  }
}

/// >= the norm whose square was summed so.
double TileScores::norm_above(float square) const {
  // A sum of squares also loses 2^-125 of each term to underflow.
  return std::sqrt(double{square} * (1 + square_error()) + static_cast<double>(d_) * 0x1p-125);
}

double TileScores::rest_norm(float square, float rest) const {
  return norm_above(rest) + 0x1p-23 * norm_above(square);
}

double TileScores::rounding(double norm, int64_t products) const {
  const double gamma = 1.01 * static_cast<double>(products * steps_ + 34) * 0x1p-24;
  return gamma * (2.02 * norm * longest_ + longest_ * longest_) +
         0x1p-100 * (norm + longest_ + 1) * std::sqrt(static_cast<double>(d_));
}

double TileScores::error(double norm) const {
  return 2 * 3.1 * 0x1p-18 * norm * longest_ + rounding(norm, 3);
}

double TileScores::coarse_error(double norm, double rest) const {
  return 2 * (rest * longest_ + (norm + rest) * rest_) + rounding(norm, 1);
}

void TileScores::find(const float* queries, const int64_t* members, int64_t count, char* memory,
                      NearestFound* found) const {
  score(queries, members, count, true, memory, found);
  int64_t unsure[kTileGroups * kAmxGroup];
  int64_t rows[kTileGroups * kAmxGroup];
  int64_t unsure_count = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (found[i].sure(longest_)) continue;
    unsure[unsure_count] = i;
    rows[unsure_count++] = members == nullptr ? i : members[i];
  }
  if (unsure_count == 0) return;
  NearestFound again[kTileGroups * kAmxGroup];
  score(queries, rows, unsure_count, false, memory, again);
  for (int64_t i = 0; i < unsure_count; ++i) found[unsure[i]] = again[i];
}

void TileScores::score(const float* queries, const int64_t* members, int64_t count, bool coarse, char* memory,
                       NearestFound* found) const {
  const int64_t groups = ceil_div(count, kAmxGroup);
  const int64_t query_bytes = coarse ? group_bytes_ / 2 : group_bytes_;
  auto* const state = reinterpret_cast<float*>(memory + groups * query_bytes);
  float squares[kTileGroups * kAmxGroup];
  float rests[kTileGroups * kAmxGroup];
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t first = group * kAmxGroup;
    kernels_.split_rows({.x = members == nullptr ? queries + first * d_ : queries,
                         .members = members == nullptr ? nullptr : members + first,
                         .rows = std::min(kAmxGroup, count - first),
                         .d = d_,
                         .center = center_.data(),
                         .factor = 1,
                         .columns = false,
                         .coarse = coarse,
                         .group = memory + group * query_bytes,
                         .squares = squares + first,
                         .rests = rests + first});
  }
  const int64_t chunk = std::max<int64_t>(kTilePanelBytes / group_bytes_, 1);
  for (int64_t panel = 0; panel < panels_; panel += chunk) {
    kernels_.nearest({.coarse = coarse,
                      .queries = memory,
                      .query_groups = groups,
                      .panels = scratch_.data<char>() + panel * group_bytes_,
                      .panel_count = std::min(chunk, panels_ - panel),
                      .steps = steps_,
                      .norms = norms_.data() + panel * kAmxGroup,
                      .first_column = static_cast<int32_t>(panel * kAmxGroup),
                      .state = state,
                      .fresh = panel == 0});
  }
  AmxBest best[kTileGroups * kAmxGroup];
  kernels_.join_lanes(state, count, best);
  for (int64_t i = 0; i < count; ++i) {
    const double norm = norm_above(squares[i]);
    const double bound = coarse ? coarse_error(norm, rest_norm(squares[i], rests[i])) : error(norm);
    found[i] = {best[i].best, best[i].second, best[i].column, norm, bound, squares[i]};
  }
}

}  // namespace

std::unique_ptr<NearestScores> nearest_scores(CpuDevice& device, const KnnRows& rows) {
  if (device.amx() != nullptr) return std::make_unique<TileScores>(device, rows);
  return std::make_unique<VectorScores>(device, rows);
}

KnnFilter nearest_scores_filter(const CpuDevice& device) {
  return device.amx() != nullptr ? KnnFilter::kBF16 : KnnFilter::kF32;
}

int64_t nearest_scores_bytes(CpuDevice& device, int64_t rows, int64_t d) {
  const int threads = device.threads().thread_count();
  if (device.amx() != nullptr)
    return ceil_div(rows, kAmxGroup) * tile_group_bytes(d) + threads * tile_block_bytes(d);
  const int64_t lanes = device.micro().vector_floats;
  return round_up(rows, lanes) * d * 4 + threads * vector_block_bytes(lanes, d);
}

double nearest_scores_cycles(const CpuDevice& device, int64_t rows, int64_t d, int64_t queries) {
  constexpr double kPacking = 2;  // cycles a component of a row
  const auto depth = static_cast<double>(d);
  const auto nb = static_cast<double>(rows);
  const double packing = nb * depth * kPacking / static_cast<double>(queries);
  if (device.amx() != nullptr) {
    // A product of 512 multiply-adds a cycle, of which a third is lost, and three of the few that it leaves
    // unsure; splitting; the best two.
    const auto steps = static_cast<double>(ceil_div(d, kAmxDepth) * kAmxDepth);
    const auto columns = static_cast<double>(round_up(rows, kAmxGroup));
    return columns * (steps * 1.5 / 340 + 0.3) + depth / 2 + 30 + packing;
  }
  // Two multiply-adds of a vector a cycle, of which a quarter is lost; the best two of a vector take some 6
  // instructions.
  const auto lanes = static_cast<double>(device.micro().vector_floats);
  return nb * (depth / 1.5 + 6) / lanes + 4 * lanes + packing;
}

}  // namespace panda::kernels::cpu
