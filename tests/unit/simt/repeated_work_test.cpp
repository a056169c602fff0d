// RepeatedWork (kernels/tensor/repeated_work.h) on a device that records, and on one that does not.
#include "kernels/tensor/repeated_work.h"

#include <gtest/gtest.h>

#include "kernels/device_registry.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/tensor.h"

namespace panda::test {
namespace {

/// y = x on the device, counting the calls.
struct Copying {
  explicit Copying(const std::string& name)
      : device(kernels::make_device({name, 1, ""})),
        x(*device, DType::kF32, {1}, "x"),
        y(*device, DType::kF32, {1}, "y") {}

  /// What y is after a run with this x.
  float after(RepeatedWork& repeated, float value) {
    copy(Tensor::from<float>({1}, &value), x);
    repeated.run([this] {
      ++calls;
      if (calls == fails_at) throw OutOfMemory("no room for a recording");
      copy(x, y);
    });
    return clone_to(y, host()).data<float>()[0];
  }

  std::unique_ptr<Device> device;
  Tensor x;
  Tensor y;
  int calls = 0;
  int fails_at = 0;
};

TEST(RepeatedWork, IsCalledThenRecordedThenReplayed) {
  Copying work("simt");
  RepeatedWork repeated(*work.device);
  for (const float value : {1.0F, 2.0F, 3.0F, 4.0F}) {
    EXPECT_EQ(work.after(repeated, value), value);
    EXPECT_EQ(work.calls, value == 1 ? 1 : 2);
    EXPECT_EQ(repeated.recorded(), value > 1);
  }
}

TEST(RepeatedWork, BeginsAnewWhenForgotten) {
  Copying work("simt");
  RepeatedWork repeated(*work.device);
  for (const float value : {1.0F, 2.0F}) (void)work.after(repeated, value);
  repeated.forget();
  EXPECT_FALSE(repeated.recorded());
  EXPECT_EQ(work.after(repeated, 5), 5);
  EXPECT_EQ(work.calls, 3);
  EXPECT_FALSE(repeated.recorded());
}

TEST(RepeatedWork, IsCalledEachTimeWhereNothingRecords) {
  Copying on_cpu("cpu");
  RepeatedWork of_cpu(*on_cpu.device);
  Copying on_simt("simt");
  RepeatedWork unrecorded(*on_simt.device, false);
  for (const float value : {1.0F, 2.0F, 3.0F}) {
    EXPECT_EQ(on_cpu.after(of_cpu, value), value);
    EXPECT_EQ(on_simt.after(unrecorded, value), value);
  }
  EXPECT_EQ(on_cpu.calls, 3);
  EXPECT_EQ(on_simt.calls, 3);
}

TEST(RepeatedWork, GoesOnUnrecordedWithoutMemoryForIt) {
  Copying work("simt");
  RepeatedWork repeated(*work.device);
  work.fails_at = 2;
  for (const float value : {1.0F, 2.0F, 3.0F}) EXPECT_EQ(work.after(repeated, value), value);
  EXPECT_FALSE(repeated.recorded());
  EXPECT_EQ(work.calls, 4);  // the second run tried twice
}

}  // namespace
}  // namespace panda::test
