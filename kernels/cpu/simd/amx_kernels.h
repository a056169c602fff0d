// Inner loops on AMX tiles of bf16 (Sapphire Rapids and later); the rule of micro_kernels.h holds here too.
//
// A vector y is split into two bf16 numbers per component, y = high + low + rest, |rest| <= 2^-18 |y|, and a
// product of two vectors is high high + low high + high low, summed in f32: some 16 bits for three products,
// of which a tile instruction makes 16 times as many per cycle as f32 vectors do. Or it is high high alone: 8
// bits for one.
#pragma once

#include <stdint.h>

namespace panda::kernels::cpu {

/// Rows of a tile, and of a group of two tiles.
constexpr int64_t kAmxTile = 16;
constexpr int64_t kAmxGroup = 32;
/// Components of one step along the depth, and its bytes in a group: the tiles high, high, low, low.
constexpr int64_t kAmxDepth = 32;
constexpr int64_t kAmxTileBytes = 1024;
constexpr int64_t kAmxStepBytes = 4 * kAmxTileBytes;
/// f32 words that a row's best two take: best[16], second[16], bits of index[16], lane by lane.
constexpr int64_t kAmxState = 48;

/// y = fl(x[row] - center) * factor, factor a power of two, split into the tiles of one group, or if `coarse`
/// into half of them: high, high.
struct AmxSplitArgs {
  const float* x;
  const int64_t* members;  ///< rows of x, d apart; null: the first ones
  int64_t rows;            ///< 1..32; the others become zeros
  int64_t d;
  const float* center;
  float factor;
  bool columns;  ///< the group will be the right operand
  bool coarse;
  char* group;     ///< [ceil(d / 32)] steps, 64-byte aligned
  float* squares;  ///< 32: sum of fl(x - center)^2, each term meeting at most d / 16 + 5 additions
  float* rests;    ///< 32: likewise of (y - high)^2
};

/// state[row] takes in scores[row][column] = norms[column] + <query row, column>.
struct AmxNearestArgs {
  bool coarse;          ///< of the queries; columns are split in two all the same
  const char* queries;  ///< groups of 32, each [steps]
  int64_t query_groups;
  const char* panels;  ///< groups of 32 columns, each [steps]
  int64_t panel_count;
  int64_t steps;
  const float* norms;    ///< 32 per panel
  int32_t first_column;  ///< of the first panel
  float* state;          ///< [32 query_groups][kAmxState]
  bool fresh;            ///< nothing was taken in yet, whatever `state` holds
};

/// The smallest score that a row has met, the second smallest (equal to it in a tie), and the former's
/// column.
struct AmxBest {
  float best;
  float second;
  int32_t column;
};

struct AmxKernels {
  /// Calls of the functions below, so that a test can prove whether they ran.
  int64_t (*calls)();
  void (*split_rows)(const AmxSplitArgs& args);
  void (*nearest)(const AmxNearestArgs& args);
  void (*join_lanes)(const float* state, int64_t rows, AmxBest* results);
};

namespace amx {
extern const AmxKernels kAmxKernels;
}

}  // namespace panda::kernels::cpu
