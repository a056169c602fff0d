#include "weights/convert.h"

#include <cmath>
#include <map>

#include "tests/support/real_data.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/weights/weights_test_tools.h"
#include "weights/manifest.h"
#include "weights/safetensors.h"
#include "weights/sha256.h"
#include "weights/weights_file.h"

namespace panda::weights {
namespace {

using test::golden;

std::string sha256_of(const std::string& message, int64_t step) {
  Sha256 hash;
  for (size_t at = 0; at < message.size(); at += static_cast<size_t>(step)) {
    hash.update(message.data() + at, std::min<int64_t>(step, static_cast<int64_t>(message.size() - at)));
  }
  return hash.hex_digest();
}

TEST(Sha256, GivesTheStandardsExamples) {
  const std::pair<std::string, const char*> vectors[] = {
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopq"
       "rstnopqrstu",
       "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
      {std::string(1'000'000, 'a'), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
  };
  for (const auto& [message, digest] : vectors) {
    for (const int64_t step : {1, 3, 55, 56, 63, 64, 65, 1000})
      EXPECT_EQ(sha256_of(message, step), digest) << step;
  }
}

TEST(Convert, WithoutDTypeKeepsEveryBitOfEveryContainer) {
  const panda::test::TemporaryDirectory folder;
  const std::string expected = content_sha256(SafetensorsFile(golden("state.safetensors")));
  for (const char* name : {"state.safetensors", "state.pth", "state_stream.pth", "state_tar.pth"}) {
    const ConvertReport report = convert_weights(golden(name), folder.path("out.safetensors"));
    EXPECT_EQ(report.tensor_count, 15);
    const SafetensorsFile out(folder.path("out.safetensors"));
    EXPECT_EQ(content_sha256(out), expected) << name;
    EXPECT_EQ(out.metadata().at("source_sha256"), file_sha256(golden(name)));
  }
}

TEST(Convert, TheLibrarysFileIsWrittenAgainByteForByte) {
  const panda::test::TemporaryDirectory folder;
  const SafetensorsFile in(golden("state.safetensors"));
  SafetensorsWriter writer(folder.path("out"), in.list(), in.metadata());
  for (const TensorInfo& info : writer.order()) writer.write(in.load(info.name));
  writer.commit();
  // The library keeps its metadata in a hash table: its order there is arbitrary. All else is equal.
  const std::vector<uint8_t> ours = read_file(folder.path("out"));
  const std::vector<uint8_t> theirs = test::golden_bytes("state.safetensors");
  ASSERT_EQ(ours.size(), theirs.size());
  const std::string a(ours.begin(), ours.end());
  const std::string b(theirs.begin(), theirs.end());
  EXPECT_EQ(a.substr(a.find("\"i64\"")), b.substr(b.find("\"i64\"")));
  EXPECT_EQ(in.metadata().at("note"), "caf\xc3\xa9 \"q\"\n");
}

TEST(Convert, FloatsBecomeTheDTypeAndIntegersStay) {
  const panda::test::TemporaryDirectory folder;
  const std::string out = folder.path("out.safetensors");
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBF16}) {
    convert_weights(golden("state.pth"), out, dtype);
    const SafetensorsFile in(golden("state.safetensors"));
    const SafetensorsFile converted(out);
    for (const TensorInfo& info : in.list()) {
      const Tensor before = in.load(info.name);
      test::expect_same(converted.load(info.name),
                        dtype_is_float(info.dtype) ? to_dtype(before, dtype) : before);
    }
  }
  EXPECT_ERROR_CONTAINS(convert_weights(golden("state.pth"), out, DType::kI64),
                        "expected f64, f32, f16 or bf16");
}

TEST(Convert, MayWriteOverItsInputAndLeavesItOnErrors) {
  const panda::test::TemporaryDirectory folder;
  const float values[] = {1, 1e6F};
  const Tensor large = Tensor::from<float>({2}, values);
  const std::string path = folder.path("w.safetensors");
  write_safetensors(path, {{"layer.weight", large}}, {{"kept", "yes"}});
  const std::vector<uint8_t> before = read_file(path);
  EXPECT_ERROR_CONTAINS(convert_weights(path, path, DType::kF16), "'layer.weight' [1]: 1e+06 overflows f16");
  EXPECT_EQ(read_file(path), before);
  EXPECT_EQ(list_directory(folder.path()).size(), 1U);
  convert_weights(path, path, DType::kBF16);
  const SafetensorsFile converted(path);
  EXPECT_EQ(converted.list()[0].dtype, DType::kBF16);
  EXPECT_EQ(converted.metadata().at("kept"), "yes");
}

TEST(Inspect, ReportsShapesRangesAndHashes) {
  const Inspection seen = inspect_weights(golden("state_stream.pth"), true);
  EXPECT_EQ(seen.kind, "PyTorch (legacy stream)");
  EXPECT_EQ(seen.content_sha256, content_sha256(SafetensorsFile(golden("state.safetensors"))));
  ASSERT_EQ(seen.tensors.size(), 15U);
  std::map<std::string, InspectedTensor> by_name;
  int64_t bytes = 0;
  for (const InspectedTensor& tensor : seen.tensors) {
    by_name[tensor.info.name] = tensor;
    bytes += tensor.bytes;
  }
  EXPECT_EQ(seen.bytes, bytes);
  EXPECT_EQ(by_name.at("f32").values.minimum, -1);
  EXPECT_EQ(by_name.at("f32").values.maximum, static_cast<double>(23.0F / 7 - 1));
  EXPECT_EQ(by_name.at("i64").values.maximum, 0x1p62);
  EXPECT_EQ(by_name.at("empty").values.finite_count, 0);
  EXPECT_EQ(by_name.at("slice").sha256,
            tensor_sha256("slice", SafetensorsFile(golden("state.safetensors")).load("slice")));
  EXPECT_EQ(inspect_weights(golden("state.npz"), false).content_sha256, "");

  const panda::test::TemporaryDirectory folder;
  const float odd[] = {std::nanf(""), 1, -HUGE_VALF, HUGE_VALF, std::nanf("")};
  write_safetensors(folder.path("odd"), {{"x", Tensor::from<float>({5}, odd)}});
  const ValueSummary values = inspect_weights(folder.path("odd"), true).tensors[0].values;
  EXPECT_EQ(values.nan_count, 2);
  EXPECT_EQ(values.infinity_count, 2);
  EXPECT_EQ(values.finite_count, 1);
  EXPECT_EQ(values.maximum, 1);
}

TEST(RealWeights, LoadFiniteAndConvertBack) {
  const std::string root = panda::test::real_data();
  if (root.empty()) GTEST_SKIP() << "PANDA_DATA is not set: the real networks are not tested";
  const panda::test::TemporaryDirectory folder;
  const std::string path = root + "/weights/resnet18-imagenet.safetensors";
  const auto tensors = open_weights(path);
  ASSERT_TRUE(tensors->contains("conv1.weight"));
  EXPECT_EQ(tensors->load("conv1.weight").shape(), (Shape{64, 3, 7, 7}));
  const int64_t largest = tensors->load("layer4.0.conv2.weight").bytes();
  for (const TensorInfo& info : tensors->list()) check_finite(tensors->load(info.name), info.name);
  const int64_t before = host().memory_report().bytes_in_use;
  convert_weights(path, folder.path("copy"));
  EXPECT_EQ(content_sha256(SafetensorsFile(folder.path("copy"))), content_sha256(*tensors));
  EXPECT_EQ(host().memory_report().bytes_in_use, before);
  EXPECT_LE(host().memory_report().peak_bytes - before, 2 * largest + (1 << 20))
      << "never the model, only its largest tensor";
}

}  // namespace
}  // namespace panda::weights
