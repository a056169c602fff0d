// Damaged files of every kind: each must be refused with one line, or load with the shapes it lists. Never a
// crash.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/weights/weights_test_tools.h"
#include "weights/npy.h"
#include "weights/safetensors.h"
#include "weights/weights_file.h"

namespace panda::weights {
namespace {

/// Opens and loads all; true if it was refused.
bool refused(const std::vector<uint8_t>& bytes, const std::string& name) {
  const ByteSourcePtr source = borrowed_source(bytes.data(), static_cast<int64_t>(bytes.size()), name);
  const std::string message = test::error_of([&] {
    if (extension_of(name) == "npy") {
      const TensorInfo info = npy_info(source);
      EXPECT_EQ(read_npy(source).shape(), info.shape);
    } else {
      test::load_everything(*open_weights(source));
    }
  });
  EXPECT_TRUE(message.empty() || message.rfind(name, 0) == 0) << message;
  return !message.empty();
}

const char* const kGoldens[] = {
    "state.safetensors", "state.pth", "state_stream.pth",     "state_tar.pth", "big_endian.pth",
    "no_checksum.pth",   "state.npz", "state_compressed.npz", "f4.npy",        "f4_big_fortran.npy",
    "f4_v2.npy",         "u2_big.npy"};

class Broken : public ::testing::TestWithParam<const char*> {};

TEST_P(Broken, CutAtEveryByteIsRefused) {
  const std::vector<uint8_t> whole = test::golden_bytes(GetParam());
  ASSERT_FALSE(refused(whole, GetParam()));
  // The tar's end is padding: its first zero block says that all is there.
  size_t needed = whole.size();
  if (std::string(GetParam()).find("tar") != std::string::npos) {
    while (needed > 0 && whole[needed - 1] == 0) --needed;
    needed = (needed + 511) / 512 * 512 + 512;
  }
  for (size_t length = 0; length < whole.size(); length += length < 3000 || length + 512 > needed ? 1 : 17) {
    const std::vector<uint8_t> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    if (length < needed) {
      ASSERT_TRUE(refused(cut, GetParam())) << "cut to " << length << " of " << whole.size();
    } else {
      (void)refused(cut, GetParam());
    }
  }
}

TEST_P(Broken, EverySingleBitFlipIsRefusedOrLoads) {
  std::vector<uint8_t> bytes = test::golden_bytes(GetParam());
  int64_t refusals = 0;
  for (size_t at = 0; at < bytes.size(); ++at) {
    if (at > 512 && bytes[at] == 0 && bytes[at - 1] == 0 && at + 1 < bytes.size() && bytes[at + 1] == 0 &&
        at % 64 != 0)
      continue;  // padding
    for (int bit = 0; bit < 8; ++bit) {
      bytes[at] ^= static_cast<uint8_t>(1 << bit);
      refusals += refused(bytes, GetParam()) ? 1 : 0;
      bytes[at] ^= static_cast<uint8_t>(1 << bit);
    }
  }
  EXPECT_GT(refusals, 0);
}

TEST_P(Broken, ExtremesInEveryFieldAreRefusedOrLoad) {
  const std::vector<uint8_t> whole = test::golden_bytes(GetParam());
  const uint64_t extremes[] = {
      0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, 0xffffffffffffffff};
  for (size_t at = 0; at < whole.size(); at += at < 256 || at + 256 > whole.size() ? 1 : 13) {
    for (const uint64_t extreme : extremes) {
      for (const size_t width : {size_t{2}, size_t{4}, size_t{8}}) {
        if (at + width > whole.size() || (width < 8 && extreme >> (8 * width) != 0)) continue;
        std::vector<uint8_t> bytes = whole;
        for (size_t i = 0; i < width; ++i) bytes[at + i] = static_cast<uint8_t>(extreme >> (8 * i));
        (void)refused(bytes, GetParam());
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, Broken, ::testing::ValuesIn(kGoldens), [](const auto& file) {
  std::string name = file.param;
  for (char& c : name) c = c == '.' ? '_' : c;
  return name;
});

TEST(BrokenSafetensors, EveryFlippedHeaderBitThatChangesTheMeaningIsSeen) {
  // What a flip may turn into another valid file: a letter of a name or of the metadata. Everything else must
  // be refused.
  std::vector<uint8_t> bytes = test::golden_bytes("state.safetensors");
  const SafetensorsFile original(buffer_source(bytes, "s"));
  const size_t header_end = 8 + load_le64(bytes.data());
  for (size_t at = 0; at < header_end; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<uint8_t> flipped = bytes;
      flipped[at] ^= static_cast<uint8_t>(1 << bit);
      if (refused(flipped, "state.safetensors")) continue;
      const SafetensorsFile other(buffer_source(flipped, "s"));
      ASSERT_EQ(other.list().size(), original.list().size());
      int changed = other.metadata() == original.metadata() ? 0 : 1;
      for (const TensorInfo& info : original.list()) {
        if (!other.contains(info.name)) {
          ++changed;
          continue;
        }
        ASSERT_EQ(other.load(info.name).bytes(), original.load(info.name).bytes());
        // A dtype may become another of the same width ("F16" to "I16"), an empty shape another empty one.
      }
      ASSERT_LE(changed, 1);
    }
  }
}

}  // namespace
}  // namespace panda::weights
