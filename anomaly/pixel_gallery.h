// The features of all pixels of the training images at one level of the network, and exact nearest neighbours
// among those of chosen images: in memory, or read from disk part by part, with the same bits.
//
// The one place where segmentation meets the kNN kernel.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kernels/tensor/tensor.h"

namespace panda::anomaly {

/// Training images [begin, end).
struct ImageRange {
  int64_t begin = 0;
  int64_t end = 0;
};

/// Pixels to look for, and where. Results are ordered by (distance, index); index = image * pixels + pixel.
struct PixelQuery {
  ConstTensorView rows;            ///< f32 nq,d, dense, on any device
  std::vector<ImageRange> images;  ///< rising, apart, with at least k pixels in all
  TensorView distances;            ///< f64 nq,k on the host: squared L2 (kernels/knn.h)
  TensorView indices;              ///< i64 nq,k on the host
};

class PixelGallery {
 public:
  /// Features of images [begin, end) from wherever they are kept: f32 (end - begin) * pixels, d on the host.
  using Reader = std::function<Tensor(int64_t begin, int64_t end)>;

  PixelGallery() = default;
  /// In the device's memory, to be filled by `set`.
  PixelGallery(Device& device, int64_t images, int64_t pixels, int64_t width);
  /// Read when needed, at most `memory_bytes` of features at a time (at least one image's).
  PixelGallery(Device& device, int64_t images, int64_t pixels, int64_t width, Reader reader,
               int64_t memory_bytes);

  [[nodiscard]] int64_t images() const { return images_; }
  [[nodiscard]] int64_t pixels() const { return pixels_; }
  [[nodiscard]] int64_t width() const { return width_; }
  [[nodiscard]] bool resident() const { return rows_.present(); }

  /// Features of the images from `first` on: f32 count * pixels, d, on any device. In memory only.
  void set(int64_t first, const ConstTensorView& rows);
  /// The features of images [begin, end) as f32 (end - begin) * pixels, d: a view's worth in memory, a copy
  /// from disk.
  [[nodiscard]] Tensor read(int64_t begin, int64_t end) const;

  /// The k nearest of each query's pixels. Reads each part of the gallery once for all queries. The result
  /// does not depend on the budget. Throws InvalidArgument for fewer than k pixels.
  void search(std::span<const PixelQuery> queries, int64_t k) const;

 private:
  void search_block(const PixelQuery& query, const ConstTensorView& rows, const ImageRange& block,
                    int64_t& found, int64_t k) const;

  Device* device_ = nullptr;
  int64_t images_ = 0;
  int64_t pixels_ = 0;
  int64_t width_ = 0;
  int64_t block_images_ = 1;
  Tensor rows_;  // or, if absent:
  Reader reader_;
};

}  // namespace panda::anomaly
