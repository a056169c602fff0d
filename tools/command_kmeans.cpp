// panda kmeans: K-means of vectors in files. What does not fit the memory it may use is read in parts, once
// per iteration, with the same result; or it learns from minibatches.

#include <algorithm>
#include <chrono>
#include <optional>

#include "kernels/kmeans.h"
#include "kernels/kmeans_minibatch.h"
#include "kernels/tensor/checked_math.h"
#include "tools/commands.h"
#include "tools/detector.h"
#include "tools/exit_code.h"
#include "tools/vector_points.h"
#include "weights/npy.h"

namespace panda::tools {

namespace {

/// K vectors to start from.
Tensor read_start(const std::string& path, const VectorPoints& data, int64_t k) {
  VectorPoints file({path});
  PANDA_CHECK(file.d() == data.d(), path, ": vectors of d=", file.d(), ", expected d=", data.d(), " as in ",
              data.name());
  PANDA_CHECK(file.count() == k, path, ": ", file.count(), " vectors, expected the ", k, " of -k");
  return file.read(0, k);
}

std::vector<OptionSpec> kmeans_options() {
  OptionSpec data = required(
      file_option("data", "the vectors to be clustered; several files are taken one after the other"));
  data.repeatable = true;
  return {
      data,
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
       .detail = "Not with --minibatch, which has --passes.",
       .minimum = 0,
       .maximum = 1'000'000},
      integer_option("minibatch", "N", "", "learn from minibatches of N vectors",
                     "For more vectors than memory holds: only N of them are in memory at a time, 3 N or "
                     "3 K while a start is chosen. Each centroid is the mean of what it was given so far, of "
                     "earlier passes by an eighth. "
                     "Minibatches come from all over the files, in an order drawn by --seed; larger ones "
                     "read longer pieces.",
                     1, 1e12),
      integer_option("passes", "N", "10", "with --minibatch: read the vectors at most so many times", "", 1,
                     1e6),
      integer_option("patience", "N", "10",
                     "with --minibatch: stop after N of them in a row without a lower inertia",
                     "The inertia is smoothed over about one pass. 0: never for that reason.", 0, 1e9),
      real_option("starved", "X", "0.01",
                  "with --minibatch: move a centroid that was given X of the mean weight or less",
                  "Counted each pass, or each 1000 K vectors if they are fewer. It begins again at a "
                  "vector of the next minibatch, drawn in proportion to its squared distance.",
                  0, 0.99),
      {.name = "tolerance",
       .kind = OptionKind::kReal,
       .value_name = "X",
       .default_value = "0",
       .summary = "stop when no centroid moves farther, in units of the vectors",
       .detail = "In one update; with --minibatch, over a whole pass.",
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
      file_option("labels", "where to write each vector's centroid (.npy, i64); required without --minibatch",
                  "With --minibatch it asks for one more pass, which gives the inertia "
                  "too.")};
}

/// What the command works on, checked.
struct Job {
  VectorPoints data;
  int64_t k;
  std::optional<WeightFile> weights;
  Tensor start;  ///< absent: chosen
  std::string init;
  uint64_t seed;
  double tolerance;
  int64_t memory;  ///< bytes of vectors
  std::string centroid_path;
  std::string label_path;  ///< "": not wanted

  explicit Job(const ParsedOptions& options)
      : data(options.texts("data")),
        k(options.integer("k")),
        init(options.text("init")),
        seed(static_cast<uint64_t>(options.integer("seed"))),
        tolerance(options.real("tolerance")),
        memory(options.integer("memory") << 20),
        centroid_path(options.text("centroids")),
        label_path(options.has("labels") ? options.text("labels") : "") {
    PANDA_CHECK(k <= data.count(), data.name(), ": k=", k, " with ", data.count(),
                " vectors, expected k <= ", data.count());
    if (options.has("weights-file")) weights.emplace(options.text("weights-file"), data.count(), data.name());
    if (options.has("start")) start = read_start(options.text("start"), data, k);
  }

