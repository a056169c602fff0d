// Scores on AMX tiles of bf16 pairs.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/knn_nearest_centered.h"
#include "kernels/cpu/simd/amx_kernels.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {
/// Queries of a block: those that one product leaves unsure are scored again together.
constexpr int64_t kTileBlock = 512;
/// Groups of 32 of them that are scored at a time, as many as their codes leave room for in L2.
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

class TileScores final : public CenteredScores {
 public:
  TileScores(CpuDevice& device, const KnnRows& rows);
  [[nodiscard]] int64_t block() const override { return kTileBlock; }
  [[nodiscard]] int64_t block_bytes() const override { return tile_block_bytes(d_); }
  void find(const float* queries, const int64_t* members, int64_t count, char* memory,
            NearestFound* found) const override;

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
  int64_t steps_;
  int64_t group_bytes_;
  int64_t groups_;
  int64_t panels_;
  Scratch scratch_;
};

TileScores::TileScores(CpuDevice& device, const KnnRows& rows)
    : CenteredScores(device, rows, round_up(rows.count(), kAmxGroup), INFINITY),
      kernels_(*device.amx()),
      steps_(ceil_div(d_, kAmxDepth)),
      group_bytes_(tile_group_bytes(d_)),
      groups_(tile_groups(d_)),
      panels_(ceil_div(rows.count(), kAmxGroup)),
      scratch_(device.scratch().take(panels_ * group_bytes_)) {
  const float* const x = rows.row(0, nullptr);
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
  return gamma * (2.02 * norm * longest_ + longest_ * longest_) + underflow(norm);
}

double TileScores::error(double norm) const {
  return 2 * 3.1 * 0x1p-18 * norm * longest_ + rounding(norm, 3);
}

double TileScores::coarse_error(double norm, double rest) const {
  return 2 * (rest * longest_ + (norm + rest) * rest_) + rounding(norm, 1);
}

void TileScores::find(const float* queries, const int64_t* members, int64_t count, char* memory,
                      NearestFound* found) const {
  const int64_t step = groups_ * kAmxGroup;
  int64_t unsure[kTileBlock];
  int64_t rows[kTileBlock];
  int64_t unsure_count = 0;
  for (int64_t first = 0; first < count; first += step) {
    const int64_t end = std::min(first + step, count);
    score(members == nullptr ? queries + first * d_ : queries, members == nullptr ? nullptr : members + first,
          end - first, true, memory, found + first);
    for (int64_t i = first; i < end; ++i) {
      if (found[i].sure(longest_)) continue;
      unsure[unsure_count] = i;
      rows[unsure_count++] = members == nullptr ? i : members[i];
    }
  }
  NearestFound again[kTileGroups * kAmxGroup];
  for (int64_t first = 0; first < unsure_count; first += step) {
    const int64_t now = std::min(step, unsure_count - first);
    score(queries, rows + first, now, false, memory, again);
    for (int64_t i = 0; i < now; ++i) found[unsure[first + i]] = again[i];
  }
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
    found[i] = {best[i].best, best[i].second, best[i].column, norm, bound, bound, squares[i]};
  }
}

bool exists(const CpuDevice& device) {
  return device.amx() != nullptr;
}

std::unique_ptr<NearestScores> make(CpuDevice& device, const KnnRows& rows) {
  return std::make_unique<TileScores>(device, rows);
}

int64_t bytes(CpuDevice& device, int64_t rows, int64_t d) {
  return ceil_div(rows, kAmxGroup) * tile_group_bytes(d) +
         device.threads().thread_count() * tile_block_bytes(d);
}

/// A product of 512 multiply-adds a cycle, of which a third is lost, and three of the few that it leaves
/// unsure; splitting; the best two.
double cycles(const CpuDevice&, int64_t rows, int64_t d) {
  const auto steps = static_cast<double>(ceil_div(d, kAmxDepth) * kAmxDepth);
  const auto columns = static_cast<double>(round_up(rows, kAmxGroup));
  return columns * (steps * 1.5 / 340 + 0.3) + static_cast<double>(d) / 2 + 30;
}

}  // namespace

const NearestWay kNearestTiles = {
    .filter = KnnFilter::kBF16, .exists = exists, .make = make, .bytes = bytes, .cycles = cycles};

}  // namespace panda::kernels::cpu
