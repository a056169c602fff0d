// Scores on 8-bit codes (AVX-512 VNNI): they name the few rows that can be the nearest one, which are
// measured.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/knn_nearest_centered.h"
#include "kernels/cpu/simd/nearest_codes.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

/// Queries that share a panel while it is in L1 or L2.
constexpr int64_t kCodeBlock = 96;

int64_t code_stride(int64_t d) {
  return round_up(d, 16);
}
int64_t panel_bytes(int64_t rows, int64_t d) {
  return round_up(rows, 16) * round_up(d, 4);
}
int64_t code_block_bytes(int64_t d) {
  return kCodeBlock * (kCodeState * 4 + code_stride(d));
}

/// Queries and the rows that can be the nearest one of theirs: pairs, those of a query together.
struct CandidatePairs {
  std::vector<const float*> queries;
  std::vector<const float*> rows;
  std::vector<int64_t> columns;
  std::vector<float> distances;

  void add(const float* query, const float* all_rows, int64_t d, int64_t column) {
    queries.push_back(query);
    rows.push_back(all_rows + column * d);
    columns.push_back(column);
  }
};

class CodeScores final : public CenteredScores {
 public:
  CodeScores(CpuDevice& device, const KnnRows& rows);
  [[nodiscard]] int64_t block() const override { return kCodeBlock; }
  [[nodiscard]] int64_t block_bytes() const override { return code_block_bytes(d_); }
  void find(const float* queries, const int64_t* members, int64_t count, char* memory,
            NearestFound* found) const override;

 private:
  /// What is known of a query beside its scores.
  struct Query {
    double norm;
    double square;
    double error;  ///< of a score and of |x - m|^2 together
    bool trusted;
  };
  [[nodiscard]] Query bounds(float square, float rest) const;
  [[nodiscard]] NearestFound nearest_of(const Query& query, const NearestCandidates& candidates,
                                        const int64_t* columns, const float* distances, size_t count) const;

  const NearestCodeKernels& kernels_;
  const float* rows_;
  int64_t count_;
  double measured_;  ///< relative error of a measured distance
  float scale_ = 0;  ///< of all rows' codes
  Scratch scratch_;
  uint8_t* panels_;
};

CodeScores::CodeScores(CpuDevice& device, const KnnRows& rows)
    : CenteredScores(device, rows, round_up(rows.count(), 16), kCodeNoRow),
      kernels_(*device.nearest_codes()),
      rows_(rows.row(0, nullptr)),
      count_(rows.count()),
      measured_(1.01 * knn_refined_error(d_)),
      scratch_(device.scratch().take(panel_bytes(count_, d_))),
      panels_(scratch_.data<uint8_t>()) {
  const auto n = static_cast<size_t>(count_);
  std::vector<int8_t> codes(n * static_cast<size_t>(code_stride(d_)));
  std::vector<float> scales(n);
  std::vector<float> squares(n);
  std::vector<float> rests(n);
  std::vector<int32_t> sums(n);
  NearestEncodeArgs args = {.x = rows_,
                            .members = nullptr,
                            .rows = count_,
                            .d = d_,
                            .center = center_.data(),
                            .scale = 0,
                            .codes = codes.data(),
                            .scales = scales.data(),
                            .squares = squares.data(),
                            .rests = rests.data(),
                            .sums = sums.data()};
  kernels_.encode(args);
  scale_ = args.scale = *std::max_element(scales.begin(), scales.end());
  kernels_.encode(args);
  for (size_t i = 0; i < n; ++i) rest_ = std::max(rest_, rest_norm(squares[i], rests[i]));
  std::fill_n(panels_, panel_bytes(count_, d_), uint8_t{128});
  for (int64_t i = 0; i < count_; ++i) {
    const int64_t first = i / kCodeColumns * kCodeColumns;
    const int64_t columns = std::min(kCodeColumns, round_up(count_ - first, 16));
    uint8_t* const to = panels_ + first * round_up(d_, 4) + (i - first) * 4;
    const int8_t* const from = codes.data() + i * code_stride(d_);
    for (int64_t j = 0; j < d_; ++j) to[j / 4 * columns * 4 + j % 4] = static_cast<uint8_t>(from[j] + 128);
  }
}

CodeScores::Query CodeScores::bounds(float square, float rest) const {
  const double norm = norm_above(square);
  const double left = rest_norm(square, rest);
  const double size = longest_ * longest_ + 2 * (norm + left) * (longest_ + rest_);
  const double error = code_error(norm, left) + 0x1.1p-16 * size + underflow(norm);
  return {norm, double{square}, error + double{square} * square_error(), norm + longest_ < kLongestTrusted};
}

