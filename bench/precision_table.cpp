// How far each kernel's result is from f64, on every device and in every precision of this machine.
//   precision_table [--update docs/PRECISION.md | --check docs/PRECISION.md]
// A problem at least for every kernel that rounds (precision_problems.h); operands are random f32, so in
// tf32, f16 and bf16 the rounding of the operands is part of the error. The truth is the reference device
// computing in f64 from the same numbers. Two figures: the largest error over the largest |truth|, and the
// 2-norm of the errors over the 2-norm of the truth. Prints Markdown, or puts it between the markers of the
// file, or checks that the file has its kernels and problems. Exit code 1 if not, if a figure is beyond the
// bound of its precision, or if a kernel of the kernel list is neither measured nor exact.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "bench/precision_problems.h"
#include "kernels/device_registry.h"
#include "kernels/kernel_table.h"

namespace panda::bench {
namespace {

constexpr const char* kBegin = "<!-- precision_table: begin -->\n";
constexpr const char* kEnd = "<!-- precision_table: end -->\n";

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
std::string make_table(const std::vector<Problem>& problems, std::vector<std::string>& failures) {
  const std::unique_ptr<Device> reference = kernels::make_device({"reference", 1, ""});
  const std::vector<Mode> columns = modes();
  std::ostringstream table;
  table << "| kernel | problem |";
  for (const Mode& mode : columns) table << ' ' << mode.name << " |";
  table << "\n|---|---|";
  for (size_t i = 0; i < columns.size(); ++i) table << "---|";
  table << '\n';
  for (const Problem& problem : problems) {
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
  table << "\nNot measured, since their contracts fix every bit, which the conformance suite demands:\n\n";
  for (const ExactKernel& one : exact_kernels()) table << "* `" << one.kernel << "`: " << one.reason << '\n';
  return table.str();
}

std::vector<Problem> all_problems() {
  std::vector<Problem> all = forward_problems();
  for (const auto& more : {gradient_problems(), training_problems()})
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

/// Kernels of the list that are not measured and not exact, or both; and names that are of no kernel.
void check_coverage(const std::vector<Problem>& problems, std::vector<std::string>& failures) {
  std::set<std::string> measured;
  std::set<std::string> exact;
  for (const Problem& problem : problems) measured.insert(problem.kernel);
  for (const ExactKernel& one : exact_kernels()) exact.insert(one.kernel);
  for (const char* kernel : kernels::kKernelNames) {
    if (measured.erase(kernel) + exact.erase(kernel) != 1)
      failures.push_back(text(kernel, ": expected either a problem or a place among the exact kernels"));
  }
  for (const auto& names : {measured, exact}) {
    for (const std::string& name : names) failures.push_back(text(name, ": no kernel of the list"));
  }
}

/// The lines of a table without their figures, which differ between machines.
std::vector<std::string> rows_of(const std::string& table) {
  std::vector<std::string> rows;
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("| `")) {
      if (line.starts_with("* `")) rows.push_back(line);
      continue;
    }
    rows.push_back(line.substr(0, line.find('|', line.find('|', 1) + 1)));
  }
  return rows;
}

/// What lies between the markers of `content`: first and past the last.
std::pair<size_t, size_t> find_table(const std::string& path, const std::string& content) {
  const size_t begin = content.find(kBegin);
  const size_t end = content.find(kEnd);
  PANDA_CHECK(begin != std::string::npos && end != std::string::npos && begin < end,
              "precision_table: ", path, " has no markers, expected ", kBegin);
  return {begin + std::string(kBegin).size(), end};
}

std::string read_text(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream content;
  content << in.rdbuf();
  return content.str();
}

void update(const std::string& path, const std::string& table) {
  std::string content = read_text(path);
  const auto [begin, end] = find_table(path, content);
  content.replace(begin, end - begin, table);
  std::ofstream out(path);
  out << content;
  PANDA_CHECK(out.flush().good(), "precision_table: cannot write ", path);
}

void check(const std::string& path, const std::string& table, std::vector<std::string>& failures) {
  const std::string content = read_text(path);
  const auto [begin, end] = find_table(path, content);
  if (rows_of(content.substr(begin, end - begin)) != rows_of(table))
    failures.push_back(text(path, ": other kernels or problems than this program's: --update it"));
}

int run(int argc, char** argv) {
  const std::string option = argc == 3 ? argv[1] : "";
  PANDA_CHECK(argc == 1 || option == "--update" || option == "--check",
              "usage: precision_table [--update FILE | --check FILE]");
  std::vector<std::string> failures;
  const std::vector<Problem> problems = all_problems();
  check_coverage(problems, failures);
  const std::string table = make_table(problems, failures);
  if (option == "--update") {
    update(argv[2], table);
  } else if (option == "--check") {
    check(argv[2], table, failures);
  } else {
    std::cout << table;
  }
  for (const std::string& line : failures) std::cerr << line << '\n';
  return failures.empty() ? 0 : 1;
}

}  // namespace
}  // namespace panda::bench

int main(int argc, char** argv) {
  try {
    return panda::bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "precision_table: " << error.what() << '\n';
    return 2;
  }
}
