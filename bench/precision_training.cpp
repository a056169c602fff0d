// What a training step does to parameters: folding of batch norms and its gradients, updates.
#include "bench/precision_problems.h"
#include "kernels/batch_norm.h"
#include "kernels/optimizer.h"

namespace panda::bench {

namespace {

using kernels::Gradient;
using kernels::GradientMode;

const Shape kFilter{64, 32, 3, 3};
const Shape kChannels{64};

Gradient into(const Tensor& tensor) {
  return {tensor, GradientMode::kOverwrite};
}

void add_folding(std::vector<Problem>& all) {
  all.push_back({"fold_batch_norm_forward", "3x3, 32 to 64", [](const Side& side) {
                   Tensor folded = side.make(kFilter);
                   const Tensor bias = side.make(kChannels);
                   kernels::fold_batch_norm_forward(
                       side.device(),
                       {side.put(kFilter, 1), side.put(kChannels, 2), side.put(kChannels, 3),
                        side.put(kChannels, 4), side.put(kChannels, 5, 0.5, 2), 1e-5, folded, bias});
                   return folded;
                 }});
  all.push_back({"fold_batch_norm_backward", "3x3, 32 to 64, dL_dgamma", [](const Side& side) {
                   Tensor dL_dgamma = side.make(kChannels);
                   kernels::fold_batch_norm_backward(side.device(), {side.put(kFilter, 1),
                                                                     side.put(kChannels, 2),
                                                                     side.put(kChannels, 3),
                                                                     side.put(kChannels, 4, 0.5, 2),
                                                                     1e-5,
                                                                     side.put(kFilter, 5),
                                                                     side.put(kChannels, 6),
                                                                     {},
                                                                     into(dL_dgamma),
                                                                     {}});
                   return dL_dgamma;
                 }});
  all.push_back({"fold_batch_norm_squares", "3x3, 32 to 64, 8 samples, of gamma", [](const Side& side) {
                   Tensor squares = side.make(kChannels);
                   const Shape samples{8, 64};
                   kernels::fold_batch_norm_squares(side.device(), {side.put(kChannels, 1),
                                                                    side.put(kChannels, 2),
                                                                    side.put(kChannels, 3, 0.5, 2),
                                                                    1e-5,
                                                                    side.put(kFilter, 4, 0, 1),
                                                                    side.put(samples, 5),
                                                                    side.put(samples, 6),
                                                                    {},
                                                                    into(squares),
                                                                    {}});
                   return squares;
                 }});
}

void add_updates(std::vector<Problem>& all) {
  const Shape n{20000};
  all.push_back({"ewc_gradient", "20000 values", [=](const Side& side) {
                   Tensor gradient = side.put(n, 1);
                   kernels::ewc_gradient(side.device(), {.gradient = gradient,
                                                         .theta = side.put(n, 2),
                                                         .anchor = side.put(n, 3),
                                                         .importance = side.put(n, 4, 0, 1),
                                                         .strength = 10});
                   return gradient;
                 }});
  all.push_back({"sgd_update", "20000 values", [=](const Side& side) {
                   Tensor theta = side.put(n, 1);
                   kernels::sgd_update(side.device(), {.theta = theta,
                                                       .velocity = side.put(n, 2),
                                                       .gradient = side.put(n, 3),
                                                       .rate = 0.1,
                                                       .momentum = 0.9,
                                                       .decay = 5e-4});
                   return theta;
                 }});
  all.push_back({"adam_update", "20000 values", [=](const Side& side) {
                   Tensor theta = side.put(n, 1);
                   kernels::adam_update(side.device(), {.theta = theta,
                                                        .first_moment = side.put(n, 2),
                                                        .second_moment = side.put(n, 3, 0.01, 1),
                                                        .gradient = side.put(n, 4),
                                                        .rate = 0.01,
                                                        .decay = 5e-4,
                                                        .step = 3});
                   return theta;
                 }});
}

}  // namespace

std::vector<Problem> training_problems() {
  std::vector<Problem> all;
  add_folding(all);
  add_updates(all);
  return all;
}

}  // namespace panda::bench
