// panda gradcheck: gradients against central differences in f64.

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "autograd/gradient_cases.h"
#include "kernels/device_registry.h"
#include "nn/network_gradient_check.h"
#include "nn/resnet_config.h"
#include "tools/commands.h"
#include "tools/detector.h"
#include "tools/exit_code.h"

namespace panda::tools {

namespace {

std::vector<OptionSpec> gradcheck_options() {
  return {choice_option("arch", "NAME", "", "check a whole network with seeded weights instead",
                        "Each of its parameters along random directions.", nn::resnet_architectures()),
          real_option("width", "F", "0.125", "with --arch: channels, times this", "", 1.0 / 64, 16),
          integer_option("image-size", "PX", "32", "with --arch: extent of an image", "", 1, 1024),
          integer_option("batch-size", "N", "8", "with --arch: images",
                         "By batch statistics, gradients of few values a channel are badly conditioned.", 1,
                         1024),
          choice_option("batch-norm", "MODE", "evaluation", "with --arch: by which statistics", "",
                        {"evaluation", "batch"}),
          integer_option("directions", "N", "2", "with --arch: random directions of each parameter", "", 1),
          integer_option("elements", "N", "50", "of each input of a function, evenly spread",
                         "Fewer than 20 could all be behind a ReLU.", 20),
          real_option(
              "limit", "E", "", "the largest relative error that passes",
              "Default: 1e-7 for functions in f64 (--device reference), 1e-5 in f32; for networks 1e-5 and "
              "1e-3, since values near a ReLU's corner fall on either side.",
              0)};
}

/// The findings as they come.
class Report {
 public:
  Report(Context& context, double limit)
      : printer_(context.out, context.format,
                 {{"name", "name"},
                  {"form", "form"},
                  {"input", "input"},
                  {"elements", "elements"},
                  {"relative_error", "relative error"},
                  {"within", "within"}}),
        out_(context.out),
        limit_(limit) {}

  void add(const std::string& name, const std::string& form, const Json& input, int64_t elements,
           double error) {
    const bool within = error <= limit_;
    printer_.add({name, form, input, elements, three_digits(error), within});
    ++checked_;
    if (within) return;
    ++failed_;
    if (failed_ == 1 || !(error <= worst_)) {
      worst_ = error;
      worst_name_ = text(name, ", ", form);
    }
  }
  /// Throws DeviceError if anything was beyond the limit.
  void finish(const std::string& device) {
    printer_.finish();
    if (failed_ == 0) return;
    out_.flush();  // the findings are wanted all the more
    throw DeviceError(text("gradcheck: ", failed_, " of ", checked_, " gradients of the device ", device,
                           " are beyond the limit ", limit_, "; the worst is ", worst_name_, ": ", worst_));
  }

 private:
  /// An error's size; null where there is none.
  static Json three_digits(double error) {
    char digits[32];
    std::snprintf(digits, sizeof(digits), "%.2e", error);
    return std::isfinite(error) ? Json(std::stod(digits)) : Json();
  }

  RecordPrinter printer_;
  OutputStream& out_;
  double limit_;
  int64_t checked_ = 0;
  int64_t failed_ = 0;
  double worst_ = 0;
  std::string worst_name_;
};

void check_functions(const ParsedOptions& options, Device& oracle, Device& device, Context& context,
                     Report& report) {
  const std::vector<std::string>& names = options.positionals();
  std::vector<const autograd::GradientCase*> chosen;
  for (const autograd::GradientCase& one : autograd::gradient_cases()) {
    if (names.empty() || std::find(names.begin(), names.end(), one.function) != names.end())
      chosen.push_back(&one);
  }
  const int64_t elements = options.integer("elements");
  int64_t done = 0;
  for (const autograd::GradientCase* one : chosen) {
    report_progress(&context.progress, "gradients", done++, static_cast<int64_t>(chosen.size()));
    const autograd::GradientCheckResult result =
        check_gradient(oracle, device, *one,
                       {.max_elements = elements, .seed = static_cast<uint64_t>(options.integer("seed"))});
    for (size_t i = 0; i < one->inputs.size(); ++i) {
      report.add(one->function, one->form, i, std::min(elements, one->inputs[i].values.numel()),
                 result.relative_errors[i]);
    }
  }
}

void check_network(const ParsedOptions& options, Device& oracle, Device& device, Context& context,
                   Report& report) {
  nn::NetworkGradientOptions network;
  network.config = nn::resnet_config(options.text("arch"), options.real("width"));
  network.config.class_count = 10;
  network.mode = options.text("batch-norm") == "batch" ? nn::BatchNormMode::kBatchStatistics
                                                       : nn::BatchNormMode::kEvaluation;
  network.images = options.integer("batch-size");
  network.extent = options.integer("image-size");
  network.directions = options.integer("directions");
  network.seed = static_cast<uint64_t>(options.integer("seed"));
  for (const nn::ParameterError& error : check_network_gradient(oracle, device, network, &context.progress))
    report.add(error.name, nn::describe(network.config), nullptr, error.elements, error.relative_error);
}

}  // namespace

CommandSpec gradcheck_spec() {
  return {
      .name = "gradcheck",
      .summary = "gradients of functions and networks against differences",
      .description =
          "Compares the gradients that the chosen device computes with central differences that the device "
          "`reference` computes in f64: of the named functions, of all of them, or of a whole network "
          "(--arch). For whoever changes a kernel or adds a function. Exit code 0 if all are within the "
          "limit, 4 if not.",
      .positionals = {{.name = "FUNCTION",
                       .summary = "which functions (default: all)",
                       .kind = OptionKind::kChoice,
                       .choices = autograd::gradient_functions(),
                       .required = false,
                       .repeatable = true}},
      .options = gradcheck_options(),
      .examples = {"panda gradcheck", "panda gradcheck conv2d batch_norm --device reference",
                   "panda gradcheck --arch resnet50 --batch-norm batch -o json"}};
}

int run_gradcheck(const ParsedOptions& options, Context& context) {
  const bool network = options.has("arch");
  if (network && !options.positionals().empty())
    throw UsageError("gradcheck: --arch: expected no function beside it, got '" + options.positionals()[0] +
                     "'");
  const std::unique_ptr<Device> device = open_device(options, context);
  if (device->precision() != Precision::kF32)
    throw UsageError("gradcheck: --precision: expected f32, in which gradients are computed");
  const bool exact = device->name() == "reference";
  const std::unique_ptr<Device> oracle = exact ? nullptr : kernels::make_device({"reference", 1, ""});
  Device& reference = exact ? *device : *oracle;
  const double standard = network ? (exact ? 1e-5 : 1e-3) : (exact ? 1e-7 : 1e-5);
  Report report(context, options.has("limit") ? options.real("limit") : standard);
  if (network) {
    check_network(options, reference, *device, context, report);
  } else {
    check_functions(options, reference, *device, context, report);
  }
  report.finish(device->name());
  return kExitDone;
}

}  // namespace panda::tools
