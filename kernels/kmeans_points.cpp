// The points in parts, checked.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/kmeans_points.h"
#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/finite.h"

namespace panda::kernels {

namespace {

/// Multiply-adds between two reports of progress, at which the work may be interrupted: about a second on one
/// core.
constexpr int64_t kWorkPerReport = 30'000'000'000;

}  // namespace

void PointReader::for_each_read(int64_t k, const Visit& visit) {
  const int64_t by_memory = points_.part_bytes / (4 * d());
  const int64_t by_work = kWorkPerReport / std::max<int64_t>(checked_mul(k, d()), 1);
  const int64_t step = std::max<int64_t>(std::min(by_memory, by_work), 1);
  for (int64_t begin = 0, end = 0; begin < n(); begin = end) {
    end = std::min(begin + step, end_of_piece(begin));
    Tensor owner;
    const ConstTensorView part = points_.read(begin, end, owner);
    check_part(part, begin, end);
    visit(part, begin, end);
  }
}

void PointReader::for_each_part(int64_t k, const Visit& visit) {
  for_each_read(k, [&](ConstTensorView part, int64_t begin, int64_t end) {
    if (end > checked_) {
      check_finite(part, begin);
      checked_ = end;
    }
    Tensor on_device;
    if (!device_.host_accessible() && &part.device() != &device_)
      part = on_device = clone_to(part, device_, "points");
    visit(part, begin, end);
  });
}

std::vector<float> PointReader::survey(Progress* progress) {
  // The bits of |x| are ordered as |x| is, infinity and what is not a number last.
  constexpr int32_t kSize = 0x7fffffff;
  constexpr int32_t kInfinity = 0x7f800000;
  std::vector<int32_t> largest(static_cast<size_t>(d()), 0);
  for_each_read(1, [&](ConstTensorView part, int64_t begin, int64_t end) {
    Tensor copy;
    if (!part.device().host_accessible()) part = copy = clone_to(part, host(), "points");
    const float* x = part.data<float>();
    int32_t* const most = largest.data();
    for (int64_t i = begin; i < end; ++i, x += d()) {
      for (int64_t c = 0; c < d(); ++c) most[c] = std::max(most[c], std::bit_cast<int32_t>(x[c]) & kSize);
    }
    if (*std::max_element(largest.begin(), largest.end()) >= kInfinity) check_finite(part, begin);
    report_progress(progress, "reading points", end, n());
  });
  checked_ = n();
  std::vector<float> sizes(largest.size());
  std::transform(largest.begin(), largest.end(), sizes.begin(),
                 [](int32_t bits) { return std::bit_cast<float>(bits); });
  return sizes;
}

void PointReader::check_part(const ConstTensorView& part, int64_t begin, int64_t end) const {
  PANDA_CHECK(part.present() && part.dtype() == DType::kF32 && part.shape() == Shape({end - begin, d()}),
              "kmeans: points ", begin, " to ", end, " are read as ",
              part.present() ? part.to_string() : std::string("nothing"), ", expected f32 ", end - begin, "x",
              d());
}

void PointReader::check_finite(const ConstTensorView& part, int64_t begin) const {
  Tensor copy;
  const bool readable = part.device().host_accessible();
  if (!readable) copy = clone_to(part, host(), "points");
  const float* x = readable ? part.data<float>() : copy.data<float>();
  const int64_t count = part.numel();
  if (all_finite(x, count)) return;
  for (int64_t i = 0; i < count; ++i) {
    PANDA_CHECK(std::isfinite(x[i]), "kmeans: point ", begin + i / d(), " holds ", x[i], " at component ",
                i % d(), ", expected finite numbers");
  }
}

Tensor PointReader::point(int64_t i) {
  Tensor row(host(), DType::kF32, {1, d()}, "point");
  read(i, i + 1, row);
  return row;
}

void PointReader::read(int64_t begin, int64_t end, const TensorView& rows) {
  for (int64_t from = begin, to = 0; from < end; from = to) {
    to = std::min(end, end_of_piece(from));
    Tensor owner;
    const ConstTensorView part = points_.read(from, to, owner);
    check_part(part, from, to);
    copy(part, rows.rows(from - begin, to - begin));
  }
  check_finite(rows, begin);
}

ConstTensorView PointReader::read_weights(int64_t begin, int64_t end, Tensor& owner) const {
  ConstTensorView part;
  if (points_.read_weights) {
    part = points_.read_weights(begin, end, owner);
    PANDA_CHECK(part.present() && part.dtype() == DType::kF32 && part.shape() == Shape({end - begin}),
                "kmeans: weights ", begin, " to ", end, " are read as ",
                part.present() ? part.to_string() : std::string("nothing"), ", expected f32 ", end - begin);
  } else if (points_.weights.present()) {
    part = points_.weights.rows(begin, end);
  } else {
    return part;
  }
  for (int64_t i = begin; i < end; ++i) check_weight(i, part.data<float>()[i - begin]);
  return part;
}

void PointReader::nearest(const ConstTensorView& part, const KnnGallery& gallery, const TensorView& labels,
                          double* distances) {
  const Shape shape{part.shape()[0], 1};
  const TensorView host_distances =
      distances == nullptr ? TensorView() : TensorView(distances, DType::kF64, shape, host());
  const bool reachable = device_.host_accessible();
  Tensor far_labels;
  if (!reachable && &labels.device() != &device_)
    far_labels = Tensor(device_, DType::kI64, shape, "knn indices");
  Tensor far_distances;
  if (!reachable && distances != nullptr)
    far_distances = Tensor(device_, DType::kF64, shape, "knn distances");
  knn_gallery_search(device_, {.queries = part,
                               .gallery = &gallery,
                               .k = 1,
                               .distances = far_distances.present() ? far_distances.view() : host_distances,
                               .indices = far_labels.present() ? far_labels.view() : labels.reshaped(shape)});
  if (far_distances.present()) copy(far_distances, host_distances);
  if (far_labels.present()) copy(far_labels, labels.reshaped(shape));
}

}  // namespace panda::kernels
