#include "anomaly/pixel_gallery.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "kernels/kmeans.h"
#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/parallel.h"
#include "kernels/tensor/progress.h"

namespace panda::anomaly {

namespace {

/// A block's features take no more than this, so that what a search of one block needs is bounded, and
/// reading from disk comes in steps that an interruption need not wait for.
constexpr int64_t kBlockBytes = int64_t{96} << 20;
/// And a gallery has about so many blocks at least: leaving one image out then searches an eighth unprepared.
constexpr int64_t kBlocks = 8;

int64_t choose_images_per_block(int64_t images, int64_t image_bytes, int64_t memory_bytes) {
  const int64_t fitting = std::min(memory_bytes, kBlockBytes) / std::max<int64_t>(1, image_bytes);
  return std::clamp<int64_t>(fitting, 1, std::max<int64_t>(1, ceil_div(images, kBlocks)));
}

/// D of kL2 (kernels/knn.h), in its order of summation.
double squared_distance(const float* q, const float* x, int64_t d) {
  constexpr size_t kParts = 16;
  std::array<double, kParts> sums{};
  const auto add = [&](size_t part, int64_t i) {
    const double difference = double{q[i]} - double{x[i]};
    sums[part] += difference * difference;
  };
  int64_t i = 0;
  for (; i + static_cast<int64_t>(kParts) <= d; i += kParts) {
    for (size_t part = 0; part < kParts; ++part) add(part, i + static_cast<int64_t>(part));
  }
  for (size_t part = 0; i < d; ++part, ++i) add(part, i);
  for (size_t half = kParts / 2; half >= 1; half /= 2) {
    for (size_t part = 0; part < half; ++part) sums[part] += sums[part + half];
  }
  return sums[0];
}

/// Puts (distance, index) into a row of k that is ordered; of equal distances the earlier one stays ahead.
void insert(double* distances, int64_t* indices, int64_t k, double distance, int64_t index) {
  int64_t place = k;
  while (place > 0 && distance < distances[place - 1]) --place;
  if (place == k) return;
  std::copy_backward(distances + place, distances + k - 1, distances + k);
  std::copy_backward(indices + place, indices + k - 1, indices + k);
  distances[place] = distance;
  indices[place] = index;
}

}  // namespace

PixelGallery::PixelGallery(Device& device, int64_t images, int64_t pixels, int64_t width)
    : device_(&device), images_(images), pixels_(pixels), width_(width) {
  const int64_t image_bytes = checked_mul(checked_mul(pixels, width), 4);
  images_per_block_ = choose_images_per_block(images, image_bytes, kBlockBytes);
  for (int64_t i = 0; i < block_count(); ++i) {
    const ImageRange range = block_images(i);
    blocks_.push_back(
        {range, Tensor(device, DType::kF32, {(range.end - range.begin) * pixels, width}, "gallery"), {}});
  }
}

PixelGallery::PixelGallery(Device& device, int64_t images, int64_t pixels, int64_t width, Reader reader,
                           int64_t memory_bytes)
    : device_(&device), images_(images), pixels_(pixels), width_(width), reader_(std::move(reader)) {
  images_per_block_ =
      choose_images_per_block(images, checked_mul(checked_mul(pixels, width), 4), memory_bytes);
}

int64_t PixelGallery::block_count() const {
  return ceil_div(images_, images_per_block_);
}

ImageRange PixelGallery::block_images(int64_t block) const {
  return {block * images_per_block_, std::min(images_, (block + 1) * images_per_block_)};
}

void PixelGallery::set(int64_t first, const ConstTensorView& rows) {
  PANDA_INTERNAL_ASSERT(resident(), "a gallery on disk is not written here");
  const int64_t end = first + rows.shape()[0] / pixels_;
  for (const Block& block : blocks_) {
    PANDA_INTERNAL_ASSERT(!block.prepared.rows().present(), "a prepared gallery does not change");
    const int64_t from = std::max(first, block.images.begin);
    const int64_t to = std::min(end, block.images.end);
    if (from >= to) continue;
    copy(rows.rows((from - first) * pixels_, (to - first) * pixels_),
         block.rows.view().rows((from - block.images.begin) * pixels_, (to - block.images.begin) * pixels_));
  }
}

void PixelGallery::prepare() {
  for (Block& block : blocks_) block.prepared = kernels::KnnGallery(*device_, block.rows);
}

int64_t PixelGallery::prepared_bytes() const {
  int64_t bytes = 0;
  for (const Block& block : blocks_) bytes += block.prepared.prepared_bytes();
  return bytes;
}

Tensor PixelGallery::read(int64_t begin, int64_t end) const {
  PANDA_CHECK(begin >= 0 && begin <= end && end <= images_, "pixel gallery: images ", begin, " to ", end,
              " of ", images_);
  if (!resident()) return reader_(begin, end);
  Tensor rows(host(), DType::kF32, {(end - begin) * pixels_, width_}, "gallery");
  for (const Block& block : blocks_) {
    const int64_t from = std::max(begin, block.images.begin);
    const int64_t to = std::min(end, block.images.end);
    if (from >= to) continue;
    copy(block.rows.view().rows((from - block.images.begin) * pixels_, (to - block.images.begin) * pixels_),
         rows.view().rows((from - begin) * pixels_, (to - begin) * pixels_));
  }
  return rows;
}

ConstTensorView PixelGallery::rows(int64_t begin, int64_t end, Tensor& owner) const {
  const int64_t first = begin / pixels_;
  if (resident()) {
    const Block& block = blocks_[static_cast<size_t>(first / images_per_block_)];
    const int64_t before = block.images.begin * pixels_;
    if (end <= block.images.end * pixels_) return block.rows.view().rows(begin - before, end - before);
  }
  owner = read(first, ceil_div(end, pixels_));
  return owner.view().rows(begin - first * pixels_, end - first * pixels_);
}

PixelGallery PixelGallery::clustered(int64_t clusters, uint64_t seed, Progress* progress) const {
  kernels::KmeansPoints points;
  points.n = images_ * pixels_;
  points.d = width_;
  if (resident()) points.piece_rows = images_per_block_ * pixels_;
  points.read = [this](int64_t begin, int64_t end, Tensor& owner) { return rows(begin, end, owner); };
  const kernels::KmeansResult result =
      kernels::kmeans(*device_, points, {.k = clusters, .seed = seed}, progress);
  PixelGallery gallery(*device_, 1, clusters, width_);
  gallery.set(0, result.centers);
  gallery.prepare();
  return gallery;
}

PixelGallery::Block PixelGallery::read_block(int64_t block) const {
  const ImageRange range = block_images(block);
  Tensor rows = reader_(range.begin, range.end);
  if (!device_->host_accessible()) rows = clone_to(rows, *device_, "gallery block");
  return {range, std::move(rows), {}};
}

void PixelGallery::search_part(const PixelQuery& query, const Block& block, const ImageRange& part,
                               int64_t k) const {
  const bool whole = part.begin == block.images.begin && part.end == block.images.end;
  const Shape shape{query.rows.shape()[0], std::min(k, (part.end - part.begin) * pixels_)};
  Tensor distances(*device_, DType::kF64, shape, "knn distances");
  Tensor indices(*device_, DType::kI64, shape, "knn indices");
  if (whole && block.prepared.rows().present()) {
    kernels::knn_gallery_search(*device_, {.queries = query.rows,
                                           .gallery = &block.prepared,
                                           .k = shape[1],
                                           .distances = distances,
                                           .indices = indices});
  } else {
    const int64_t first = block.images.begin;
    kernels::knn_search(
        *device_,
        {query.rows, block.rows.view().rows((part.begin - first) * pixels_, (part.end - first) * pixels_),
         shape[1], distances, indices});
  }
  if (!device_->host_accessible()) {
    distances = clone_to(distances, host(), "knn distances");
    indices = clone_to(indices, host(), "knn indices");
  }
  kernels::knn_merge(query.distances, query.indices, distances, indices, part.begin * pixels_);
}

void PixelGallery::search_block(const PixelQuery& query, const Block& block, int64_t k) const {
  for (const ImageRange& range : query.images) {
    const ImageRange part{std::max(range.begin, block.images.begin), std::min(range.end, block.images.end)};
    if (part.begin < part.end) search_part(query, block, part, k);
  }
}

void PixelGallery::search(std::span<const PixelQuery> queries, int64_t k) const {
  std::vector<Tensor> copies;  // of queries that the device cannot read
  std::vector<PixelQuery> ready(queries.begin(), queries.end());
  for (PixelQuery& query : ready) {
    int64_t available = 0;
    for (const ImageRange& range : query.images) available += (range.end - range.begin) * pixels_;
    PANDA_CHECK(k >= 1 && available >= k, "pixel gallery: k=", k, " of ", available, " pixels");
    std::fill_n(query.indices.data<int64_t>(), query.indices.numel(), int64_t{-1});
    if (&query.rows.device() == device_) continue;
    if (device_->host_accessible() && query.rows.device().host_accessible()) continue;
    copies.push_back(clone_to(query.rows, *device_, "queries"));
    query.rows = copies.back();
  }
  for (int64_t i = 0; i < block_count(); ++i) {
    const ImageRange images = block_images(i);
    const auto some = [&](bool whole) {
      return std::any_of(ready.begin(), ready.end(), [&](const PixelQuery& query) {
        return std::any_of(query.images.begin(), query.images.end(), [&](const ImageRange& range) {
          return whole ? range.begin <= images.begin && images.end <= range.end
                       : range.begin < images.end && images.begin < range.end;
        });
      });
    };
    if (!some(false)) continue;
    Block block = resident() ? blocks_[static_cast<size_t>(i)] : read_block(i);
    if (!resident() && some(true)) block.prepared = kernels::KnnGallery(*device_, block.rows);
    for (const PixelQuery& query : ready) {
      search_block(query, block, k);
      check_interrupt();
    }
  }
}

void PixelGallery::search_places(const PixelQuery& query, const ConstTensorView& rows,
                                 const ImageRange& block, const ImageRange& part) const {
  const int64_t k = query.distances.shape()[1];
  device_->threads().parallel_for(query.rows.shape()[0], [&](int64_t row, int) {
    const float* const q = query.rows.data<float>() + row * width_;
    const int64_t place = row % pixels_;
    for (int64_t image = part.begin; image < part.end; ++image) {
      const float* const x = rows.data<float>() + ((image - block.begin) * pixels_ + place) * width_;
      insert(query.distances.data<double>() + row * k, query.indices.data<int64_t>() + row * k, k,
             squared_distance(q, x, width_), image * pixels_ + place);
    }
  });
}

void PixelGallery::search_same_place(std::span<const PixelQuery> queries, int64_t k) const {
  std::vector<Tensor> copies;  // of queries that the host cannot read
  std::vector<PixelQuery> ready(queries.begin(), queries.end());
  for (PixelQuery& query : ready) {
    int64_t available = 0;
    for (const ImageRange& range : query.images) available += range.end - range.begin;
    PANDA_CHECK(k >= 1 && available >= k, "pixel gallery: k=", k, " of ", available,
                " images at the same place");
    std::fill_n(query.distances.data<double>(), query.distances.numel(),
                std::numeric_limits<double>::infinity());
    std::fill_n(query.indices.data<int64_t>(), query.indices.numel(), int64_t{-1});
    if (query.rows.device().host_accessible()) continue;
    copies.push_back(clone_to(query.rows, host(), "queries"));
    query.rows = copies.back();
  }
  for (int64_t i = 0; i < block_count(); ++i) {
    const ImageRange block = block_images(i);
    const bool here = resident() && device_->host_accessible();
    const Tensor copied = here ? Tensor() : read(block.begin, block.end);
    const ConstTensorView rows =
        here ? ConstTensorView(blocks_[static_cast<size_t>(i)].rows) : ConstTensorView(copied);
    for (const PixelQuery& query : ready) {
      for (const ImageRange& range : query.images) {
        const ImageRange part{std::max(range.begin, block.begin), std::min(range.end, block.end)};
        if (part.begin < part.end) search_places(query, rows, block, part);
      }
      check_interrupt();
    }
  }
}

}  // namespace panda::anomaly
