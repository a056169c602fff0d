// From any file of weights to safetensors, one tensor at a time; and what `panda weights inspect` shows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/tensor/named_tensors.h"
#include "kernels/tensor/progress.h"
#include "weights/tensor_values.h"

namespace panda::weights {

struct ConvertReport {
  int64_t tensor_count = 0;
  int64_t bytes_written = 0;  // of tensors
  std::string source_sha256;  // of the input file's bytes
};

/// Writes the tensors of `input` (a file, or the word of weights/embedded.h) to `output` as safetensors. With `float_dtype`, float tensors
/// become that dtype (to_dtype: one rounding to nearest even; a finite value that would overflow is an error
/// naming its tensor); integers stay. Without it every tensor keeps its bits. Metadata: that of a safetensors
/// input, and "source_sha256". At most one tensor and its conversion are in memory. `output` may be `input`.
/// On any error nothing is written.
ConvertReport convert_weights(const std::string& input, const std::string& output,
                              std::optional<DType> float_dtype = std::nullopt, Progress* progress = nullptr);

struct InspectedTensor {
  TensorInfo info;
  int64_t bytes = 0;
  ValueSummary values;  // if asked for
  std::string sha256;   // if asked for
};

struct Inspection {
  std::string source;
  std::string kind;  // weights_kind_name
  std::string file_sha256;
  std::string content_sha256;  // if values were asked for
  int64_t element_count = 0;
  int64_t bytes = 0;
  std::vector<InspectedTensor> tensors;  // by name
};

/// Of a file, or of what the word of weights/embedded.h stands for. With `values`, every tensor is read once, for ranges, NaN counts and hashes; without, only headers are.
[[nodiscard]] Inspection inspect_weights(const std::string& path, bool values, Progress* progress = nullptr);

}  // namespace panda::weights
