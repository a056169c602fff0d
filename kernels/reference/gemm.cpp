#include "kernels/gemm.h"

#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

void gemm(Device&, const GemmArgs& args) {
  const auto* a = args.a.data<float>();
  const auto* b = args.b.data<float>();
  auto* c = args.c.data<float>();
  const int64_t m_count = args.c.shape()[0];
  const int64_t n_count = args.c.shape()[1];
  const int64_t k_count = args.a.shape()[args.transpose_a ? 0 : 1];
  for (int64_t m = 0; m < m_count; ++m) {
    for (int64_t n = 0; n < n_count; ++n) {
      double sum = args.accumulate ? double{c[m * n_count + n]} : 0.0;
      for (int64_t k = 0; k < k_count; ++k) {
        const double a_mk = args.transpose_a ? a[k * m_count + m] : a[m * k_count + k];
        const double b_kn = args.transpose_b ? b[n * k_count + k] : b[k * n_count + n];
        sum += a_mk * b_kn;
      }
      c[m * n_count + n] = static_cast<float>(sum);
    }
  }
}

void linear_forward(Device&, const LinearForwardArgs& args) {
  const auto* x = args.x.data<float>();
  const auto* weight = args.weight.data<float>();
  const float* bias = args.bias.present() ? args.bias.data<float>() : nullptr;
  auto* y = args.y.data<float>();
  const int64_t c_count = args.x.shape()[1];
  const int64_t k_count = args.weight.shape()[0];
  for (int64_t n = 0; n < args.x.shape()[0]; ++n) {
    for (int64_t k = 0; k < k_count; ++k) {
      double sum = bias != nullptr ? double{bias[k]} : 0.0;
      for (int64_t c = 0; c < c_count; ++c) sum += double{x[n * c_count + c]} * weight[k * c_count + c];
      y[n * k_count + k] = static_cast<float>(sum);
    }
  }
}

}  // namespace panda::kernels::reference
