#include "kernels/cuda/cuda_probe.h"

#include <gtest/gtest.h>

#include "fake_runtime.h"
#include "kernels/tensor/error.h"
#include "tools/exit_code.h"

namespace panda::test {
namespace {

using kernels::cuda::probe;
using kernels::cuda::require_gpu;

/// What the command would print, and end with.
tools::Failure failure_of(const std::string& device) {
  try {
    (void)require_gpu(fake_runtime(), device);
  } catch (...) {
    return tools::describe_failure(std::current_exception());
  }
  return {};
}

class CudaProbe : public ::testing::Test {
 protected:
  void SetUp() override { reset_fake_gpu(); }
};

TEST_F(CudaProbe, CountsTheGpus) {
  fake_gpu().gpus = 2;
  EXPECT_EQ(probe(fake_runtime()).gpus, 2);
  EXPECT_EQ(probe(fake_runtime()).problem.reason, "");
  EXPECT_EQ(require_gpu(fake_runtime(), "cuda"), 0);
  EXPECT_EQ(require_gpu(fake_runtime(), "cuda:1"), 1);
}

TEST_F(CudaProbe, SaysThatThereIsNoDriver) {
  fake_gpu().count_error = cudaErrorInsufficientDriver;
  fake_gpu().driver_version = 0;
  EXPECT_EQ(failure_of("cuda").line, "panda: cuda: no NVIDIA driver on this machine\n");
  EXPECT_EQ(failure_of("cuda").exit_code, tools::kExitBadInput);
}

TEST_F(CudaProbe, SaysThatTheDriverIsTooOld) {
  fake_gpu().count_error = cudaErrorInsufficientDriver;
  fake_gpu().driver_version = 12020;
  EXPECT_EQ(failure_of("cuda:0").line,
            "panda: cuda:0: the NVIDIA driver is too old: it serves CUDA 12.2, this build needs 13.0\n");
  EXPECT_EQ(failure_of("cuda").exit_code, tools::kExitBadInput);
}

TEST_F(CudaProbe, SaysThatThereIsNoGpu) {
  fake_gpu().count_error = cudaErrorNoDevice;
  EXPECT_EQ(failure_of("cuda").line, "panda: cuda: no NVIDIA GPU on this machine\n");
  reset_fake_gpu();
  fake_gpu().gpus = 0;
  EXPECT_EQ(failure_of("cuda").line, "panda: cuda: no NVIDIA GPU on this machine\n");
  EXPECT_EQ(failure_of("cuda").exit_code, tools::kExitBadInput);
}

TEST_F(CudaProbe, ADriverThatFailsIsAFailedDevice) {
  fake_gpu().count_error = cudaErrorSystemDriverMismatch;
  const tools::Failure failure = failure_of("cuda");
  EXPECT_EQ(failure.line,
            "panda: cuda: the NVIDIA driver fails: system has unsupported display driver / cuda driver "
            "combination (cudaErrorSystemDriverMismatch)\n");
  EXPECT_EQ(failure.exit_code, tools::kExitDevice);
  EXPECT_EQ(fake_gpu().last, cudaSuccess);  // taken back, so that no later call reports it
}

TEST_F(CudaProbe, RefusesAnIndexOutOfRange) {
  EXPECT_EQ(failure_of("cuda:1").line, "panda: cuda:1: this machine has 1 GPU, expected cuda:0\n");
  fake_gpu().gpus = 4;
  EXPECT_EQ(failure_of("cuda:7").line, "panda: cuda:7: this machine has 4 GPUs, expected cuda:0 to cuda:3\n");
  EXPECT_EQ(failure_of("cuda:7").exit_code, tools::kExitBadInput);
}

TEST_F(CudaProbe, RefusesNamesThatAreNone) {
  for (const char* name : {"cuda:", "cuda:x", "cuda:-1", "cuda:12345", "cuda0"}) {
    EXPECT_EQ(failure_of(name).line, text("panda: device '", name, "', expected cuda or cuda:N\n"));
  }
}

}  // namespace
}  // namespace panda::test
