#include "autograd/gradient_cases.h"

#include <algorithm>
#include <cmath>

#include "autograd/functions/activation.h"
#include "autograd/functions/arithmetic.h"
#include "autograd/functions/batch_norm.h"
#include "autograd/functions/conv2d.h"
#include "autograd/functions/linear.h"
#include "autograd/functions/loss.h"
#include "autograd/functions/pool2d.h"
#include "kernels/tensor/random.h"

namespace panda::autograd {

namespace {

using kernels::Conv2dGeometry;
using kernels::Pool2dGeometry;
using kernels::UnaryOp;
using Inputs = std::vector<Variable>;
using Constants = std::vector<ConstTensorView>;

GradientInput image(const Shape& shape, uint64_t seed) {
  return {gradient_values(shape, seed), true};
}
GradientInput dense(const Shape& shape, uint64_t seed) {
  return {gradient_values(shape, seed), false};
}
Tensor integers(const std::vector<int64_t>& from) {
  return Tensor::from({static_cast<int64_t>(from.size())}, from.data());
}
Tensor reals(const std::vector<double>& from) {
  return Tensor::from({static_cast<int64_t>(from.size())}, from.data());
}

void add_convolutions(std::vector<GradientCase>& cases) {
  struct Form {
    const char* name;
    Shape x, filter;
    Conv2dGeometry geometry;
    Shape y;
  };
  const std::vector<Form> forms = {
      {"3x3", {2, 3, 5, 6}, {4, 3, 3, 3}, {1, 1, 1, 1}, {2, 4, 5, 6}},
      {"3x3, stride 2", {1, 2, 7, 6}, {3, 2, 3, 3}, {2, 2, 1, 1}, {1, 3, 4, 3}},
      {"1x1, stride 2", {2, 3, 5, 5}, {2, 3, 1, 1}, {2, 2, 0, 0}, {2, 2, 3, 3}},
      {"2x4, stride 1x3", {1, 2, 6, 7}, {2, 2, 2, 4}, {1, 3, 0, 2}, {1, 2, 5, 3}},
      {"3x3, 17 to 18 channels", {1, 17, 5, 4}, {18, 17, 3, 3}, {1, 1, 1, 1}, {1, 18, 5, 4}},
  };
  for (const Form& form : forms) {
    for (const bool relu : {false, true}) {
      const Conv2dGeometry geometry = form.geometry;
      cases.push_back(
          {"conv2d",
           text(form.name, ", bias, residual", relu ? ", relu" : ""),
           {image(form.x, 1), dense(form.filter, 2), dense({form.filter[0]}, 3), image(form.y, 4)},
           {},
           [geometry, relu](Tape&, const Inputs& in, const Constants&) {
             return conv2d(in[0], in[1], in[2], in[3], {geometry, relu, nullptr});
           }});
    }
  }
  for (const bool residual : {false, true}) {
    std::vector<GradientInput> inputs = {image({2, 3, 5, 5}, 1), dense({4, 3, 3, 3}, 2), dense({4}, 3),
                                         dense({4}, 4)};
    if (residual) inputs.push_back(image({2, 4, 5, 5}, 7));
    cases.push_back({"conv2d_batch_norm",
                     residual ? "3x3, residual, relu" : "3x3",
                     inputs,
                     {gradient_values({4}, 5), gradient_values({4}, 6, true)},
                     [residual](Tape&, const Inputs& in, const Constants& constants) {
                       return conv2d_batch_norm(in[0], in[1], in[2], in[3], {constants[0], constants[1]},
                                                residual ? in[4] : Variable(),
                                                {{1, 1, 1, 1}, residual, nullptr});
                     }});
  }
  cases.push_back({"conv2d_transposed",
                   "5x5",
                   {image({2, 3, 8, 4}, 1), dense({3, 2, 5, 5}, 2)},
                   {},
                   [](Tape&, const Inputs& in, const Constants&) {
                     return conv2d_transposed(in[0], in[1], {1, 1, 2, 2}, 8, 4);
                   }});
  cases.push_back({"conv2d_transposed",
                   "3x3, stride 2",
                   {image({1, 3, 3, 4}, 1), dense({3, 2, 3, 3}, 2)},
                   {},
                   [](Tape&, const Inputs& in, const Constants&) {
                     return conv2d_transposed(in[0], in[1], {2, 2, 1, 1}, 6, 8);
                   }});
}

void add_batch_norms(std::vector<GradientCase>& cases) {
  const std::vector<GradientInput> inputs = {image({2, 3, 4, 3}, 1), dense({3}, 2), dense({3}, 3)};
  cases.push_back({"batch_norm",
                   "evaluation",
                   inputs,
                   {gradient_values({3}, 5), gradient_values({3}, 6, true)},
                   [](Tape&, const Inputs& in, const Constants& constants) {
                     return batch_norm(in[0], in[1], in[2], constants[0], constants[1]);
                   }});
  cases.push_back(
      {"batch_norm_training", "gamma, beta", inputs, {}, [](Tape&, const Inputs& in, const Constants&) {
         return batch_norm_training(in[0], in[1], in[2], {});
       }});
  cases.push_back({"batch_norm_training",
                   "neither",
                   {image({3, 2, 2, 3}, 1)},
                   {},
                   [](Tape&, const Inputs& in, const Constants&) {
                     return batch_norm_training(in[0], {}, {}, {}, 1e-4);
                   }});
}

void add_activations(std::vector<GradientCase>& cases) {
  const std::vector<std::pair<const char*, UnaryOp>> ops = {{"relu", UnaryOp::kRelu},
                                                            {"leaky relu", UnaryOp::kLeakyRelu},
                                                            {"elu", UnaryOp::kElu},
                                                            {"sigmoid", UnaryOp::kSigmoid},
                                                            {"exp", UnaryOp::kExp}};
  for (const auto& [name, op] : ops) {
    const UnaryOp chosen = op;
    cases.push_back(
        {"activation",
         name,
         {image({2, 3, 4, 5}, 1)},
         {},
         [chosen](Tape&, const Inputs& in, const Constants&) { return activation(in[0], chosen, 0.3); }});
  }
}

void add_pooling(std::vector<GradientCase>& cases) {
  const std::vector<std::pair<const char*, Pool2dGeometry>> forms = {
      {"3x3, stride 2, padding 1", {3, 3, 2, 2, 1, 1}},
      {"2x2, stride 2", {2, 2, 2, 2, 0, 0}},
      {"2x3, stride 1x2, padding 1", {2, 3, 1, 2, 1, 1}}};
  for (const bool max : {true, false}) {
    for (const auto& [name, geometry] : forms) {
      const Pool2dGeometry chosen = geometry;
      cases.push_back({max ? "max_pool2d" : "avg_pool2d",
                       name,
                       {image({2, 3, 7, 6}, 1)},
                       {},
                       [max, chosen](Tape&, const Inputs& in, const Constants&) {
                         return max ? max_pool2d(in[0], chosen) : avg_pool2d(in[0], chosen);
                       }});
    }
  }
  cases.push_back({"global_avg_pool2d",
                   "5x4",
                   {image({2, 3, 5, 4}, 1)},
                   {},
                   [](Tape&, const Inputs& in, const Constants&) { return global_avg_pool2d(in[0]); }});
  cases.push_back(
      {"upsample_nearest2d",
       "2x1",
       {image({2, 3, 4, 4}, 1)},
       {},
       [](Tape&, const Inputs& in, const Constants&) { return upsample_nearest2d(in[0], 2, 1); }});
}

void add_linear_and_arithmetic(std::vector<GradientCase>& cases) {
  cases.push_back({"linear",
                   "bias",
                   {dense({4, 5}, 1), dense({3, 5}, 2), dense({3}, 3)},
                   {},
                   [](Tape&, const Inputs& in, const Constants&) { return linear(in[0], in[1], in[2]); }});
  cases.push_back({"linear",
                   "no bias",
                   {dense({4, 5}, 1), dense({3, 5}, 2)},
                   {},
                   [](Tape&, const Inputs& in, const Constants&) { return linear(in[0], in[1]); }});
  cases.push_back({"add",
                   "two values",
                   {image({2, 3, 2, 2}, 1), image({2, 3, 2, 2}, 2)},
                   {},
                   [](Tape&, const Inputs& in, const Constants&) { return add(in[0], in[1]); }});
  // Its gradients are added.
  cases.push_back({"add",
                   "a value used three times",
                   {image({2, 3, 4, 4}, 1)},
                   {},
                   [](Tape&, const Inputs& in, const Constants&) {
                     const Variable y = activation(in[0], UnaryOp::kSigmoid);
                     return add(add(y, y), y);
                   }});
  cases.push_back({"flatten",
                   "3x2x2",
                   {image({2, 3, 2, 2}, 1), dense({4, 12}, 2)},
                   {},
                   [](Tape&, const Inputs& in, const Constants&) { return linear(flatten(in[0]), in[1]); }});
  cases.push_back(
      {"unflatten",
       "1x2x2",
       {dense({2, 12}, 1), dense({4, 12}, 2)},
       {},
       [](Tape&, const Inputs& in, const Constants&) { return unflatten(linear(in[0], in[1]), 1, 2, 2); }});
}

void add_losses(std::vector<GradientCase>& cases) {
  for (const double smoothing : {0.0, 0.1}) {
    cases.push_back({"softmax_cross_entropy",
                     smoothing > 0 ? "label smoothing" : "labels",
                     {dense({4, 5}, 1)},
                     {integers({2, 0, 3, 1})},
                     [smoothing](Tape&, const Inputs& in, const Constants& constants) {
                       return softmax_cross_entropy(in[0], constants[0], 0.25, smoothing);
                     }});
  }
  for (const Shape& shape : {Shape{4, 1}, Shape{4}}) {
    cases.push_back({"logistic_loss",
                     shape.rank() == 1 ? "N" : "N,1",
                     {dense(shape, 1)},
                     {reals({0, 1, 0.25, 1})},
                     [](Tape&, const Inputs& in, const Constants& constants) {
                       return logistic_loss(in[0], constants[0], 0.5);
                     }});
  }
  cases.push_back({"compactness",
                   "mean",
                   {dense({4, 6}, 1)},
                   {gradient_values({6}, 9)},
                   [](Tape&, const Inputs& in, const Constants& constants) {
                     return compactness(in[0], constants[0], 1.0 / 24);
                   }});
}

}  // namespace

Tensor gradient_values(const Shape& shape, uint64_t seed, bool positive) {
  Random random(seed);
  Tensor tensor(host(), DType::kF64, shape, "values");
  for (int64_t i = 0; i < shape.numel(); ++i) {
    double value = random.next_normal();
    if (std::abs(value) < 0.01) value = 0.01;
    tensor.data<double>()[i] = positive ? std::abs(value) + 0.5 : value;
  }
  return tensor;
}

const std::vector<GradientCase>& gradient_cases() {
  static const std::vector<GradientCase> all = [] {
    std::vector<GradientCase> cases;
    add_activations(cases);
    add_linear_and_arithmetic(cases);
    add_batch_norms(cases);
    add_convolutions(cases);
    add_losses(cases);
    add_pooling(cases);
    return cases;
  }();
  return all;
}

std::vector<std::string> gradient_functions() {
  std::vector<std::string> names;
  for (const GradientCase& one : gradient_cases()) {
    if (std::find(names.begin(), names.end(), one.function) == names.end()) names.push_back(one.function);
  }
  return names;
}

}  // namespace panda::autograd
