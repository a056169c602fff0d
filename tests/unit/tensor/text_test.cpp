#include "kernels/tensor/text.h"

#include <gtest/gtest.h>

namespace panda {
namespace {

TEST(Printable, KeepsTextOfAnyLanguage) {
  const std::string plain = "caf\xC3\xA9 \xE6\xBC\xA2 \xF0\x9F\x90\xBC a\\b \xE2\x80\x93 \xC2\xA0";
  EXPECT_EQ(printable(plain), plain);
}

TEST(Printable, EscapesWhatSteersATerminal) {
  EXPECT_EQ(printable("a\x1b[2J\n\x7f"), "a\\x1b[2J\\x0a\\x7f");
  EXPECT_EQ(printable("\xC2\x9B"
                      "2J"),
            "\\xc2\\x9b2J");  // the one-character CSI
  EXPECT_EQ(printable("\xE2\x80\xAE"
                      "gpj"),
            "\\xe2\\x80\\xaegpj");                          // right-to-left override
  EXPECT_EQ(printable("\xE2\x81\xA6"), "\\xe2\\x81\\xa6");  // isolate
  EXPECT_EQ(printable("\xE2\x80\xA8"), "\\xe2\\x80\\xa8");  // line separator
  EXPECT_EQ(printable(std::string("\0", 1)), "\\x00");
}

TEST(Printable, EscapesBytesThatAreNoUtf8) {
  EXPECT_EQ(printable("\xff"), "\\xff");
  EXPECT_EQ(printable("\x9b"
                      "2J"),
            "\\x9b2J");
  EXPECT_EQ(printable("\xC3"), "\\xc3");
  EXPECT_EQ(printable("\xC0\xAF"), "\\xc0\\xaf");           // overlong
  EXPECT_EQ(printable("\xED\xA0\x80"), "\\xed\\xa0\\x80");  // surrogate
  EXPECT_EQ(printable("\xF5\x80\x80\x80"), "\\xf5\\x80\\x80\\x80");
  EXPECT_EQ(printable("\xE6\xBC"), "\\xe6\\xbc");
}

TEST(Printable, IsIdempotent) {
  const std::string once = printable("a\x1b\xff\xC3\xA9");
  EXPECT_EQ(printable(once), once);
}

}  // namespace
}  // namespace panda
