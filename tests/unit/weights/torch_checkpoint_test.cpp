#include "weights/torch_checkpoint.h"

#include <algorithm>
#include <map>

#include "tests/unit/weights/weights_test_tools.h"
#include "weights/manifest.h"
#include "weights/safetensors.h"
#include "weights/weights_file.h"

namespace panda::weights {
namespace {

using test::golden;

class Container : public ::testing::TestWithParam<const char*> {};

TEST_P(Container, HoldsTheSameTensorsBitForBitAsSafetensors) {
  const SafetensorsFile expected(golden("state.safetensors"));
  const auto got = open_torch_checkpoint(golden(GetParam()));
  ASSERT_EQ(got->list().size(), expected.list().size());
  for (const TensorInfo& info : expected.list()) {
    SCOPED_TRACE(info.name);
    ASSERT_TRUE(got->contains(info.name));
    test::expect_same(got->load(info.name), expected.load(info.name));
  }
  EXPECT_EQ(content_sha256(*got), content_sha256(expected));
  EXPECT_FALSE(got->contains("module.f32"));
  EXPECT_ERROR_CONTAINS(got->load("nothing"), "has no tensor 'nothing'");
}

INSTANTIATE_TEST_SUITE_P(TorchCheckpoint, Container,
                         ::testing::Values("state.pth", "state_stream.pth", "state_tar.pth"),
                         [](const auto& container) {
                           std::string name = container.param;
                           for (char& c : name) c = c == '.' ? '_' : c;
                           return name;
                         });

TEST(TorchCheckpoint, TakesBytesOfABigEndianMachine) {
  const SafetensorsFile expected(golden("state.safetensors"));
  const auto got = open_torch_checkpoint(golden("big_endian.pth"));
  ASSERT_EQ(got->list().size(), 3U);
  for (const TensorInfo& info : got->list())
    test::expect_same(got->load(info.name), expected.load(info.name));
}

TEST(TorchCheckpoint, WorksWithoutChecksumsAndComparesThemWhereTheyAre) {
  const auto got = open_torch_checkpoint(golden("no_checksum.pth"));
  test::expect_same(got->load("f32"), SafetensorsFile(golden("state.safetensors")).load("f32"));

  // One bit of the elements of state.pth: the storage is found by its content.
  std::vector<uint8_t> bytes = test::golden_bytes("state.pth");
  const Tensor f32 = SafetensorsFile(golden("state.safetensors")).load("f32");
  const std::vector<uint8_t> elements = test::bytes_of(f32);
  const auto at = std::search(bytes.begin(), bytes.end(), elements.begin(), elements.end());
  ASSERT_NE(at, bytes.end());
  *(at + 17) ^= 4;
  const auto damaged = open_torch_checkpoint(buffer_source(bytes, "damaged.pth"));
  EXPECT_ERROR_CONTAINS(damaged->load("f32"), "is damaged: its checksum is");
  EXPECT_ERROR_CONTAINS(damaged->load("slice"), "is damaged: its checksum is");
  EXPECT_NO_THROW((void)damaged->load("f64"));
}

TEST(TorchCheckpoint, RefusesWhatWantsToCallSomethingByItsName) {
  const std::map<std::string, std::string> wanted = {
      {"harmful_os_system.pth", "refused: pickle wants to call posix.system (byte"},
      {"harmful_os_system_stream.pth", "refused: pickle wants to call posix.system (byte"},
      {"harmful_os_system_tar.pth", "refused: pickle wants to call posix.system (byte"},
      {"harmful_eval.pth", "refused: pickle wants to call __builtin__.eval (byte"},
      {"harmful_eval_stream.pth", "refused: pickle wants to call __builtin__.eval (byte"},
      {"harmful_exec.pth", "refused: pickle wants to call __builtin__.exec (byte"},
      {"harmful_getattr.pth", "refused: pickle wants to call __builtin__.getattr (byte"},
      {"harmful_popen.pth", "refused: pickle wants to call commands.Popen (byte"},
      {"harmful_runpy.pth", "refused: pickle wants to call runpy.run_path (byte"},
      {"harmful_load.pth", "refused: pickle wants to call torch.serialization.load (byte"},
      {"harmful_open.pth", "refused: pickle wants to call io.open (byte"},
      {"harmful_stack_global.pth", "protocol 4, expected 2"},
      {"harmful_stack_global_2.pth", "refused: opcode 0x93"},
      {"harmful_inst.pth", "refused: opcode 0x69"},
      {"harmful_obj.pth", "refused: pickle wants to call os.system (byte 1)"},
      {"harmful_ext.pth", "refused: opcode 0x82"},
      {"whole_module.pth", "refused: pickle wants to call torch.nn.modules.linear.Linear (byte"}};
  for (const auto& [name, message] : wanted) EXPECT_ERROR_CONTAINS(open_weights(golden(name)), message);
}

TEST(TorchCheckpoint, RefusesProgramsAndExpandedTensorsWithAdvice) {
  EXPECT_ERROR_CONTAINS(open_torch_checkpoint(golden("script.pt")), "a TorchScript program");
  EXPECT_ERROR_CONTAINS(open_torch_checkpoint(golden("expanded.pth")),
                        "an expanded tensor; save a clone of it");
}

TEST(TorchCheckpoint, StreamThatGoesOnIsRefused) {
  std::vector<uint8_t> bytes = test::golden_bytes("state_stream.pth");
  bytes.push_back(0);
  EXPECT_ERROR_CONTAINS(open_torch_checkpoint(buffer_source(bytes, "long.pth")),
                        "1 bytes after the last storage");
}

}  // namespace
}  // namespace panda::weights
