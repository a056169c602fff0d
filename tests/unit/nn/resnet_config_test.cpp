#include "nn/resnet_config.h"

#include <gtest/gtest.h>

#include <cmath>

#include "memory_tensors.h"
#include "nn/init.h"

namespace panda::nn {
namespace {

/// Tensors that have names, dtypes and shapes but no elements: enough for detection.
class Listed final : public NamedTensors {
 public:
  explicit Listed(const ResnetConfig& config) {
    for (const ParameterInfo& parameter : resnet_parameters(config)) {
      infos_[parameter.name] = {parameter.name, DType::kF32, parameter.shape};
    }
  }
  void set(const std::string& name, const Shape& shape, DType dtype = DType::kF32) {
    infos_[name] = {name, dtype, shape};
  }
  void erase(const std::string& name) { infos_.erase(name); }

  [[nodiscard]] std::vector<TensorInfo> list() const override {
    std::vector<TensorInfo> list;
    for (const auto& [name, info] : infos_) list.push_back(info);
    return list;
  }
  [[nodiscard]] bool contains(const std::string& name) const override { return infos_.count(name) != 0; }
  [[nodiscard]] Tensor load(const std::string&) const override {
    throw InternalError("detection loads nothing");
  }
  [[nodiscard]] std::string source() const override { return "w.safetensors"; }

