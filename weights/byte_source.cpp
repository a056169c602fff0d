#include "weights/byte_source.h"

#include <cstring>
#include <utility>

#include "kernels/tensor/error.h"

namespace panda::weights {
namespace {

class FileSource final : public ByteSource {
 public:
  explicit FileSource(const std::string& path) : file_(path), name_(printable(path)) {}
  [[nodiscard]] int64_t size() const override { return file_.size(); }
  void read(int64_t offset, void* destination, int64_t bytes) const override {
    file_.read(offset, destination, bytes);
  }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  InputFile file_;
  std::string name_;
};

class MemorySource final : public ByteSource {
 public:
  MemorySource(std::vector<uint8_t> owned, const std::string& name)
      : owned_(std::move(owned)),
        data_(owned_.data()),
        size_(static_cast<int64_t>(owned_.size())),
        name_(printable(name)) {}
  MemorySource(const void* data, int64_t size, const std::string& name)
      : data_(static_cast<const uint8_t*>(data)), size_(size), name_(printable(name)) {
    PANDA_CHECK(size >= 0 && (data != nullptr || size == 0), "borrowed_source: ", size,
                " bytes at a null pointer");
  }
  [[nodiscard]] int64_t size() const override { return size_; }
  void read(int64_t offset, void* destination, int64_t bytes) const override {
    PANDA_INTERNAL_ASSERT(offset >= 0 && bytes >= 0, name_);
    if (offset > size_ || bytes > size_ - offset) {
      const int64_t left = offset > size_ ? 0 : size_ - offset;
      throw FormatError(name_, text("the file ends ", bytes - left, " bytes early"), size_);
    }
    if (bytes > 0) std::memcpy(destination, data_ + offset, static_cast<size_t>(bytes));
  }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  std::vector<uint8_t> owned_;
  const uint8_t* data_;
  int64_t size_;
  std::string name_;
};

}  // namespace

std::vector<uint8_t> ByteSource::bytes(int64_t offset, int64_t count) const {
  PANDA_INTERNAL_ASSERT(offset >= 0 && count >= 0, name());
  if (offset > size() || count > size() - offset) {
    throw FormatError(
        name(), text("expected ", count, " bytes, the file has ", offset > size() ? 0 : size() - offset),
        offset);
  }
  std::vector<uint8_t> result(static_cast<size_t>(count));
  read(offset, result.data(), count);
  return result;
}

ByteSourcePtr file_source(const std::string& path) {
  return std::make_shared<FileSource>(path);
}

ByteSourcePtr buffer_source(std::vector<uint8_t> bytes, const std::string& name) {
  return std::make_shared<MemorySource>(std::move(bytes), name);
}

ByteSourcePtr borrowed_source(const void* data, int64_t size, const std::string& name) {
  return std::make_shared<MemorySource>(data, size, name);
}

uint16_t load_le16(const uint8_t* bytes) {
  return static_cast<uint16_t>(bytes[0] | (bytes[1] << 8));
}

uint32_t load_le32(const uint8_t* bytes) {
  return static_cast<uint32_t>(load_le16(bytes)) | (static_cast<uint32_t>(load_le16(bytes + 2)) << 16);
}

uint64_t load_le64(const uint8_t* bytes) {
  return static_cast<uint64_t>(load_le32(bytes)) | (static_cast<uint64_t>(load_le32(bytes + 4)) << 32);
}

void store_le64(uint64_t value, uint8_t* bytes) {
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<uint8_t>(value >> (8 * i));
}

}  // namespace panda::weights
