#include "kernels/cuda/vendor/cublas_lt.h"

#include <algorithm>
#include <bit>

#include "kernels/cuda/cuda_device.h"
#include "kernels/elementwise.h"

namespace panda::kernels::cuda::vendor {

namespace {

// What cuBLAS's documentation recommends for sm_90; less leaves out split-K algorithms.
constexpr uint64_t kWorkspaceBytes = uint64_t{32} << 20;

cudaDataType_t operand_type(Precision precision) {
  switch (precision) {
    case Precision::kF16:
      return CUDA_R_16F;
    case Precision::kBF16:
      return CUDA_R_16BF;
    default:
      return CUDA_R_32F;
  }
}

cublasComputeType_t compute_type(Precision precision) {
  return precision == Precision::kTf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

/// Largest power of two up to 256 that divides the address.
uint32_t alignment_of(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer) | 256u;
  return uint32_t{1} << std::countr_zero(address);
}

/// The operand as the library multiplies it: as it is, or rounded to 16 bits.
Tensor rounded(CudaDevice& device, const ConstTensorView& operand) {
  Tensor result(device, activation_dtype(device.precision()), operand.shape(), "cuBLAS operand");
  convert(device, {operand, result.view()});
  return result;
}

}  // namespace

/// One product's descriptors, in the library's column-major words: its A is our b, its B our a, its D our c
/// transposed.
struct CublasLt::Problem {
  Problem(const Api& api, const CublasLt& owner) : api_(api), owner_(owner) {}
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;
  ~Problem() {
    if (operation != nullptr) (void)api_.MatmulDescDestroy(operation);
    for (const cublasLtMatrixLayout_t layout : {a, b, d})
      if (layout != nullptr) (void)api_.MatrixLayoutDestroy(layout);
  }
  void set(cublasLtMatmulDescAttributes_t attribute, const void* value, size_t bytes) {
    owner_.check(api_.MatmulDescSetAttribute(operation, attribute, value, bytes), "MatmulDescSetAttribute");
  }

  Key key{};
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t a = nullptr;
  cublasLtMatrixLayout_t b = nullptr;
  cublasLtMatrixLayout_t d = nullptr;
  uint32_t a_alignment = 1;
  uint32_t b_alignment = 1;
  uint32_t d_alignment = 1;

 private:
  const Api& api_;
  const CublasLt& owner_;
};

CublasLt::CublasLt(CudaDevice& device)
    : device_(device), library_(text("libcublasLt.so.", CUBLAS_VER_MAJOR)) {
#define PANDA_CALL(name) \
  api_.name = library_.function<std::remove_pointer_t<decltype(api_.name)>>("cublasLt" #name);
  PANDA_CUBLASLT_CALLS(PANDA_CALL)
#undef PANDA_CALL
  const cublasStatus_t status = api_.Create(&handle_);
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Unsupported(
        text("libcublasLt.so.", CUBLAS_VER_MAJOR, " is broken: ", api_.GetStatusString(status)));
}

CublasLt::~CublasLt() {
  if (handle_ != nullptr) (void)api_.Destroy(handle_);
}

std::string CublasLt::description() const {
  const size_t version = api_.GetVersion();
  return text("cuBLASLt ", version / 10000, ".", version % 10000 / 100, ".", version % 100);
}

void CublasLt::check(cublasStatus_t status, const char* call) const {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw DeviceError(text(device_.name(), ": cublasLt", call, ": ", api_.GetStatusString(status)));
}

CublasLt::Choice CublasLt::choose(const Problem& problem) {
  const auto known = choices_.find(problem.key);
  if (known != choices_.end()) return known->second;
  cublasLtMatmulPreference_t preference = nullptr;
  check(api_.MatmulPreferenceCreate(&preference), "MatmulPreferenceCreate");
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check(api_.MatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
          "MatmulPreferenceSetAttribute");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, problem.a_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, problem.b_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, problem.d_alignment);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, problem.d_alignment);
  // Parts of a split sum are added in a step of their own, in one order.
  const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE;
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions);
  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  const cublasStatus_t status = api_.MatmulAlgoGetHeuristic(
      handle_, problem.operation, problem.a, problem.b, problem.d, problem.d, preference, 1, &best, &found);
  (void)api_.MatmulPreferenceDestroy(preference);
  if (status != CUBLAS_STATUS_NOT_SUPPORTED) check(status, "MatmulAlgoGetHeuristic");
  Choice choice;
  if (status == CUBLAS_STATUS_SUCCESS && found > 0 && best.state == CUBLAS_STATUS_SUCCESS) choice = best;
  choices_.emplace(problem.key, choice);
  return choice;
}

