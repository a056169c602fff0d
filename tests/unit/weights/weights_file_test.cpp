#include "weights/weights_file.h"

#include <algorithm>

#include "tests/support/temporary_directory.h"
#include "tests/unit/weights/weights_test_tools.h"
#include "tests/unit/weights/zip_builder.h"
#include "weights/torchvision_names.h"

namespace panda::weights {
namespace {

using test::golden;
using std::string_literals::operator""s;

TEST(OpenWeights, GoesByContentNotByName) {
  const panda::test::TemporaryDirectory folder;
  const std::pair<const char*, WeightsKind> kinds[] = {{"state.safetensors", WeightsKind::kSafetensors},
                                                       {"state.pth", WeightsKind::kTorchZip},
                                                       {"state_stream.pth", WeightsKind::kTorchStream},
                                                       {"state_tar.pth", WeightsKind::kTorchTar},
                                                       {"state.npz", WeightsKind::kNpz},
                                                       {"state_compressed.npz", WeightsKind::kNpz}};
  for (const auto& [name, kind] : kinds) {
    const std::vector<uint8_t> bytes = test::golden_bytes(name);
    const std::string path =
        folder.write("weights.bin", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    EXPECT_EQ(sniff_weights(file_source(path)), kind) << name;
    EXPECT_TRUE(open_weights(path)->contains("f32")) << name;
    EXPECT_EQ(open_weights(path)->source(), path);
  }
}

TEST(OpenWeights, NamesImpostors) {
  const panda::test::TemporaryDirectory folder;
  const std::pair<std::string, const char*> impostors[] = {
      {"", "is empty"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "a git-lfs pointer"},
      {"<!DOCTYPE html><html>", "an HTML or XML page"},
      {"\n\n  <html>", "an HTML or XML page"},
      {"{\"metadata\": {}}", "JSON text"},
      {"\x1f\x8b\x08\x00\x00\x00"s, "gzip"},
      {"BZh91AY&SY", "bzip2"},
      {"\xfd"
       "7zXZ\x00\x00"s,
       "xz"},
      {"\x28\xb5\x2f\xfd", "zstd"},
      {"7z\xbc\xaf\x27\x1c", "7z"},
      {"Rar!\x1a", "RAR"},
      {"\x7f"
       "ELF\x02",
       "ELF"},
      {"MZ\x90", "Windows"},
      {"#!/bin/sh\n", "a script"},
      {"GGUF\x03", "GGUF"},
      {"\x89HDF\r\n\x1a\n", "HDF5"},
      {"\x89PNG\r\n\x1a\n", "PNG"},
      {"\xff\xd8\xff\xe0", "JPEG"},
      {"%PDF-1.4", "PDF"},
      {"\x08\x07\x12\x07pytorch\x1a\x05", "ONNX"},
      {"\x1c\x00\x00\x00TFL3"s, "TensorFlow Lite"},
      {"\x93NUMPY\x01\x00"s, "a single array"},
      {"\x80\x04K\x01.", "a Python pickle, but no PyTorch checkpoint"},
      {"\x80\x02K\x01.", "a Python pickle, but no PyTorch checkpoint"},
      {std::string(600, '\0'), "zero bytes"},
      {"hello world", "of no kind known here"},
      {"a", "of no kind known here"},
      {"PK\x03\x04 cut", "zip: "},
  };
  for (const auto& [content, part] : impostors) {
    const std::string path = folder.write("impostor", content);
    const std::string message = test::error_of([&] { (void)open_weights(path); });
    EXPECT_NE(message.find(part), std::string::npos) << "'" << message << "', expected " << part;
    EXPECT_EQ(message.rfind(path + ": ", 0), 0U) << message;
  }
  EXPECT_ERROR_CONTAINS(open_weights(folder.path()), "is a directory");
  EXPECT_ERROR_CONTAINS(open_weights(folder.path("missing")), "cannot open");
  EXPECT_ERROR_CONTAINS(open_weights(golden("f4.npy")), "a single array");
  EXPECT_ERROR_CONTAINS(
      open_weights(buffer_source(test::build_zip({test::stored_part("word/document.xml", "x")}), "d.docx")),
      "a zip archive without data.pkl or .npy files");
}

class Named : public NamedTensors {
 public:
  explicit Named(std::vector<std::string> names) : names_(std::move(names)) {
    std::sort(names_.begin(), names_.end());
  }
  [[nodiscard]] std::vector<TensorInfo> list() const override {
    std::vector<TensorInfo> infos;
    for (const std::string& name : names_) infos.push_back({name, DType::kF32, {}});
    return infos;
  }
  [[nodiscard]] bool contains(const std::string& name) const override {
    return std::binary_search(names_.begin(), names_.end(), name);
  }
  [[nodiscard]] Tensor load(const std::string& name) const override {
    const auto value = static_cast<float>(name.size());
    return Tensor::from<float>({}, &value);
  }
  [[nodiscard]] std::string source() const override { return "named"; }

 private:
  std::vector<std::string> names_;
};

TEST(TorchvisionNames, WrappersComeOffAndCountersStayAway) {
  const auto names_of = [](std::vector<std::string> names) {
    std::string joined;
    const auto renamed = with_torchvision_names(std::make_unique<Named>(std::move(names)));
    for (const TensorInfo& info : renamed->list()) {
      EXPECT_TRUE(renamed->contains(info.name));
      joined += info.name + " ";
    }
    EXPECT_FALSE(renamed->contains("bn1.num_batches_tracked"));
    return joined;
  };
  EXPECT_EQ(names_of({"conv1.weight", "bn1.num_batches_tracked", "fc.bias"}), "conv1.weight fc.bias ");
  EXPECT_EQ(names_of({"module.conv1.weight", "module.bn1.num_batches_tracked"}), "conv1.weight ");
  EXPECT_EQ(names_of({"model.backbone.conv1.weight", "model.head.weight", "model.backbone.fc.bias"}),
            "conv1.weight fc.bias ");
  EXPECT_EQ(names_of({"encoder.conv1.weight", "conv1.weight"}), "conv1.weight encoder.conv1.weight ");
  EXPECT_EQ(names_of({"features.0.weight"}), "features.0.weight ");
  const auto renamed =
      with_torchvision_names(std::make_unique<Named>(std::vector<std::string>{"module.conv1.weight"}));
  EXPECT_EQ(renamed->load("conv1.weight").data<float>()[0], 19.0F) << "loads go through under the old name";
  EXPECT_ERROR_CONTAINS(renamed->load("fc.bias"), "has no tensor 'module.fc.bias'");
}

}  // namespace
}  // namespace panda::weights
