// The filter of knn_filter.cu for sm_90: the same pass over tiles of the gallery, by warpgroups.
//
// WHAT    Appends the pairs of 256 queries and a range of the gallery's tiles that no threshold discards. One
//         warpgroup brings codes into shared memory by bulk copies; two multiply 128 queries each by the
//         tile's 128 rows and test the sums. They wait for codes, not for each other: while one tests, the
//         other multiplies.
// READS   codes as they lie (knn_index.cuh), 16 KiB at a time: the queries' once where they stay in shared
//         memory (d up to 320), else once for each tile of the gallery; from L2 mostly
// FLOPS   2 nq nb d in f16; two f32 operations a pair
// LAUNCH  384 threads, one block a multiprocessor, queries fastest; some 225 KiB of shared memory
// ORDER   a sum is made in steps of 16 components
// LIMITS  sm_90
// SOURCE  docs/derivations/knn_certificate.md; fragments: PTX ISA, "Asynchronous Warpgroup Level Matrix
//         Instructions"
#include <algorithm>

#include "kernels/cuda/knn_filter.cuh"

namespace panda::kernels::PANDA_TARGET {

namespace {

constexpr int kGroupThreads = 128;  // of a warpgroup
constexpr int kConsumers = 2;       // warpgroups that multiply, a tile of queries each
constexpr int kThreads = (1 + kConsumers) * kGroupThreads;
constexpr int kProductRows = 64;  // of a wgmma
constexpr int kHalves = kKnnTileRows / kProductRows;
constexpr int kSums = kProductRows * kKnnTileRows / kGroupThreads;  // of a thread and half
constexpr int kStepDepth = 16;
constexpr int kStepBytes = kStepDepth * 2;
constexpr int kHalfBytes = kKnnBlockBytes / kHalves;
/// A pattern of swizzled_operand: what every operand begins at.
constexpr int kPatternBytes = 1024;
/// Registers of a thread: (kProducer + 2 kConsumer) 128 fit the 65,536 of a multiprocessor.
constexpr int kProducerRegisters = 40;
constexpr int kConsumerRegisters = 232;

/// How shared memory is cut. Where queries stay, their codes lie first.
struct Shape {
  int blocks;  ///< of 64 components
  int stages;
  bool queries_stay;

