#include "nn/inference_program.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/device_registry.h"
#include "kernels/tensor/progress.h"
#include "kernels/tensor/random.h"
#include "memory_tensors.h"
#include "nn/init.h"
#include "nn/resnet.h"

namespace panda::nn {
namespace {

/// Value plans that share bytes because one is written in place over the other: their root.
size_t root_of(const ProgramPlan& plan, size_t value) {
  while (plan.values[value].shares_with >= 0) value = static_cast<size_t>(plan.values[value].shares_with);
  return value;
}

/// Most bytes that live at once: what no plan can undercut. In-place values count once.
int64_t most_live_bytes(const ProgramPlan& plan) {
  int64_t most = 0;
  for (const int step : plan.steps) {
    std::map<size_t, int64_t> live;
    for (size_t value = 0; value < plan.values.size(); ++value) {
      const ValuePlan& v = plan.values[value];
      if (v.in_arena && v.first_step <= step && step <= v.last_step) live[root_of(plan, value)] = v.bytes;
    }
    int64_t sum = 0;
    for (const auto& [root, bytes] : live) sum += bytes;
    most = std::max(most, sum);
  }
  return most;
}

void expect_no_overlap(const ProgramPlan& plan) {
  for (size_t i = 0; i < plan.values.size(); ++i) {
    const ValuePlan& a = plan.values[i];
    if (!a.in_arena) continue;
    EXPECT_EQ(a.offset % 64, 0);
    EXPECT_LE(a.offset + a.bytes, plan.arena_bytes);
    for (size_t j = i + 1; j < plan.values.size(); ++j) {
      const ValuePlan& b = plan.values[j];
      if (!b.in_arena || a.last_step < b.first_step || b.last_step < a.first_step) continue;
      if (b.shares_with == static_cast<ValueId>(i)) {
        EXPECT_EQ(a.last_step, b.first_step);  // a ends in the step that writes b over it
        EXPECT_EQ(a.offset, b.offset);
        continue;
      }
      EXPECT_TRUE(a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset)
          << "values " << i << " and " << j;
    }
  }
}

/// A ResNet's program without its memory: one channel in sixty-four.
Resnet thin_resnet(Device& device, const std::string& arch, int64_t class_count = 10) {
  ResnetConfig config = resnet_config(arch, 0.001);
  config.class_count = class_count;
  return {device, config, SeededResnetParameters(config, 5, BatchNormInit::kRandomized)};
}

TEST(PlaceInArena, FillsHolesAndKeepsLiveValuesApart) {
  std::vector<ArenaRequest> requests = {{640, 0, 1, 0}, {64, 1, 4, 0}, {640, 2, 3, 0}, {1, 2, 2, 0}};
  EXPECT_EQ(place_in_arena(requests), 640 + 64 + 1);
  EXPECT_EQ(requests[0].offset, 0);
  EXPECT_EQ(requests[2].offset, 0);
  EXPECT_EQ(requests[1].offset, 640);
  EXPECT_EQ(requests[3].offset, 704);
}

TEST(PlaceInArena, NeverOverlapsOnRandomLifetimes) {
  Random random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<ArenaRequest> requests(static_cast<size_t>(random.next_below(30)));
    for (ArenaRequest& request : requests) {
      request.bytes = random.next_below(1000);
      request.first = static_cast<int>(random.next_below(40));
      request.last = request.first + static_cast<int>(random.next_below(8));
    }
    const int64_t total = place_in_arena(requests);
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_LE(requests[i].offset + requests[i].bytes, total);
      for (size_t j = 0; j < i; ++j) {
        const ArenaRequest& a = requests[i];
        const ArenaRequest& b = requests[j];
        if (a.last < b.first || b.last < a.first || a.bytes == 0 || b.bytes == 0) continue;
        EXPECT_TRUE(a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset);
      }
    }
  }
}

