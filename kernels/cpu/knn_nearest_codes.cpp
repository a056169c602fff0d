// Scores on 8-bit codes (AVX-512 VNNI): they name the few rows that can be the nearest one, which are
// measured.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "kernels/cpu/knn_nearest_centered.h"
#include "kernels/cpu/simd/nearest_codes.h"
#include "kernels/cpu/work.h"
#include "kernels/tensor/error.h"

namespace panda::kernels::cpu {

namespace {

/// Queries of a block. Groups of them are scored at a time, as many as L2 has room for beside the panels, and
/// meanwhile the next group is brought there.
constexpr int64_t kCodeBlock = 480;
constexpr int64_t kCodeGroup = 96;
constexpr int64_t kGroupBytes = int64_t{256} << 10;
/// Of a group, those scored between two shares of what is brought.
constexpr int64_t kGroupStep = 24;

int64_t code_group(int64_t d) {
  return std::clamp(kGroupBytes / (4 * d) / kGroupStep * kGroupStep, kGroupStep, kCodeGroup);
}

int64_t code_stride(int64_t d) {
  return round_up(d, 16);
}
int64_t panel_bytes(int64_t rows, int64_t d) {
  return round_up(rows, 16) * round_up(d, 4);
}

/// Queries and rows that can be the nearest one of theirs, until they are measured.
struct CandidatePairs {
  /// That a score's lowest bits can tell apart.
  static constexpr int64_t kMostRows = 16 * kCodeVectors;
  /// A query has as many candidates as there are rows, at most; one place more is written to.
  static constexpr int64_t kRoom = kMostRows + 1;
  int64_t count;
  const float* queries[kRoom];
  const float* rows[kRoom];
  int32_t columns[kRoom];
  float distances[kRoom];

  void add(const float* query, const float* all_rows, int64_t d, int64_t column) {
    queries[count] = query;
    rows[count] = all_rows + column * d;
    columns[count++] = static_cast<int32_t>(column);
  }
};

/// Whole lines, so that no vector of the state behind it lies in two.
constexpr int64_t kPairsBytes = (static_cast<int64_t>(sizeof(CandidatePairs)) + 63) / 64 * 64;
/// State and codes of a group, and pairs.
int64_t code_block_bytes(int64_t d) {
  return kCodeGroup * (kCodeState * 4 + code_stride(d)) + kPairsBytes;
}

/// Vectors one after the other, or listed ones.
struct VectorList {
  const float* x;
  const int64_t* members;  ///< null: the first ones
  int64_t d;
  int64_t count;

  [[nodiscard]] const float* row(int64_t i) const { return x + (members == nullptr ? i : members[i]) * d; }
  [[nodiscard]] VectorList part(int64_t begin, int64_t end) const {
    return members == nullptr ? VectorList{x + begin * d, nullptr, d, end - begin}
                              : VectorList{x, members + begin, d, end - begin};
  }
};

/// Brings vectors into L2, some lines at a time: short listed ones are not foreseen by the processor.
class Bringing {
 public:
  Bringing(const VectorList& vectors, int64_t steps)
      : vectors_(vectors), share_(ceil_div(vectors.count * ceil_div(vectors.d * 4, kLine), steps)) {}
  void step() {
    for (int64_t i = 0; i < share_ && (line_ < end_ || open_next()); ++i, line_ += kLine)
      __builtin_prefetch(line_, 0, 2);
  }

 private:
  static constexpr int64_t kLine = 64;

  bool open_next() {
    if (vector_ == vectors_.count) return false;
    line_ = reinterpret_cast<const char*>(vectors_.row(vector_++));
    end_ = line_ + vectors_.d * 4;
    __builtin_prefetch(end_ - 1, 0, 2);  // in a line of its own, if the vector begins within a line
    return true;
  }