  [[nodiscard]] __host__ __device__ int query_bytes() const {
    return queries_stay ? kConsumers * blocks * kKnnBlockBytes : 0;
  }
  [[nodiscard]] __host__ __device__ int stage_bytes() const {
    return (queries_stay ? 1 : 1 + kConsumers) * kKnnBlockBytes;
  }
  /// With room to begin at a pattern.
  [[nodiscard]] size_t shared_bytes() const {
    return static_cast<size_t>(kPatternBytes + query_bytes() + stages * stage_bytes());
  }
};

constexpr int kMostStages = 8;
struct Barriers {
  MBarrier queries;
  MBarrier full[kMostStages];
  MBarrier empty[kMostStages];
};

/// The stage in use and its phase's parity.
struct Ring {
  int stages;
  int stage = 0;
  unsigned parity = 0;
  __device__ void next() {
    if (++stage < stages) return;
    stage = 0;
    parity ^= 1;
  }
};

struct Range {
  int64_t begin, end;
};

/// Brings codes, by one thread: the queries' once or with each block, the gallery's block by block.
__device__ void produce(const KnnFilterPass& pass, const Shape& shape, int64_t query_tile,
                        const Range& visits, unsigned char* shared, Barriers& barriers) {
  constexpr int64_t kBlockCodes = kKnnBlockBytes / static_cast<int>(sizeof(Float16));
  const Float16* queries[kConsumers];
#pragma unroll
  for (int i = 0; i < kConsumers; ++i)
    queries[i] = pass.queries + (query_tile + i) * shape.blocks * kBlockCodes;
  if (shape.queries_stay) {
    mbarrier_arrive_expect(&barriers.queries, static_cast<unsigned>(shape.query_bytes()));
    for (int block = 0; block < shape.blocks; ++block) {
#pragma unroll
      for (int i = 0; i < kConsumers; ++i)
        bulk_copy(shared + (i * shape.blocks + block) * kKnnBlockBytes, queries[i] + block * kBlockCodes,
                  kKnnBlockBytes, &barriers.queries);
    }
  }
  unsigned char* const stages = shared + shape.query_bytes();
  Ring ring{shape.stages};
  for (int64_t visit = visits.begin; visit < visits.end; ++visit) {
    const Float16* rows = pass.gallery + visit * pass.tile_step * shape.blocks * kBlockCodes;
    for (int block = 0; block < shape.blocks; ++block, ring.next()) {
      mbarrier_wait(&barriers.empty[ring.stage], ring.parity ^ 1);  // at once the first time round
      MBarrier* const full = &barriers.full[ring.stage];
      unsigned char* const stage = stages + ring.stage * shape.stage_bytes();
      mbarrier_arrive_expect(full, static_cast<unsigned>(shape.stage_bytes()));
      bulk_copy(stage, rows + block * kBlockCodes, kKnnBlockBytes, full);
      if (shape.queries_stay) continue;
#pragma unroll
      for (int i = 0; i < kConsumers; ++i)
        bulk_copy(stage + (1 + i) * kKnnBlockBytes, queries[i] + block * kBlockCodes, kKnnBlockBytes, full);
    }
  }
}

/// A query's threshold as a function of a tile: limit = -(base + radius beta + reach epsilon), in f32 with
/// room for its rounding: 2^-21 of what is added up.
struct QueryThreshold {
  float inverse = 0;
  float base = -INFINITY;
  float beta = 0;
  float epsilon = 0;
};
__device__ QueryThreshold threshold_of(const KnnFilterPass& pass, int64_t query) {
  if (query >= pass.lists.nq) return {};
  const KnnQueryBounds bounds = pass.lists.queries[query];
  if (bounds.unit == 0) return {};
  constexpr double kRoom = 1 + 0x1p-20;
  const double base = pass.lists.base[query] / bounds.unit;
  return {__double2float_rn(1 / bounds.unit), -round_down(-(base + fabs(base) * 0x1p-20)),
          -round_down(-(bounds.beta / bounds.unit * kRoom)),
          -round_down(-(bounds.epsilon / bounds.unit * kRoom))};
}

/// Rows of the tile that a thread has sums of: two of each half.
__device__ int row_of(int thread, int half, int second) {
  return half * kProductRows + thread / 32 * 16 + thread % 32 / 4 + second * 8;
}

/// Multiplies one tile of queries by tiles of the gallery as they come, and keeps what passes; by one
/// warpgroup.
__device__ void consume(const KnnFilterPass& pass, const Shape& shape, int64_t query_tile, int consumer,
                        const Range& visits, const unsigned char* shared, Barriers& barriers) {
  const int thread = static_cast<int>(threadIdx.x) % kGroupThreads;
  const int64_t first_query = (query_tile + consumer) * kKnnTileRows;
  QueryThreshold thresholds[2 * kHalves];
#pragma unroll
  for (int r = 0; r < 2 * kHalves; ++r)
    thresholds[r] = threshold_of(pass, first_query + row_of(thread, r / 2, r % 2));
  const int steps = static_cast<int>((pass.d + kStepDepth - 1) / kStepDepth);
  constexpr int kBlockSteps = kKnnBlockDepth / kStepDepth;
  const unsigned char* const stages = shared + shape.query_bytes();
  if (shape.queries_stay) mbarrier_wait(&barriers.queries, 0);

  Ring ring{shape.stages};
  for (int64_t visit = visits.begin; visit < visits.end; ++visit) {
    const int64_t tile = visit * pass.tile_step;
    const int64_t first_row = tile * kKnnTileRows;
    const KnnTileBounds bounds = pass.tiles[tile];
    // This thread's columns, two of every eight: asked for before the products, since the test has nothing to
    // do while it waits for them.
    const float* const c = pass.c + first_row + thread % 4 * 2;
    Pack<float, 2> columns[kKnnTileRows / 8];
#pragma unroll
    for (int group = 0; group < kKnnTileRows / 8; ++group) columns[group] = load_pack<2>(c + group * 8);
    float sums[kHalves][kSums];
    for (int block = 0; block < shape.blocks; ++block, ring.next()) {
      mbarrier_wait(&barriers.full[ring.stage], ring.parity);
      const unsigned char* const rows = stages + ring.stage * shape.stage_bytes();
      const unsigned char* const queries = shape.queries_stay
                                               ? shared + (consumer * shape.blocks + block) * kKnnBlockBytes
                                               : rows + (1 + consumer) * kKnnBlockBytes;
      wgmma_fence();
      // A whole block without a branch between its products; of the last one not those of zeros.
      const auto multiply = [&](int step) {
#pragma unroll
        for (int half = 0; half < kHalves; ++half)
          wgmma_f16(sums[half], queries + half * kHalfBytes + step * kStepBytes, rows + step * kStepBytes,
                    block > 0 || step > 0);
      };
      const int left = steps - block * kBlockSteps;
      if (left >= kBlockSteps) {
#pragma unroll
        for (int step = 0; step < kBlockSteps; ++step) multiply(step);
      } else {
#pragma unroll 1
        for (int step = 0; step < left; ++step) multiply(step);
      }
      wgmma_commit();
      wgmma_wait<0>();
      // Each warp for itself: that its own products are made does not say that the others' are.
      if (thread % kWarpThreads == 0) mbarrier_arrive(&barriers.empty[ring.stage]);
    }

    float limits[2 * kHalves];
#pragma unroll
    for (int r = 0; r < 2 * kHalves; ++r) {
      const QueryThreshold& of = thresholds[r];
      limits[r] = -(of.base + (static_cast<float>(bounds.radius) * of.beta +
                               static_cast<float>(bounds.reach) * of.epsilon));
    }
#pragma unroll
    for (int group = 0; group < kKnnTileRows / 8; ++group) {
#pragma unroll
      for (int half = 0; half < kHalves; ++half) {
        bool passes[4];
        float four[4];  // two rows of two columns
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          four[i] = sums[half][group * 4 + i];
          passes[i] = fmaf(-thresholds[half * 2 + i / 2].inverse, columns[group].at[i % 2], four[i]) >=
                      limits[half * 2 + i / 2];
        }
        if (passes[0] || passes[1] || passes[2] || passes[3])
          knn_keep_passing(pass, first_query + row_of(thread, half, 0),
                           first_row + group * 8 + thread % 4 * 2, passes, four);
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads, 1)
    filter_tiles_sm90(const KnnFilterPass pass, const Shape shape, const int query_pairs,
                      const int64_t visits_per_block) {
  PANDA_DYNAMIC_SHARED(unsigned char, dynamic);
  PANDA_SHARED(Barriers, barriers, [1]);
  unsigned char* const shared =
      dynamic + (kPatternBytes - static_cast<int>(reinterpret_cast<uintptr_t>(dynamic) % kPatternBytes)) %
                    kPatternBytes;
  const int thread = static_cast<int>(threadIdx.x);
  const int part = static_cast<int>(blockIdx.x) / query_pairs;
  const int64_t query_tile = int64_t{kConsumers} * (static_cast<int>(blockIdx.x) - part * query_pairs);
  const int64_t begin = part * visits_per_block;
  const Range visits = {begin,
                        begin + visits_per_block < pass.visits ? begin + visits_per_block : pass.visits};
  if (thread == 0) {
    mbarrier_init(&barriers->queries, 1);
    for (int i = 0; i < shape.stages; ++i) {
      mbarrier_init(&barriers->full[i], 1);
      mbarrier_init(&barriers->empty[i], kConsumers * kGroupThreads / kWarpThreads);
    }
    mbarrier_fence_init();
  }
  __syncthreads();  // the barriers are made before anyone comes to them
  const int group = thread / kGroupThreads;
  if (group == 0) {
    lower_registers<kProducerRegisters>();
    if (thread == 0) produce(pass, shape, query_tile, visits, shared, *barriers);
  } else {
    raise_registers<kConsumerRegisters>();
    consume(pass, shape, query_tile, group - 1, visits, shared, *barriers);
  }
}

Shape choose_shape(const GpuProperties& gpu, int64_t blocks) {
  const auto room =
      static_cast<int>(gpu.shared_bytes_per_block) - kPatternBytes - static_cast<int>(sizeof(Barriers));
  Shape shape{static_cast<int>(blocks), 0, true};
  if (blocks <= INT16_MAX)
    shape.stages = std::min((room - shape.query_bytes()) / shape.stage_bytes(), kMostStages);
  if (shape.stages >= 4) return shape;
  shape.queries_stay = false;
  shape.stages = std::min(room / shape.stage_bytes(), kMostStages);
  return shape;
}

/// Parts that the visits are cut into, so that the blocks of all queries fill the multiprocessors best; more
/// parts bring the queries' codes once more each.
int64_t choose_parts(int64_t query_pairs, int64_t visits, int multiprocessors) {
  constexpr int64_t kMostRounds = 8;
  int64_t best = 1;
  double best_time = 0;
  const int64_t most = std::min(visits, std::max<int64_t>(1, kMostRounds * multiprocessors / query_pairs));
  for (int64_t parts = 1; parts <= most; ++parts) {
    const int64_t rounds = ceil_div(query_pairs * parts, multiprocessors);
    const double time = static_cast<double>(rounds) * (static_cast<double>(ceil_div(visits, parts)) + 1);
    if (best_time == 0 || time < best_time) {
      best = parts;
      best_time = time;
    }
  }
  return best;
}

}  // namespace

void knn_filter_sm90(GpuDevice& device, const KnnFilterPass& pass) {
  const GpuProperties& gpu = device.properties();
  const int64_t query_pairs = ceil_div(pass.lists.nq, kConsumers * kKnnTileRows);
  const int64_t parts = choose_parts(query_pairs, pass.visits, gpu.multiprocessors);
  const int64_t visits_per_block = ceil_div(pass.visits, parts);
  const Shape shape = choose_shape(gpu, pass.blocks);
  PANDA_LAUNCH(filter_tiles_sm90, grid_for(query_pairs * ceil_div(pass.visits, visits_per_block), 1),
               dim3(kThreads), shape.shared_bytes(), device, pass, shape, static_cast<int>(query_pairs),
               visits_per_block);
}

}  // namespace panda::kernels::PANDA_TARGET