bool CublasLt::multiply(const GemmArgs& args, const ConstTensorView& bias) {
  const Precision precision = device_.precision();
  const cudaDataType_t type = operand_type(precision);
  const int64_t m = args.c.shape()[0];
  const int64_t n = args.c.shape()[1];
  const int64_t k = args.a.shape()[args.transpose_a ? 0 : 1];
  if (k == 0) return false;
  Tensor a_rounded;
  Tensor b_rounded;
  if (type != CUDA_R_32F) {
    a_rounded = rounded(device_, args.a);
    b_rounded = rounded(device_, args.b);
  }
  const void* ours_a = a_rounded.present() ? a_rounded.view().raw() : args.a.raw();
  const void* ours_b = b_rounded.present() ? b_rounded.view().raw() : args.b.raw();

  Problem problem(api_, *this);
  check(api_.MatmulDescCreate(&problem.operation, compute_type(precision), CUDA_R_32F), "MatmulDescCreate");
  const cublasOperation_t a_operation = args.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t b_operation = args.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  problem.set(CUBLASLT_MATMUL_DESC_TRANSA, &a_operation, sizeof a_operation);
  problem.set(CUBLASLT_MATMUL_DESC_TRANSB, &b_operation, sizeof b_operation);
  if (bias.present()) {
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const void* values = bias.raw();
    problem.set(CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    problem.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, &values, sizeof values);
  }
  const auto layout = [&](cublasLtMatrixLayout_t* made, cudaDataType_t dtype, const ConstTensorView& view) {
    const auto rows = static_cast<uint64_t>(view.shape()[1]);
    const auto columns = static_cast<uint64_t>(view.shape()[0]);
    check(api_.MatrixLayoutCreate(made, dtype, rows, columns, view.shape()[1]), "MatrixLayoutCreate");
  };
  layout(&problem.a, type, args.b);
  layout(&problem.b, type, args.a);
  layout(&problem.d, CUDA_R_32F, args.c);
  problem.a_alignment = alignment_of(ours_b);
  problem.b_alignment = alignment_of(ours_a);
  problem.d_alignment = alignment_of(args.c.raw());
  problem.key = {m,
                 n,
                 k,
                 args.transpose_a,
                 args.transpose_b,
                 args.accumulate,
                 bias.present() ? alignment_of(bias.raw()) : 0,
                 problem.a_alignment,
                 problem.b_alignment,
                 problem.d_alignment};

  const Choice choice = choose(problem);
  if (!choice) return false;
  const auto bytes = static_cast<int64_t>(choice->workspaceSize);
  const Tensor workspace(device_, DType::kU8, {bytes}, "cuBLAS workspace");
  const float one = 1;
  const float keep = args.accumulate ? 1 : 0;
  check(api_.Matmul(handle_, problem.operation, &one, ours_b, problem.a, ours_a, problem.b, &keep,
                    args.c.raw(), problem.d, args.c.raw(), problem.d, &choice->algo, workspace.view().raw(),
                    choice->workspaceSize, static_cast<cudaStream_t>(device_.stream())),
        "Matmul");
  return true;
}

}  // namespace panda::kernels::cuda::vendor
