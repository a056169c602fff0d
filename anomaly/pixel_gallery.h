// The features of all pixels of the training images at one level of the network, and exact nearest neighbours
// among those of chosen images: in memory, or read from disk part by part, with the same bits. Or K-means
// centers of them: one "image" whose pixels are the centers.
//
// Images lie in blocks. In memory each block is prepared for the search once, and so is a block from disk for
// all queries of one call; a query that leaves out images of a block searches the rest of that block's rows
// unprepared. None of this changes a bit of the result (kernels/knn.h).
//
// The one place where segmentation meets the kNN kernel.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kernels/knn.h"
#include "kernels/tensor/progress.h"

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
  [[nodiscard]] bool resident() const { return !reader_; }

  /// Features of the images from `first` on: f32 count * pixels, d, on any device. In memory only, and before
  /// `prepare`.
  void set(int64_t first, const ConstTensorView& rows);
  /// To be called once all images are set: makes of each block in memory what searches use. Without it they
  /// are as right, and slow. Nothing happens for a gallery on disk.
  void prepare();
  /// Bytes that `prepare` holds beside the features.
  [[nodiscard]] int64_t prepared_bytes() const;
  /// A copy of the features of images [begin, end) on the host: f32 (end - begin) * pixels, d.
  [[nodiscard]] Tensor read(int64_t begin, int64_t end) const;
  /// Pixels [begin, end) of all images one after another, f32 end - begin, d: where they lie if that is in
  /// one piece, else a copy on the host that `owner` holds.
  [[nodiscard]] ConstTensorView rows(int64_t begin, int64_t end, Tensor& owner) const;

  /// A gallery of `clusters` K-means centers of these pixels (kernels/kmeans.h), in memory and prepared.
  /// Reads the pixels once per iteration, part by part. Throws InvalidArgument for fewer pixels than
  /// clusters.
  [[nodiscard]] PixelGallery clustered(int64_t clusters, uint64_t seed, Progress* progress) const;

  /// The k nearest of each query's pixels. Reads each part of the gallery once for all queries. The result
  /// does not depend on the budget. Throws InvalidArgument for fewer than k pixels.
  void search(std::span<const PixelQuery> queries, int64_t k) const;
  /// The same where each query's row r is compared only with the pixels r % pixels() of its images: with what
  /// was at the same place. Needs no `prepare`. On the host; k at most the images of a query.
  void search_same_place(std::span<const PixelQuery> queries, int64_t k) const;

 private:
  /// One block's rows, and their prepared form once there is one.
  struct Block {
    ImageRange images;
    Tensor rows;
    kernels::KnnGallery prepared;
  };
  [[nodiscard]] ImageRange block_images(int64_t block) const;
  [[nodiscard]] int64_t block_count() const;
  [[nodiscard]] Block read_block(int64_t block) const;
  void search_block(const PixelQuery& query, const Block& block, int64_t k) const;
  void search_part(const PixelQuery& query, const Block& block, const ImageRange& part, int64_t k) const;
  /// rows: the block's, on the host.
  void search_places(const PixelQuery& query, const ConstTensorView& rows, const ImageRange& block,
                     const ImageRange& part) const;

  Device* device_ = nullptr;
  int64_t images_ = 0;
  int64_t pixels_ = 0;
  int64_t width_ = 0;
  int64_t images_per_block_ = 1;
  std::vector<Block> blocks_;  // or, on disk:
  Reader reader_;
};

}  // namespace panda::anomaly
