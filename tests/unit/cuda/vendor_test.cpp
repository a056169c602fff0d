// The vendor's libraries, as far as they go without a GPU: loading them, and what is said where that fails.
#include <gtest/gtest.h>

#include "fake_runtime.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/vendor/dynamic_library.h"
#include "kernels/cuda/vendor/vendor_libraries.h"
#include "kernels/device_registry.h"
#include "tests/support/temporary_directory.h"

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
  EXPECT_EQ(table.knn_search, kernels::cuda::native_kernels().knn_search);
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
