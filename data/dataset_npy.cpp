// Data sets of images in .npy arrays: train.npy, test.npy, test_labels.npy, and train_labels.npy where
// classes are told apart.
#include <algorithm>

#include "data/dataset_parts.h"
#include "data/npy_header.h"
#include "kernels/tensor/error.h"

namespace panda::data::parts {

namespace {

constexpr int64_t kMaxClass = 1'000'000;

ImageArray read_images(const std::string& path) {
  ImageArray array;
  array.store = file_store(path);
  array.name = path;
  const NpyHeader header = read_npy_header(*array.store, path);
  const std::string source = printable(path);
  if (header.type != "|u1")
    throw FormatError(source, text("type ", printable(header.type), ", expected |u1 (bytes)"));
  const std::vector<int64_t>& shape = header.shape;
  if (shape.size() != 3 && shape.size() != 4) {
    throw FormatError(source, text("an array of rank ", shape.size(), ", expected N,H,W or N,H,W,C"));
  }
  array.count = shape[0];
  array.height = shape[1];
  array.width = shape[2];
  array.channels = shape.size() == 4 ? shape[3] : 1;
  if (array.height < 1 || array.width < 1 || array.channels < 1 || array.channels > 4) {
    throw FormatError(source, text("images of ", array.height, " x ", array.width, " x ", array.channels,
                                   ", expected H x W x C with 1 to 4 channels"));
  }
  array.first_offset = header.data_offset;
  array.stride_bytes = array.height * array.width * array.channels;
  return array;
}

/// The labels of `array`, one per image.
void read_classes(const std::string& path, int64_t limit, ImageArray& array) {
  array.classes = read_npy_integers(*file_store(path), path);
  const auto count = static_cast<int64_t>(array.classes.size());
  PANDA_CHECK(count == array.count, printable(path), ": ", count, " labels for the ", array.count,
              " images of ", printable(array.name));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t label = array.classes[static_cast<size_t>(i)];
    PANDA_CHECK(label >= 0 && label < limit, printable(path), ": label ", label, " of image ", i,
                ", expected 0 to ", limit - 1);
  }
}

}  // namespace

Dataset open_npy(const DatasetOptions& options) {
  const bool by_class = !options.class_name.empty();
  const auto in_folder = [&](const char* name) { return join_path(options.directory, name); };
  std::vector<ImageArray> train;
  if (options.need_train || path_exists(in_folder("train.npy"))) {
    train.push_back(read_images(in_folder("train.npy")));
    if (by_class) {
      read_classes(in_folder("train_labels.npy"), kMaxClass, train[0]);
    } else {
      train[0].classes.assign(static_cast<size_t>(train[0].count), 0);
    }
  }
  std::vector<ImageArray> test;
  if (options.need_test || path_exists(in_folder("test.npy"))) {
    test.push_back(read_images(in_folder("test.npy")));
    read_classes(in_folder("test_labels.npy"), by_class ? kMaxClass : 2, test[0]);
  }
  if (!by_class) {
    Dataset dataset;
    dataset.class_names = {"normal", "anomaly"};
    dataset.train = make_array_set(std::move(train), 0, 0, dataset.class_names);
    dataset.test = make_array_set(std::move(test), -1, 0, dataset.class_names);
    return dataset;
  }
  int64_t largest = 0;
  for (const std::vector<ImageArray>* arrays : {&train, &test}) {
    for (const ImageArray& array : *arrays) {
      for (const int64_t label : array.classes) largest = std::max(largest, label);
    }
  }
  std::vector<std::string> names;
  for (int64_t c = 0; c <= largest; ++c) names.push_back(text(c));
  return one_class_dataset(std::move(train), std::move(test), std::move(names), options);
}

}  // namespace panda::data::parts
