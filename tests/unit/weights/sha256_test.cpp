#include "weights/sha256.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace panda::weights {
namespace {

std::string hash_of(const std::string& bytes) {
  Sha256 hash;
  hash.update(bytes.data(), static_cast<int64_t>(bytes.size()));
  return hash.hex_digest();
}

TEST(Sha256, GivesTheExamplesOfTheStandard) {
  EXPECT_EQ(hash_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hash_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hash_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(hash_of(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnHowTheBytesArrive) {
  const std::string bytes(321, 'x');
  const std::string whole = hash_of(bytes);
  for (size_t piece = 1; piece <= 130; ++piece) {
    Sha256 hash;
    for (size_t begin = 0; begin < bytes.size(); begin += piece) {
      hash.update(bytes.data() + begin, static_cast<int64_t>(std::min(piece, bytes.size() - begin)));
    }
    ASSERT_EQ(hash.hex_digest(), whole) << piece;
  }
}

}  // namespace
}  // namespace panda::weights