 private:
  std::map<std::string, TensorInfo> infos_;
};

std::string detection_error(const Listed& tensors) {
  return message_of<FormatError>([&] { (void)detect_resnet(tensors); });
}

TEST(ResnetConfig, CountsTorchvisionsParameters) {
  const std::map<std::string, int64_t> published = {
      {"resnet18", 11'689'512},          {"resnet34", 21'797'672},  {"resnet50", 25'557'032},
      {"resnet101", 44'549'160},         {"resnet152", 60'192'808}, {"wide_resnet50_2", 68'883'240},
      {"wide_resnet101_2", 126'886'696},
  };
  ASSERT_EQ(resnet_architectures().size(), published.size());
  for (const std::string& arch : resnet_architectures()) {
    EXPECT_EQ(resnet_parameter_count(resnet_config(arch)), published.at(arch)) << arch;
  }
}

TEST(ResnetConfig, GivesFeatureWidths) {
  EXPECT_EQ(resnet_config("resnet18").feature_channels(), 512);
  EXPECT_EQ(resnet_config("resnet152").feature_channels(), 2048);
  const ResnetConfig wide = resnet_config("wide_resnet50_2");
  EXPECT_EQ(wide.feature_channels(), 2048);
  EXPECT_EQ(wide.inner_channels(0), 128);
  EXPECT_EQ(wide.stage_channels(0), 256);
  EXPECT_EQ(wide.stage_channels(1), 512);
  EXPECT_EQ(wide.stage_channels(2), 1024);
}

TEST(ResnetConfig, RoundsWidthToMultiplesOfEight) {
  EXPECT_EQ(resnet_config("resnet18", 0.5).stem_channels, 32);
  EXPECT_EQ(resnet_config("resnet18", 0.5).feature_channels(), 256);
  EXPECT_EQ(resnet_config("resnet18", 0.3).stem_channels, 16);     // 19.2
  EXPECT_EQ(resnet_config("resnet18", 0.3125).stem_channels, 24);  // 20: half way, up
  EXPECT_EQ(resnet_config("resnet18", 0.001).stem_channels, 8);
  EXPECT_EQ(resnet_config("resnet50", 2).feature_channels(), 4096);
}

TEST(ResnetConfig, RefusesUnknownNamesAndWidths) {
  EXPECT_EQ(message_of<InvalidArgument>([] { (void)resnet_config("resnet20"); }),
            "architecture 'resnet20', expected one of resnet18, resnet34, resnet50, resnet101, resnet152, "
            "wide_resnet50_2, "
            "wide_resnet101_2");
  for (const double factor : {0.0, -1.0, 17.0, std::nan("")}) {
    EXPECT_NE(
        message_of<InvalidArgument>([&] { (void)resnet_config("resnet18", factor); }).find("width factor"),
        std::string::npos)
        << factor;
  }
}

TEST(DetectResnet, ReadsEveryArchitecture) {
  for (const std::string& arch : resnet_architectures()) {
    for (const double width : {1.0, 0.25}) {
      ResnetConfig config = resnet_config(arch, width);
      config.input_channels = 1;
      config.class_count = 10;
      const ResnetConfig found = detect_resnet(Listed(config));
      EXPECT_EQ(found.arch, arch);
      EXPECT_EQ(found.block, config.block);
      EXPECT_EQ(found.depths, config.depths);
      EXPECT_EQ(found.bottleneck_base_width, config.bottleneck_base_width);
      EXPECT_EQ(found.width_factor(), width);
      EXPECT_EQ(found.input_channels, 1);
      EXPECT_EQ(found.class_count, 10);
    }
  }
}

TEST(DetectResnet, AcceptsNoClassesOtherDepthsAndBatchCounters) {
  ResnetConfig config = resnet_config("resnet50");
  config.class_count = 0;
  config.depths = {1, 2, 1, 1};
  Listed tensors(config);
  tensors.set("bn1.num_batches_tracked", Shape(), DType::kI64);
  const ResnetConfig found = detect_resnet(tensors);
  EXPECT_EQ(found.class_count, 0);
  EXPECT_EQ(found.depths, config.depths);
  EXPECT_EQ(describe(found), "resnet of bottleneck blocks 1-2-1-1, no classes");
}

TEST(DetectResnet, NamesWhatIsWrong) {
  const ResnetConfig config = resnet_config("resnet18");
  const Listed good(config);

  Listed bad = good;
  bad.erase("layer3.1.bn2.running_var");
  EXPECT_EQ(detection_error(bad), "w.safetensors: no tensor layer3.1.bn2.running_var, which resnet18 needs");
  bad = good;
  bad.erase("conv1.weight");
  EXPECT_EQ(detection_error(bad),
            "w.safetensors: no tensor conv1.weight, which a ResNet with torchvision's names needs");
  bad = good;
  bad.erase("layer2.0.conv1.weight");
  EXPECT_EQ(detection_error(bad),
            "w.safetensors: no tensor layer2.0.conv1.weight, which a ResNet with torchvision's names needs");
  bad = good;
  bad.erase("fc.bias");
  EXPECT_EQ(detection_error(bad), "w.safetensors: no tensor fc.bias, which resnet18 needs");
  bad = good;
  bad.set("conv1.weight", {64, 3, 3, 3});
  EXPECT_EQ(detection_error(bad),
            "w.safetensors: conv1.weight is f32 64x3x3x3, expected 64x3x7x7 (resnet18)");
  bad = good;
  bad.set("conv1.weight", {64, 147});
  EXPECT_EQ(detection_error(bad), "w.safetensors: conv1.weight is f32 64x147, expected K,C,7,7");
  bad = good;
  bad.set("layer2.0.conv1.weight", {128, 32, 3, 3});
  EXPECT_EQ(detection_error(bad),
            "w.safetensors: layer2.0.conv1.weight is f32 128x32x3x3, expected 128x64x3x3 (resnet18)");
  bad = good;
  bad.set("fc.weight", {1000, 2048});
  EXPECT_EQ(detection_error(bad), "w.safetensors: fc.weight is f32 1000x2048, expected 1000x512 (resnet18)");
  bad = good;
  bad.set("fc.weight", {1000});
  EXPECT_EQ(detection_error(bad), "w.safetensors: fc.weight is f32 1000, expected classes,features");
  bad = good;
  bad.set("bn1.weight", {64}, DType::kI64);
  EXPECT_EQ(detection_error(bad), "w.safetensors: bn1.weight is i64 64, expected floats");
  bad = good;
  bad.set("layer1.0.se.weight", {64});
  EXPECT_EQ(detection_error(bad),
            "w.safetensors: layer1.0.se.weight is f32 64, but resnet18 has no such tensor");
  bad = good;
  bad.set("conv1.weight", {5000, 3, 7, 7});
  EXPECT_EQ(detection_error(bad),
            "w.safetensors: conv1.weight is 5000x3x7x7, expected at most 4096 channels");

  Listed bottleneck(resnet_config("resnet50"));
  bottleneck.set("layer1.0.conv1.weight", {65, 64, 1, 1});
  EXPECT_NE(detection_error(bottleneck), "");
  bottleneck.set("conv1.weight", {48, 3, 7, 7});
  bottleneck.set("layer1.0.conv1.weight", {49, 48, 1, 1});
  EXPECT_EQ(detection_error(bottleneck),
            "w.safetensors: layer1.0.conv1.weight gives 49 channels beside 48 of conv1.weight, expected a "
            "multiple of 1/64 of them");
  bottleneck.set("layer1.0.conv1.weight", {int64_t{1} << 40, 48, 1, 1});
  EXPECT_NE(detection_error(bottleneck), "");
}

}  // namespace
}  // namespace panda::nn