TEST(InferenceProgram, PlansOfEveryResnetAreTightAndDisjoint) {
  for (const char* device_name : {"reference", "cpu"}) {
    const auto device = kernels::make_device({device_name, 1, ""});
    for (const std::string& arch : resnet_architectures()) {
      const Resnet net = thin_resnet(*device, arch);
      for (const bool with_stages : {false, true}) {
        for (const int64_t extent : {224, 33, 1}) {
          ResnetRequest request;
          request.features = true;
          request.logits = with_stages;
          request.stages.fill(with_stages);
          const ProgramPlan plan = net.plan(2, extent, extent, request);
          expect_no_overlap(plan);
          EXPECT_EQ(plan.arena_bytes, most_live_bytes(plan))
              << arch << " " << extent << " on " << device_name;
          EXPECT_EQ(plan.steps.size(), plan.values.size() - (with_stages ? 1 : 2));
        }
      }
    }
  }
}

TEST(InferenceProgram, AddsEveryIdentityShortcutInPlace) {
  const auto device = kernels::make_device({"reference", 1, ""});
  const Resnet net = thin_resnet(*device, "resnet50");
  ResnetRequest request;
  request.features = true;
  const ProgramPlan plan = net.plan(1, 64, 64, request);
  int in_place = 0;
  for (const ValuePlan& value : plan.values) in_place += value.shares_with >= 0 ? 1 : 0;
  EXPECT_EQ(in_place, 16);  // one per block: the shortcut, copied or convolved, is not read again
}

TEST(InferenceProgram, DoesNotAddInPlaceOverWhatIsReadAgain) {
  Random random(4);
  const auto filter = [&](Device& device, const Shape& shape) {
    Tensor values(host(), DType::kF32, shape, "filter");
    for (int64_t i = 0; i < values.numel(); ++i) {
      values.data<float>()[i] = static_cast<float>(random.next_normal());
    }
    return kernels::conv2d_prepare_filter(device, values, {1, 1, 1, 1});
  };
  for (const char* device_name : {"reference", "cpu"}) {
    const auto device = kernels::make_device({device_name, 1, ""});
    InferenceProgram program(*device, 3);
    const ValueId a = program.conv2d(0, filter(*device, {4, 3, 3, 3}), {}, false);
    const ValueId b = program.conv2d(0, filter(*device, {4, 3, 3, 3}), {}, false, a);
    const ValueId c = program.conv2d(b, filter(*device, {4, 4, 3, 3}), {}, false, a);
    const ValueId d = program.conv2d(c, filter(*device, {4, 4, 3, 3}), {}, false);
    const ProgramPlan plan = program.plan({1, 3, 5, 5}, {d});
    expect_no_overlap(plan);
    EXPECT_EQ(plan.values[static_cast<size_t>(b)].shares_with, -1);
    EXPECT_EQ(plan.values[static_cast<size_t>(c)].shares_with, a);

    Tensor images(host(), DType::kF32, {1, 3, 5, 5}, "images");
    for (int64_t i = 0; i < images.numel(); ++i) images.data<float>()[i] = static_cast<float>(i % 7);
    const Tensor alone = program.run(images, {d})[0];
    const std::vector<Tensor> all = program.run(images, {d, c, b, a});  // each in memory of its own
    ASSERT_EQ(all.size(), 4u);
    EXPECT_EQ(std::memcmp(alone.data<float>(), all[0].data<float>(), static_cast<size_t>(alone.bytes())), 0);
    EXPECT_GT(std::abs(alone.data<float>()[0]), 0);
  }
}

TEST(InferenceProgram, StopsAfterTheLastOutput) {
  const auto device = kernels::make_device({"reference", 1, ""});
  const Resnet net = thin_resnet(*device, "resnet18");
  ResnetRequest request;
  request.stages[0] = true;
  EXPECT_EQ(net.plan(1, 64, 64, request).steps.size(), 2 + 4u);  // stem, pool, two blocks
  request.stages[1] = true;
  EXPECT_EQ(net.plan(1, 64, 64, request).steps.size(), 2 + 4 + 5u);
}

