#include "kernels/gemm.h"

#include "kernels/reference/real.h"
#include "kernels/reference/reference_kernels.h"

namespace panda::kernels::reference {

namespace {

template <typename T>
void product(const GemmArgs& args) {
  const T* a = args.a.data<T>();
  const T* b = args.b.data<T>();
  T* c = args.c.data<T>();
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
      c[m * n_count + n] = static_cast<T>(sum);
    }
  }
}

template <typename T>
void linear(const LinearForwardArgs& args) {
  const T* x = args.x.data<T>();
  const T* weight = args.weight.data<T>();
  const T* bias = args.bias.present() ? args.bias.data<T>() : nullptr;
  T* y = args.y.data<T>();
  const int64_t c_count = args.x.shape()[1];
  const int64_t k_count = args.weight.shape()[0];
  for (int64_t n = 0; n < args.x.shape()[0]; ++n) {
    for (int64_t k = 0; k < k_count; ++k) {
      double sum = bias != nullptr ? double{bias[k]} : 0.0;
      for (int64_t c = 0; c < c_count; ++c) sum += double{x[n * c_count + c]} * weight[k * c_count + c];
      y[n * k_count + k] = static_cast<T>(sum);
    }
  }
}

}  // namespace

void gemm(Device&, const GemmArgs& args) {
  with_real(args.a.dtype(), [&](auto real) { product<decltype(real)>(args); });
}

void linear_forward(Device&, const LinearForwardArgs& args) {
  with_real(args.x.dtype(), [&](auto real) { linear<decltype(real)>(args); });
}

}  // namespace panda::kernels::reference
