#include "tools/dataset_options.h"

#include "kernels/tensor/file.h"
#include "weights/sha256.h"

namespace panda::tools {

namespace {

// The layout of a directory whose kind was not named.
std::string detected_kind(const std::string& directory, const std::string& class_name) {
  const std::string category = class_name.empty() ? directory : join_path(directory, class_name);
  for (const std::string& place : {directory, category}) {
    if (is_directory(join_path(place, "train/good")) && is_directory(join_path(place, "test")))
      return "mvtec";
  }
  return "folder";
}

}  // namespace

std::vector<OptionSpec> dataset_options() {
  return {{.name = "data",
           .kind = OptionKind::kDirectory,
           .value_name = "DIR",
           .default_value = "",
           .summary = "the data set's directory",
           .detail = "",
           .required = true},
          {.name = "dataset",
           .kind = OptionKind::kChoice,
           .value_name = "KIND",
           .default_value = "auto",
           .summary = "how the directory is laid out",
           .detail = "mvtec: DIR/train/good/*, DIR/test/KIND/*, DIR/ground_truth/KIND/*. folder: "
                     "DIR/{train,test}/CLASS/* with --class, or "
                     "DIR/train/* and DIR/test/FOLDER/* where the folders good, normal and ok are normal. "
                     "cifar10, cifar100, mnist, "
                     "fashion-mnist: the official files. npy: DIR/train.npy, test.npy and test_labels.npy. "
                     "auto takes mvtec where there "
                     "is a train/good and a test, else folder.",
           .choices = {"auto", "mvtec", "folder", "cifar10", "cifar100", "fashion-mnist", "mnist", "npy"}},
          {.name = "class",
           .kind = OptionKind::kText,
           .value_name = "CLASS",
           .default_value = "",
           .summary = "the normal class, by name or number",
           .detail = "The detector is fitted on this class of the training split; every other class of the "
                     "test split is an anomaly. For "
                     "mvtec: the category's folder inside DIR."}};
}

data::Dataset open_dataset(const ParsedOptions& options, bool need_train, bool need_test) {
  data::DatasetOptions dataset;
  dataset.directory = options.text("data");
  if (options.has("class")) dataset.class_name = options.text("class");
  dataset.kind = options.text("dataset");
  if (dataset.kind == "auto") dataset.kind = detected_kind(dataset.directory, dataset.class_name);
  dataset.need_train = need_train;
  dataset.need_test = need_test;
  return data::open_dataset(dataset);
}

std::string file_list_sha256(const data::ImageSet& images, const std::string& directory) {
  const std::string prefix = join_path(directory, "");
  weights::Sha256 hash;
  for (int64_t i = 0; i < images.size(); ++i) {
    const std::string& file = images.sample(i).file;
    const std::string name = file.compare(0, prefix.size(), prefix) == 0 ? file.substr(prefix.size()) : file;
    hash.update(name.c_str(), static_cast<int64_t>(name.size()) + 1);  // the closing NUL keeps names apart
  }
  return hash.hex_digest();
}

std::string image_count(int64_t count) {
  return text(count, count == 1 ? " image" : " images");
}

}  // namespace panda::tools
