// What the data set readers share. Private to data/.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "kernels/tensor/file.h"

namespace panda::data::parts {

// One per kind; open_dataset fills in the description.
[[nodiscard]] Dataset open_mvtec(const DatasetOptions& options);
[[nodiscard]] Dataset open_folder(const DatasetOptions& options);
[[nodiscard]] Dataset open_cifar10(const DatasetOptions& options);
[[nodiscard]] Dataset open_cifar100(const DatasetOptions& options);
[[nodiscard]] Dataset open_idx(const DatasetOptions& options);
[[nodiscard]] Dataset open_npy(const DatasetOptions& options);

/// The position of `wanted` in `names`: by name (case ignored), else as an index. Throws InvalidArgument
/// listing the names.
[[nodiscard]] int64_t find_class(const std::vector<std::string>& names, const std::string& wanted,
                                 const std::string& source);

/// Images in files of their own.
[[nodiscard]] std::unique_ptr<ImageSet> make_file_set(std::vector<Sample> samples,
                                                      const DecodeOptions& decode);

/// Images (by extension) below a directory, sorted; hidden names are left out. At most 32 levels deep.
[[nodiscard]] std::vector<std::string> images_below(const std::string& directory);
/// Images directly in a directory.
[[nodiscard]] std::vector<std::string> images_in(const std::string& directory);
/// Names of the folders directly in a directory, sorted, hidden ones left out; empty if it does not exist.
[[nodiscard]] std::vector<std::string> folders_in(const std::string& directory);

/// Bytes read by position, from a file or from memory.
class ByteStore {
 public:
  ByteStore() = default;
  ByteStore(const ByteStore&) = delete;
  ByteStore& operator=(const ByteStore&) = delete;
  virtual ~ByteStore() = default;
  [[nodiscard]] virtual int64_t size() const = 0;
  virtual void read(int64_t offset, void* destination, int64_t bytes) const = 0;
};
[[nodiscard]] std::shared_ptr<const ByteStore> file_store(const std::string& path);

/// Where uncompressed images of one size are.
struct ImageArray {
  std::shared_ptr<const ByteStore> store;
  std::string name;
  int64_t first_offset = 0;
  int64_t stride_bytes = 0;  // from one image to the next
  int64_t count = 0;
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;
  bool planar = false;           // C,H,W instead of H,W,C
  std::vector<int64_t> classes;  // one per image
};

/// The images of all arrays whose class is `only_class` (all if negative). Labels: class != normal_class.
[[nodiscard]] std::unique_ptr<ImageSet> make_array_set(std::vector<ImageArray> arrays, int64_t only_class,
                                                       int64_t normal_class,
                                                       const std::vector<std::string>& class_names);

/// Opens both splits of a data set whose images are in arrays.
[[nodiscard]] Dataset one_class_dataset(std::vector<ImageArray> train, std::vector<ImageArray> test,
                                        std::vector<std::string> class_names, const DatasetOptions& options);

/// IDX: images u8 N,H,W and their labels u8 N; plain or gzip. `class_count` bounds the labels.
[[nodiscard]] ImageArray read_idx(const std::string& images_path, const std::string& labels_path,
                                  int64_t class_count);

}  // namespace panda::data::parts
