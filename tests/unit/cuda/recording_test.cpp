// CudaDevice::record on a played runtime: what is done when, and which memory stays reserved.
#include <gtest/gtest.h>

#include <cstring>

#include "fake_runtime.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/tensor/tensor.h"

namespace panda::test {
namespace {

using kernels::cuda::CudaDevice;

constexpr int64_t kMiB = int64_t{1} << 20;

class CudaRecording : public ::testing::Test {
 protected:
  void SetUp() override { reset_fake_gpu(); }

  /// Adds one to every byte, as a kernel in the stream.
  static void increment(const Tensor& tensor) {
    auto* bytes = tensor.data<uint8_t>();
    const int64_t count = tensor.numel();
    fake_gpu().give([=] {
      for (int64_t i = 0; i < count; ++i) ++bytes[i];
    });
  }
  static int value(CudaDevice& device, const Tensor& tensor) {
    uint8_t byte = 0;
    device.copy_to_host(&byte, tensor.view().raw(), 1);
    return byte;
  }

  CudaDevice device_{0, Precision::kF32, 1, false, fake_runtime()};
};

TEST_F(CudaRecording, DoesTheWorkWhenReplayedAndNotBefore) {
  const Tensor x(device_, DType::kU8, {100}, "x");
  device_.fill(x.view().raw(), 5, 100);
  const std::unique_ptr<Recording> recording = device_.record([&] {
    increment(x);
    increment(x);
  });
  ASSERT_NE(recording, nullptr);
  EXPECT_EQ(value(device_, x), 5);
  recording->replay();
  EXPECT_EQ(value(device_, x), 7);
  device_.fill(x.view().raw(), 0, 100);
  recording->replay();
  recording->replay();
  EXPECT_EQ(value(device_, x), 4);
}

TEST_F(CudaRecording, WhatItsWorkFreedStaysReservedWhileItLives) {
  void* workspace = nullptr;
  std::unique_ptr<Recording> recording = device_.record([&] {
    const Tensor scratch(device_, DType::kU8, {3 * kMiB}, "workspace");
    workspace = scratch.view().raw();
    increment(scratch);
  });
  EXPECT_EQ(device_.memory_report().bytes_in_use, 0);
  {
    const Tensor other(device_, DType::kU8, {3 * kMiB}, "other");
    EXPECT_NE(other.view().raw(), workspace);
  }
  recording.reset();
  const Tensor other(device_, DType::kU8, {3 * kMiB}, "other");
  EXPECT_EQ(other.view().raw(), workspace);
}

TEST_F(CudaRecording, ItsKernelsShareOneAnothersWorkspace) {
  std::vector<void*> places;
  const auto recording = device_.record([&] {
    for (const int64_t mib : {8, 3, 8, 2}) {
      const Tensor scratch(device_, DType::kU8, {mib * kMiB}, "workspace");
      places.push_back(scratch.view().raw());
    }
  });
  EXPECT_EQ(places, std::vector<void*>(4, places[0]));
}

TEST_F(CudaRecording, AFailureInItsWorkLeavesTheDeviceUsable) {
  const Tensor x(device_, DType::kU8, {10}, "x");
  device_.fill(x.view().raw(), 1, 10);
  EXPECT_THROW((void)device_.record([&] {
    const Tensor scratch(device_, DType::kU8, {2 * kMiB}, "workspace");
    increment(x);
    throw InvalidArgument("no");
  }),
               InvalidArgument);
  EXPECT_FALSE(device_.recording());
  EXPECT_EQ(value(device_, x), 1);
  EXPECT_EQ(device_.arena().bytes_in_use(), 512);  // x alone
}

TEST_F(CudaRecording, RunningOutOfMemoryInItIsSurvived) {
  EXPECT_THROW((void)device_.record([&] { (void)Tensor(device_, DType::kU8, {999 * kMiB}, "workspace"); }),
               OutOfMemory);
  device_.synchronize();
}

TEST_F(CudaRecording, RefusesWaitsAndCopiesOfTheHost) {
  const Tensor x(device_, DType::kU8, {10}, "x");
  char bytes[10] = {};
  const std::vector<std::pair<const char*, std::function<void()>>> refused = {
      {"a wait", [&] { device_.synchronize(); }},
      {"a copy from the host", [&] { device_.copy_from_host(x.view().raw(), bytes, 10); }},
      {"a copy to the host", [&] { device_.copy_to_host(bytes, x.view().raw(), 10); }},
      {"a recording", [&] { (void)device_.record([] {}); }},
  };
  for (const auto& [action, work] : refused) {
    try {
      (void)device_.record(work);
      ADD_FAILURE() << action;
    } catch (const InternalError& error) {
      EXPECT_NE(std::string(error.what()).find(text(action, " in work that is being recorded")),
                std::string::npos)
          << error.what();
    }
    device_.synchronize();
  }
}

TEST_F(CudaRecording, AGraphThatCannotBeMadeIsOneLine) {
  fake_gpu().fail_next["GraphInstantiate"] = cudaErrorMemoryAllocation;
  EXPECT_THROW((void)device_.record([] {}), OutOfMemory);
  fake_gpu().fail_next["StreamEndCapture"] = cudaErrorStreamCaptureInvalidated;
  try {
    (void)device_.record([] {});
    FAIL();
  } catch (const DeviceError& error) {
    EXPECT_STREQ(error.what(),
                 "cuda: recording a network: operation failed due to a previous error during capture "
                 "(cudaErrorStreamCaptureInvalidated)");
  }
  device_.synchronize();
}

TEST_F(CudaRecording, NothingOfItOutlivesIt) {
  const int64_t before = fake_gpu().live_objects;
  {
    const auto recording = device_.record([] {});
  }
  EXPECT_EQ(fake_gpu().live_objects, before);
}

}  // namespace
}  // namespace panda::test
