#include "data/dataset.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <string_view>

#include "data/dataset_parts.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/progress.h"

namespace panda::data {

namespace {

// What people call image files. TIFF and the like are listed so that they are refused by name instead of
// being passed over.
constexpr std::array<std::string_view, 17> kImageExtensions = {"png", "jpg",  "jpeg", "jpe",  "bmp",  "dib",
                                                               "pbm", "pgm",  "ppm",  "pnm",  "webp", "gif",
                                                               "tif", "tiff", "avif", "heic", "jp2"};
constexpr int kMaxFolderDepth = 32;

bool looks_like_image(const std::string& name) {
  const std::string extension = extension_of(name);
  return std::find(kImageExtensions.begin(), kImageExtensions.end(), extension) != kImageExtensions.end();
}

void collect_images(const std::string& directory, int depth, std::vector<std::string>& found) {
  PANDA_CHECK(depth <= kMaxFolderDepth, printable(directory), ": folders more than ", kMaxFolderDepth,
              " deep (a link to a folder above?)");
  for (const std::string& name : list_directory(directory)) {
    if (name[0] == '.') continue;
    const std::string path = join_path(directory, name);
    if (is_directory(path)) {
      collect_images(path, depth + 1, found);
    } else if (looks_like_image(name)) {
      found.push_back(path);
    }
  }
}

std::string lower(std::string_view name) {
  std::string out(name);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

std::string joined(const std::vector<std::string>& names) {
  constexpr size_t kShown = 20;
  std::string out;
  for (size_t i = 0; i < names.size() && i < kShown; ++i) out += (i == 0 ? "" : ", ") + printable(names[i]);
  if (names.size() > kShown) out += text(", ... (", names.size(), " in all)");
  return out.empty() ? "none" : out;
}

class FileSet final : public ImageSet {
 public:
  FileSet(std::vector<Sample> samples, const DecodeOptions& decode)
      : ImageSet(std::move(samples)), decode_(decode) {}
  [[nodiscard]] Image load(int64_t index) const override { return load_image(sample(index).file, decode_); }

 private:
  DecodeOptions decode_;
};

class Subset final : public ImageSet {
 public:
  Subset(const ImageSet& images, std::vector<Sample> samples, std::vector<int64_t> places)
      : ImageSet(std::move(samples)), images_(&images), places_(std::move(places)) {}
  [[nodiscard]] Image load(int64_t index) const override {
    static_cast<void>(sample(index));  // checks the index
    return images_->load(places_[static_cast<size_t>(index)]);
  }

 private:
  const ImageSet* images_;
  std::vector<int64_t> places_;
};

class FileStore final : public parts::ByteStore {
 public:
  explicit FileStore(const std::string& path) : file_(path) {}
  [[nodiscard]] int64_t size() const override { return file_.size(); }
  void read(int64_t offset, void* destination, int64_t bytes) const override {
    file_.read(offset, destination, bytes);
  }

 private:
  InputFile file_;
};

class ArraySet final : public ImageSet {
 public:
  struct Place {
    size_t array;
    int64_t index;
  };
  ArraySet(std::vector<Sample> samples, std::vector<parts::ImageArray> arrays, std::vector<Place> places)
      : ImageSet(std::move(samples)), arrays_(std::move(arrays)), places_(std::move(places)) {}

  [[nodiscard]] Image load(int64_t index) const override {
    (void)sample(index);  // checks the index
    const Place& place = places_[static_cast<size_t>(index)];
    const parts::ImageArray& array = arrays_[place.array];
    Image image(array.height, array.width, array.channels);
    const auto bytes = static_cast<int64_t>(image.pixels.size());
    const int64_t offset = array.first_offset + place.index * array.stride_bytes;
    if (!array.planar || array.channels == 1) {
      array.store->read(offset, image.pixels.data(), bytes);
      return image;
    }
    std::vector<uint8_t> planes(image.pixels.size());
    array.store->read(offset, planes.data(), bytes);
    const int64_t plane = array.height * array.width;
    for (int64_t c = 0; c < array.channels; ++c) {
      for (int64_t i = 0; i < plane; ++i) {
        image.pixels[static_cast<size_t>(i * array.channels + c)] =
            planes[static_cast<size_t>(c * plane + i)];
      }
    }
    return image;
  }

 private:
  std::vector<parts::ImageArray> arrays_;
  std::vector<Place> places_;
};

}  // namespace

const Sample& ImageSet::sample(int64_t index) const {
  PANDA_CHECK(index >= 0 && index < size(), "image ", index, " of a set of ", size());
  return samples_[static_cast<size_t>(index)];
}

namespace {

/// Soft edges and JPEG's noise are borne with; a photograph in the place of a mask is not.
void check_two_valued(const Image& mask, const std::string& file) {
  constexpr int kNear = 32;       // to the smallest or the largest value
  constexpr int64_t kShare = 10;  // at most one of so many pixels is near neither
  if (mask.pixels.empty()) return;
  const auto [least, most] = std::minmax_element(mask.pixels.begin(), mask.pixels.end());
  const int low = *least;
  const int high = *most;
  const auto between = std::count_if(mask.pixels.begin(), mask.pixels.end(), [&](uint8_t pixel) {
    return pixel - low >= kNear && high - pixel >= kNear;
  });
  PANDA_CHECK(between * kShare <= static_cast<int64_t>(mask.pixels.size()), printable(file), ": ", between,
              " of the mask's ", mask.pixels.size(), " pixels are neither near ", low, " nor near ", high,
              ", expected two values: 0 and, where the image is anomalous, 255");
}

}  // namespace

Image ImageSet::load_mask(int64_t index, int64_t height, int64_t width) const {
  const Sample& wanted = sample(index);
  if (wanted.mask_file.empty()) {
    PANDA_CHECK(wanted.label == 0, printable(wanted.file), ": the image is an anomaly and has no mask");
    return {height, width, 1};
  }
  Image mask = to_gray(load_image(wanted.mask_file));
  PANDA_CHECK(mask.height == height && mask.width == width, printable(wanted.mask_file), ": the mask has ",
              mask.width, " x ", mask.height, " pixels, expected ", width, " x ", height, ", the size of ",
              printable(wanted.file));
  const uint8_t largest = mask.pixels.empty() ? 0 : *std::max_element(mask.pixels.begin(), mask.pixels.end());
  PANDA_CHECK(largest == 0 || largest >= 128, printable(wanted.mask_file), ": the mask's largest value is ",
              int{largest}, ", expected 255 (128 at least) where the image is anomalous");
  check_two_valued(mask, wanted.mask_file);
  for (uint8_t& pixel : mask.pixels) pixel = pixel >= 128 ? 255 : 0;
  return mask;
}

bool ImageSet::has_masks() const {
  bool anomaly = false;
  for (const Sample& each : samples_) {
    if (each.label == 0) continue;
    if (each.mask_file.empty()) return false;
    anomaly = true;
  }
  return anomaly;
}

namespace parts {

int64_t find_class(const std::vector<std::string>& names, const std::string& wanted,
                   const std::string& source) {
  PANDA_CHECK(!wanted.empty(), printable(source), ": a class is needed, the normal one; the classes are ",
              joined(names));
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == wanted) return static_cast<int64_t>(i);
  }
  for (size_t i = 0; i < names.size(); ++i) {
    if (lower(names[i]) == lower(wanted)) return static_cast<int64_t>(i);
  }
  int64_t index = 0;
  const char* end = wanted.data() + wanted.size();
  const auto [stop, error] = std::from_chars(wanted.data(), end, index);
  PANDA_CHECK(error == std::errc() && stop == end && index >= 0 && index < static_cast<int64_t>(names.size()),
              printable(source), ": no class ", printable(wanted), "; the classes are ", joined(names));
  return index;
}

std::unique_ptr<ImageSet> make_file_set(std::vector<Sample> samples, const DecodeOptions& decode) {
  return std::make_unique<FileSet>(std::move(samples), decode);
}

std::vector<std::string> images_below(const std::string& directory) {
  std::vector<std::string> found;
  collect_images(directory, 0, found);
  return found;
}

std::vector<std::string> images_in(const std::string& directory) {
  std::vector<std::string> found;
  for (const std::string& name : list_directory(directory)) {
    const std::string path = join_path(directory, name);
    if (name[0] != '.' && looks_like_image(name) && !is_directory(path)) found.push_back(path);
  }
  return found;
}

std::vector<std::string> folders_in(const std::string& directory) {
  std::vector<std::string> found;
  if (!is_directory(directory)) return found;
  for (const std::string& name : list_directory(directory)) {
    if (name[0] != '.' && is_directory(join_path(directory, name))) found.push_back(name);
  }
  return found;
}

std::shared_ptr<const ByteStore> file_store(const std::string& path) {
  return std::make_shared<FileStore>(path);
}

std::unique_ptr<ImageSet> make_array_set(std::vector<ImageArray> arrays, int64_t only_class,
                                         int64_t normal_class, const std::vector<std::string>& class_names) {
  std::vector<Sample> samples;
  std::vector<ArraySet::Place> places;
  for (size_t a = 0; a < arrays.size(); ++a) {
    const ImageArray& array = arrays[a];
    PANDA_INTERNAL_ASSERT(static_cast<int64_t>(array.classes.size()) == array.count, array.name);
    for (int64_t i = 0; i < array.count; ++i) {
      const int64_t class_index = array.classes[static_cast<size_t>(i)];
      if (only_class >= 0 && class_index != only_class) continue;
      Sample sample;
      sample.file = text(array.name, "#", i);
      sample.label = class_index == normal_class ? 0 : 1;
      sample.class_index = class_index;
      sample.class_name = class_names[static_cast<size_t>(class_index)];
      samples.push_back(std::move(sample));
      places.push_back({a, i});
    }
  }
  return std::make_unique<ArraySet>(std::move(samples), std::move(arrays), std::move(places));
}

Dataset one_class_dataset(std::vector<ImageArray> train, std::vector<ImageArray> test,
                          std::vector<std::string> class_names, const DatasetOptions& options) {
  Dataset dataset;
  dataset.class_names = std::move(class_names);
  const int64_t normal = find_class(dataset.class_names, options.class_name, options.directory);
  dataset.train = make_array_set(std::move(train), normal, normal, dataset.class_names);
  dataset.test = make_array_set(std::move(test), -1, normal, dataset.class_names);
  return dataset;
}

}  // namespace parts

