// panda kmeans: K-means of vectors in a file. What does not fit the memory it may use is read in parts, once
// per iteration, with the same result.

#include <chrono>
#include <cmath>

#include "kernels/kmeans.h"
#include "kernels/tensor/checked_math.h"
#include "tools/commands.h"
#include "tools/detector.h"
#include "tools/exit_code.h"
#include "weights/npy.h"
#include "weights/vector_file.h"

namespace panda::tools {

namespace {

/// The vectors of a file as f32, each checked the first time that it is read.
class FilePoints {
 public:
  explicit FilePoints(const weights::VectorFile& file) : file_(file) {}

  [[nodiscard]] Tensor read(int64_t begin, int64_t end) {
    const Tensor rows = file_.read(begin, end);
    Tensor result = rows;
    if (rows.dtype() != DType::kF32) {
      result = Tensor(host(), DType::kF32, rows.shape(), "points");
      for (int64_t i = 0; i < rows.numel(); ++i) {
        result.data<float>()[i] = rows.dtype() == DType::kU8 ? static_cast<float>(rows.data<uint8_t>()[i])
                                                             : to_float(rows.data<Float16>()[i]);
      }
    }
    if (end > checked_) {
      check_finite(result, begin);
      if (begin <= checked_) checked_ = end;
    }
    return result;
  }

 private:
  void check_finite(const Tensor& rows, int64_t first) const {
    const float* x = rows.data<float>();
    const int64_t count = rows.numel();
    for (int64_t i = 0; i < count; ++i) {
      PANDA_CHECK(std::isfinite(x[i]), file_.name(), ": row ", first + i / file_.d(), " holds ", x[i],
                  " at component ", i % file_.d(), ", expected finite numbers");
    }
  }