  const VectorList vectors_;
  const int64_t share_;
  int64_t vector_ = 0;
  const char* line_ = nullptr;
  const char* end_ = nullptr;
};

class CodeScores final : public CenteredScores {
 public:
  CodeScores(CpuDevice& device, const KnnRows& rows);
  [[nodiscard]] int64_t block() const override { return kCodeBlock; }
  [[nodiscard]] int64_t block_bytes() const override { return code_block_bytes(d_); }
  void find(const float* queries, const int64_t* members, int64_t count, char* memory,
            NearestFound* found) const override;

 private:
  /// What is known of a group's queries beside their scores.
  struct Queries {
    float scales[kCodeGroup];
    float squares[kCodeGroup];
    float norms[kCodeGroup];
    float rests[kCodeGroup];
    int32_t sums[kCodeGroup];
    float factors[kCodeGroup];
    float reach[kCodeGroup];
    float errors[kCodeGroup];    ///< of a score and of |x - m|^2 together
    uint32_t lanes[kCodeGroup];  ///< the results of NearestCandidatesArgs
    uint32_t crowded[kCodeGroup];
    float next[kCodeGroup];
    int32_t places[kCodeGroup];  ///< of the candidates among pairs
    int32_t counts[kCodeGroup];
  };
  [[nodiscard]] NearestEncodeArgs encoding(const VectorList& vectors) const;
  [[nodiscard]] bool trusted(const Queries& of, int64_t i) const {
    return double{of.norms[i]} + longest_ < kLongestTrusted;
  }
  /// Errors, factors and reach.
  void bound(Queries& of, int64_t count) const;
  void take_scores(Queries& of, const int8_t* codes, int64_t count, float* state,
                   const VectorList& next) const;
  /// find() of a group; `next`: the group after it.
  void find_group(const VectorList& queries, const VectorList& next, char* memory, NearestFound* found) const;
  /// Pairs of queries [first, ...), as many as there is room for; returns the end of them.
  [[nodiscard]] int64_t list_candidates(Queries& of, const VectorList& queries, int64_t first,
                                        const float* state, CandidatePairs& pairs) const;
  void list_candidates_of(uint32_t lanes, uint32_t crowded, const float* state, const float* query,
                          CandidatePairs& pairs) const;
  /// The nearest of queries [first, end), when their pairs are measured.
  void pick(const Queries& of, int64_t first, int64_t end, const CandidatePairs& pairs,
            NearestFound* found) const;
  /// Of a query with more than two candidates. (To bring its best two first and leave it to the kernel, whose
  /// loads then wait for those stores, made K-means 4 % slower.)
  [[nodiscard]] NearestFound nearest_of(const Queries& of, int64_t i, const CandidatePairs& pairs) const;

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
  PANDA_INTERNAL_ASSERT(count_ <= CandidatePairs::kMostRows, count_);
  const auto n = static_cast<size_t>(count_);
  std::vector<int8_t> codes(n * static_cast<size_t>(code_stride(d_)));
  std::vector<float> scales(n);
  std::vector<float> squares(n);
  std::vector<float> norms(n);
  std::vector<float> rests(n);
  std::vector<int32_t> sums(n);
  NearestEncodeArgs args = encoding({rows_, nullptr, d_, count_});
  args.codes = codes.data();
  args.scales = scales.data();
  args.squares = squares.data();
  args.norms = norms.data();
  args.rests = rests.data();
  args.sums = sums.data();
  kernels_.encode(args);
  scale_ = args.scale = *std::max_element(scales.begin(), scales.end());
  kernels_.encode(args);
  rest_ = double{*std::max_element(rests.begin(), rests.end())};
  std::fill_n(panels_, panel_bytes(count_, d_), uint8_t{128});
  for (int64_t i = 0; i < count_; ++i) {
    const int64_t first = i / kCodeColumns * kCodeColumns;
    const int64_t columns = std::min(kCodeColumns, round_up(count_ - first, 16));
    uint8_t* const to = panels_ + first * round_up(d_, 4) + (i - first) * 4;
    const int8_t* const from = codes.data() + i * code_stride(d_);
    for (int64_t j = 0; j < d_; j += 4) {  // after the last component codes are zeros
      uint32_t four;
      std::memcpy(&four, from + j, 4);
      four ^= 0x80808080;  // each code + 128
      std::memcpy(to + j * columns, &four, 4);
    }
  }
}

NearestEncodeArgs CodeScores::encoding(const VectorList& vectors) const {
  NearestEncodeArgs args = {};
  args.x = vectors.x;
  args.members = vectors.members;
  args.rows = vectors.count;
  args.d = d_;
  args.center = center_.data();
  args.relative = static_cast<float>(1 + square_error() + 0x1p-21);
  args.absolute = static_cast<float>(static_cast<double>(d_) * 0x1p-124);
  return args;
}

void CodeScores::bound(Queries& of, int64_t count) const {
  // f32, from above.
  const auto above = [](double value) { return static_cast<float>(value * (1 + 0x1p-22)); };
  kernels_.bound({.rows = count,
                  .scales = of.scales,
                  .squares = of.squares,
                  .norms = of.norms,
                  .rests = of.rests,
                  .longest = above(longest_),
                  .rest = above(rest_),
                  .scale = scale_,
                  .square_error = above(square_error()),
                  .measured = above(measured_),
                  .underflow = above(underflow(0)),  // (|x - m| + 1) (C + 1) is above |x - m| + C + 1
                  .errors = of.errors,
                  .reach = of.reach,
                  .factors = of.factors});
}

void CodeScores::take_scores(Queries& of, const int8_t* codes, int64_t count, float* state,
                             const VectorList& next) const {
  Bringing bringing(next, ceil_div(count_, kCodeColumns) * ceil_div(count, kGroupStep));
  for (int64_t first = 0; first < count_; first += kCodeColumns) {
    for (int64_t query = 0; query < count; query += kGroupStep) {
      bringing.step();
      kernels_.nearest({.codes = codes + query * code_stride(d_),
                        .sums = of.sums + query,
                        .factors = of.factors + query,
                        .rows = std::min(kGroupStep, count - query),
                        .d = d_,
                        .panel = panels_ + first * round_up(d_, 4),
                        .columns = std::min(kCodeColumns, count_ - first),
                        .norms = norms_.data() + first,
                        .first_vector = static_cast<int32_t>(first / 16),
                        .state = state + query * kCodeState});
    }
  }
  kernels_.candidates({.rows = count,
                       .state = state,
                       .reach = of.reach,
                       .lanes = of.lanes,
                       .crowded = of.crowded,
                       .next = of.next});
}

void CodeScores::list_candidates_of(uint32_t lanes, uint32_t crowded, const float* state, const float* query,
                                    CandidatePairs& pairs) const {
  const auto best_of = [&](int lane) {
    uint32_t bits;
    std::memcpy(&bits, state + lane, sizeof bits);
    return int64_t{bits % kCodeVectors} * 16 + lane;
  };
  const uint32_t others = lanes & (lanes - 1);
  if (crowded == 0 && (others & (others - 1)) == 0) {  // one or two, as nearly always: no branch
    pairs.add(query, rows_, d_, best_of(__builtin_ctz(lanes)));
    pairs.add(query, rows_, d_, best_of(__builtin_ctz(others != 0 ? others : lanes)));
    pairs.count -= others == 0 ? 1 : 0;
    return;
  }
  for (; lanes != 0; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes);
    if ((crowded >> lane & 1) == 0) {
      pairs.add(query, rows_, d_, best_of(lane));
    } else {
      for (int64_t column = lane; column < count_; column += 16) pairs.add(query, rows_, d_, column);
    }
  }
}

int64_t CodeScores::list_candidates(Queries& of, const VectorList& queries, int64_t first, const float* state,
                                    CandidatePairs& pairs) const {
  pairs.count = 0;
  for (int64_t i = first; i < queries.count; ++i) {
    const int64_t most = of.crowded[i] == 0 ? 16 : count_;
    if (i > first && pairs.count + most > CandidatePairs::kRoom) return i;
    of.places[i] = static_cast<int32_t>(pairs.count);
    if (trusted(of, i))
      list_candidates_of(of.lanes[i], of.crowded[i], state + i * kCodeState, queries.row(i), pairs);
    of.counts[i] = static_cast<int32_t>(pairs.count) - of.places[i];
  }
  return queries.count;
}

NearestFound CodeScores::nearest_of(const Queries& of, int64_t i, const CandidatePairs& pairs) const {
  const float* const distances = pairs.distances + of.places[i];
  float best = INFINITY;
  float second = INFINITY;
  int64_t place = 0;
  for (int64_t j = 0; j < of.counts[i]; ++j) {
    second = std::min(second, std::max(best, distances[j]));
    place = distances[j] < best ? j : place;
    best = std::min(best, distances[j]);
  }
  const auto error_of = [this](float distance) {
    return measured_ * static_cast<double>(distance) + 0x1p-120;
  };
  NearestFound found = {
      best, second, pairs.columns[of.places[i] + place], of.norms[i], error_of(best), error_of(second), 0};
  // Of the other rows no score is below `next`.
  const double next = static_cast<double>(of.next[i]) + static_cast<double>(of.squares[i]);
  if (next - of.errors[i] < static_cast<double>(second) - found.second_error) {
    found.second = static_cast<float>(next);
    found.second_error = of.errors[i] + 0x1p-23 * std::abs(next);
  }
  return found;
}

void CodeScores::pick(const Queries& of, int64_t first, int64_t end, const CandidatePairs& pairs,
                      NearestFound* found) const {
  int32_t picked[kCodeGroup];
  float best[kCodeGroup];
  float best_errors[kCodeGroup];
  float second[kCodeGroup];
  float second_errors[kCodeGroup];
  kernels_.pick({.rows = end - first,
                 .places = of.places + first,
                 .counts = of.counts + first,
                 .distances = pairs.distances,
                 .measured = static_cast<float>(measured_ * (1 + 0x1p-20)),
                 .next = of.next + first,
                 .squares = of.squares + first,
                 .errors = of.errors + first,
                 .picked = picked,
                 .best = best,
                 .best_errors = best_errors,
                 .second = second,
                 .second_errors = second_errors});
  for (int64_t i = first; i < end; ++i) {
    const int64_t j = i - first;
    if (of.counts[i] > 2) {
      found[i] = nearest_of(of, i, pairs);
    } else if (of.counts[i] > 0) {
      found[i] = {best[j],          second[j], pairs.columns[picked[j]], of.norms[i], best_errors[j],
                  second_errors[j], 0};
    } else {  // sure of nothing
      found[i] = {0, 0, 0, of.norms[i], 0, 0, 0};
    }
  }
}

void CodeScores::find(const float* queries, const int64_t* members, int64_t count, char* memory,
                      NearestFound* found) const {
  const VectorList all = {queries, members, d_, count};
  const int64_t group = code_group(d_);
  for (int64_t first = 0; first < count; first += group) {
    const int64_t end = std::min(first + group, count);
    find_group(all.part(first, end), all.part(end, std::min(end + group, count)), memory, found + first);
  }
}

void CodeScores::find_group(const VectorList& queries, const VectorList& next, char* memory,
                            NearestFound* found) const {
  const int64_t count = queries.count;
  auto* const pairs = new (memory) CandidatePairs;
  memory += kPairsBytes;
  auto* const state = reinterpret_cast<float*>(memory);
  auto* const codes = reinterpret_cast<int8_t*>(memory + kCodeGroup * kCodeState * 4);
  Queries of;
  NearestEncodeArgs args = encoding(queries);
  args.codes = codes;
  args.scales = of.scales;
  args.squares = of.squares;
  args.norms = of.norms;
  args.rests = of.rests;
  args.sums = of.sums;
  kernels_.encode(args);
  bound(of, count);
  take_scores(of, codes, count, state, next);

  for (int64_t first = 0, end = 0; first < count; first = end) {
    end = list_candidates(of, queries, first, state, *pairs);
    kernels_.distances(pairs->queries, pairs->rows, pairs->count, d_, pairs->distances);
    pick(of, first, end, *pairs, found);
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
