// The flags that name a data set, shared by every command that takes one.
#pragma once

#include <string>
#include <vector>

#include "data/dataset.h"
#include "tools/options.h"

namespace panda::tools {

/// --dataset, --data and --class.
[[nodiscard]] std::vector<OptionSpec> dataset_options();

/// Opens what they name; a split that is not needed may be missing. Throws as data::open_dataset does.
[[nodiscard]] data::Dataset open_dataset(const ParsedOptions& options, bool need_train, bool need_test);

/// SHA-256 of the images' names, in order, as they are called inside the data set's directory.
[[nodiscard]] std::string file_list_sha256(const data::ImageSet& images, const std::string& directory);

/// "1 image", "7 images".
[[nodiscard]] std::string image_count(int64_t count);

}  // namespace panda::tools
