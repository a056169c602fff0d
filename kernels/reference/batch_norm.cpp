#include "kernels/batch_norm.h"

#include <cmath>

#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

void batch_norm_forward(Device&, const BatchNormForwardArgs& args) {
  const Shape& shape = args.x.shape();
  const auto* x = args.x.data<float>();
  auto* y = args.y.data<float>();
  const auto* gamma = args.gamma.data<float>();
  const auto* beta = args.beta.data<float>();
  const auto* mean = args.mean.data<float>();
  const auto* variance = args.variance.data<float>();
  for (int64_t n = 0; n < shape[0]; ++n) {
    for (int64_t c = 0; c < stored_channels(shape, args.y.layout()); ++c) {
      for (int64_t h = 0; h < shape[2]; ++h) {
        for (int64_t w = 0; w < shape[3]; ++w) {
          float result = 0;
          if (c < shape[1]) {
            const double value = x[image_offset(shape, args.x.layout(), n, c, h, w)];
            result = static_cast<float>((value - mean[c]) / std::sqrt(variance[c] + args.epsilon) * gamma[c] +
                                        beta[c]);
          }
          y[image_offset(shape, args.y.layout(), n, c, h, w)] = result;
        }
      }
    }
  }
}

}  // namespace panda::kernels::reference