TEST(InferenceProgram, KnowsItsBytesBeforeTheRun) {
  for (const char* device_name : {"reference", "cpu"}) {
    const auto device = kernels::make_device({device_name, 1, ""});
    Resnet net = thin_resnet(*device, "resnet18");
    ResnetRequest request;
    request.features = true;
    request.stages[2] = true;
    Tensor images(host(), DType::kF32, {3, 3, 40, 24}, "images");
    std::memset(images.data<float>(), 0, static_cast<size_t>(images.bytes()));
    const ProgramPlan plan = net.plan(3, 40, 24, request);
    // By label: kernels may keep scratch of their own.
    const auto held = [&] {
      const std::map<std::string, int64_t> bytes = device->memory_report().bytes_by_label;
      const auto of = [&](const char* label) { return bytes.count(label) == 0 ? 0 : bytes.at(label); };
      return of("activations") + of("network output") + of("network input");
    };
    EXPECT_EQ(held(), 0);
    const ResnetResult result = net.forward(images, request);
    EXPECT_EQ(held(), plan.peak_bytes());
    EXPECT_EQ(plan.output_bytes, result.features.bytes() + result.stages[2].bytes());
    net.release_activations();
    EXPECT_EQ(held(), plan.output_bytes);
  }
}

TEST(InferenceProgram, KeepsOneArenaForSmallerRuns) {
  const auto device = kernels::make_device({"reference", 1, ""});
  Resnet net = thin_resnet(*device, "resnet18");
  Tensor images(host(), DType::kF32, {2, 3, 32, 32}, "images");
  std::memset(images.data<float>(), 0, static_cast<size_t>(images.bytes()));
  (void)net.features(images);
  const int64_t held = device->memory_report().bytes_by_label["activations"];
  EXPECT_GT(held, 0);
  (void)net.features(images.view().rows(0, 1));
  EXPECT_EQ(device->memory_report().bytes_by_label["activations"], held);
}

TEST(InferenceProgram, ReportsRunningOutOfMemoryAndGoesOn) {
  const auto device = kernels::make_device({"reference", 1, ""});
  Resnet net = thin_resnet(*device, "resnet18");
  Tensor images(host(), DType::kF32, {1, 3, 32, 32}, "images");
  std::memset(images.data<float>(), 0, static_cast<size_t>(images.bytes()));
  device->set_memory_limit(device->memory_report().bytes_in_use + 1000);
  EXPECT_NE(message_of<OutOfMemory>([&] { (void)net.features(images); }).find("for activations"),
            std::string::npos);
  device->set_memory_limit(INT64_MAX);
  EXPECT_EQ(net.features(images).shape(), Shape({1, 64}));
}

TEST(InferenceProgram, StopsBetweenStepsWhenInterrupted) {
  const auto device = kernels::make_device({"reference", 1, ""});
  Resnet net = thin_resnet(*device, "resnet18");
  Tensor images(host(), DType::kF32, {1, 3, 8, 8}, "images");
  std::memset(images.data<float>(), 0, static_cast<size_t>(images.bytes()));
  request_interrupt();
  EXPECT_THROW((void)net.features(images), Interrupted);
  clear_interrupt();
  EXPECT_EQ(net.features(images).shape(), Shape({1, 64}));
}

