// Data sets: which image is normal, which is an anomaly, and how to load each.
//
// Nothing is decoded before it is asked for, and the order is always the same: sorted by byte value of the
// name in folders, as stored in files. Problems are reported with the file's name: a missing class, a split
// without images, labels that do not fit their images, a mask of another size.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/image.h"
#include "data/image_decode.h"

namespace panda::data {

struct Sample {
  /// The image's file; for images inside a larger file, FILE#INDEX.
  std::string file;
  /// 1 = anomaly, 0 = normal.
  int64_t label = 0;
  std::string class_name;
  /// Position of class_name in the data set's class names; -1 without classes.
  int64_t class_index = -1;
  /// The mask of the anomalous pixels; "" if there is none.
  std::string mask_file;
};

/// Images with their labels. All functions may be called from several threads.
class ImageSet {
 public:
  explicit ImageSet(std::vector<Sample> samples) : samples_(std::move(samples)) {}
  ImageSet(const ImageSet&) = delete;
  ImageSet& operator=(const ImageSet&) = delete;
  virtual ~ImageSet() = default;

  [[nodiscard]] int64_t size() const { return static_cast<int64_t>(samples_.size()); }
  /// Throws InvalidArgument for an index outside [0, size()).
  [[nodiscard]] const Sample& sample(int64_t index) const;
  /// Decoded, in the channels that the file has. Throws FormatError, IoError or InvalidArgument naming the
  /// file.
  [[nodiscard]] virtual Image load(int64_t index) const = 0;
  /// The image's mask: one channel, 255 where anomalous (mask values of 128 and above), else 0. All 0 for a
  /// normal image. Throws InvalidArgument if the mask's size is not height x width, if its values
  /// are small but not 0 (0 and 1 for 0 and 255, say), or if an anomaly has no mask.
  [[nodiscard]] Image load_mask(int64_t index, int64_t height, int64_t width) const;
  /// True if there is a mask for every anomaly, and there is an anomaly.
  [[nodiscard]] bool has_masks() const;

 private:
  std::vector<Sample> samples_;
};

struct DatasetOptions {
  /// mvtec | folder | cifar10 | cifar100 | fashion-mnist | mnist | npy
  std::string kind;
  std::string directory;
  /// The normal class: a name (in any case) or its index. For mvtec, a category folder inside `directory`
  /// (optional).
  std::string class_name;
  /// A split that is not needed may be missing; the set is empty then.
  bool need_train = true;
  bool need_test = true;
  DecodeOptions decode;
};

struct Dataset {
  std::unique_ptr<ImageSet> train;
  std::unique_ptr<ImageSet> test;
  /// All classes of the data set, the index being Sample::class_index.
  std::vector<std::string> class_names;
  /// One line for people: kind, directory, normal class, counts.
  std::string description;
};

/// The training images of the normal class, and the whole test split with label = (class is not the normal
/// one).
///
/// mvtec: DIR/train/good/*, DIR/test/KIND/* (KIND `good` is normal), DIR/ground_truth/KIND/NAME_mask.png (all
/// or none). folder: DIR/train/CLASS/*, DIR/test/CLASS/* with class_name; or, without it, DIR/train/* with
/// DIR/test/FOLDER/* where
///   the folders good, normal and ok (and one named as the only folder of train) are normal and all others
///   anomalous.
/// cifar10, cifar100: the official binary files (in DIR or in DIR/cifar-10-batches-bin,
/// DIR/cifar-100-binary); cifar100 by its 20
///   coarse classes. cifar10 also takes DIR/{train,test}/CLASS/*.png.
/// mnist, fashion-mnist: the official IDX files, plain or .gz, in DIR or in torchvision's DIR/MNIST/raw,
/// DIR/FashionMNIST/raw. npy: DIR/train.npy, DIR/test.npy (u8, N,H,W or N,H,W,C), DIR/test_labels.npy
/// (integers, N; 1 = anomaly). With class_name the
///   labels are class numbers, and DIR/train_labels.npy says which images of train.npy to take.
[[nodiscard]] Dataset open_dataset(const DatasetOptions& options);

/// DIR/CLASS/* with class_index set and label 0: for training a classifier. Fills `class_names`.
[[nodiscard]] std::unique_ptr<ImageSet> open_labelled_folder(const std::string& directory,
                                                             std::vector<std::string>& class_names,
                                                             const DecodeOptions& decode = {});

/// The files that `paths` name: files as given, directories searched recursively for images (by extension;
/// hidden names are left out). Throws InvalidArgument naming a path that holds none.
[[nodiscard]] std::vector<std::string> list_images(const std::vector<std::string>& paths);

/// Images (by extension) below a directory, sorted; hidden names are left out. May be none.
[[nodiscard]] std::vector<std::string> images_below_directory(const std::string& directory);

/// The images of `images` that can be read, decoded once to find out; why the others cannot is added to
/// `failures`. Holds a reference to `images`, which must outlive it.
[[nodiscard]] std::unique_ptr<ImageSet> readable_images(const ImageSet& images,
                                                        std::vector<std::string>& failures);

/// An unlabelled set of image files.
[[nodiscard]] std::unique_ptr<ImageSet> open_image_files(const std::vector<std::string>& files,
                                                         const DecodeOptions& decode = {});

}  // namespace panda::data
