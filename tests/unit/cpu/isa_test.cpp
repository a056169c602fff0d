// Which instruction set ran, and that nothing of it leaks.
#include "kernels/cpu/isa.h"

#include "kernels/cpu/simd/amx_kernels.h"
#include "kernels/device_registry.h"
#include "kernels/gemm.h"
#include "kernels/knn.h"
#include "kernels/tensor/parallel.h"
#include "tests/unit/cpu/support.h"

#include <cstdlib>
#include <thread>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace panda::kernels::cpu {
namespace {

int64_t calls_of(Isa isa) {
  return micro_kernels(isa).calls() + exact_kernels(isa).calls();
}

void multiply_something(Device& device) {
  const Tensor a = on_device(device, {20, 20}, values(400, 1));
  const Tensor c(device, DType::kF32, {20, 20}, "test");
  gemm(device, {a, a, c});
}

TEST(CpuIsa, ATableNamesTheSetItWasCompiledFor) {
  for (const Isa isa : supported_isas()) {
    EXPECT_STREQ(micro_kernels(isa).isa, isa_name(isa));
    EXPECT_STREQ(exact_kernels(isa).isa, isa_name(isa));
  }
}

TEST(CpuIsa, OnlyTheForcedSetRuns) {
  for (const bool by_environment : {false, true}) {
    for (const Isa forced : supported_isas()) {
      DeviceOptions options{"cpu", 2, by_environment ? "" : isa_name(forced)};
      if (by_environment) setenv("PANDA_ISA", isa_name(forced), 1);
      const std::unique_ptr<Device> device = make_device(options);
      if (by_environment) unsetenv("PANDA_ISA");
      std::vector<int64_t> before;
      for (const Isa isa : supported_isas()) before.push_back(calls_of(isa));
      multiply_something(*device);
      for (size_t i = 0; i < before.size(); ++i) {
        const Isa isa = supported_isas()[i];
        EXPECT_EQ(calls_of(isa) > before[i], isa == forced)
            << "forced " << isa_name(forced) << ", looked at " << isa_name(isa);
      }
      EXPECT_NE(device->description().find(isa_name(forced)), std::string::npos);
    }
  }
}

TEST(CpuIsa, TilesRunOnlyOnADeviceThatHasThem) {
  const AmxKernels* const nearest = amx_kernels(supported_isas().back());
  const KnnTileKernels* const filters = knn_tile_kernels(supported_isas().back());
  ASSERT_EQ(nearest == nullptr, filters == nullptr);
  if (nearest == nullptr) GTEST_SKIP() << "no AMX here";
  const Tensor rows = on_device(reference_device(), {64, 64}, values(64 * 64, 1));
  for (const Isa isa : supported_isas()) {
    for (const bool wanted : {true, false}) {
      CpuDevice device(1, isa, wanted);
      const bool expected = wanted && isa == Isa::kAvx512;
      EXPECT_EQ(device.amx() != nullptr, expected) << isa_name(isa);
      EXPECT_EQ(device.description().find("AMX") != std::string::npos, expected) << device.description();
      const KnnGallery gallery(device, rows);
      // The nearest takes its scores from them, more neighbours their filter.
      for (const int64_t k : {1, 2}) {
        const int64_t of_nearest = nearest->calls();
        const int64_t of_filters = filters->calls();
        const Tensor indices(host(), DType::kI64, {64, k}, "test");
        knn_gallery_search(device, {.queries = rows, .gallery = &gallery, .k = k, .indices = indices});
        EXPECT_EQ(nearest->calls() > of_nearest, expected && k == 1) << device.description();
        EXPECT_EQ(filters->calls() > of_filters, expected && k == 2) << device.description();
      }
    }
  }
}

TEST(CpuIsa, AnUnknownOneIsNamed) {
  EXPECT_THROW((void)make_device({"cpu", 1, "sse9"}), InvalidArgument);
}

#if defined(__x86_64__)
TEST(CpuIsa, LeavesTheFloatingPointControlWordAsItIs) {
  for (const auto& device : all_devices()) {
    const unsigned before = _mm_getcsr() & ~0x3fu;  // without the sticky exception flags
    multiply_something(*device);
    EXPECT_EQ(_mm_getcsr() & ~0x3fu, before);
  }
}
#endif

TEST(CpuIsa, KeepsDenormals) {
  for (const auto& device : all_devices()) {
    const Tensor a = on_device(*device, {1, 1}, {1e-40f});
    const Tensor b = on_device(*device, {1, 1}, {0.5f});
    const Tensor c(*device, DType::kF32, {1, 1}, "test");
    gemm(*device, {a, b, c});
    EXPECT_EQ(c.data<float>()[0], 1e-40f * 0.5f) << device->description();
    EXPECT_GT(c.data<float>()[0], 0.0f);
  }
}

TEST(CpuDevice, ServesConcurrentCallers) {
  CpuDevice device(2, supported_isas().back());
  const Tensor a = on_device(device, {150, 60}, values(9000, 1));
  const Tensor b = on_device(device, {60, 90}, values(5400, 2));
  const Tensor want(device, DType::kF32, {150, 90}, "test");
  gemm(device, {a, b, want});
  std::vector<std::thread> callers;
  std::vector<int> wrong(4, 0);
  for (size_t caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (int i = 0; i < 20; ++i) {
        const Tensor c = unwritten(device, {150, 90});
        gemm(device, {a, b, c});
        if (!same_bits(dense_of(c), dense_of(want))) ++wrong[caller];
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(CpuDevice, AllocatesNothingAfterTheFirstCall) {
  CpuDevice device(2, supported_isas().back());
  const Tensor a = on_device(device, {150, 60}, values(9000, 1));
  const Tensor b = on_device(device, {60, 90}, values(5400, 2));
  const Tensor c(device, DType::kF32, {150, 90}, "test");
  gemm(device, {a, b, c});
  const int64_t held = device.memory_report().bytes_by_label["scratch"];
  EXPECT_GT(held, 0);
  for (int i = 0; i < 5; ++i) gemm(device, {a, b, c});
  EXPECT_EQ(device.memory_report().bytes_by_label["scratch"], held);
}

}  // namespace
}  // namespace panda::kernels::cpu
