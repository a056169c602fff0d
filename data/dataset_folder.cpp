// Data sets of image files in folders: MVTec's layout, folders per class, and normal/anomalous folders.
#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include "data/dataset_parts.h"
#include "kernels/tensor/error.h"

namespace panda::data::parts {

namespace {

constexpr std::array<std::string_view, 3> kNormalNames = {"good", "normal", "ok"};

void append_class(const std::string& directory, const std::string& name, int64_t class_index, int64_t label,
                  std::vector<Sample>& samples) {
  const std::string folder = join_path(directory, name);
  if (!is_directory(folder)) return;
  for (std::string& file : images_below(folder))
    samples.push_back({std::move(file), label, name, class_index, ""});
}

std::string stem_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  return name.substr(0, name.find_last_of('.'));
}

/// DIR/ground_truth/KIND/NAME_mask.png of a test image. Throws InvalidArgument if it is not there.
std::string mask_of(const std::string& masks, const Sample& sample) {
  const std::string expected =
      join_path(join_path(masks, sample.class_name), stem_of(sample.file) + "_mask.png");
  PANDA_CHECK(path_exists(expected), printable(expected), ": no such mask, expected one for the anomaly ",
              printable(sample.file));
  return expected;
}

/// The folders of test, labelled by whether `is_normal(name)`.
template <typename IsNormal>
void append_test(const std::string& directory, const std::vector<std::string>& names, IsNormal is_normal,
                 std::vector<Sample>& samples) {
  for (size_t c = 0; c < names.size(); ++c) {
    append_class(directory, names[c], static_cast<int64_t>(c), is_normal(names[c]) ? 0 : 1, samples);
  }
}

/// DIR/train/CLASS/*, DIR/test/CLASS/*, one class normal.
Dataset open_class_folders(const DatasetOptions& options, const std::string& train, const std::string& test) {
  std::set<std::string> names;
  for (const std::string& name : folders_in(train)) names.insert(name);
  for (const std::string& name : folders_in(test)) names.insert(name);
  Dataset dataset;
  dataset.class_names.assign(names.begin(), names.end());
  const int64_t normal = find_class(dataset.class_names, options.class_name, options.directory);
  const std::string& normal_name = dataset.class_names[static_cast<size_t>(normal)];
  std::vector<Sample> train_samples;
  append_class(train, normal_name, normal, 0, train_samples);
  PANDA_CHECK(!options.need_train || !train_samples.empty(), printable(join_path(train, normal_name)),
              ": no training images of the normal class");
  std::vector<Sample> test_samples;
  append_test(
      test, dataset.class_names, [&](const std::string& name) { return name == normal_name; }, test_samples);
  dataset.train = make_file_set(std::move(train_samples), options.decode);
  dataset.test = make_file_set(std::move(test_samples), options.decode);
  return dataset;
}

/// DIR/train/* (or its only folder), DIR/test/FOLDER/* with the normal folders known by name.
Dataset open_normal_folders(const DatasetOptions& options, const std::string& train,
                            const std::string& test) {
  const std::vector<std::string> train_folders = folders_in(train);
  const std::vector<std::string> direct = is_directory(train) ? images_in(train) : std::vector<std::string>();
  PANDA_CHECK(!direct.empty() || train_folders.size() <= 1, printable(train), ": has ", train_folders.size(),
              " class folders; a class is needed, the normal one");
  const std::string only = direct.empty() && !train_folders.empty() ? train_folders[0] : "";
  const auto is_normal = [&](const std::string& name) {
    std::string small = name;
    for (char& c : small) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    return name == only || std::find(kNormalNames.begin(), kNormalNames.end(), small) != kNormalNames.end();
  };
  Dataset dataset;
  dataset.class_names = folders_in(test);
  PANDA_CHECK(dataset.class_names.empty() ||
                  std::any_of(dataset.class_names.begin(), dataset.class_names.end(), is_normal),
              printable(test), ": no folder of normal images, expected one named good, normal or ok");
  std::vector<Sample> train_samples;
  for (std::string& file :
       only.empty() && !is_directory(train) ? std::vector<std::string>() : images_below(train)) {
    train_samples.push_back({std::move(file), 0, only.empty() ? "good" : only, -1, ""});
  }
  std::vector<Sample> test_samples;
  append_test(test, dataset.class_names, is_normal, test_samples);
  dataset.train = make_file_set(std::move(train_samples), options.decode);
  dataset.test = make_file_set(std::move(test_samples), options.decode);
  return dataset;
}

void require_split(const std::string& directory, bool needed) {
  PANDA_CHECK(!needed || is_directory(directory), printable(directory),
              ": is no directory, expected this split of the data set");
}

}  // namespace

Dataset open_mvtec(const DatasetOptions& options) {
  const std::string root =
      options.class_name.empty() ? options.directory : join_path(options.directory, options.class_name);
  const std::string train = join_path(root, "train");
  const std::string test = join_path(root, "test");
  const std::string masks = join_path(root, "ground_truth");
  require_split(join_path(train, "good"), options.need_train);
  require_split(test, options.need_test);
  Dataset dataset;
  dataset.class_names = folders_in(test);
  std::vector<Sample> train_samples;
  append_class(train, "good", -1, 0, train_samples);
  std::vector<Sample> test_samples;
  append_test(
      test, dataset.class_names, [](const std::string& name) { return name == "good"; }, test_samples);
  if (is_directory(masks)) {
    for (Sample& sample : test_samples) {
      if (sample.label == 1) sample.mask_file = mask_of(masks, sample);
    }
  }
  dataset.train = make_file_set(std::move(train_samples), options.decode);
  dataset.test = make_file_set(std::move(test_samples), options.decode);
  return dataset;
}

Dataset open_folder(const DatasetOptions& options) {
  const std::string train = join_path(options.directory, "train");
  const std::string test = join_path(options.directory, "test");
  require_split(train, options.need_train);
  require_split(test, options.need_test);
  return options.class_name.empty() ? open_normal_folders(options, train, test)
                                    : open_class_folders(options, train, test);
}

}  // namespace panda::data::parts
