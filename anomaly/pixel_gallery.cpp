#include "anomaly/pixel_gallery.h"

#include <algorithm>
#include <utility>

#include "kernels/knn.h"
#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/progress.h"

namespace panda::anomaly {

namespace {

struct Neighbours {
  Tensor distances;  // f64 nq,k on the host
  Tensor indices;    // i64 nq,k on the host
};

Neighbours nearest(Device& device, const ConstTensorView& queries, const ConstTensorView& gallery,
                   int64_t k) {
  const Shape shape{queries.shape()[0], k};
  Tensor distances(device, DType::kF64, shape, "knn distances");
  Tensor indices(device, DType::kI64, shape, "knn indices");
  kernels::knn_search(device, {queries, gallery, k, distances, indices});
  if (device.host_accessible()) return {std::move(distances), std::move(indices)};
  return {clone_to(distances, host(), "knn distances"), clone_to(indices, host(), "knn indices")};
}

/// Merges a row of `count` neighbours, whose indices are all larger than those of `best`, into the `found`
/// best of at most k.
void merge_row(double* best, int64_t* best_index, int64_t found, int64_t k, const double* distances,
               const int64_t* indices, int64_t count, int64_t offset) {
  std::vector<std::pair<double, int64_t>> all;
  all.reserve(static_cast<size_t>(found + count));
  for (int64_t j = 0; j < found; ++j) all.emplace_back(best[j], best_index[j]);
  for (int64_t j = 0; j < count; ++j) all.emplace_back(distances[j], indices[j] + offset);
  std::inplace_merge(all.begin(), all.begin() + found, all.end());
  for (int64_t j = 0; j < std::min(found + count, k); ++j) {
    best[j] = all[static_cast<size_t>(j)].first;
    best_index[j] = all[static_cast<size_t>(j)].second;
  }
}

}  // namespace

PixelGallery::PixelGallery(Device& device, int64_t images, int64_t pixels, int64_t width)
    : device_(&device),
      images_(images),
      pixels_(pixels),
      width_(width),
      block_images_(images),
      rows_(device, DType::kF32, {checked_mul(images, pixels), width}, "gallery") {}

PixelGallery::PixelGallery(Device& device, int64_t images, int64_t pixels, int64_t width, Reader reader,
                           int64_t memory_bytes)
    : device_(&device),
      images_(images),
      pixels_(pixels),
      width_(width),
      block_images_(std::clamp<int64_t>(memory_bytes / std::max<int64_t>(1, checked_mul(pixels, width) * 4),
                                        1, std::max<int64_t>(1, images))),
      reader_(std::move(reader)) {}

void PixelGallery::set(int64_t first, const ConstTensorView& rows) {
  PANDA_INTERNAL_ASSERT(resident(), "a gallery on disk is not written here");
  copy(rows, rows_.view().rows(first * pixels_, first * pixels_ + rows.shape()[0]));
}

Tensor PixelGallery::read(int64_t begin, int64_t end) const {
  PANDA_CHECK(begin >= 0 && begin <= end && end <= images_, "pixel gallery: images ", begin, " to ", end,
              " of ", images_);
  if (!resident()) return reader_(begin, end);
  return clone_to(rows_.view().rows(begin * pixels_, end * pixels_), host(), "gallery");
}

void PixelGallery::search_block(const PixelQuery& query, const ConstTensorView& rows, const ImageRange& block,
                                int64_t& found, int64_t k) const {
  const int64_t nq = query.rows.shape()[0];
  for (const ImageRange& range : query.images) {
    const int64_t begin = std::max(range.begin, block.begin);
    const int64_t end = std::min(range.end, block.end);
    if (begin >= end) continue;
    const int64_t available = (end - begin) * pixels_;
    const int64_t count = std::min(k, available);
    const Neighbours part =
        nearest(*device_, query.rows,
                rows.rows((begin - block.begin) * pixels_, (end - block.begin) * pixels_), count);
    for (int64_t i = 0; i < nq; ++i) {
      merge_row(query.distances.data<double>() + i * k, query.indices.data<int64_t>() + i * k, found, k,
                part.distances.data<double>() + i * count, part.indices.data<int64_t>() + i * count, count,
                begin * pixels_);
    }
    found = std::min(k, found + count);
  }
}

void PixelGallery::search(std::span<const PixelQuery> queries, int64_t k) const {
  std::vector<Tensor> copies;  // of queries that the device cannot read
  std::vector<PixelQuery> ready(queries.begin(), queries.end());
  for (PixelQuery& query : ready) {
    int64_t available = 0;
    for (const ImageRange& range : query.images) available += (range.end - range.begin) * pixels_;
    PANDA_CHECK(k >= 1 && available >= k, "pixel gallery: k=", k, " of ", available, " pixels");
    if (&query.rows.device() == device_) continue;
    if (device_->host_accessible() && query.rows.device().host_accessible()) continue;
    copies.push_back(clone_to(query.rows, *device_, "queries"));
    query.rows = copies.back();
  }
  std::vector<int64_t> found(ready.size(), 0);
  for (int64_t first = 0; first < images_; first += block_images_) {
    const ImageRange block{first, std::min(images_, first + block_images_)};
    const bool wanted = std::any_of(ready.begin(), ready.end(), [&](const PixelQuery& query) {
      return std::any_of(query.images.begin(), query.images.end(), [&](const ImageRange& range) {
        return range.begin < block.end && block.begin < range.end;
      });
    });
    if (!wanted) continue;
    Tensor loaded;
    if (!resident()) {
      loaded = reader_(block.begin, block.end);
      if (!device_->host_accessible()) loaded = clone_to(loaded, *device_, "gallery block");
    }
    for (size_t i = 0; i < ready.size(); ++i) {
      search_block(ready[i], resident() ? rows_.view() : loaded.view(), block, found[i], k);
      check_interrupt();
    }
  }
}

}  // namespace panda::anomaly
