#include "weights/npy.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/tensor/checked_math.h"
#include "weights/npy_header.h"
#include "weights/tensor_values.h"
#include "weights/zip.h"

namespace panda::weights {
namespace {

constexpr int64_t kMaxHeaderBytes = 10'000;  // NumPy's own limit
constexpr char kMagic[] = "\x93NUMPY";

/// Bytes in order, from a file or a zip member.
class Sequence {
 public:
  Sequence() = default;
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;
  virtual ~Sequence() = default;
  virtual void read(void* destination, int64_t bytes) = 0;
  [[nodiscard]] virtual int64_t bytes_left() const = 0;
};

class SourceSequence final : public Sequence {
 public:
  explicit SourceSequence(const ByteSource& source) : source_(source) {}
  void read(void* destination, int64_t bytes) override {
    source_.read(at_, destination, bytes);
    at_ += bytes;
  }
  [[nodiscard]] int64_t bytes_left() const override { return source_.size() - at_; }

 private:
  const ByteSource& source_;
  int64_t at_ = 0;
};

class MemberSequence final : public Sequence {
 public:
  MemberSequence(ByteSourcePtr source, const ZipMember& member) : reader_(std::move(source), member) {}
  void read(void* destination, int64_t bytes) override { reader_.read(destination, bytes); }
  [[nodiscard]] int64_t bytes_left() const override { return reader_.bytes_left(); }

 private:
  ZipMemberReader reader_;
};

NpyHeader read_header(Sequence& in, const std::string& source) {
  uint8_t preamble[12];
  if (in.bytes_left() < 10)
    throw FormatError(source, text("npy: has ", in.bytes_left(), " bytes, expected an .npy file"), 0);
  in.read(preamble, 10);
  if (std::memcmp(preamble, kMagic, 6) != 0)
    throw FormatError(source, "npy: does not begin with \\x93NUMPY", 0);
  const int major = preamble[6];
  if (major < 1 || major > 3 || preamble[7] != 0) {
    throw FormatError(source,
                      text("npy: format ", major, ".", int{preamble[7]}, ", expected 1.0, 2.0 or 3.0"), 6);
  }
  int64_t length = load_le16(preamble + 8);
  int64_t offset = 10;
  if (major >= 2) {
    if (in.bytes_left() < 2)
      throw FormatError(source, "npy: the file ends inside its header's length", offset);
    in.read(preamble + 10, 2);
    length = load_le32(preamble + 8);
    offset = 12;
  }
  if (length > kMaxHeaderBytes || length > in.bytes_left()) {
    throw FormatError(source,
                      text("npy: header of ", length, " bytes, ", in.bytes_left(), " are left, and ",
                           kMaxHeaderBytes, " are allowed"),
                      8);
  }
  std::string literal(static_cast<size_t>(length), '\0');
  in.read(literal.data(), length);
  const NpyHeader header = parse_npy_header(literal, offset, source);
  int64_t bytes = 0;
  if (__builtin_mul_overflow(header.shape.numel(), header.item_bytes, &bytes) || bytes != in.bytes_left()) {
    throw FormatError(source,
                      text("npy: ", in.bytes_left(), " bytes of data, expected ", header.shape,
                           " elements of ", header.item_bytes, " bytes"),
                      offset + length);
  }
  return header;
}

/// Little-endian unsigned integers become signed ones of twice the width.
Tensor widened(const std::vector<uint8_t>& stored, const NpyHeader& header, const Shape& shape) {
  Tensor tensor(host(), header.dtype, shape, "array");
  for (int64_t i = 0; i < shape.numel(); ++i) {
    uint8_t item[4] = {0, 0, 0, 0};
    for (int64_t b = 0; b < header.item_bytes; ++b) {
      const int64_t from = header.big_endian ? header.item_bytes - 1 - b : b;
      item[b] = stored[static_cast<size_t>(i * header.item_bytes + from)];
    }
    if (header.item_bytes == 2) {
      tensor.data<int32_t>()[i] = load_le16(item);
    } else {
      tensor.data<int64_t>()[i] = load_le32(item);
    }
  }
  return tensor;
}

Tensor read_elements(Sequence& in, const NpyHeader& header, const std::string& source,
                     const std::string& name) {
  const Shape& shape = header.shape;
  Tensor tensor;
  if (header.widen_unsigned) {
    std::vector<uint8_t> stored(static_cast<size_t>(shape.numel() * header.item_bytes));
    in.read(stored.data(), static_cast<int64_t>(stored.size()));
    tensor = widened(stored, header, shape);
  } else {
    tensor = Tensor(host(), header.dtype, shape, "array");
    in.read(tensor.view().raw(), tensor.bytes());
    if (header.big_endian) swap_bytes(tensor);
  }
  check_bool_bytes(tensor, source, name);
  if (!header.fortran_order || shape.rank() < 2 || shape.empty()) return tensor;
  std::vector<int64_t> strides;
  for (int d = 0; d < shape.rank(); ++d) strides.push_back(d == 0 ? 1 : strides.back() * shape[d - 1]);
  Tensor turned(host(), tensor.dtype(), shape, "array");
  gather_strided(shape, strides, dtype_bytes(tensor.dtype()),
                 static_cast<const uint8_t*>(tensor.view().raw()),
                 static_cast<uint8_t*>(turned.view().raw()));
  return turned;
}

class NpzFile final : public NamedTensors {
 public:
  explicit NpzFile(ByteSourcePtr source) : source_(std::move(source)) {
    const ZipArchive archive(source_);
    const std::string suffix = ".npy";
    for (const ZipMember& member : archive.members()) {
      if (member.name.size() <= suffix.size() ||
          member.name.substr(member.name.size() - suffix.size()) != suffix) {
        throw FormatError(source_->name(), text("npz: member '", printable(member.name), "' is no .npy"),
                          member.data_offset);
      }
      MemberSequence in(source_, member);
      const NpyHeader header = read_header(in, shown(member));
      entries_.push_back(
          {{member.name.substr(0, member.name.size() - suffix.size()), header.dtype, header.shape}, member});
    }
    std::sort(entries_.begin(), entries_.end(),
              [](const Entry& a, const Entry& b) { return a.info.name < b.info.name; });
  }

