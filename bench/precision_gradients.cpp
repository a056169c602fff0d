// Gradients with respect to what a kernel was given, and the losses that they begin with.
#include "bench/precision_problems.h"
#include "kernels/batch_norm.h"
#include "kernels/conv2d_backward.h"
#include "kernels/elementwise.h"
#include "kernels/loss.h"
#include "kernels/pool2d.h"

namespace panda::bench {

namespace {

using kernels::Gradient;
using kernels::GradientMode;

Gradient into(const Tensor& tensor) {
  return {tensor, GradientMode::kOverwrite};
}

const Shape kImage{1, 64, 14, 14};

void add_convolutions(std::vector<Problem>& all) {
  all.push_back({"conv2d_backward_input", "3x3, 64 to 64, 14x14", [](const Side& side) {
                   kernels::Conv2dTransposedFilter prepared;
                   kernels::conv2d_prepare_transposed_filter(
                       side.device(), {side.put({64, 64, 3, 3}, 2), {1, 1, 1, 1}, &prepared});
                   Tensor dL_dx = side.make(kImage, true);
                   kernels::conv2d_backward_input(side.device(),
                                                  {side.put(kImage, 1, -1, 1, true), &prepared, into(dL_dx)});
                   return dL_dx;
                 }});
  const auto filter_gradient = [](const Side& side, const Gradient& dL_dfilter, const Gradient& squares) {
    kernels::conv2d_backward_filter(side.device(), {.x = side.put({2, 32, 14, 14}, 1, 0, 1, true),
                                                    .dL_dy = side.put({2, 32, 14, 14}, 2, -1, 1, true),
                                                    .geometry = {1, 1, 1, 1},
                                                    .dL_dfilter = dL_dfilter,
                                                    .squares = squares});
  };
  all.push_back({"conv2d_backward_filter", "3x3, 32 to 32, 2 of 14x14", [=](const Side& side) {
                   Tensor dL_dfilter = side.make({32, 32, 3, 3});
                   filter_gradient(side, into(dL_dfilter), {});
                   return dL_dfilter;
                 }});
  all.push_back({"conv2d_backward_filter", "the same, squares", [=](const Side& side) {
                   Tensor squares = side.make({32, 32, 3, 3});
                   filter_gradient(side, {}, into(squares));
                   return squares;
                 }});
  all.push_back(
      {"bias_backward", "64 channels, 4 of 14x14", [](const Side& side) {
         Tensor dL_dbias = side.make({64});
         kernels::bias_backward(side.device(), {side.put({4, 64, 14, 14}, 1, 0, 1, true), into(dL_dbias)});
         return dL_dbias;
       }});
}

void add_pooling(std::vector<Problem>& all) {
  const kernels::Pool2dGeometry stem{3, 3, 2, 2, 1, 1};
  all.push_back({"max_pool2d_backward", "3x3 stride 2, 64 channels, 28x28", [=](const Side& side) {
                   // Whole numbers: rounding must not make another element the largest.
                   Tensor dL_dx = side.make({1, 64, 28, 28}, true);
                   kernels::max_pool2d_backward(side.device(),
                                                {side.put_integers({1, 64, 28, 28}, 1, -128, 128, true),
                                                 side.put(kImage, 2, -1, 1, true), stem, into(dL_dx)});
                   return dL_dx;
                 }});
  all.push_back({"avg_pool2d_backward", "3x3 stride 2, 64 channels, 28x28", [=](const Side& side) {
                   Tensor dL_dx = side.make({1, 64, 28, 28}, true);
                   kernels::avg_pool2d_backward(side.device(),
                                                {{}, side.put(kImage, 2, -1, 1, true), stem, into(dL_dx)});
                   return dL_dx;
                 }});
  all.push_back({"global_avg_pool2d_backward", "64 channels, 14x14", [](const Side& side) {
                   Tensor dL_dx = side.make(kImage, true);
                   kernels::global_avg_pool2d_backward(side.device(), {side.put({1, 64}, 1), into(dL_dx)});
                   return dL_dx;
                 }});
  all.push_back({"upsample_nearest2d_backward", "by 2, 64 channels, 14x14", [](const Side& side) {
                   Tensor dL_dx = side.make(kImage, true);
                   kernels::upsample_nearest2d_backward(
                       side.device(), {side.put({1, 64, 28, 28}, 1, -1, 1, true), 2, 2, into(dL_dx)});
                   return dL_dx;
                 }});
}

void add_batch_norms(std::vector<Problem>& all) {
  const Shape c{64};
  const auto backward = [=](const Side& side, const Gradient& dL_dx, const Gradient& dL_dgamma) {
    kernels::batch_norm_backward(side.device(), {side.put(kImage, 1, -1, 1, true),
                                                 side.put(kImage, 2, -1, 1, true),
                                                 side.put(c, 3),
                                                 side.put(c, 4),
                                                 side.put(c, 5, 0.5, 2),
                                                 1e-5,
                                                 dL_dx,
                                                 dL_dgamma,
                                                 {}});
  };
  all.push_back({"batch_norm_backward", "64 channels, 14x14", [=](const Side& side) {
                   Tensor dL_dx = side.make(kImage, true);
                   backward(side, into(dL_dx), {});
                   return dL_dx;
                 }});
  all.push_back({"batch_norm_backward", "the same, dL_dgamma", [=](const Side& side) {
                   Tensor dL_dgamma = side.make(c);
                   backward(side, {}, into(dL_dgamma));
                   return dL_dgamma;
                 }});
  all.push_back({"batch_norm_training_forward", "64 channels, 2 of 14x14", [=](const Side& side) {
                   Tensor y = side.make({2, 64, 14, 14}, true);
                   const Tensor mean = side.make(c);
                   const Tensor inverse = side.make(c);
                   kernels::batch_norm_training_forward(side.device(),
                                                        {side.put({2, 64, 14, 14}, 1, 0, 1, true),
                                                         side.put(c, 3),
                                                         side.put(c, 4),
                                                         1e-5,
                                                         y,
                                                         mean,
                                                         inverse,
                                                         {},
                                                         {}});
                   return y;
                 }});
  all.push_back({"batch_norm_training_backward", "64 channels, 14x14", [=](const Side& side) {
                   Tensor dL_dx = side.make(kImage, true);
                   // Near the statistics of x: mean 0, deviation 1 / sqrt(3).
                   kernels::batch_norm_training_backward(side.device(), {side.put(kImage, 1, -1, 1, true),
                                                                         side.put(kImage, 2, -1, 1, true),
                                                                         side.put(c, 3),
                                                                         side.put(c, 4, -0.1, 0.1),
                                                                         side.put(c, 5, 1.6, 1.8),
                                                                         into(dL_dx),
                                                                         {},
                                                                         {}});
                   return dL_dx;
                 }});
}

void add_losses(std::vector<Problem>& all) {
  all.push_back({"softmax_cross_entropy_forward", "8x1000", [](const Side& side) {
                   Tensor losses = side.make({8});
                   kernels::softmax_cross_entropy_forward(
                       side.device(),
                       {side.put({8, 1000}, 1, -10, 10), side.put_labels(8, 2, 1000), 0.1, 1, losses});
                   return losses;
                 }});
  all.push_back({"softmax_cross_entropy_backward", "8x1000", [](const Side& side) {
                   Tensor dL_dlogits = side.make({8, 1000});
                   kernels::softmax_cross_entropy_backward(
                       side.device(), {side.put({8, 1000}, 1, -10, 10), side.put_labels(8, 2, 1000),
                                       side.put({8}, 3), 0.1, 1, into(dL_dlogits)});
                   return dL_dlogits;
                 }});
  all.push_back({"logistic_loss_forward", "4096 values", [](const Side& side) {
                   Tensor losses = side.make({4096});
                   kernels::logistic_loss_forward(
                       side.device(), {side.put({4096}, 1, -10, 10), side.put({4096}, 2, 0, 1), 1, losses});
                   return losses;
                 }});
  all.push_back({"logistic_loss_backward", "4096 values", [](const Side& side) {
                   Tensor dL_dlogits = side.make({4096});
                   kernels::logistic_loss_backward(side.device(),
                                                   {side.put({4096}, 1, -10, 10), side.put({4096}, 2, 0, 1),
                                                    side.put({4096}, 3), 1, into(dL_dlogits)});
                   return dL_dlogits;
                 }});
  all.push_back(
      {"compactness_forward", "8x512", [](const Side& side) {
         Tensor losses = side.make({8});
         kernels::compactness_forward(side.device(), {side.put({8, 512}, 1), side.put({512}, 2), 1, losses});
         return losses;
       }});
  all.push_back({"compactness_backward", "8x512", [](const Side& side) {
                   Tensor dL_dx = side.make({8, 512});
                   kernels::compactness_backward(side.device(), {side.put({8, 512}, 1), side.put({512}, 2),
                                                                 side.put({8}, 3), 1, into(dL_dx)});
                   return dL_dx;
                 }});
}

}  // namespace

std::vector<Problem> gradient_problems() {
  std::vector<Problem> all;
  add_convolutions(all);
  add_pooling(all);
  add_batch_norms(all);
  all.push_back({"unary_backward", "sigmoid, 4096 values", [](const Side& side) {
                   Tensor dL_dx = side.make({4096});
                   kernels::unary_backward(side.device(),
                                           {kernels::UnaryOp::kSigmoid, side.put({4096}, 1, 0, 1),
                                            side.put({4096}, 2), into(dL_dx)});
                   return dL_dx;
                 }});
  add_losses(all);
  return all;
}

}  // namespace panda::bench
