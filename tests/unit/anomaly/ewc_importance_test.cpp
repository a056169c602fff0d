// Fisher diagonals: what is taken, and what is refused by name.

#include "anomaly/ewc_importance.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/device_registry.h"
#include "small_network.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/nn/memory_tensors.h"
#include "weights/manifest.h"
#include "weights/safetensors.h"

namespace panda::anomaly {
namespace {

class EwcImportanceTest : public ::testing::Test {
 protected:
  EwcImportanceTest() : weights_(small_weights()) {
    network_.train_stages({4}, false);
    for (const autograd::Parameter* parameter : network_.parameters().trainable()) {
      Tensor values(host(), DType::kF32, parameter->value.shape(), "fisher");
      for (int64_t i = 0; i < values.numel(); ++i) values.data<float>()[i] = static_cast<float>(i % 7);
      fisher_.set(parameter->name, values);
    }
  }
  std::string write(const std::string& prefix, const weights::Metadata& metadata = {}) {
    std::vector<weights::NamedView> views;
    std::vector<Tensor> kept;
    for (const TensorInfo& info : fisher_.list()) {
      kept.push_back(fisher_.load(info.name));
      views.push_back({prefix + info.name, kept.back()});
    }
    weights::write_safetensors(folder_.path("f"), views, metadata);
    return folder_.path("f");
  }
  std::map<std::string, Tensor> read(const std::string& path) {
    return read_ewc_importance(path, network_.parameters(), weights_, "abc");
  }
  std::string refused(const std::string& path) {
    return nn::message_of<FormatError>([&] { (void)read(path); });
  }

  test::TemporaryDirectory folder_;
  std::unique_ptr<Device> device_ = kernels::make_device({"cpu", 1, ""});
  nn::SeededResnetParameters weights_;
  nn::TrainableResnet network_{*device_, small_config(), small_weights(), nn::BatchNormMode::kEvaluation};
  nn::MemoryTensors fisher_;
};

TEST_F(EwcImportanceTest, ReadsNamesWithAndWithoutAWrapper) {
  for (const char* prefix : {"", "module.", "model.module."}) {
    const std::map<std::string, Tensor> values = read(write(prefix));
    ASSERT_EQ(values.size(), network_.parameters().trainable().size());
    for (const auto& [name, value] : values) EXPECT_TRUE(same_bits(value, fisher_.at(name))) << name;
  }
}

TEST_F(EwcImportanceTest, TakesExtraTensorsAndItsOwnMetadata) {
  fisher_.set("layer1.0.conv1.weight", Tensor(host(), DType::kF32, {3}, "frozen"));
  std::fill_n(fisher_.at("layer1.0.conv1.weight").data<float>(), 3, 0.0F);
  weights::Metadata metadata = {
      {"format", "panda-fisher-diagonal"}, {"arch", "resnet"}, {"weights_sha256", "abc"}};
  EXPECT_EQ(read(write("", metadata)).size(), network_.parameters().trainable().size());
  metadata["weights_sha256"] = weights::content_sha256(weights_);  // of the weights in any container
  EXPECT_EQ(read(write("", metadata)).size(), network_.parameters().trainable().size());
}

TEST_F(EwcImportanceTest, RefusesThatOfAnotherNetwork) {
  EXPECT_NE(refused(write("", {{"format", "panda-fitted-model"}})).find("expected panda-fisher-diagonal"),
            std::string::npos);
  EXPECT_NE(refused(write("", {{"arch", "wide_resnet50_2"}})).find("of a wide_resnet50_2"),
            std::string::npos);
  EXPECT_NE(refused(write("", {{"weights_sha256", "00112233445566"}})).find("other weights"),
            std::string::npos);
  const std::string name = "layer4.0.conv2.weight";
  const Tensor good = fisher_.at(name);
  fisher_.set(name, Tensor::from<float>({2}, std::vector<float>{1, 2}.data()));
  EXPECT_NE(refused(write("")).find(name), std::string::npos);
  fisher_.erase(name);
  EXPECT_NE(refused(write("")).find("has no layer4.0.conv2.weight, which is trained"), std::string::npos);
  Tensor bad = clone_to(good, host());
  bad.data<float>()[5] = -1;
  fisher_.set(name, bad);
  EXPECT_NE(refused(write("")).find("is -1 at element 5, expected at least 0"), std::string::npos);
  bad.data<float>()[5] = NAN;
  EXPECT_NE(refused(write("")).find(name), std::string::npos);
}

}  // namespace
}  // namespace panda::anomaly