TEST(InferenceProgram, RefusesWhatDoesNotFit) {
  const auto device = kernels::make_device({"reference", 1, ""});
  InferenceProgram program(*device, 3);
  Tensor filter(host(), DType::kF32, {4, 3, 5, 5}, "filter");
  std::memset(filter.data<float>(), 0, static_cast<size_t>(filter.bytes()));
  const auto prepared = [&](const kernels::Conv2dGeometry& g) {
    return kernels::conv2d_prepare_filter(*device, filter, g);
  };
  const ValueId a = program.conv2d(0, prepared({}), {}, true);
  const ValueId b = program.conv2d(0, prepared({1, 1, 1, 1}), {}, true);
  const auto error = [](auto&& call) { return message_of<InvalidArgument>(call); };

  EXPECT_EQ(error([&] { (void)program.conv2d(a, prepared({}), {}, true); }),
            "conv2d: value 1 has rank 4 and 4 channels, expected rank 4 and 3");
  EXPECT_EQ(error([&] { (void)program.conv2d(9, prepared({}), {}, true); }),
            "conv2d: value 9 does not exist");
  EXPECT_EQ(error([&] { (void)program.conv2d(0, prepared({}), {}, true, ValueId{0}); }),
            "conv2d residual: value 0 has rank 4 and 3 channels, expected rank 4 and 4");
  EXPECT_EQ(error([&] {
              (void)program.plan({1, 3, 4, 8}, {a});
            }),
            "inference program: images of 4x8 leave 0x4 pixels after step 0, expected larger images");
  EXPECT_EQ(error([&] {
              (void)program.plan({1, 2, 8, 8}, {a});
            }),
            "inference program: images are 1x2x8x8, expected N,3,H,W with H and W at least 1");
  EXPECT_EQ(error([&] {
              (void)program.plan({1, 3, 8, 0}, {a});
            }),
            "inference program: images are 1x3x8x0, expected N,3,H,W with H and W at least 1");
  EXPECT_EQ(error([&] {
              (void)program.plan({1, 3, 8, 8}, {a, a});
            }),
            "inference program: output 1 is named twice");
  EXPECT_EQ(error([&] {
              (void)program.plan({1, 3, 8, 8}, {0});
            }),
            "inference program: output 0, expected 1 to 2");
  EXPECT_EQ(error([&] { (void)InferenceProgram(*device, 0); }),
            "inference program: 0 input channels, expected at least 1");
  const ValueId c = program.conv2d(0, prepared({}), {}, false, b);
  EXPECT_EQ(error([&] {
              (void)program.plan({1, 3, 8, 8}, {c});
            }),
            "inference program: step 2 adds 1x4x6x6 to 1x4x4x4");
  const Tensor f64(host(), DType::kF64, {1, 3, 8, 8}, "images");
  EXPECT_EQ(error([&] { (void)program.run(f64, {a}); }),
            "inference program: images are f64 1x3x8x8, expected dense f32");
}

/// The emulator records as a GPU does: what is replayed must be what was run, on new images each time.
class RecordedRuns : public ::testing::Test {
 protected:
  RecordedRuns() : device_(kernels::make_device({"simt", 1, ""})), program_(*device_, 3) {
    Random random(8);
    const auto filter = [&](const Shape& shape) {
      Tensor values(host(), DType::kF32, shape, "filter");
      for (int64_t i = 0; i < values.numel(); ++i)
        values.data<float>()[i] = static_cast<float>(random.next_normal());
      return kernels::conv2d_prepare_filter(*device_, clone_to(values, *device_), {1, 1, 1, 1});
    };
    a_ = program_.conv2d(0, filter({4, 3, 3, 3}), {}, true);
    b_ = program_.conv2d(a_, filter({4, 4, 3, 3}), {}, true, a_);
    pooled_ = program_.global_avg_pool2d(b_);
  }
  static Tensor images(int64_t count, uint64_t seed) {
    Random random(seed);
    Tensor result(host(), DType::kF32, {count, 3, 6, 6}, "images");
    for (int64_t i = 0; i < result.numel(); ++i)
      result.data<float>()[i] = static_cast<float>(random.next_normal());
    return result;
  }
  static std::vector<float> values(const Tensor& tensor) {
    const Tensor there = clone_to(tensor, host());
    return {there.data<float>(), there.data<float>() + there.numel()};
  }
  /// Of a program that has run nothing before: the first run is never a replay.
  std::vector<std::vector<float>> direct(const Tensor& x, const std::vector<ValueId>& outputs) {
    program_.release_arena();
    std::vector<std::vector<float>> results;
    for (const Tensor& output : program_.run(x, outputs)) results.push_back(values(output));
    return results;
  }