Dataset open_dataset(const DatasetOptions& options) {
  using Open = Dataset (*)(const DatasetOptions&);
  struct Kind {
    std::string_view name;
    Open open;
  };
  static constexpr std::array<Kind, 7> kKinds = {Kind{"mvtec", parts::open_mvtec},
                                                 {"folder", parts::open_folder},
                                                 {"cifar10", parts::open_cifar10},
                                                 {"cifar100", parts::open_cifar100},
                                                 {"fashion-mnist", parts::open_idx},
                                                 {"mnist", parts::open_idx},
                                                 {"npy", parts::open_npy}};
  const auto* const kind =
      std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& each) { return each.name == options.kind; });
  if (kind == kKinds.end()) {
    std::vector<std::string> names;
    for (const Kind& each : kKinds) names.emplace_back(each.name);
    throw InvalidArgument(
        text("no data set kind \"", printable(options.kind), "\"; the kinds are ", joined(names)));
  }
  PANDA_CHECK(is_directory(options.directory), printable(options.directory),
              ": is no directory, expected a data set (", options.kind, ")");
  Dataset dataset = kind->open(options);
  const std::string source = printable(options.directory);
  const std::string normal =
      options.class_name.empty() ? "" : text(", normal class ", printable(options.class_name));
  PANDA_CHECK(!options.need_train || dataset.train->size() > 0, source, ": no training images (",
              options.kind, normal, ")");
  PANDA_CHECK(!options.need_test || dataset.test->size() > 0, source, ": no test images (", options.kind,
              normal, ")");
  dataset.description = text(options.kind, " ", source, normal, ": ", dataset.train->size(), " training and ",
                             dataset.test->size(), " test images");
  return dataset;
}

