#include "tools/vector_points.h"

#include <algorithm>
#include <cmath>

#include "weights/npy.h"

namespace panda::tools {

namespace {

void check_finite(const TensorView& rows, const weights::VectorFile& file, int64_t first) {
  const float* x = rows.data<float>();
  const int64_t count = rows.numel();
  for (int64_t i = 0; i < count; ++i) {
    PANDA_CHECK(std::isfinite(x[i]), file.name(), ": row ", first + i / file.d(), " holds ", x[i],
                " at component ", i % file.d(), ", expected finite numbers");
  }
}

void convert(const Tensor& from, const TensorView& to) {
  float* out = to.data<float>();
  const int64_t count = from.numel();
  switch (from.dtype()) {
    case DType::kU8:
      for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(from.data<uint8_t>()[i]);
      return;
    case DType::kF16:
      for (int64_t i = 0; i < count; ++i) out[i] = to_float(from.data<Float16>()[i]);
      return;
    default:
      copy(from, to);
  }
}

}  // namespace

VectorPoints::VectorPoints(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    const weights::VectorFile& file = files_.emplace_back(path);
    PANDA_CHECK(file.dtype() != DType::kI32, file.name(), ": vectors of i32, expected f32, f16 or u8");
    PANDA_CHECK(file.d() >= 1, file.name(), ": vectors of d=0, expected d >= 1");
    PANDA_CHECK(file.d() == d(), file.name(), ": vectors of d=", file.d(), ", expected d=", d(), " as in ",
                files_.front().name());
    begins_.push_back(begins_.back() + file.count());
  }
}

std::string VectorPoints::name() const {
  const std::string& first = files_.front().name();
  return files_.size() == 1 ? first : text(first, " and ", files_.size() - 1, " more");
}

Tensor VectorPoints::read(int64_t begin, int64_t end) {
  PANDA_INTERNAL_ASSERT(begin >= 0 && begin <= end && end <= count(), "rows ", begin, " to ", end, " of ",
                        count());
  Tensor result;
  auto file =
      static_cast<size_t>(std::upper_bound(begins_.begin(), begins_.end(), begin) - begins_.begin()) - 1;
  for (int64_t row = begin; row < end; ++file) {
    const int64_t to = std::min(end, begins_[file + 1]);
    if (row == to) continue;  // an empty file
    const int64_t first = row - begins_[file];
    const Tensor part = files_[file].read(first, to - begins_[file]);
    const bool alone = to - row == end - begin && part.dtype() == DType::kF32;
    if (!result.present()) result = alone ? part : Tensor(host(), DType::kF32, {end - begin, d()}, "points");
    const TensorView there = result.view().rows(row - begin, to - begin);
    if (!alone) convert(part, there);
    if (to > checked_) check_finite(there, files_[file], first);
    if (row <= checked_) checked_ = std::max(checked_, to);
    row = to;
  }
  return result;
}

WeightFile::WeightFile(const std::string& path, int64_t count, const std::string& vectors)
    : source_(weights::file_source(path)) {
  const weights::NpyLayout layout = weights::npy_layout(source_);
  dtype_ = layout.info.dtype;
  data_offset_ = layout.data_offset;
  PANDA_CHECK(layout.info.shape == Shape({count}) && (dtype_ == DType::kF32 || dtype_ == DType::kF64), path,
              ": ", dtype_name(dtype_), " ", layout.info.shape, ", expected f32 or f64 ", count,
              ": a weight for each vector of ", vectors);
  if (!layout.as_stored) whole_ = weights::read_npy(source_);
}

Tensor WeightFile::read(int64_t begin, int64_t end) const {
  Tensor part;
  if (whole_.present()) {
    part = clone_to(whole_.view().rows(begin, end), host(), "weights");
  } else {
    part = Tensor(host(), dtype_, {end - begin}, "weights");
    const int64_t item = dtype_bytes(dtype_);
    if (part.bytes() > 0) source_->read(data_offset_ + begin * item, part.view().raw(), part.bytes());
  }
  if (dtype_ == DType::kF32) return part;
  Tensor rounded(host(), DType::kF32, part.shape(), "weights");
  for (int64_t i = 0; i < part.numel(); ++i)
    rounded.data<float>()[i] = static_cast<float>(part.data<double>()[i]);
  return rounded;
}

}  // namespace panda::tools