  std::unique_ptr<Device> device_;
  InferenceProgram program_;
  ValueId a_ = 0;
  ValueId b_ = 0;
  ValueId pooled_ = 0;
};

TEST_F(RecordedRuns, GiveWhatDirectRunsGive) {
  const std::vector<ValueId> outputs = {pooled_, a_};  // one where it is computed, one out of the arena
  std::vector<std::vector<std::vector<float>>> expected;
  for (uint64_t seed = 1; seed <= 4; ++seed) expected.push_back(direct(images(2, seed), outputs));
  EXPECT_NE(expected[0], expected[1]);
  program_.release_arena();
  EXPECT_EQ(program_.recordings(), 0);
  std::vector<Tensor> kept;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    const std::vector<Tensor> results = program_.run(images(2, seed), outputs);
    EXPECT_EQ(program_.recordings(), seed == 1 ? 0 : 1);
    for (size_t i = 0; i < results.size(); ++i) {
      EXPECT_EQ(values(results[i]), expected[seed - 1][i]) << "run " << seed << ", output " << i;
      kept.push_back(results[i]);
    }
  }
  // A result is the caller's: later replays leave it alone.
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_EQ(values(kept[i]), expected[i / 2][i % 2]);
  // Images that are on the device already go the same way.
  EXPECT_EQ(values(program_.run(clone_to(images(2, 3), *device_), outputs)[0]), expected[2][0]);
}

TEST_F(RecordedRuns, OneForEachOfTheLastPlans) {
  const auto expected = direct(images(1, 9), {pooled_});
  program_.release_arena();
  for (int round = 0; round < 3; ++round) {
    for (const int64_t count : {3, 1, 2}) (void)program_.run(images(count, 9), {pooled_});
  }
  EXPECT_EQ(program_.recordings(), 3);
  EXPECT_EQ(values(program_.run(images(1, 9), {pooled_})[0]), expected[0]);
  for (const int64_t count : {4, 5, 6, 7}) {  // the arena grows: what was recorded is void
    (void)program_.run(images(count, 9), {pooled_});
  }
  EXPECT_EQ(program_.recordings(), 0);
  EXPECT_EQ(values(program_.run(images(1, 9), {pooled_})[0]), expected[0]);
}

TEST_F(RecordedRuns, NeverHoldMoreThanThePlanSays) {
  const Tensor x = images(3, 2);
  const ProgramPlan plan = program_.plan(x.shape(), {pooled_, b_});
  EXPECT_EQ(plan.recorded_bytes, plan.output_bytes);
  const int64_t before = device_->memory_report().bytes_in_use;
  for (int run = 0; run < 3; ++run) (void)program_.run(x, {pooled_, b_});
  EXPECT_EQ(device_->memory_report().peak_bytes - before, plan.peak_bytes());
  program_.release_arena();
  EXPECT_EQ(device_->memory_report().bytes_in_use, before);
}

TEST_F(RecordedRuns, AreDoneWithoutWhereMemoryIsShort) {
  const Tensor x = images(3, 2);
  const auto expected = direct(x, {pooled_, b_});
  program_.release_arena();
  const ProgramPlan plan = program_.plan(x.shape(), {pooled_, b_});
  device_->set_memory_limit(device_->memory_report().bytes_in_use + plan.peak_bytes() - plan.recorded_bytes);
  for (int run = 0; run < 3; ++run) EXPECT_EQ(values(program_.run(x, {pooled_, b_})[1]), expected[1]);
  EXPECT_EQ(program_.recordings(), 0);
}

TEST_F(RecordedRuns, AProgramWithoutImagesRecordsNothing) {
  for (int run = 0; run < 3; ++run)
    EXPECT_EQ(program_.run(images(0, 1), {pooled_})[0].shape(), Shape({0, 4}));
  EXPECT_EQ(program_.recordings(), 0);
}

}  // namespace
}  // namespace panda::nn
