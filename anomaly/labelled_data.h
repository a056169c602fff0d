// Images with classes, for training a classifier and for its Fisher diagonal.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "kernels/tensor/tensor.h"

namespace panda::anomaly {

struct LabelledData {
  std::vector<std::string> class_names;  ///< sorted by byte value; the index is the label
  std::unique_ptr<data::ImageSet> train;
  std::unique_ptr<data::ImageSet> val;  ///< absent without a folder `val`
};

/// DIR/train/CLASS/* with, where there is one, DIR/val/CLASS/*; or DIR/CLASS/*. Throws InvalidArgument where
/// a class has no images, or the classes of val are not those of train.
[[nodiscard]] LabelledData open_labelled_data(const std::string& directory);

/// The labels of these images: i64 on the host.
[[nodiscard]] Tensor labels_of(const data::ImageSet& images, const std::vector<int64_t>& indices);

}  // namespace panda::anomaly
