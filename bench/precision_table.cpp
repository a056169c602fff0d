// How far each kernel's result is from f64, on every device and in every precision of this machine.
//   precision_table [--update docs/PRECISION.md]
// One problem per kernel; operands are random f32, so in tf32, f16 and bf16 the rounding of the operands is
// part of the error. The truth is the reference device computing in f64 from the same numbers. Two figures:
// the largest error over the largest |truth|, and the 2-norm of the errors over the 2-norm of the truth.
// Prints Markdown, or puts it between the markers of the file. Exit code 1 if a figure is beyond the bound of
// its precision.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/batch_norm.h"
#include "kernels/conv2d.h"
#include "kernels/device_registry.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/pool2d.h"
#include "kernels/reduce.h"
#include "kernels/tensor/random.h"

namespace panda {
namespace {

constexpr const char* kBegin = "<!-- precision_table: begin -->\n";
constexpr const char* kEnd = "<!-- precision_table: end -->\n";

Tensor random_tensor(const Shape& shape, uint64_t seed, double low, double high) {
  Random random(seed);
  Tensor tensor(host(), DType::kF32, shape, "operand");
  for (int64_t i = 0; i < shape.numel(); ++i)
    tensor.data<float>()[i] = static_cast<float>(random.next_uniform(low, high));
  return tensor;
}

/// One side of a comparison: a device that computes in f32 and its activation dtype, or the reference in f64.
class Side {
 public:
  Side(Device& device, Device& reference, DType dtype)
      : device_(device), reference_(reference), dtype_(dtype) {}

  [[nodiscard]] Device& device() const { return device_; }
  /// An operand on the device: dense, or an image in the activation layout.
  [[nodiscard]] Tensor put(const Shape& shape, uint64_t seed, double low = -1, double high = 1,
                           bool image = false) const {
    const Tensor dense = random_tensor(shape, seed, low, high);
    Tensor arranged(host(), image ? image_dtype() : dtype_, shape, "operand",
                    image ? image_layout() : Layout::kDense);
    kernels::convert(reference_, {dense, arranged});
    return clone_to(arranged, device_);
  }
  [[nodiscard]] Tensor make(const Shape& shape, bool image = false) const {
    return image ? Tensor(device_, image_dtype(), shape, "result", image_layout())
                 : Tensor(device_, dtype_, shape, "result");
  }
  [[nodiscard]] std::vector<double> get(const Tensor& result) const {
    const Tensor there = clone_to(result, host());
    Tensor dense(host(), DType::kF64, result.shape(), "result");
    kernels::convert(reference_, {there, dense});
    return {dense.data<double>(), dense.data<double>() + dense.numel()};
  }

 private:
  [[nodiscard]] bool oracle() const { return dtype_ == DType::kF64; }
  [[nodiscard]] Layout image_layout() const {
    return oracle() ? Layout::kDense : device_.activation_layout();
  }
  [[nodiscard]] DType image_dtype() const {
    if (oracle() || image_layout() == Layout::kDense) return dtype_;
    return activation_dtype(device_.precision());
  }

