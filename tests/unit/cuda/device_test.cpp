#include "kernels/cuda/cuda_device.h"

#include <gtest/gtest.h>

#include <numeric>

#include "fake_runtime.h"
#include "kernels/tensor/tensor.h"
#include "tools/exit_code.h"

namespace panda::test {
namespace {

using kernels::cuda::CudaDevice;
using kernels::cuda::LaunchShape;
using kernels::cuda::Staging;

constexpr int64_t kMiB = int64_t{1} << 20;
const LaunchShape kLaunch{"blur<4>", {7, 2, 1}, {128, 1, 1}, 512};

template <typename Body>
tools::Failure failure_of(Body&& body) {
  try {
    body();
  } catch (...) {
    return tools::describe_failure(std::current_exception());
  }
  return {};
}

class CudaDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override { reset_fake_gpu(); }
  static std::unique_ptr<CudaDevice> make(Precision precision = Precision::kF32, bool synchronous = false) {
    return std::make_unique<CudaDevice>(0, precision, 1, synchronous, fake_runtime());
  }
};

TEST_F(CudaDeviceTest, DescribesItself) {
  const auto device = make(Precision::kF16);
  EXPECT_EQ(device->name(), "cuda");
  EXPECT_EQ(device->description(),
            "Played GPU, sm_90, 3 multiprocessors, 256 MiB, driver for CUDA 13.0, native kernels");
  EXPECT_EQ(device->precision(), Precision::kF16);
  EXPECT_EQ(device->properties().compute_capability, 90);
  EXPECT_EQ(device->properties().shared_bytes_per_block, 227 * 1024);
  fake_gpu().gpus = 2;
  EXPECT_EQ(CudaDevice(1, Precision::kF32, 1, false, fake_runtime()).name(), "cuda:1");
}

TEST_F(CudaDeviceTest, RefusesWhatTheGpuHasNoProductsFor) {
  fake_gpu().major = 7;
  fake_gpu().minor = 5;
  for (const Precision precision : {Precision::kTf32, Precision::kBF16}) {
    EXPECT_EQ(failure_of([&] { (void)make(precision); }).line,
              text("panda: cuda: Played GPU (sm_75) has no ", precision_name(precision),
                   " products, expected f32 or f16\n"));
  }
  EXPECT_EQ(make(Precision::kF16)->precision(), Precision::kF16);
  fake_gpu().minor = 0;
  EXPECT_EQ(failure_of([&] { (void)make(); }).line,
            "panda: cuda: Played GPU (sm_70) is older than sm_75, the oldest that this build serves\n");
}

TEST_F(CudaDeviceTest, AGpuThatCannotBeTakenIsAFailedDevice) {
  fake_gpu().fail_next["SetDevice"] = cudaErrorDevicesUnavailable;
  const tools::Failure failure = failure_of([&] { (void)make(); });
  EXPECT_EQ(failure.exit_code, tools::kExitDevice);
  EXPECT_EQ(failure.line,
            "panda: cuda: taking the GPU: CUDA-capable device(s) is/are busy or unavailable "
            "(cudaErrorDevicesUnavailable)\n");
}

TEST_F(CudaDeviceTest, CopiesEveryByteThroughTheStagingBuffers) {
  const auto device = make();
  for (const int64_t bytes : {int64_t{1}, Staging::kPieceBytes - 1, Staging::kPieceBytes,
                              Staging::kPieceBytes + 1, 5 * Staging::kPieceBytes + 3}) {
    std::vector<unsigned char> source(static_cast<size_t>(bytes));
    for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<unsigned char>(i * 7 + i / 4099);
    const std::vector<unsigned char> expected = source;
    const Tensor first(*device, DType::kU8, {bytes}, "first");
    const Tensor second(*device, DType::kU8, {bytes}, "second");
    device->copy_from_host(first.view().raw(), source.data(), bytes);
    std::fill(source.begin(), source.end(), 0);  // the device has read it
    copy(first, second);
    std::vector<unsigned char> back(static_cast<size_t>(bytes));
    device->copy_to_host(back.data(), second.view().raw(), bytes);
    EXPECT_EQ(back, expected) << bytes;
  }
  EXPECT_EQ(fake_gpu().pinned_buffers, 2);
}

TEST_F(CudaDeviceTest, FillsAndIgnoresEmptyWork) {
  const auto device = make();
  const Tensor bytes(*device, DType::kU8, {1000}, "bytes");
  device->fill(bytes.view().raw(), 0x5a, 1000);
  device->fill(nullptr, 1, 0);
  device->copy_from_host(nullptr, nullptr, 0);
  device->copy_to_host(nullptr, nullptr, 0);
  device->copy_on_device(nullptr, nullptr, 0);
  unsigned char back[1000] = {};
  device->copy_to_host(back, bytes.view().raw(), 1000);
  EXPECT_EQ(std::accumulate(back, back + 1000, 0), 1000 * 0x5a);
}

TEST_F(CudaDeviceTest, KeepsMemoryAndReportsIt) {
  const auto device = make();
  for (int round = 0; round < 3; ++round) {
    const Tensor a(*device, DType::kF32, {kMiB}, "a");
    const Tensor b(*device, DType::kF32, {100}, "b");
    EXPECT_EQ(device->memory_report().bytes_in_use, 4 * kMiB + 400);
  }
  EXPECT_EQ(fake_gpu().mallocs, 2);  // one chunk for large blocks, one for small ones
  EXPECT_EQ(device->memory_report().bytes_in_use, 0);
  EXPECT_EQ(device->memory_report().reserved_bytes, fake_gpu().held_bytes);
}

TEST_F(CudaDeviceTest, RunningOutNamesLabelAndMiBAndIsSurvived) {
  const auto device = make();
  const tools::Failure failure =
      failure_of([&] { (void)Tensor(*device, DType::kU8, {300 * kMiB}, "activations"); });
  EXPECT_EQ(failure.line, "panda: cuda: out of memory: cannot allocate 300 MiB for activations\n");
  EXPECT_EQ(failure.exit_code, tools::kExitResource);
  const Tensor smaller(*device, DType::kU8, {200 * kMiB}, "activations");
  EXPECT_EQ(device->memory_report().bytes_in_use, 200 * kMiB);
  EXPECT_EQ(fake_gpu().last, cudaSuccess);
}

TEST_F(CudaDeviceTest, RunningOutOfPageLockedMemoryIsAResource) {
  const auto device = make();
  const Tensor bytes(*device, DType::kU8, {4}, "bytes");
  fake_gpu().fail_next["HostAlloc"] = cudaErrorMemoryAllocation;
  const tools::Failure failure = failure_of([&] { device->copy_from_host(bytes.view().raw(), "abc", 4); });
  EXPECT_EQ(failure.line, "panda: cuda: out of memory: page-locking 4 MiB of host memory for copies\n");
  EXPECT_EQ(failure.exit_code, tools::kExitResource);
  device->copy_from_host(bytes.view().raw(), "abc", 4);
}

TEST_F(CudaDeviceTest, ARefusedLaunchNamesKernelShapeAndCauseAndIsSurvived) {
  const auto device = make();
  const tools::Failure failure =
      failure_of([&] { device->after_launch(kLaunch, cudaErrorInvalidConfiguration); });
  EXPECT_EQ(failure.line,
            "panda: cuda: launching blur<4> (grid 7x2x1, block 128x1x1, 512 bytes of dynamic shared memory): "
            "invalid configuration argument (cudaErrorInvalidConfiguration)\n");
  EXPECT_EQ(failure.exit_code, tools::kExitDevice);
  device->synchronize();
}

TEST_F(CudaDeviceTest, MissingCodeNamesWhatTheBuildHas) {
  const auto device = make();
  const tools::Failure failure =
      failure_of([&] { device->after_launch(kLaunch, cudaErrorNoKernelImageForDevice); });
  EXPECT_NE(failure.line.find("(cudaErrorNoKernelImageForDevice); this build has code for "),
            std::string::npos)
      << failure.line;
}

TEST_F(CudaDeviceTest, AFailedKernelEndsTheDeviceAndEveryLaterCallSaysTheSame) {
  const auto device = make();
  const Tensor bytes(*device, DType::kU8, {4}, "bytes");
  device->before_launch();
  device->after_launch(kLaunch, cudaSuccess);
  device->after_launch(kLaunch, cudaSuccess);
  fake_gpu().sticky = cudaErrorIllegalAddress;
  const tools::Failure first = failure_of([&] { device->synchronize(); });
  EXPECT_EQ(
      first.line,
      "panda: cuda: taking the GPU: an illegal memory access was encountered (cudaErrorIllegalAddress), in "
      "one of the 2 kernels since the last wait, the last of them blur<4> (grid 7x2x1, block 128x1x1, 512 "
      "bytes of dynamic shared memory); PANDA_CUDA_SYNC=1 finds which; this process cannot use the GPU any "
      "more\n");
  EXPECT_EQ(first.exit_code, tools::kExitDevice);
  char back[4];
  const std::vector<std::function<void()>> calls = {
      [&] { device->synchronize(); },
      [&] { device->copy_to_host(back, bytes.view().raw(), 4); },
      [&] { device->copy_from_host(bytes.view().raw(), back, 4); },
      [&] { device->fill(bytes.view().raw(), 0, 4); },
      [&] { device->before_launch(); },
      [&] { (void)device->record([] {}); },
      [&] { (void)Tensor(*device, DType::kU8, {4}, "more"); },
  };
  for (const auto& call : calls) EXPECT_EQ(failure_of(call).line, first.line);
  EXPECT_EQ(device->memory_report().bytes_in_use, 4);  // the refused allocation is not counted
}

TEST_F(CudaDeviceTest, WaitingAfterEveryKernelNamesTheOneThatFailed) {
  const auto device = make(Precision::kF32, true);
  device->after_launch(kLaunch, cudaSuccess);
  fake_gpu().fail_next["StreamSynchronize"] = cudaErrorLaunchTimeout;
  const tools::Failure failure = failure_of([&] { device->after_launch(kLaunch, cudaSuccess); });
  EXPECT_EQ(
      failure.line,
      "panda: cuda: waiting for the GPU: the launch timed out and was terminated (cudaErrorLaunchTimeout), "
      "in kernel blur<4> (grid 7x2x1, block 128x1x1, 512 bytes of dynamic shared memory)\n");
}

TEST_F(CudaDeviceTest, LeavesNothingBehind) {
  {
    const auto device = make();
    const Tensor bytes(*device, DType::kU8, {9 * kMiB}, "bytes");
    std::vector<char> host_bytes(static_cast<size_t>(9 * kMiB));
    device->copy_from_host(bytes.view().raw(), host_bytes.data(), 9 * kMiB);
    EXPECT_GT(fake_gpu().live_objects, 0);
  }
  EXPECT_EQ(fake_gpu().live_objects, 0);
  EXPECT_EQ(fake_gpu().held_bytes, 0);
  EXPECT_EQ(fake_gpu().pinned_buffers, 0);
}

}  // namespace
}  // namespace panda::test