  /// To be read from the files; without weights.
  [[nodiscard]] kernels::KmeansPoints points() {
    kernels::KmeansPoints points;
    points.n = data.count();
    points.d = data.d();
    points.read = [this](int64_t begin, int64_t end, Tensor& owner) -> ConstTensorView {
      owner = data.read(begin, end);
      return owner;
    };
    points.part_bytes = std::min(points.part_bytes, memory);
    return points;
  }
  [[nodiscard]] std::pair<std::string, std::string> vectors_line() const {
    return {"vectors", text(data.count(), " of d=", data.d(), weights ? ", weighted" : "")};
  }
  [[nodiscard]] std::pair<std::string, std::string> centroids_line(const ParsedOptions& options) const {
    return {"centroids", text(k, " from ", start.present() ? options.text("start") : init)};
  }
};

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int run_lloyd(Job& job, Device& device, const ParsedOptions& options, Context& context) {
  const auto start = Clock::now();
  kernels::KmeansPoints points = job.points();
  Tensor all;
  if (checked_mul(checked_mul(points.n, points.d), 4) <= job.memory) {
    all = job.data.read(0, points.n);
    points.read = [&](int64_t begin, int64_t end, Tensor&) -> ConstTensorView {
      return all.view().rows(begin, end);
    };
  }
  Tensor weights;
  if (job.weights) {
    weights = job.weights->read(0, points.n);
    points.weights = weights;
  }
  kernels::KmeansOptions search{.k = job.k,
                                .iterations = options.integer("iterations"),
                                .tolerance = job.tolerance,
                                .start = kernels::kmeans_start_from_name(job.init),
                                .seed = job.seed};
  if (job.start.present()) search.initial_centers = job.start;
  const kernels::KmeansResult result = kernels::kmeans(device, points, search, &context.progress);
  const double seconds = seconds_since(start);
  weights::write_npy(job.centroid_path, result.centers);
  weights::write_npy(job.label_path, result.labels);

  const Json json = {{"n", points.n},
                     {"d", points.d},
                     {"k", job.k},
                     {"iterations", result.iterations},
                     {"converged", result.converged},
                     {"movement", result.movement},
                     {"inertia", result.inertia},
                     {"reseeded", result.reseeded},
                     {"seconds", seconds},
                     {"device", device.name()}};
  print_object(context.out, context.format, json,
               aligned_pairs({job.vectors_line(),
                              job.centroids_line(options),
                              {"iterations",
                               text(result.iterations, result.converged ? ", converged" : ", not converged",
                                    " (the last moved a centroid by ", result.movement, ")")},
                              {"inertia", text(result.inertia)},
                              {"wrote", text(job.centroid_path, ", ", job.label_path)},
                              {"time", duration_text(seconds)}}));
  return kExitDone;
}

/// What of the vectors is in memory at once.
void check_memory(const Job& job, int64_t minibatch) {
  const int64_t in_minibatch = std::min(minibatch, job.data.count());
  int64_t vectors = in_minibatch;
  if (!job.start.present()) vectors += std::min(job.data.count(), 3 * std::max(in_minibatch, job.k));
  const int64_t bytes = checked_mul(checked_mul(vectors, job.data.d()), 4);
  PANDA_CHECK(bytes <= job.memory, "--minibatch ", minibatch, " with k=", job.k, " and d=", job.data.d(),
              ": needs ", vectors, " vectors in memory, ", ceil_div(bytes, int64_t{1} << 20),
              " MB, expected at most the ", job.memory >> 20, " of --memory");
}

int run_minibatches(Job& job, Device& device, const ParsedOptions& options, Context& context) {
  const auto start = Clock::now();
  kernels::KmeansMinibatchOptions search{.k = job.k,
                                         .minibatch = options.integer("minibatch"),
                                         .passes = options.integer("passes"),
                                         .tolerance = job.tolerance,
                                         .patience = options.integer("patience"),
                                         .starved = options.real("starved"),
                                         .start = kernels::kmeans_start_from_name(job.init),
                                         .seed = job.seed};
  check_memory(job, search.minibatch);
  if (job.start.present()) search.initial_centers = job.start;
  kernels::KmeansPoints points = job.points();
  const int64_t in_minibatch = checked_mul(checked_mul(std::min(search.minibatch, points.n), points.d), 4);
  points.part_bytes = std::clamp(in_minibatch, int64_t{1} << 20, points.part_bytes);
  if (job.weights) {
    points.read_weights = [&](int64_t begin, int64_t end, Tensor& owner) -> ConstTensorView {
      owner = job.weights->read(begin, end);
      return owner;
    };
  }
  const bool labelled = !job.label_path.empty();
  weights::NpyWriter centroids(job.centroid_path, DType::kF32, {job.k, points.d});
  std::optional<weights::NpyWriter> labels;
  if (labelled) labels.emplace(job.label_path, DType::kI64, Shape{points.n});
  const kernels::KmeansMinibatchResult result =
      kernels::kmeans_minibatch(device, points, search, &context.progress);
  double inertia = 0;
  if (labelled) {
    inertia = kernels::kmeans_assign(
        device, points, result.centers, [&](const ConstTensorView& part) { labels->append(part); },
        &context.progress);
  }
  const double seconds = seconds_since(start);
  centroids.append(result.centers);
  centroids.commit();
  if (labelled) labels->commit();

  const bool converged = result.stop != kernels::KmeansStop::kPasses;
  const Json json = {{"n", points.n},
                     {"d", points.d},
                     {"k", job.k},
                     {"minibatch", search.minibatch},
                     {"iterations", result.minibatches},
                     {"passes", result.passes},
                     {"stopped_by", kernels::kmeans_stop_name(result.stop)},
                     {"converged", converged},
                     {"movement", result.movement},
                     {"smoothed_inertia", result.smoothed_inertia},
                     {"inertia", labelled ? Json(inertia) : Json()},
                     {"reseeded", result.reseeded},
                     {"seconds", seconds},
                     {"device", device.name()}};
  print_object(
      context.out, context.format, json,
      aligned_pairs({job.vectors_line(),
                     job.centroids_line(options),
                     {"minibatches", text(result.minibatches, " of ", search.minibatch, " in ", result.passes,
                                          result.passes == 1 ? " pass" : " passes", ", stopped by ",
                                          kernels::kmeans_stop_name(result.stop))},
                     {"inertia", labelled ? text(inertia) : std::string("not taken (--labels)")},
                     {"wrote", labelled ? text(job.centroid_path, ", ", job.label_path) : job.centroid_path},
                     {"time", duration_text(seconds)}}));
  return kExitDone;
}

void check_usage(const ParsedOptions& options) {
  const bool minibatches = options.has("minibatch");
  if (!minibatches && !options.has("labels"))
    throw UsageError("kmeans: --labels is required without --minibatch");
  if (minibatches && options.given("iterations"))
    throw UsageError("kmeans: --iterations is not for --minibatch, expected --passes");
  for (const std::string name : {"passes", "patience", "starved"}) {
    if (!minibatches && options.given(name))
      throw UsageError(text("kmeans: --", name, " is for --minibatch"));
  }
  const std::string& centroid_path = options.text("centroids");
  std::vector<std::string> outputs = {centroid_path};
  if (options.has("labels")) outputs.push_back(options.text("labels"));
  for (const std::string& path : outputs) {
    if (extension_of(path) != "npy") {
      throw UsageError(text("kmeans: expected an output name that ends in .npy, got '", path, "'"));
    }
  }
  if (outputs.size() == 2 && outputs[0] == outputs[1]) {
    throw UsageError(
        text("kmeans: --centroids and --labels are both '", centroid_path, "', expected two files"));
  }
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
              "With --minibatch it learns from a few vectors at a time (Sculley 2010), for files larger than "
              "memory: as reproducible, with an inertia that is somewhat higher. Labels and the inertia are "
              "then given if --labels is.\n\n"
              "Vectors are .npy (f32, f16 or u8, two axes), .fvecs or .bvecs.",
          .positionals = {},
          .options = kmeans_options(),
          .examples = {"panda kmeans --data x.npy -k 100 --centroids c.npy --labels a.npy",
                       "panda kmeans --data base.fvecs -k 4096 --init random --memory 512 "
                       "--centroids c.npy --labels a.npy",
                       "panda kmeans --data part0.bvecs --data part1.bvecs -k 4096 --minibatch 65536 "
                       "--centroids c.npy"}};
}

int run_kmeans(const ParsedOptions& options, Context& context) {
  check_usage(options);
  Job job(options);
  const std::unique_ptr<Device> device = open_device(options, context);
  return options.has("minibatch") ? run_minibatches(job, *device, options, context)
                                  : run_lloyd(job, *device, options, context);
}

}  // namespace panda::tools