  Device& device_;
  Device& reference_;
  DType dtype_;
};

struct Problem {
  std::string kernel;
  std::string shape;
  std::function<Tensor(const Side&)> run;
};

struct ConvShape {
  int64_t c, hw, k, r, stride, pad;
  bool image_input;
};

Tensor run_conv(const Side& side, const ConvShape& shape) {
  const Tensor x = side.put({1, shape.c, shape.hw, shape.hw}, 1, 0, 1, shape.image_input);
  const Tensor weights = side.put({shape.k, shape.c, shape.r, shape.r}, 2);
  const Tensor bias = side.put({shape.k}, 3);
  const kernels::Conv2dFilter filter = kernels::conv2d_prepare_filter(
      side.device(), weights, {shape.stride, shape.stride, shape.pad, shape.pad});
  const int64_t p = kernels::Conv2dGeometry::output_extent(shape.hw, shape.r, shape.stride, shape.pad);
  Tensor y = side.make({1, shape.k, p, p}, true);
  kernels::conv2d_forward(side.device(), {x, &filter, bias, {}, y, false});
  return y;
}

std::vector<Problem> problems() {
  std::vector<Problem> all;
  const auto add = [&](std::string kernel, std::string shape, std::function<Tensor(const Side&)> run) {
    all.push_back({std::move(kernel), std::move(shape), std::move(run)});
  };
  add("gemm", "96x576 by 576x80", [](const Side& side) {
    Tensor c = side.make({96, 80});
    kernels::gemm(side.device(), {side.put({96, 576}, 1), side.put({576, 80}, 2), c, false, false, false});
    return c;
  });
  add("linear_forward", "8x512 to 8x100", [](const Side& side) {
    Tensor y = side.make({8, 100});
    kernels::linear_forward(side.device(),
                            {side.put({8, 512}, 1, 0, 1), side.put({100, 512}, 2), side.put({100}, 3), y});
    return y;
  });
  add("conv2d_forward", "3x3, 64 to 64, 14x14", [](const Side& side) {
    return run_conv(side, {64, 14, 64, 3, 1, 1, true});
  });
  add("conv2d_forward", "1x1, 256 to 64, 14x14", [](const Side& side) {
    return run_conv(side, {256, 14, 64, 1, 1, 0, true});
  });
  add("conv2d_forward", "7x7 stride 2, 3 to 64, 32x32, dense x", [](const Side& side) {
    return run_conv(side, {3, 32, 64, 7, 2, 3, false});
  });
  add("batch_norm_forward", "64 channels, 14x14", [](const Side& side) {
    Tensor y = side.make({1, 64, 14, 14}, true);
    kernels::BatchNormForwardArgs args;
    const Tensor x = side.put({1, 64, 14, 14}, 1, -1, 1, true);
    const Tensor gamma = side.put({64}, 2);
    const Tensor beta = side.put({64}, 3);
    const Tensor mean = side.put({64}, 4);
    const Tensor variance = side.put({64}, 5, 0.5, 2);
    args.x = x;
    args.gamma = gamma;
    args.beta = beta;
    args.mean = mean;
    args.variance = variance;
    args.y = y;
    kernels::batch_norm_forward(side.device(), args);
    return y;
  });
  add("max_pool2d_forward", "3x3 stride 2, 64 channels, 28x28", [](const Side& side) {
    Tensor y = side.make({1, 64, 14, 14}, true);
    kernels::max_pool2d_forward(side.device(),
                                {side.put({1, 64, 28, 28}, 1, -1, 1, true), {3, 3, 2, 2, 1, 1}, y});
    return y;
  });
  add("avg_pool2d_forward", "3x3, 64 channels, 14x14", [](const Side& side) {
    Tensor y = side.make({1, 64, 14, 14}, true);
    kernels::avg_pool2d_forward(side.device(),
                                {side.put({1, 64, 14, 14}, 1, 0, 1, true), {3, 3, 1, 1, 1, 1}, y});
    return y;
  });
  add("global_avg_pool2d_forward", "64 channels, 14x14", [](const Side& side) {
    Tensor y = side.make({1, 64});
    kernels::global_avg_pool2d_forward(side.device(), {side.put({1, 64, 14, 14}, 1, 0, 1, true), y});
    return y;
  });
  for (const auto& [name, op] :
       std::vector<std::pair<std::string, kernels::UnaryOp>>{{"exp", kernels::UnaryOp::kExp},
                                                             {"log", kernels::UnaryOp::kLog},
                                                             {"sigmoid", kernels::UnaryOp::kSigmoid}}) {
    add("unary_forward", text(name, ", 4096 values"), [op = op](const Side& side) {
      Tensor y = side.make({4096});
      kernels::unary_forward(side.device(), {op, side.put({4096}, 1, 0.01, 10), y});
      return y;
    });
  }
  add("softmax_forward", "8x1000", [](const Side& side) {
    Tensor y = side.make({8, 1000});
    kernels::softmax_forward(side.device(), {side.put({8, 1000}, 1, -10, 10), y});
    return y;
  });
  add("reduce_forward", "sum, 1000 of 64", [](const Side& side) {
    Tensor y = side.make({64});
    kernels::reduce_forward(side.device(), {kernels::ReduceOp::kSum, side.put({1000, 64}, 1, 0, 1), 0, y});
    return y;
  });
  add("normalize_rows_forward", "8x512", [](const Side& side) {
    Tensor y = side.make({8, 512});
    kernels::normalize_rows_forward(side.device(), {side.put({8, 512}, 1), y});
    return y;
  });
  return all;
}

struct Mode {
  std::string name;
  std::unique_ptr<Device> device;
};

/// Every device of this machine in every precision that it computes in.
std::vector<Mode> modes() {
  std::vector<Mode> all;
  const auto add = [&](const std::string& device, Precision precision, kernels::Engine engine) {
    kernels::DeviceOptions options;
    options.name = device;
    options.precision = precision;
    options.engine = engine;
    const std::string suffix = engine == kernels::Engine::kVendor ? " vendor" : "";
    try {
      all.push_back({text(device, suffix, " ", precision_name(precision)), kernels::make_device(options)});
    } catch (const Unsupported&) {
      // Not on this machine: no column.
    }
  };
  add("reference", Precision::kF32, kernels::Engine::kNative);
  add("cpu", Precision::kF32, kernels::Engine::kNative);
  constexpr Precision kAll[] = {Precision::kF32, Precision::kTf32, Precision::kF16, Precision::kBF16};
  for (const Precision precision : kAll) add("simt", precision, kernels::Engine::kNative);
  for (const Precision precision : kAll) add("cuda", precision, kernels::Engine::kNative);
  for (const Precision precision : kAll) add("cuda", precision, kernels::Engine::kVendor);
  return all;
}

/// What no kernel's error reaches: the unit roundoff of the operands (2^-24, 2^-11, 2^-11, 2^-8), and of
/// f32's sums over some hundred terms, with a margin of 8.
double bound(Precision precision) {
  switch (precision) {
    case Precision::kF32:
      return 8 * 0x1p-24 * 25;
    case Precision::kTf32:
    case Precision::kF16:
      return 8 * 0x1p-11;
    case Precision::kBF16:
      return 8 * 0x1p-8;
  }
  return 0;
}

struct Errors {
  double largest = 0;
  double norm = 0;
};

Errors errors_of(const std::vector<double>& actual, const std::vector<double>& truth) {
  double largest_error = 0, largest_truth = 0, error_squares = 0, truth_squares = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    const double error = std::abs(actual[i] - truth[i]);
    if (!(error <= largest_error)) largest_error = error;  // a NaN stays
    largest_truth = std::max(largest_truth, std::abs(truth[i]));
    error_squares += error * error;
    truth_squares += truth[i] * truth[i];
  }
  return {largest_error / largest_truth, std::sqrt(error_squares / truth_squares)};
}

std::string cell(const Errors& errors) {
  if (errors.largest == 0) return "0";
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.1e / %.1e", errors.largest, errors.norm);
  return buffer;
}

struct Truth {
  std::vector<double> values;
  bool in_f64 = true;
};

/// The reference device's result in f64. Where its kernel takes f32 alone: its f32 result, whose sums are f64
/// and rounded once.
Truth truth_of(const Problem& problem, Device& reference) {
  try {
    const Side oracle(reference, reference, DType::kF64);
    return {oracle.get(problem.run(oracle)), true};
  } catch (const InvalidArgument&) {
    const Side oracle(reference, reference, DType::kF32);
    return {oracle.get(problem.run(oracle)), false};
  }
}

/// The table, and in `failures` a line for each figure beyond its bound.
std::string make_table(std::vector<std::string>& failures) {
  const std::unique_ptr<Device> reference = kernels::make_device({"reference", 1, ""});
  const std::vector<Mode> columns = modes();
  std::ostringstream table;
  table << "| kernel | problem |";
  for (const Mode& mode : columns) table << ' ' << mode.name << " |";
  table << "\n|---|---|";
  for (size_t i = 0; i < columns.size(); ++i) table << "---|";
  table << '\n';
  for (const Problem& problem : problems()) {
    const auto [truth, in_f64] = truth_of(problem, *reference);
    table << "| `" << problem.kernel << "` | " << problem.shape << (in_f64 ? " |" : " * |");
    for (const Mode& mode : columns) {
      if (!in_f64 && mode.device->name() == "reference") {
        table << " - |";  // it would be compared with itself
        continue;
      }
      const Side side(*mode.device, *reference, DType::kF32);
      const Errors errors = errors_of(side.get(problem.run(side)), truth);
      const double most = bound(mode.device->precision());
      if (!(errors.largest <= most) || !(errors.norm <= most))
        failures.push_back(text(mode.name, ": ", problem.kernel, " ", problem.shape, ": ", cell(errors),
                                ", expected below ", most));
      table << ' ' << cell(errors) << " |";
    }
    table << '\n';
  }
  return table.str();
}

void update(const std::string& path, const std::string& table) {
  std::ifstream in(path);
  std::ostringstream old;
  old << in.rdbuf();
  std::string content = old.str();
  const size_t begin = content.find(kBegin);
  const size_t end = content.find(kEnd);
  PANDA_CHECK(begin != std::string::npos && end != std::string::npos && begin < end,
              "precision_table: ", path, " has no markers, expected ", kBegin);
  content.replace(begin + std::string(kBegin).size(), end - begin - std::string(kBegin).size(), table);
  std::ofstream out(path);
  out << content;
  PANDA_CHECK(out.flush().good(), "precision_table: cannot write ", path);
}

int run(int argc, char** argv) {
  const bool to_file = argc == 3 && std::string(argv[1]) == "--update";
  PANDA_CHECK(argc == 1 || to_file, "usage: precision_table [--update FILE]");
  std::vector<std::string> failures;
  const std::string table = make_table(failures);
  if (to_file) {
    update(argv[2], table);
  } else {
    std::cout << table;
  }
  for (const std::string& line : failures) std::cerr << line << '\n';
  return failures.empty() ? 0 : 1;
}

}  // namespace
}  // namespace panda

int main(int argc, char** argv) {
  try {
    return panda::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "precision_table: " << error.what() << '\n';
    return 2;
  }
}