  const weights::VectorFile& file_;
  int64_t checked_ = 0;
};

/// One weight per vector of `file`, as f32.
Tensor read_weights(const std::string& path, const weights::VectorFile& file) {
  Tensor weights = weights::read_npy(path);
  PANDA_CHECK(weights.shape() == Shape({file.count()}) &&
                  (weights.dtype() == DType::kF32 || weights.dtype() == DType::kF64),
              path, ": ", weights.view().to_string(), ", expected f32 or f64 ", file.count(),
              ": a weight for each vector of ", file.name());
  if (weights.dtype() == DType::kF32) return weights;
  Tensor rounded(host(), DType::kF32, weights.shape(), "weights");
  for (int64_t i = 0; i < weights.numel(); ++i)
    rounded.data<float>()[i] = static_cast<float>(weights.data<double>()[i]);
  return rounded;
}

/// K vectors to start from.
Tensor read_start(const std::string& path, const weights::VectorFile& data, int64_t k) {
  const weights::VectorFile file(path);
  PANDA_CHECK(file.d() == data.d(), path, ": vectors of d=", file.d(), ", expected d=", data.d(), " as in ",
              data.name());
  PANDA_CHECK(file.count() == k, path, ": ", file.count(), " vectors, expected the ", k, " of -k");
  PANDA_CHECK(file.dtype() != DType::kI32, path, ": vectors of i32, expected f32, f16 or u8");
  return FilePoints(file).read(0, k);
}

void check(const weights::VectorFile& data, int64_t k) {
  PANDA_CHECK(data.dtype() != DType::kI32, data.name(), ": vectors of i32, expected f32, f16 or u8");
  PANDA_CHECK(data.d() >= 1, data.name(), ": vectors of d=0, expected d >= 1");
  PANDA_CHECK(k <= data.count(), data.name(), ": k=", k, " with ", data.count(),
              " vectors, expected k <= ", data.count());
}

std::vector<OptionSpec> kmeans_options() {
  return {required(file_option("data", "the vectors to be clustered")),
          {.name = "k",
           .short_name = 'k',
           .kind = OptionKind::kInteger,
           .value_name = "K",
           .default_value = "",
           .summary = "clusters",
           .detail = "",
           .minimum = 1,
           .required = true},
          {.name = "init",
           .kind = OptionKind::kChoice,
           .value_name = "HOW",
           .default_value = "kmeans++",
           .summary = "which vectors to start from, drawn by --seed",
           .detail = "kmeans++ draws each with a probability in proportion to its squared distance from "
                     "those before; it reads the vectors K - 1 times. random draws uniformly.",
           .choices = {"kmeans++", "random"}},
          file_option("start", "start from these K vectors instead"),
          {.name = "iterations",
           .kind = OptionKind::kInteger,
           .value_name = "N",
           .default_value = "25",
           .summary = "at most so many updates",
           .detail = "",
           .minimum = 0,
           .maximum = 1'000'000},
          {.name = "tolerance",
           .kind = OptionKind::kReal,
           .value_name = "X",
           .default_value = "0",
           .summary = "stop when no centroid moves farther, in units of the vectors",
           .detail = "",
           .minimum = 0},
          file_option("weights-file", "a weight for each vector (.npy, >= 0)"),
          {.name = "memory",
           .kind = OptionKind::kInteger,
           .value_name = "MB",
           .default_value = "2048",
           .summary = "vectors that may be in memory at once",
           .detail = "A larger file is read in parts, once per iteration. The result is the same.",
           .minimum = 1,
           .maximum = 1'000'000'000},
          required(file_option("centroids", "where to write the centroids (.npy, f32 K,d)")),
          required(file_option("labels", "where to write each vector's centroid (.npy, i64)"))};
}

Json result_json(const weights::VectorFile& data, const kernels::KmeansOptions& options,
                 const kernels::KmeansResult& result, const Device& device, double seconds) {
  return {{"n", data.count()},
          {"d", data.d()},
          {"k", options.k},
          {"iterations", result.iterations},
          {"converged", result.converged},
          {"movement", result.movement},
          {"inertia", result.inertia},
          {"reseeded", result.reseeded},
          {"seconds", seconds},
          {"device", device.name()}};
}

}  // namespace

CommandSpec kmeans_spec() {
  return {.name = "kmeans",
          .summary = "K-means of vectors",
          .description =
              "Finds K centroids such that the sum of squared distances from each vector to the nearest is "
              "small, by Lloyd's iterations. Each vector is assigned to what is exactly its nearest "
              "centroid, the first among equals, and sums have one order: the same bits on every device and "
              "for any number of threads.\n\n"
              "A centroid without vectors takes the vector that is farthest from its own. The labels are "
              "those of the centroids that are written.\n\n"
              "Vectors are .npy (f32, f16 or u8, two axes), .fvecs or .bvecs.",
          .positionals = {},
          .options = kmeans_options(),
          .examples = {"panda kmeans --data x.npy -k 100 --centroids c.npy --labels a.npy",
                       "panda kmeans --data base.fvecs -k 4096 --init random --memory 512 "
                       "--centroids c.npy --labels a.npy"}};
}

int run_kmeans(const ParsedOptions& options, Context& context) {
  const std::string& centroid_path = options.text("centroids");
  const std::string& label_path = options.text("labels");
  for (const std::string& path : {centroid_path, label_path}) {
    if (extension_of(path) != "npy") {
      throw UsageError(text("kmeans: expected an output name that ends in .npy, got '", path, "'"));
    }
  }
  if (centroid_path == label_path) {
    throw UsageError(
        text("kmeans: --centroids and --labels are both '", label_path, "', expected two files"));
  }
  const weights::VectorFile data(options.text("data"));
  const int64_t k = options.integer("k");
  check(data, k);
  Tensor weights;
  if (options.has("weights-file")) weights = read_weights(options.text("weights-file"), data);
  Tensor start_centers;
  if (options.has("start")) start_centers = read_start(options.text("start"), data, k);
  const std::unique_ptr<Device> device = open_device(options, context);

  const auto start = std::chrono::steady_clock::now();
  FilePoints file(data);
  const int64_t memory = options.integer("memory") << 20;
  const bool resident = checked_mul(checked_mul(data.count(), data.d()), 4) <= memory;
  Tensor all;
  if (resident) all = file.read(0, data.count());
  kernels::KmeansPoints points;
  points.n = data.count();
  points.d = data.d();
  points.read = [&](int64_t begin, int64_t end, Tensor& owner) -> ConstTensorView {
    if (resident) return all.view().rows(begin, end);
    owner = file.read(begin, end);
    return owner;
  };
  if (weights.present()) points.weights = weights;
  points.part_bytes = std::min(points.part_bytes, memory);
  kernels::KmeansOptions search{.k = k,
                                .iterations = options.integer("iterations"),
                                .tolerance = options.real("tolerance"),
                                .start = kernels::kmeans_start_from_name(options.text("init")),
                                .seed = static_cast<uint64_t>(options.integer("seed"))};
  if (start_centers.present()) search.initial_centers = start_centers;
  const kernels::KmeansResult result = kernels::kmeans(*device, points, search, &context.progress);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  weights::write_npy(centroid_path, result.centers);
  weights::write_npy(label_path, result.labels);

  print_object(
      context.out, context.format, result_json(data, search, result, *device, seconds),
      aligned_pairs(
          {{"vectors", text(data.count(), " of d=", data.d(), weights.present() ? ", weighted" : "")},
           {"centroids", text(k, start_centers.present() ? std::string(" from " + options.text("start"))
                                                         : " from " + options.text("init"))},
           {"iterations", text(result.iterations, result.converged ? ", converged" : ", not converged",
                               " (the last moved a centroid by ", result.movement, ")")},
           {"inertia", text(result.inertia)},
           {"wrote", text(centroid_path, ", ", label_path)},
           {"time", duration_text(seconds)}}));
  return kExitDone;
}

}  // namespace panda::tools
