// A small data set with defects and exact masks, made from a seed: for the demo, for tests, and for trying
// the engine where no pictures may leave the house.
//
// Layout (MVTec): DIR/train/good/*.png, DIR/test/good/*.png, DIR/test/KIND/*.png with
// DIR/ground_truth/KIND/NAME_mask.png, and DIR/synthetic.json which says how it was made. A design (a weave,
// brushed metal or leather; a gasket, a nut or a capsule) is drawn from the seed; every picture varies in
// pose, light, colour and noise. A defective picture is
// its normal twin with one defect, and the mask is exactly where the two differ: 255 there, 0 elsewhere.
//
// Determinism: the same options give the same samples on every machine (only +, -, *, / and square roots of
// IEEE 754 are used), for any number of threads; and the same file bytes with the same libpng and zlib.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/image.h"
#include "kernels/tensor/parallel.h"
#include "kernels/tensor/progress.h"

namespace panda::data {

enum class SyntheticKind { kTexture, kObjects };

struct SyntheticOptions {
  SyntheticKind kind = SyntheticKind::kTexture;
  int64_t count = 60;  ///< pictures in all, from kSmallestSyntheticCount; about 60 % to train, 15 % good and
                       ///< 25 % defective to test
  int64_t size = 256;  ///< height and width in pixels, kSmallestSyntheticSize to kLargestSyntheticSize
  uint64_t seed = 0;   ///< seed % 3 chooses the design; everything else is drawn from it
};

inline constexpr int64_t kSmallestSyntheticCount = 8;
inline constexpr int64_t kLargestSyntheticCount = 1000000;
inline constexpr int64_t kSmallestSyntheticSize = 32;
inline constexpr int64_t kLargestSyntheticSize = 4096;

/// One picture of the data set.
struct SyntheticItem {
  int64_t index = 0;
  std::string path;         ///< below the data set's directory: "test/hole/000.png"
  std::string mask_path;    ///< "ground_truth/hole/000_mask.png", or "" for a normal picture
  std::string defect_kind;  ///< "hole", or "good"
};

struct SyntheticPicture {
  Image image;   ///< size x size x 3
  Image normal;  ///< the same without its defect
  Image mask;    ///< size x size x 1: 255 where `image` differs from `normal`, else 0
};

/// "weave", "brushed metal", ...: what the options' pictures show.
[[nodiscard]] std::string synthetic_design(const SyntheticOptions& options);
/// Every picture of the data set, in order. Throws InvalidArgument for options out of range.
[[nodiscard]] std::vector<SyntheticItem> list_synthetic(const SyntheticOptions& options);
/// Draws one of them.
[[nodiscard]] SyntheticPicture draw_synthetic(const SyntheticOptions& options, const SyntheticItem& item);

/// Writes the data set; `directory` appears whole or not at all. It must not exist or be empty; with
/// `replace`, it may also hold an earlier synthetic data set. Anything else there is never touched. Throws
/// InvalidArgument, IoError, Interrupted.
void write_synthetic(const std::string& directory, const SyntheticOptions& options, bool replace,
                     ThreadPool& threads, Progress* progress);

}  // namespace panda::data
