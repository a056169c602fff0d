#include "weights/vector_file.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/tensor/checked_math.h"
#include "weights/npy.h"

namespace panda::weights {

namespace {

constexpr int64_t kHeaderBytes = 4;
/// What a .vecs file can say.
constexpr int64_t kMostDimensions = INT32_MAX;
/// Bytes of a .vecs file read at a time.
constexpr int64_t kReadBytes = int64_t{4} << 20;

DType element_type(VectorFormat format) {
  if (format == VectorFormat::kBvecs) return DType::kU8;
  return format == VectorFormat::kIvecs ? DType::kI32 : DType::kF32;
}

int64_t signed_le32(const uint8_t* bytes) {
  return static_cast<int32_t>(load_le32(bytes));
}

}  // namespace

VectorFormat vector_format_of(const std::string& path) {
  const std::string extension = extension_of(path);
  if (extension == "npy") return VectorFormat::kNpy;
  if (extension == "fvecs") return VectorFormat::kFvecs;
  if (extension == "bvecs") return VectorFormat::kBvecs;
  if (extension == "ivecs") return VectorFormat::kIvecs;
  throw InvalidArgument(text(
      printable(path), ": a file of vectors, expected a name that ends in .npy, .fvecs, .bvecs or .ivecs"));
}

VectorFile::VectorFile(ByteSourcePtr source, VectorFormat format)
    : source_(std::move(source)), format_(format) {
  if (format_ == VectorFormat::kNpy) {
    open_npy();
  } else {
    open_vecs();
  }
}

void VectorFile::open_npy() {
  const NpyLayout layout = npy_layout(source_);
  if (layout.info.shape.rank() != 2) {
    throw FormatError(name(), text("an array of shape ", layout.info.shape, ", expected two axes, n,d"));
  }
  dtype_ = layout.info.dtype;
  if (dtype_ != DType::kF32 && dtype_ != DType::kF16 && dtype_ != DType::kU8) {
    throw Unsupported(text(name(), ": vectors of ", dtype_name(dtype_), ", expected f32, f16 or u8"));
  }
  count_ = layout.info.shape[0];
  d_ = layout.info.shape[1];
  // Without rows nothing in the file bears d out.
  if (d_ > kMostDimensions) {
    throw FormatError(name(),
                      text("an array of shape ", layout.info.shape, ", expected d <= ", kMostDimensions));
  }
  data_offset_ = layout.data_offset;
  if (!layout.as_stored) whole_ = read_npy(source_);
}

void VectorFile::open_vecs() {
  dtype_ = element_type(format_);
  if (source_->size() == 0) throw FormatError(name(), "the file is empty, expected vectors", 0);
  if (source_->size() < kHeaderBytes) {
    throw FormatError(name(), text("has ", source_->size(), " bytes, expected a dimension of 4 bytes"), 0);
  }
  uint8_t header[kHeaderBytes];
  source_->read(0, header, kHeaderBytes);
  d_ = signed_le32(header);
  if (d_ < 1) throw FormatError(name(), text("the first vector has d=", d_, ", expected d >= 1"), 0);
  const int64_t vector_bytes = kHeaderBytes + d_ * dtype_bytes(dtype_);
  if (source_->size() % vector_bytes != 0) {
    throw FormatError(name(),
                      text("has ", source_->size(), " bytes, expected a multiple of ", vector_bytes,
                           " (the first vector has d=", d_, ")"),
                      source_->size() / vector_bytes * vector_bytes);
  }
  count_ = source_->size() / vector_bytes;
}

Tensor VectorFile::read(int64_t begin, int64_t end) const {
  PANDA_CHECK(begin >= 0 && begin <= end && end <= count_, name(), ": rows ", begin, " to ", end, " of ",
              count_);
  if (whole_.present()) return clone_to(whole_.view().rows(begin, end), host(), "vectors");
  Tensor rows(host(), dtype_, {end - begin, d_}, "vectors");
  const int64_t row_bytes = d_ * dtype_bytes(dtype_);
  auto* to = static_cast<uint8_t*>(rows.view().raw());
  if (format_ == VectorFormat::kNpy) {
    if (rows.bytes() > 0) source_->read(data_offset_ + checked_mul(begin, row_bytes), to, rows.bytes());
    return rows;
  }
  const int64_t vector_bytes = kHeaderBytes + row_bytes;
  const int64_t rows_at_once = std::max<int64_t>(kReadBytes / vector_bytes, 1);
  std::vector<uint8_t> buffer(static_cast<size_t>(std::min(rows_at_once, end - begin) * vector_bytes));
  for (int64_t row = begin; row < end; row += rows_at_once) {
    const int64_t now = std::min(rows_at_once, end - row);
    source_->read(row * vector_bytes, buffer.data(), now * vector_bytes);
    for (int64_t i = 0; i < now; ++i) {
      const uint8_t* vector = buffer.data() + i * vector_bytes;
      if (signed_le32(vector) != d_) {
        throw FormatError(
            name(),
            text("vector ", row + i, " has d=", signed_le32(vector), ", expected ", d_, " as in the first"),
            (row + i) * vector_bytes);
      }
      std::memcpy(to, vector + kHeaderBytes, static_cast<size_t>(row_bytes));
      to += row_bytes;
    }
  }
  return rows;
}

}  // namespace panda::weights
