// MNIST and Fashion-MNIST: IDX files (big-endian magic 0, 0, type, rank; extents; bytes), plain or gzip.
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "data/dataset_parts.h"
#include "data/image_codecs.h"
#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/error.h"

namespace panda::data::parts {

namespace {

constexpr uint8_t kUnsignedByte = 0x08;
constexpr int64_t kMaxSide = 1 << 15;
// Deflate's best, as for PNG.
constexpr int64_t kDeflateExpansion = 1032;

class MemoryStore final : public ByteStore {
 public:
  MemoryStore(std::string name, std::vector<uint8_t> bytes)
      : name_(std::move(name)), bytes_(std::move(bytes)) {}
  [[nodiscard]] int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }
  void read(int64_t offset, void* destination, int64_t bytes) const override {
    if (offset < 0 || bytes < 0 || offset > size() - bytes) {
      throw FormatError(printable(name_), text("the data end ", offset + bytes - size(), " bytes early"),
                        size());
    }
    std::memcpy(destination, bytes_.data() + offset, static_cast<size_t>(bytes));
  }

 private:
  std::string name_;
  std::vector<uint8_t> bytes_;
};

/// A gzip file's content, inflated piece by piece; it may not be larger than deflate could make it from the
/// bytes there are.
class Inflater {
 public:
  explicit Inflater(const std::string& path) : path_(printable(path)), input_(read_file(path)) {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    if (::inflateInit2(&stream_, kGzipOnly) != Z_OK)
      throw OutOfMemory(text(path_, ": no memory for the gzip reader"));
    // Members of 4 GiB and more do not occur here; zlib counts its input in 32 bits.
    if (input_.size() > UINT32_MAX) {
      ::inflateEnd(&stream_);
      throw FormatError(path_, text("has ", input_.size(), " bytes, expected less than 4 GiB"));
    }
    stream_.next_in = input_.data();
    stream_.avail_in = static_cast<uInt>(input_.size());
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  ~Inflater() { ::inflateEnd(&stream_); }

  std::vector<uint8_t> all() {
    const int64_t limit = static_cast<int64_t>(input_.size()) * kDeflateExpansion;
    std::vector<uint8_t> out;
    std::array<uint8_t, 1 << 16> buffer;
    int state = Z_OK;
    while (state != Z_STREAM_END) {
      stream_.next_out = buffer.data();
      stream_.avail_out = static_cast<uInt>(buffer.size());
      state = ::inflate(&stream_, Z_NO_FLUSH);
      const auto at = static_cast<int64_t>(stream_.total_in);
      if (state == Z_BUF_ERROR || (state == Z_OK && stream_.avail_in == 0 && stream_.avail_out != 0)) {
        throw FormatError(path_, "the gzip file is cut", at);
      }
      if (state != Z_OK && state != Z_STREAM_END) {
        throw FormatError(
            path_, text("damaged gzip data: ", stream_.msg == nullptr ? "wrong format" : stream_.msg), at);
      }
      out.insert(out.end(), buffer.data(), buffer.data() + (buffer.size() - stream_.avail_out));
      if (static_cast<int64_t>(out.size()) > limit)
        throw FormatError(path_, "inflates to more than gzip can hold", at);
    }
    if (stream_.avail_in != 0) {
      throw FormatError(path_, text(stream_.avail_in, " bytes behind the gzip data"),
                        static_cast<int64_t>(stream_.total_in));
    }
    return out;
  }

 private:
  std::string path_;
  std::vector<uint8_t> input_;
  z_stream stream_{};
};

std::shared_ptr<const ByteStore> open_store(const std::string& path) {
  std::shared_ptr<const ByteStore> store = file_store(path);
  uint8_t head[2] = {0, 0};
  if (store->size() >= 2) store->read(0, head, 2);
  if (head[0] != 0x1f || head[1] != 0x8b) return store;
  return std::make_shared<MemoryStore>(path, Inflater(path).all());
}

/// The extents in the header, which must match the size of the data exactly.
std::vector<int64_t> read_header(const ByteStore& store, const std::string& path, int rank) {
  const std::string source = printable(path);
  std::array<uint8_t, 16> header{};
  const int64_t header_bytes = 4 + 4 * rank;
  if (store.size() < header_bytes)
    throw FormatError(source, "the file is cut inside the IDX header", store.size());
  store.read(0, header.data(), header_bytes);
  if (header[0] != 0 || header[1] != 0 || header[2] != kUnsignedByte || header[3] != rank) {
    throw FormatError(source,
                      text("begins with ", static_cast<int>(header[0]), " ", static_cast<int>(header[1]), " ",
                           static_cast<int>(header[2]), " ", static_cast<int>(header[3]),
                           ", expected the IDX magic 0 0 8 ", rank),
                      0);
  }
  std::vector<int64_t> extents;
  int64_t bytes = 1;
  for (int i = 0; i < rank; ++i) {
    extents.push_back(codec::u32be(&header[static_cast<size_t>(4 + 4 * i)]));
    if (i > 0 && (extents.back() < 1 || extents.back() > kMaxSide)) {
      throw FormatError(source, text("images of extent ", extents.back(), ", expected 1 to ", kMaxSide),
                        4 + 4 * i);
    }
    bytes = checked_mul(bytes, extents.back());  // below 2^62
  }
  if (store.size() - header_bytes != bytes) {
    throw FormatError(source,
                      text(store.size() - header_bytes, " bytes follow the IDX header, expected ", bytes),
                      header_bytes);
  }
  return extents;
}

std::string find_file(const std::string& directory, const std::string& stem, const char* kind) {
  for (const char* separator : {"-", "."}) {
    for (const char* compression : {"", ".gz"}) {
      std::string path = join_path(directory, text(stem, separator, kind, "-ubyte", compression));
      if (path_exists(path)) return path;
    }
  }
  return join_path(directory, text(stem, "-", kind, "-ubyte"));
}

void append_split(const std::string& directory, const std::string& stem, bool needed,
                  std::vector<ImageArray>& arrays) {
  const std::string images = find_file(directory, stem + "-images", "idx3");
  const std::string labels = find_file(directory, stem + "-labels", "idx1");
  if (!needed && !path_exists(images)) return;
  arrays.push_back(read_idx(images, labels, 10));
}

}  // namespace

ImageArray read_idx(const std::string& images_path, const std::string& labels_path, int64_t class_count) {
  ImageArray array;
  array.store = open_store(images_path);
  array.name = images_path;
  const std::vector<int64_t> extents = read_header(*array.store, images_path, 3);
  array.count = extents[0];
  array.height = extents[1];
  array.width = extents[2];
  array.channels = 1;
  array.first_offset = 16;
  array.stride_bytes = array.height * array.width;

  const std::shared_ptr<const ByteStore> store = open_store(labels_path);
  const int64_t label_count = read_header(*store, labels_path, 1)[0];
  if (label_count != array.count) {
    throw FormatError(printable(labels_path), text(label_count, " labels for the ", array.count,
                                                   " images of ", printable(images_path)));
  }
  std::vector<uint8_t> labels(static_cast<size_t>(label_count));
  store->read(8, labels.data(), label_count);
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] >= class_count) {
      throw FormatError(printable(labels_path),
                        text("label ", static_cast<int>(labels[i]), ", expected below ", class_count),
                        static_cast<int64_t>(8 + i));
    }
  }
  array.classes.assign(labels.begin(), labels.end());
  return array;
}

Dataset open_idx(const DatasetOptions& options) {
  const bool fashion = options.kind == "fashion-mnist";
  const std::vector<std::string> names =
      fashion ? std::vector<std::string>{"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                         "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"}
              : std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
  const std::string inner =
      join_path(join_path(options.directory, fashion ? "FashionMNIST" : "MNIST"), "raw");
  const std::string directory = is_directory(inner) ? inner : options.directory;
  std::vector<ImageArray> train;
  append_split(directory, "train", options.need_train, train);
  std::vector<ImageArray> test;
  append_split(directory, "t10k", options.need_test, test);
  return one_class_dataset(std::move(train), std::move(test), names, options);
}

}  // namespace panda::data::parts
