#include "anomaly/labelled_data.h"

#include "kernels/tensor/error.h"
#include "kernels/tensor/file.h"

namespace panda::anomaly {

namespace {

void check_classes(const data::ImageSet& images, const std::vector<std::string>& names,
                   const std::string& directory) {
  std::vector<int64_t> counts(names.size());
  for (int64_t i = 0; i < images.size(); ++i) ++counts[static_cast<size_t>(images.sample(i).class_index)];
  for (size_t c = 0; c < names.size(); ++c)
    PANDA_CHECK(counts[c] > 0, printable(join_path(directory, names[c])), ": no images in this class folder");
}

}  // namespace

LabelledData open_labelled_data(const std::string& directory) {
  LabelledData result;
  const std::string inner = join_path(directory, "train");
  const std::string train = is_directory(inner) ? inner : directory;
  result.train = data::open_labelled_folder(train, result.class_names);
  check_classes(*result.train, result.class_names, train);
  const std::string val = join_path(directory, "val");
  if (train == directory || !is_directory(val)) return result;
  std::vector<std::string> val_names;
  result.val = data::open_labelled_folder(val, val_names);
  PANDA_CHECK(val_names == result.class_names, printable(val), ": its ", val_names.size(),
              " class folders are not the ", result.class_names.size(), " of ", printable(train));
  return result;
}

Tensor labels_of(const data::ImageSet& images, const std::vector<int64_t>& indices) {
  Tensor labels(host(), DType::kI64, {static_cast<int64_t>(indices.size())}, "labels");
  for (size_t i = 0; i < indices.size(); ++i)
    labels.data<int64_t>()[i] = images.sample(indices[i]).class_index;
  return labels;
}

}  // namespace panda::anomaly
