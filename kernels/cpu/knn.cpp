// Exact k nearest neighbours on the cpu device: the canonical f64 distance of kernels/knn.h for every pair,
// no screening.
//
// An item is a block of kQueries queries. It walks the gallery in blocks of kGalleryRows, both widened to f64
// (512 dimensions: 128 KB each, in L2 together), takes all distances between the blocks and merges them into
// each query's k best.
#include "kernels/knn.h"

#include <cmath>

#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/work.h"

namespace panda::kernels::cpu {

namespace {

constexpr int64_t kQueries = 32;
constexpr int64_t kGalleryRows = 32;

void check_finite(CpuDevice& device, const char* name, const ConstTensorView& rows) {
  const auto* x = rows.data<float>();
  const int64_t d = rows.shape()[1];
  const int64_t parts = parts_for(1, rows.shape()[0], device.threads().thread_count());
  device.threads().parallel_for(parts, [&](int64_t part, int) {
    const Range range = part_of(rows.shape()[0], parts, part);
    for (int64_t row = range.begin; row < range.end; ++row) {
      // A sum of finite f32 cannot overflow f64; one NaN or infinity makes it so.
      if (std::isfinite(device.micro().reduce_line(SimdReduce::kSum, x + row * d, d))) continue;
      for (int64_t i = row * d; i < (row + 1) * d; ++i) {
        PANDA_CHECK(std::isfinite(x[i]), "knn_search: ", name, " row ", row, " holds ", x[i],
                    " at component ", i % d);
      }
    }
  });
}

struct Neighbor {
  double distance;
  int64_t index;
};

/// Keeps `best`, `size` of at most k entries, the first in the order of (distance, index). Rows come with
/// rising index, so an equal distance goes behind.
void insert(Neighbor* best, int64_t& size, int64_t k, Neighbor candidate) {
  if (size == k && !(candidate.distance < best[k - 1].distance)) return;
  int64_t place = size < k ? size++ : k - 1;
  for (; place > 0 && candidate.distance < best[place - 1].distance; --place) best[place] = best[place - 1];
  best[place] = candidate;
}

void widen_rows(const float* rows, int64_t count, int64_t d, int64_t d16, double* to) {
  for (int64_t row = 0; row < count; ++row) {
    for (int64_t i = 0; i < d; ++i) to[row * d16 + i] = rows[row * d + i];
    for (int64_t i = d; i < d16; ++i) to[row * d16 + i] = 0;
  }
}

/// One thread's memory: both blocks in f64, the distances between them, the neighbours of each query.
struct Buffers {
  double* queries;
  double* gallery;
  double* distances;
  Neighbor* best;

  static int64_t bytes(int64_t d16, int64_t k) {
    const int64_t doubles = (kQueries + kGalleryRows) * d16 + kQueries * kGalleryRows;
    return round_up(doubles * 8 + checked_mul(kQueries * k, sizeof(Neighbor)), 64);
  }
  Buffers(char* memory, int64_t d16)
      : queries(reinterpret_cast<double*>(memory)),
        gallery(queries + kQueries * d16),
        distances(gallery + kGalleryRows * d16),
        best(reinterpret_cast<Neighbor*>(distances + kQueries * kGalleryRows)) {}
};

void search_block(CpuDevice& device, const KnnSearchArgs& args, Range block, const Buffers& buffers) {
  const int64_t d = args.queries.shape()[1];
  const int64_t d16 = round_up(d, 16);
  const int64_t nb = args.gallery.shape()[0];
  int64_t sizes[kQueries] = {};
  widen_rows(args.queries.data<float>() + block.begin * d, block.size(), d, d16, buffers.queries);
  for (int64_t row = 0; row < nb; row += kGalleryRows) {
    const int64_t count = std::min(kGalleryRows, nb - row);
    widen_rows(args.gallery.data<float>() + row * d, count, d, d16, buffers.gallery);
    device.exact().distances({.queries = buffers.queries,
                              .gallery = buffers.gallery,
                              .query_count = block.size(),
                              .gallery_count = count,
                              .d16 = d16,
                              .distances = buffers.distances});
    for (int64_t query = 0; query < block.size(); ++query) {
      for (int64_t j = 0; j < count; ++j) {
        insert(buffers.best + query * args.k, sizes[query], args.k,
               {buffers.distances[query * count + j], row + j});
      }
    }
  }
}

void write_result(const KnnSearchArgs& args, int64_t at, const Neighbor& neighbor) {
  args.indices.data<int64_t>()[at] = neighbor.index;
  if (args.distances.dtype() == DType::kF64) {
    args.distances.data<double>()[at] = neighbor.distance;
  } else {
    args.distances.data<float>()[at] = static_cast<float>(neighbor.distance);
  }
}

}  // namespace

void knn_search(Device& base, const KnnSearchArgs& args) {
  CpuDevice& device = cpu_device(base);
  check_finite(device, "queries", args.queries);
  check_finite(device, "gallery", args.gallery);
  const int64_t nq = args.queries.shape()[0];
  const int64_t d16 = round_up(args.queries.shape()[1], 16);
  const int64_t blocks = ceil_div(nq, kQueries);
  const int64_t bytes = Buffers::bytes(d16, args.k);
  const Scratch scratch = device.scratch().take(checked_mul(bytes, device.threads().thread_count()));
  device.threads().parallel_for(blocks, [&](int64_t item, int thread) {
    const Range block = part_of(nq, blocks, item);
    const Buffers buffers(scratch.data<char>() + thread * bytes, d16);
    search_block(device, args, block, buffers);
    for (int64_t query = 0; query < block.size(); ++query) {
      for (int64_t j = 0; j < args.k; ++j)
        write_result(args, (block.begin + query) * args.k + j, buffers.best[query * args.k + j]);
    }
  });
}

}  // namespace panda::kernels::cpu
