// The points of `panda kmeans`: vectors and their weights in files, read by ranges of rows.
#pragma once

#include <string>
#include <vector>

#include "weights/vector_file.h"

namespace panda::tools {

/// The vectors of some files, one file after the other, as f32. Each is checked the first time that it is
/// read in order, and whenever it is read out of order.
class VectorPoints {
 public:
  /// f32, f16 or u8, all of one d >= 1. Throws as VectorFile does, and InvalidArgument naming the file.
  explicit VectorPoints(const std::vector<std::string>& paths);

  [[nodiscard]] int64_t count() const { return begins_.back(); }
  [[nodiscard]] int64_t d() const { return files_.front().d(); }
  /// Of the first file, and how many more there are.
  [[nodiscard]] std::string name() const;

  /// Rows [begin, end): f32 on the host. A NaN or an infinity is an InvalidArgument that names the file and
  /// its row.
  [[nodiscard]] Tensor read(int64_t begin, int64_t end);

 private:
  std::vector<weights::VectorFile> files_;
  std::vector<int64_t> begins_ = {0};  ///< the first row of each file, and the count
  int64_t checked_ = 0;
};

/// One weight for each of `count` vectors: .npy, f32 or f64.
class WeightFile {
 public:
  /// `vectors`: what the weights are of, for messages.
  WeightFile(const std::string& path, int64_t count, const std::string& vectors);
  /// Weights [begin, end), rounded to f32, on the host.
  [[nodiscard]] Tensor read(int64_t begin, int64_t end) const;

 private:
  weights::ByteSourcePtr source_;
  DType dtype_ = DType::kF32;
  int64_t data_offset_ = 0;
  Tensor whole_;  ///< of an .npy that cannot be read by parts (big-endian)
};

}  // namespace panda::tools