  [[nodiscard]] std::vector<TensorInfo> list() const override {
    std::vector<TensorInfo> infos;
    for (const Entry& entry : entries_) infos.push_back(entry.info);
    return infos;
  }
  [[nodiscard]] bool contains(const std::string& name) const override { return find(name) != nullptr; }
  [[nodiscard]] std::string source() const override { return source_->name(); }
  [[nodiscard]] Tensor load(const std::string& name) const override {
    const Entry* entry = find(name);
    PANDA_CHECK(entry != nullptr, source_->name(), ": has no array '", printable(name), "'");
    MemberSequence in(source_, entry->member);
    const NpyHeader header = read_header(in, shown(entry->member));
    return read_elements(in, header, source_->name(), name);
  }

 private:
  struct Entry {
    TensorInfo info;
    ZipMember member;
  };
  [[nodiscard]] std::string shown(const ZipMember& member) const {
    return text(source_->name(), ": ", printable(member.name));
  }
  [[nodiscard]] const Entry* find(const std::string& name) const {
    const auto at = std::lower_bound(
        entries_.begin(), entries_.end(), name,
        [](const Entry& entry, const std::string& wanted) { return entry.info.name < wanted; });
    return at != entries_.end() && at->info.name == name ? &*at : nullptr;
  }

  ByteSourcePtr source_;
  std::vector<Entry> entries_;
};

}  // namespace

Tensor read_npy(const std::string& path) {
  return read_npy(file_source(path));
}

Tensor read_npy(const ByteSourcePtr& source) {
  SourceSequence in(*source);
  const NpyHeader header = read_header(in, source->name());
  return read_elements(in, header, source->name(), "array");
}

TensorInfo npy_info(const ByteSourcePtr& source) {
  SourceSequence in(*source);
  const NpyHeader header = read_header(in, source->name());
  return {"array", header.dtype, header.shape};
}

NpyLayout npy_layout(const ByteSourcePtr& source) {
  SourceSequence in(*source);
  const NpyHeader header = read_header(in, source->name());
  const bool one_way = header.shape.rank() < 2 || header.shape.empty();
  return {{"array", header.dtype, header.shape},
          source->size() - in.bytes_left(),
          !header.big_endian && !header.widen_unsigned && (one_way || !header.fortran_order)};
}

namespace {

/// All before the elements.
std::string npy_preamble(DType dtype, const Shape& shape) {
  const std::string header = make_npy_header(dtype, shape);
  std::string preamble(kMagic, 6);
  preamble +=
      {'\x01', '\x00', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  return preamble + header;
}

}  // namespace

NpyWriter::NpyWriter(const std::string& path, DType dtype, const Shape& shape)
    : dtype_(dtype), elements_left_(shape.numel()), file_(path) {
  file_.write(npy_preamble(dtype, shape));
}

void NpyWriter::append(const ConstTensorView& part) {
  PANDA_INTERNAL_ASSERT(part.layout() == Layout::kDense, "npy: ", part.to_string());
  PANDA_INTERNAL_ASSERT(part.dtype() == dtype_ && part.numel() <= elements_left_, "npy: ", part.to_string(),
                        " where ", elements_left_, " elements of ", dtype_name(dtype_), " are left");
  const bool on_host = part.device().host_accessible();
  const Tensor copied = on_host ? Tensor() : clone_to(part, host(), "array to write");
  file_.write(on_host ? part.raw() : copied.view().raw(), part.bytes());
  elements_left_ -= part.numel();
}

void NpyWriter::commit() {
  PANDA_INTERNAL_ASSERT(elements_left_ == 0, "npy: ", elements_left_, " elements are missing");
  file_.commit();
}

void write_npy(const std::string& path, const ConstTensorView& tensor) {
  PANDA_CHECK(tensor.present() && tensor.layout() == Layout::kDense,
              "write_npy: expected a dense tensor, got ", tensor.to_string());
  NpyWriter writer(path, tensor.dtype(), tensor.shape());
  writer.append(tensor);
  writer.commit();
}

std::unique_ptr<NamedTensors> open_npz(const std::string& path) {
  return open_npz(file_source(path));
}
std::unique_ptr<NamedTensors> open_npz(ByteSourcePtr source) {
  return std::make_unique<NpzFile>(std::move(source));
}

}  // namespace panda::weights
