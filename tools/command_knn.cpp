// panda knn: exact nearest neighbours of vectors in files. The gallery is read and searched in parts, so it
// may be larger than memory.

#include <algorithm>
#include <chrono>
#include <cmath>

#include "kernels/knn.h"
#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/file.h"
#include "tools/commands.h"
#include "tools/detector.h"
#include "tools/exit_code.h"
#include "weights/npy.h"
#include "weights/vector_file.h"

namespace panda::tools {

namespace {

/// Multiply-adds between two reports of progress, at which the command may be interrupted.
constexpr double kWorkPerReport = 3e10;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Search {
  const weights::VectorFile& gallery;
  const Tensor& queries;
  int64_t k;
  kernels::KnnMetric metric;
  kernels::KnnFilter filter;

  Tensor distances;
  Tensor indices;
  kernels::KnnStatistics statistics;
  double search_seconds = 0;
};

/// Rows [first, ...) of a file: an error names the file and the row in it.
void check_finite(const weights::VectorFile& file, const Tensor& rows, int64_t first) {
  if (rows.dtype() == DType::kU8) return;
  const int64_t d = file.d();
  const bool half = rows.dtype() == DType::kF16;
  const Float16* halves = half ? rows.data<Float16>() : nullptr;
  const float* floats = half ? nullptr : rows.data<float>();
  const int64_t count = rows.numel();
  for (int64_t i = 0; i < count; ++i) {
    const float x = half ? to_float(halves[i]) : floats[i];
    PANDA_CHECK(std::isfinite(x), file.name(), ": row ", first + i / d, " holds ", x, " at component ", i % d,
                ", expected finite numbers");
  }
}

void search_part(Search& s, Device& device, const kernels::KnnGallery& part, int64_t first,
                 Progress& progress) {
  const int64_t nq = s.queries.shape()[0];
  const int64_t nb = s.gallery.count();
  const int64_t k = std::min(s.k, part.size());
  const double work_per_query =
      static_cast<double>(part.size()) * static_cast<double>(std::max<int64_t>(part.dimension(), 1));
  const auto step = static_cast<int64_t>(std::clamp(kWorkPerReport / work_per_query, 1.0, 1e6));
  for (int64_t begin = 0; begin < nq; begin += step) {
    const int64_t end = std::min(nq, begin + step);
    const Tensor queries =
        device.host_accessible() ? Tensor() : clone_to(s.queries.view().rows(begin, end), device, "queries");
    const Tensor distances(device, DType::kF64, {end - begin, k}, "knn distances");
    const Tensor indices(device, DType::kI64, {end - begin, k}, "knn indices");
    kernels::KnnStatistics statistics;
    const auto start = Clock::now();
    kernels::knn_gallery_search(
        device, {.queries = queries.present() ? queries.view() : s.queries.view().rows(begin, end),
                 .gallery = &part,
                 .k = k,
                 .distances = distances,
                 .indices = indices,
                 .statistics = &statistics});
    device.synchronize();
    s.search_seconds += seconds_since(start);
    s.statistics.filter = statistics.filter;
    s.statistics.survivors += statistics.survivors;
    s.statistics.rescanned_rows += statistics.rescanned_rows;
    kernels::knn_merge(s.distances.view().rows(begin, end), s.indices.view().rows(begin, end),
                       clone_to(distances, host()), clone_to(indices, host()), first);
    report_progress(&progress, "searching", nq * first + end * part.size(), nq * nb);
  }
}

void check(const weights::VectorFile& gallery, const weights::VectorFile& queries, int64_t k) {
  PANDA_CHECK(queries.d() == gallery.d(), queries.name(), ": vectors of d=", queries.d(),
              ", expected d=", gallery.d(), " as in ", gallery.name());
  PANDA_CHECK(k <= gallery.count(), gallery.name(), ": k=", k, " with a gallery of ", gallery.count(),
              " vectors, expected k <= ", gallery.count());
  for (const weights::VectorFile* file : {&gallery, &queries}) {
    PANDA_CHECK(file->dtype() != DType::kI32, file->name(), ": vectors of i32, expected f32, f16 or u8");
  }
}

Json result_json(const Search& s, const Device& device, double seconds) {
  const auto nq = static_cast<double>(s.queries.shape()[0]);
  const double flop = 2 * nq * static_cast<double>(s.gallery.count()) * static_cast<double>(s.gallery.d());
  return {{"nq", s.queries.shape()[0]},
          {"nb", s.gallery.count()},
          {"d", s.gallery.d()},
          {"k", s.k},
          {"metric", kernels::knn_metric_name(s.metric)},
          {"device", device.name()},
          {"filter", kernels::knn_filter_name(s.statistics.filter)},
          {"exact", true},
          {"seconds", seconds},
          {"search_seconds", s.search_seconds},
          {"queries_per_second", seconds > 0 ? Json(nq / seconds) : Json()},
          {"gflops", seconds > 0 ? Json(flop * 1e-9 / seconds) : Json()},
          {"survivors", s.statistics.survivors},
          {"rescanned_rows", s.statistics.rescanned_rows}};
}

}  // namespace

CommandSpec knn_spec() {
  return {
      .name = "knn",
      .summary = "exact nearest neighbours of vectors",
      .description =
          "Finds for each query vector the K nearest gallery vectors, ordered by distance and then by index. "
          "The "
          "answer is exact, and the same on every device and for any number of threads: the fast "
          "low-precision "
          "pass only discards what provably is not among the first K.\n\n"
          "Distances are squared Euclidean (l2), 1 - cosine, or minus the inner product (ip), in 64-bit "
          "floats; "
          "indices are 64-bit integers counted from 0. Vectors are .npy (f32, f16 or u8, two axes), .fvecs "
          "or "
          ".bvecs. The gallery is read in parts of --memory: it may be larger than memory.",
      .positionals = {},
      .options = {required(file_option("gallery", "the vectors among which to search")),
                  required(file_option("queries", "the vectors for which to search")),
                  {.name = "k",
                   .short_name = 'k',
                   .kind = OptionKind::kInteger,
                   .value_name = "K",
                   .default_value = "",
                   .summary = "neighbours per query",
                   .detail = "",
                   .minimum = 1,
                   .required = true},
                  {.name = "metric",
                   .kind = OptionKind::kChoice,
                   .value_name = "METRIC",
                   .default_value = "l2",
                   .summary = "what near means",
                   .detail = "",
                   .choices = {"l2", "cosine", "ip"}},
                  {.name = "filter",
                   .kind = OptionKind::kChoice,
                   .value_name = "TYPE",
                   .default_value = "auto",
                   .summary = "numbers of the pass that discards",
                   .detail =
                       "It decides how long the search takes, never what it finds. A device may use a finer "
                       "type than the one named; none measures every pair.",
                   .choices = {"auto", "none", "f32", "f16", "bf16", "int16", "int8"}},
                  {.name = "memory",
                   .kind = OptionKind::kInteger,
                   .value_name = "MB",
                   .default_value = "512",
                   .summary = "gallery vectors that may be in memory at once",
                   .detail =
                       "A larger gallery is read and searched in parts, with the same result. Beside the "
                       "vectors lie codes (a quarter or half of their bytes), up to 256 MB for the search, "
                       "queries and results.",
                   .minimum = 1,
                   .maximum = 1'000'000'000},
                  required(file_option("indices", "where to write the neighbours' indices (.npy)")),
                  required(file_option("distances", "where to write their distances (.npy)"))},
      .examples = {"panda knn --gallery train.npy --queries test.npy -k 10 --indices i.npy --distances d.npy",
                   "panda knn --gallery b.bvecs --queries q.bvecs -k 9 --metric ip --indices i.npy "
                   "--distances d.npy",
                   "panda knn --gallery b.fvecs --queries q.fvecs -k 10 --memory 256 --indices i.npy "
                   "--distances d.npy"}};
}

int run_knn(const ParsedOptions& options, Context& context) {
  const std::string& index_path = options.text("indices");
  const std::string& distance_path = options.text("distances");
  for (const std::string& path : {index_path, distance_path}) {
    if (extension_of(path) != "npy") {
      throw UsageError(text("knn: expected an output name that ends in .npy, got '", path, "'"));
    }
  }
  const weights::VectorFile gallery(options.text("gallery"));
  const weights::VectorFile query_file(options.text("queries"));
  const int64_t k = options.integer("k");
  check(gallery, query_file, k);
  const std::unique_ptr<Device> device = open_device(options, context);
  const auto start = Clock::now();
  const Tensor queries = query_file.read(0, query_file.count());
  check_finite(query_file, queries, 0);
  const Shape shape{queries.shape()[0], k};
  Search search{.gallery = gallery,
                .queries = queries,
                .k = k,
                .metric = kernels::knn_metric_from_name(options.text("metric")),
                .filter = kernels::knn_filter_from_name(options.text("filter")),
                .distances = Tensor(host(), DType::kF64, shape, "knn distances"),
                .indices = Tensor(host(), DType::kI64, shape, "knn indices"),
                .statistics = {}};
  std::fill_n(search.indices.data<int64_t>(), shape.numel(), int64_t{-1});

  const int64_t row_bytes = std::max<int64_t>(gallery.d() * dtype_bytes(gallery.dtype()), 1);
  const int64_t rows_at_once = std::max<int64_t>((options.integer("memory") << 20) / row_bytes, 1);
  for (int64_t first = 0; first < gallery.count(); first += rows_at_once) {
    const Tensor rows = gallery.read(first, std::min(gallery.count(), first + rows_at_once));
    check_finite(gallery, rows, first);
    report_progress(&context.progress, "searching", queries.shape()[0] * first,
                    queries.shape()[0] * gallery.count());
    const kernels::KnnGallery part(*device,
                                   device->host_accessible() ? rows : clone_to(rows, *device, "gallery"),
                                   search.metric, search.filter);
    search_part(search, *device, part, first, context.progress);
  }
  const double seconds = seconds_since(start);
  weights::write_npy(index_path, search.indices);
  weights::write_npy(distance_path, search.distances);

  const Json result = result_json(search, *device, seconds);
  print_object(
      context.out, context.format, result,
      aligned_pairs(
          {{"queries", text(shape[0], " of d=", gallery.d())},
           {"gallery", text(gallery.count(), " vectors")},
           {"neighbours", text(k, " by ", kernels::knn_metric_name(search.metric), ", exact")},
           {"filter",
            text(kernels::knn_filter_name(search.statistics.filter), ", ", search.statistics.survivors,
                 " pairs measured, ", search.statistics.rescanned_rows, " queries without it")},
           {"wrote", text(index_path, ", ", distance_path)},
           {"time", text(duration_text(seconds), " (search ", duration_text(search.search_seconds), ")")}}));
  return kExitDone;
}

}  // namespace panda::tools