std::unique_ptr<ImageSet> open_labelled_folder(const std::string& directory,
                                               std::vector<std::string>& class_names,
                                               const DecodeOptions& decode) {
  PANDA_CHECK(is_directory(directory), printable(directory),
              ": is no directory, expected one with a folder per class");
  class_names = parts::folders_in(directory);
  PANDA_CHECK(!class_names.empty(), printable(directory), ": no folders, expected one per class");
  std::vector<Sample> samples;
  for (size_t c = 0; c < class_names.size(); ++c) {
    for (std::string& file : parts::images_below(join_path(directory, class_names[c]))) {
      samples.push_back({std::move(file), 0, class_names[c], static_cast<int64_t>(c), ""});
    }
  }
  PANDA_CHECK(!samples.empty(), printable(directory), ": no images in its ", class_names.size(),
              " class folders");
  return parts::make_file_set(std::move(samples), decode);
}

std::vector<std::string> list_images(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    PANDA_CHECK(path_exists(path), printable(path),
                ": does not exist, expected an image or a directory of images");
    if (!is_directory(path)) {
      files.push_back(path);
      continue;
    }
    std::vector<std::string> found = parts::images_below(path);
    PANDA_CHECK(!found.empty(), printable(path), ": no images in this directory");
    files.insert(files.end(), std::make_move_iterator(found.begin()), std::make_move_iterator(found.end()));
  }
  return files;
}

std::vector<std::string> images_below_directory(const std::string& directory) {
  return parts::images_below(directory);
}

std::unique_ptr<ImageSet> readable_images(const ImageSet& images, std::vector<std::string>& failures) {
  std::vector<Sample> samples;
  std::vector<int64_t> places;
  for (int64_t i = 0; i < images.size(); ++i) {
    check_interrupt();
    try {
      static_cast<void>(images.load(i));
      samples.push_back(images.sample(i));
      places.push_back(i);
    } catch (const OutOfMemory&) {
      throw;
    } catch (const Error& error) {
      failures.emplace_back(error.what());
    }
  }
  return std::make_unique<Subset>(images, std::move(samples), std::move(places));
}

std::unique_ptr<ImageSet> open_image_files(const std::vector<std::string>& files,
                                           const DecodeOptions& decode) {
  std::vector<Sample> samples;
  samples.reserve(files.size());
  for (const std::string& file : files) samples.push_back({file, 0, "", -1, ""});
  return parts::make_file_set(std::move(samples), decode);
}

}  // namespace panda::data
