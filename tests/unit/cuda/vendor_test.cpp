// The vendor's libraries, as far as they go without a GPU: loading them, and what is said where that fails.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "fake_runtime.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/vendor/dynamic_library.h"
#include "kernels/cuda/vendor/vendor_libraries.h"
#include "kernels/device_registry.h"
#if PANDA_WITH_CUDNN
#include "kernels/cuda/vendor/cudnn_convolution.h"
#endif
#include "tests/support/temporary_directory.h"
#include "tools/exit_code.h"

namespace panda::test {
namespace {

using kernels::cuda::vendor::DynamicLibrary;

std::string problem_with(const std::string& file, const char* function = nullptr) {
  try {
    const DynamicLibrary library(file);
    if (function != nullptr) (void)library.function<void()>(function);
  } catch (const Unsupported& error) {
    return error.what();
  }
  return "";
}

TEST(DynamicLibrary, OneThatIsNotThereIsSaidToBeAbsent) {
  EXPECT_EQ(problem_with("libpanda-no-such-library.so.1"),
            "libpanda-no-such-library.so.1 is not on this machine");
}

TEST(DynamicLibrary, OneThatIsNoLibraryIsSaidToBeBroken) {
  const TemporaryDirectory folder;
  const std::string file =
      folder.write("libcudnn.so.9", std::string(200, 'x'));  // longer than a library's header
  EXPECT_EQ(problem_with(file), text(file, " is broken: ", file, ": invalid ELF header"));
}

TEST(DynamicLibrary, OneWithoutTheFunctionIsSaidToBeBroken) {
  EXPECT_EQ(problem_with("libc.so.6", "strlen"), "");
  EXPECT_EQ(problem_with("libc.so.6", "cudnnCreate"), "libc.so.6 is broken: it has no cudnnCreate");
}

TEST(VendorLibraries, EachThatCannotServeIsOneLineAndItsKernelsStayNative) {
  reset_fake_gpu();
  kernels::cuda::CudaDevice device(0, Precision::kF32, 1, false, fake_runtime());
  std::vector<std::string> missing;
  const kernels::cuda::vendor::VendorLibraries libraries(device, missing);
  for (const std::string& line : missing) {
    EXPECT_TRUE(line.starts_with("cuBLAS: ") || line.starts_with("cuDNN: ")) << line;
    EXPECT_EQ(line.find('\n'), std::string::npos) << line;
  }
  kernels::KernelTable table = kernels::cuda::native_kernels();
  libraries.override_kernels(table);
  const bool blas = libraries.description().find("cuBLASLt ") != std::string::npos;
  const bool dnn = libraries.description().find("cuDNN ") != std::string::npos;
  EXPECT_EQ(missing.size(), size_t{2} - (blas ? 1 : 0) - (dnn ? 1 : 0));
  EXPECT_EQ(table.gemm != kernels::cuda::native_kernels().gemm, blas);
  EXPECT_EQ(table.conv2d_forward != kernels::cuda::native_kernels().conv2d_forward, dnn);
  EXPECT_EQ(table.conv2d_prepare_transposed_filter !=
                kernels::cuda::native_kernels().conv2d_prepare_transposed_filter,
            dnn);
  EXPECT_EQ(table.conv2d_backward_input != kernels::cuda::native_kernels().conv2d_backward_input, dnn);
  EXPECT_EQ(table.conv2d_backward_filter != kernels::cuda::native_kernels().conv2d_backward_filter, dnn);
  EXPECT_EQ(table.knn_search, kernels::cuda::native_kernels().knn_search);
}

TEST(VendorLibraries, WhatNeitherEngineHasIsOneLine) {
  reset_fake_gpu();
  kernels::cuda::CudaDevice device(0, Precision::kF32, 1, false, fake_runtime());
  void (*const none)(Device&, const kernels::Conv2dBackwardInputArgs&) = nullptr;
  try {
    kernels::cuda::vendor::run_native("conv2d_backward_input", none, device, {});
    FAIL();
  } catch (const Unsupported& error) {
    EXPECT_STREQ(error.what(), "conv2d_backward_input: device cuda has neither a native nor a vendor kernel");
  }
}

/// In a process whose loader finds libraries of the right names that are none (CMakeLists.txt writes them).
TEST(BrokenLibraries, VendorIsRefusedInOneLineAndAutoComputesNatively) {
  if (std::getenv("PLAYED_BROKEN_LIBRARIES") == nullptr)
    GTEST_SKIP()
        << "the loader of this process finds no broken libraries: test_cuda_broken_libraries does it";
  reset_fake_gpu();
  kernels::cuda::CudaDevice device(0, Precision::kF32, 1, false, fake_runtime());
  kernels::DeviceOptions options;
  options.name = "cuda";
  options.engine = kernels::Engine::kVendor;
  tools::Failure failure;
  try {
    kernels::cuda::vendor::use_engine(device, options);
  } catch (...) {
    failure = tools::describe_failure(std::current_exception());
  }
  EXPECT_EQ(failure.exit_code, tools::kExitBadInput);
  EXPECT_TRUE(failure.line.starts_with("panda: cuda: cuBLAS: libcublasLt.so.")) << failure.line;
  EXPECT_TRUE(failure.line.ends_with(": invalid ELF header\n")) << failure.line;
  EXPECT_NE(failure.line.find(" is broken: "), std::string::npos) << failure.line;
  EXPECT_EQ(std::count(failure.line.begin(), failure.line.end(), '\n'), 1);

  std::vector<std::string> warnings;
  options.engine = kernels::Engine::kAuto;
  options.warn = [&](const std::string& line) { warnings.push_back(line); };
  kernels::cuda::vendor::use_engine(device, options);
  ASSERT_EQ(warnings.size(), 2);
  EXPECT_TRUE(warnings[0].starts_with("cuda: cuBLAS: ")) << warnings[0];
  EXPECT_TRUE(warnings[1].starts_with("cuda: cuDNN: ")) << warnings[1];
  for (const std::string& line : warnings)
    EXPECT_TRUE(line.ends_with("; native kernels take its place")) << line;
  EXPECT_EQ(device.kernels().gemm, kernels::cuda::native_kernels().gemm);
}

// cuDNN checks every operation of a graph when it is finalized, and needs no GPU for that.
TEST(CudnnConvolution, CudnnAcceptsEveryFormOfTheGraph) {
#if PANDA_WITH_CUDNN
  namespace vendor = kernels::cuda::vendor;
  const std::string reason = problem_with("libcudnn.so.9");
  if (!reason.empty()) GTEST_SKIP() << reason;
  const DynamicLibrary library("libcudnn.so.9");
  vendor::CudnnApi api;
  api.load(library);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (int form = 0; form < 8; ++form) {
      const vendor::ConvolutionShape shape{.result = vendor::ConvolutionResult::kOutput,
                                           .x = {2, 64, 14, 13},
                                           .y = {2, 32, 7, 7},
                                           .r = 3,
                                           .s = 3,
                                           .geometry = {2, 2, 1, 1},
                                           .operand_dtype = dtype,
                                           .result_dtype = dtype,
                                           .residual_dtype = dtype,
                                           .bias = (form & 1) != 0,
                                           .residual = (form & 2) != 0,
                                           .relu = (form & 4) != 0};
      const vendor::OperationGraph graph = vendor::describe_convolution(api, shape);
      EXPECT_EQ(graph.operations.size(), size_t{1} + shape.bias + shape.residual + shape.relu);
    }
  }
  // It does check: this y has a row too many.
  const vendor::ConvolutionShape wrong{.result = vendor::ConvolutionResult::kOutput,
                                       .x = {2, 64, 14, 13},
                                       .y = {2, 32, 8, 7},
                                       .r = 3,
                                       .s = 3,
                                       .geometry = {2, 2, 1, 1}};
  EXPECT_THROW((void)vendor::describe_convolution(api, wrong), DeviceError);
#else
  GTEST_SKIP() << "this build was made without cuDNN's headers";
#endif
}

TEST(CudnnConvolution, CudnnAcceptsBothGradientsInEveryPrecision) {
#if PANDA_WITH_CUDNN
  namespace vendor = kernels::cuda::vendor;
  const std::string reason = problem_with("libcudnn.so.9");
  if (!reason.empty()) GTEST_SKIP() << reason;
  const DynamicLibrary library("libcudnn.so.9");
  vendor::CudnnApi api;
  api.load(library);
  for (const auto gradient :
       {vendor::ConvolutionResult::kInputGradient, vendor::ConvolutionResult::kFilterGradient}) {
    vendor::ConvolutionShape shape{.result = gradient,
                                   .x = {2, 64, 14, 13},
                                   .y = {2, 32, 7, 7},
                                   .r = 3,
                                   .s = 3,
                                   .geometry = {2, 2, 1, 1}};
    for (const DType operand : {DType::kF32, DType::kF16, DType::kBF16}) {
      for (const DType result : {DType::kF32, operand}) {
        shape.operand_dtype = operand;
        shape.result_dtype = result;
        EXPECT_EQ(vendor::describe_convolution(api, shape).operations.size(), size_t{1});
      }
    }
    // The filter's gradient and the input's are three shapes as any convolution has them, and no others.
    shape.y = {2, 32, 8, 7};
    EXPECT_THROW((void)vendor::describe_convolution(api, shape), DeviceError);
    // Forward and gradients of one layer have plans of their own.
    vendor::ConvolutionShape forward = shape;
    forward.result = vendor::ConvolutionResult::kOutput;
    EXPECT_NE(forward.key(), shape.key());
  }
#else
  GTEST_SKIP() << "this build was made without cuDNN's headers";
#endif
}

TEST(Engine, IsRefusedWhereThereIsNoVendor) {
  kernels::DeviceOptions options;
  options.name = "cpu";
  options.engine = kernels::Engine::kVendor;
  try {
    (void)kernels::make_device(options);
    FAIL();
  } catch (const Unsupported& error) {
    EXPECT_STREQ(error.what(), "cpu: has no vendor library, expected --engine native or auto");
  }
  EXPECT_EQ(kernels::engine_from_name("auto"), kernels::Engine::kAuto);
  EXPECT_THROW((void)kernels::engine_from_name("fast"), InvalidArgument);
}

}  // namespace
}  // namespace panda::test
