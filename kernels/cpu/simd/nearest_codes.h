// Inner loops on 8-bit codes (AVX-512 VNNI) for the nearest of few rows; the rule of micro_kernels.h holds
// here too. A vector y is scale * code + rest, |code| <= 127. Scores of codes say which rows can be the
// nearest one, and those few are measured in f32.
#pragma once

#include <stdint.h>

namespace panda::kernels::cpu {

/// Columns of a whole panel.
constexpr int64_t kCodeColumns = 64;
/// f32 words of a row's state: best[16], second[16], lane by lane.
constexpr int64_t kCodeState = 32;
/// A score of the state holds, in its lowest bits, which vector of columns it is of: column = 16 * number +
/// lane. That changes it by less than 2^-16 of itself.
constexpr int64_t kCodeVectors = 128;
/// The norm of a column without a row: larger than any score that is trusted, and no infinity, for whose
/// lowest bits there is no room.
constexpr float kCodeNoRow = 3e38F;

/// y = fl(x[row] - center) as codes, and bounds on what they leave. A sum of squares is true to `relative` -
/// 1 of itself and `absolute`: of d numbers, each of which meets at most d / 16 + 5 additions, and some
/// roundings more.
struct NearestEncodeArgs {
  const float* x;
  const int64_t* members;  ///< rows of x, d apart; null: the first ones
  int64_t rows;
  int64_t d;
  const float* center;
  float scale;  ///< of all rows; 0: each row's own, its largest |y| / 127
  float relative;
  float absolute;
  int8_t* codes;   ///< [rows][d rounded up to 16], zeros after d
  float* scales;   ///< of every row
  float* squares;  ///< sum of y^2
  float* norms;    ///< >= |x - center|
  float* rests;    ///< >= |x - center - scale * code|
  int32_t* sums;   ///< of codes
};

/// What a query's scores and its |x - center|^2 lose together, and what follows from it
/// (knn_nearest_scores.h). All numbers are bounds from above, and so are the results.
struct NearestBoundArgs {
  int64_t rows;
  const float* scales;  ///< the results of encoding
  const float* squares;
  const float* norms;
  const float* rests;
  float longest;       ///< C
  float rest;          ///< R
  float scale;         ///< of the columns' codes
  float square_error;  ///< relative, of squares
  float measured;      ///< relative, of a measured distance
  float underflow;     ///< of a score, for a norm of 1
  float* errors;
  float* reach;    ///< of NearestCandidatesArgs
  float* factors;  ///< of NearestCodesArgs
};

/// state[row] takes in scores[row][column] = norms[column] - factors[row] * <codes of row, of column>.
struct NearestCodesArgs {
  const int8_t* codes;  ///< [rows][d rounded up to 16]
  const int32_t* sums;  ///< of every row's codes
  const float* factors;
  int64_t rows;
  int64_t d;
  const uint8_t* panel;  ///< [d / 4, rounded up][columns rounded up to 16][4]: code + 128
  int64_t columns;       ///< 1..64
  const float* norms;    ///< kCodeNoRow after the last column, up to whole vectors
  int32_t first_vector;  ///< of the panel's vectors of 16 columns; 0: nothing was taken in yet
  float* state;          ///< [rows][kCodeState]
};

/// Candidates of a row are the columns whose score is at most its least one + reach; and all of a lane that
/// has two of them, for only two are known.
struct NearestCandidatesArgs {
  int64_t rows;
  const float* state;
  const float* reach;
  uint32_t* lanes;    ///< bit l: the best of lane l is one
  uint32_t* crowded;  ///< bit l: all of lane l are
  float* next;        ///< the least score of a column that is none; kCodeNoRow, or nearly, if all are
};

/// The best two of rows with one or two candidates, from their measured distances and
/// from what is known of the other columns: their squared distances are at least next + square - error.
struct NearestPickArgs {
  int64_t rows;
  const int32_t* places;  ///< of a row's first distance; of a second one behind it
  const int32_t* counts;  ///< of its distances
  const float* distances;
  float measured;  ///< their relative error
  const float* next;
  const float* squares;
  const float* errors;
  int32_t* picked;  ///< the place of the best
  float* best;
  float* best_errors;
  float* second;  ///< a distance, or next + square where that says less
  float* second_errors;
};

struct NearestCodeKernels {
  /// Calls of the functions below, so that a test can prove whether they ran.
  int64_t (*calls)();
  void (*encode)(const NearestEncodeArgs& args);
  void (*bound)(const NearestBoundArgs& args);
  void (*nearest)(const NearestCodesArgs& args);
  void (*candidates)(const NearestCandidatesArgs& args);
  void (*pick)(const NearestPickArgs& args);
  /// As KnnKernels::squared_distances, of pairs of vectors; sixteen pairs are reduced together.
  void (*distances)(const float* const* queries, const float* const* rows, int64_t pairs, int64_t d,
                    float* distances);
};

namespace avx512vnni {
extern const NearestCodeKernels kNearestCodeKernels;
}

}  // namespace panda::kernels::cpu
