// CIFAR-10 and CIFAR-100 in their official binary form: records of one label (CIFAR-10) or two, coarse and
// fine (CIFAR-100), and 3072 bytes of planar 32 x 32 RGB.
#include <algorithm>

#include "data/dataset_parts.h"
#include "kernels/tensor/error.h"

namespace panda::data::parts {

namespace {

constexpr int64_t kSide = 32;
constexpr int64_t kChannels = 3;
constexpr int64_t kPixelBytes = kSide * kSide * kChannels;
constexpr int64_t kRecordsPerRead = 1000;

const std::vector<std::string>& cifar10_names() {
  static const std::vector<std::string> names = {"airplane", "automobile", "bird",  "cat",  "deer",
                                                 "dog",      "frog",       "horse", "ship", "truck"};
  return names;
}

const std::vector<std::string>& cifar100_names() {
  static const std::vector<std::string> names = {"aquatic_mammals",
                                                 "fish",
                                                 "flowers",
                                                 "food_containers",
                                                 "fruit_and_vegetables",
                                                 "household_electrical_devices",
                                                 "household_furniture",
                                                 "insects",
                                                 "large_carnivores",
                                                 "large_man-made_outdoor_things",
                                                 "large_natural_outdoor_scenes",
                                                 "large_omnivores_and_herbivores",
                                                 "medium_mammals",
                                                 "non-insect_invertebrates",
                                                 "people",
                                                 "reptiles",
                                                 "small_mammals",
                                                 "trees",
                                                 "vehicles_1",
                                                 "vehicles_2"};
  return names;
}

/// The class is the first label of each record.
ImageArray read_records(const std::string& path, int64_t label_bytes, int64_t class_count) {
  ImageArray array;
  array.store = file_store(path);
  array.name = path;
  array.first_offset = label_bytes;
  array.stride_bytes = label_bytes + kPixelBytes;
  array.height = kSide;
  array.width = kSide;
  array.channels = kChannels;
  array.planar = true;
  const int64_t size = array.store->size();
  array.count = size / array.stride_bytes;
  if (size == 0 || size % array.stride_bytes != 0) {
    throw FormatError(printable(path), text("has ", size, " bytes, expected records of ", array.stride_bytes),
                      array.count * array.stride_bytes);
  }
  std::vector<uint8_t> records(
      static_cast<size_t>(std::min(array.count, kRecordsPerRead) * array.stride_bytes));
  for (int64_t begin = 0; begin < array.count; begin += kRecordsPerRead) {
    const int64_t count = std::min(kRecordsPerRead, array.count - begin);
    array.store->read(begin * array.stride_bytes, records.data(), count * array.stride_bytes);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t label = records[static_cast<size_t>(i * array.stride_bytes)];
      if (label >= class_count) {
        throw FormatError(printable(path), text("label ", label, ", expected below ", class_count),
                          (begin + i) * array.stride_bytes);
      }
      array.classes.push_back(label);
    }
  }
  return array;
}

/// The folder of the files: `directory` or its folder of the name that the official archive makes.
std::string files_folder(const std::string& directory, const char* archive_folder) {
  const std::string inner = join_path(directory, archive_folder);
  return is_directory(inner) ? inner : directory;
}

void append_records(const std::string& path, bool needed, int64_t label_bytes, int64_t class_count,
                    std::vector<ImageArray>& arrays) {
  if (!needed && !path_exists(path)) return;
  arrays.push_back(read_records(path, label_bytes, class_count));
}

}  // namespace

Dataset open_cifar10(const DatasetOptions& options) {
  const std::string folder = files_folder(options.directory, "cifar-10-batches-bin");
  if (!path_exists(join_path(folder, "test_batch.bin")) &&
      !path_exists(join_path(folder, "data_batch_1.bin"))) {
    PANDA_CHECK(is_directory(join_path(options.directory, "train")) ||
                    is_directory(join_path(options.directory, "test")),
                printable(options.directory),
                ": neither data_batch_1.bin nor a folder train, expected CIFAR-10 in binary form ",
                "or as train/CLASS/*.png, test/CLASS/*.png");
    return open_folder(options);
  }
  std::vector<ImageArray> train;
  for (int batch = 1; batch <= 5; ++batch) {
    append_records(join_path(folder, text("data_batch_", batch, ".bin")), options.need_train, 1, 10, train);
  }
  std::vector<ImageArray> test;
  append_records(join_path(folder, "test_batch.bin"), options.need_test, 1, 10, test);
  return one_class_dataset(std::move(train), std::move(test), cifar10_names(), options);
}

Dataset open_cifar100(const DatasetOptions& options) {
  const std::string folder = files_folder(options.directory, "cifar-100-binary");
  std::vector<ImageArray> train;
  append_records(join_path(folder, "train.bin"), options.need_train, 2, 20, train);
  std::vector<ImageArray> test;
  append_records(join_path(folder, "test.bin"), options.need_test, 2, 20, test);
  return one_class_dataset(std::move(train), std::move(test), cifar100_names(), options);
}

}  // namespace panda::data::parts
