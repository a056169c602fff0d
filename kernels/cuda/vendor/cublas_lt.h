// Matrix products by cuBLASLt, loaded at run time.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>

#include <cublasLt.h>

#include "kernels/cuda/vendor/dynamic_library.h"
#include "kernels/gemm.h"

namespace panda::kernels::cuda {
class CudaDevice;
}

namespace panda::kernels::cuda::vendor {

#define PANDA_CUBLASLT_CALLS(call)                                                             \
  call(Create) call(Destroy) call(GetVersion) call(GetStatusString) call(MatmulDescCreate)     \
      call(MatmulDescDestroy) call(MatmulDescSetAttribute) call(MatrixLayoutCreate)            \
          call(MatrixLayoutDestroy) call(MatmulPreferenceCreate) call(MatmulPreferenceDestroy) \
              call(MatmulPreferenceSetAttribute) call(MatmulAlgoGetHeuristic) call(Matmul)

class CublasLt {
 public:
  /// Throws Unsupported if the library is absent or broken.
  explicit CublasLt(CudaDevice& device);
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;
  ~CublasLt();

  [[nodiscard]] std::string description() const;

  /// c = op(a) op(b) (+ c) (+ bias along the rows of c); operands f32, rounded to the device's precision
  /// first. False, and nothing done, where the library has no algorithm (an operand it finds misaligned,
  /// say).
  [[nodiscard]] bool multiply(const GemmArgs& args, const ConstTensorView& bias);

 private:
  struct Api {
#define PANDA_CALL(name) decltype(&::cublasLt##name) name = nullptr;
    PANDA_CUBLASLT_CALLS(PANDA_CALL)
#undef PANDA_CALL
  };
  struct Problem;
  /// Shape, transpositions, epilogue, alignments: what the choice of an algorithm depends on.
  using Key = std::array<int64_t, 10>;
  using Choice = std::optional<cublasLtMatmulHeuristicResult_t>;

  void check(cublasStatus_t status, const char* call) const;
  [[nodiscard]] Choice choose(const Problem& problem);

  CudaDevice& device_;
  DynamicLibrary library_;
  Api api_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<Key, Choice> choices_;
};

}  // namespace panda::kernels::cuda::vendor