NearestFound CodeScores::nearest_of(const Query& query, const NearestCandidates& candidates,
                                    const int64_t* columns, const float* distances, size_t count) const {
  size_t least = 0;
  for (size_t i = 1; i < count; ++i) least = distances[i] < distances[least] ? i : least;
  NearestFound found = {distances[least], INFINITY, columns[least], query.norm, 0, 0, 0};
  for (size_t i = 0; i < count; ++i) {
    if (i != least) found.second = std::min(found.second, distances[i]);
  }
  const auto error_of = [this](float distance) { return measured_ * double{distance} + 0x1p-120; };
  found.error = error_of(found.best);
  found.second_error = error_of(found.second);
  // Of the others no score is below `next`.
  const double next = double{candidates.next} + query.square;
  if (!(next - query.error >= double{found.second} - found.second_error)) {
    found.second = static_cast<float>(next);
    found.second_error = query.error + 0x1p-23 * std::abs(next);
  }
  return found;
}

void CodeScores::find(const float* queries, const int64_t* members, int64_t count, char* memory,
                      NearestFound* found) const {
  auto* const state = reinterpret_cast<float*>(memory);
  auto* const codes = reinterpret_cast<int8_t*>(memory + kCodeBlock * kCodeState * 4);
  float scales[kCodeBlock];
  float squares[kCodeBlock];
  float rests[kCodeBlock];
  int32_t sums[kCodeBlock];
  kernels_.encode({.x = queries,
                   .members = members,
                   .rows = count,
                   .d = d_,
                   .center = center_.data(),
                   .scale = 0,
                   .codes = codes,
                   .scales = scales,
                   .squares = squares,
                   .rests = rests,
                   .sums = sums});
  Query query[kCodeBlock];
  float factors[kCodeBlock];
  float reach[kCodeBlock];
  for (int64_t i = 0; i < count; ++i) {
    query[i] = bounds(squares[i], rests[i]);
    factors[i] = 2 * scales[i] * scale_;
    // Beside what the error asks, enough that the measured distance of the nearest is below all others'
    // bounds.
    const double both = query[i].norm + longest_;
    reach[i] = static_cast<float>((2 * query[i].error + (measured_ + 0x1p-22) * both * both) * (1 + 0x1p-20));
  }
  for (int64_t first = 0; first < count_; first += kCodeColumns) {
    kernels_.nearest({.codes = codes,
                      .sums = sums,
                      .factors = factors,
                      .rows = count,
                      .d = d_,
                      .panel = panels_ + first * round_up(d_, 4),
                      .columns = std::min(kCodeColumns, count_ - first),
                      .norms = norms_.data() + first,
                      .first_vector = static_cast<int32_t>(first / 16),
                      .state = state});
  }
  NearestCandidates candidates[kCodeBlock];
  kernels_.candidates(state, reach, count, candidates);

  CandidatePairs pairs;
  size_t begins[kCodeBlock + 1];
  for (int64_t i = 0; i < count; ++i) {
    begins[i] = pairs.columns.size();
    if (!query[i].trusted) continue;
    const float* const x = queries + (members == nullptr ? i : members[i]) * d_;
    for (uint32_t lanes = candidates[i].lanes; lanes != 0; lanes &= lanes - 1) {
      const int lane = __builtin_ctz(lanes);
      if ((candidates[i].crowded >> lane & 1) != 0) {
        for (int64_t column = lane; column < count_; column += 16) pairs.add(x, rows_, d_, column);
      } else {
        uint32_t bits;
        std::memcpy(&bits, state + i * kCodeState + lane, sizeof bits);
        pairs.add(x, rows_, d_, int64_t{bits % kCodeVectors} * 16 + lane);
      }
    }
  }
  begins[count] = pairs.columns.size();
  pairs.distances.resize(pairs.columns.size());
  kernels_.distances(pairs.queries.data(), pairs.rows.data(), static_cast<int64_t>(pairs.columns.size()), d_,
                     pairs.distances.data());
  for (int64_t i = 0; i < count; ++i) {
    const size_t size = begins[i + 1] - begins[i];
    found[i] = size == 0 ? NearestFound{0, 0, 0, query[i].norm, 0, 0, 0}
                         : nearest_of(query[i], candidates[i], pairs.columns.data() + begins[i],
                                      pairs.distances.data() + begins[i], size);
  }
}

bool exists(const CpuDevice& device) {
  return device.nearest_codes() != nullptr;
}

std::unique_ptr<NearestScores> make(CpuDevice& device, const KnnRows& rows) {
  return std::make_unique<CodeScores>(device, rows);
}

int64_t bytes(CpuDevice& device, int64_t rows, int64_t d) {
  return panel_bytes(rows, d) + rows * code_stride(d) + device.threads().thread_count() * code_block_bytes(d);
}

/// 64 products a cycle, some six instructions per vector of scores; encoding, and measuring what is left.
double cycles(const CpuDevice&, int64_t rows, int64_t d) {
  const auto columns = static_cast<double>(round_up(rows, 16));
  return columns * (static_cast<double>(d) / 60 + 0.3) + static_cast<double>(d) + 80;
}

}  // namespace

const NearestWay kNearestCodes = {
    .filter = KnnFilter::kInt8, .exists = exists, .make = make, .bytes = bytes, .cycles = cycles};

}  // namespace panda::kernels::cpu
