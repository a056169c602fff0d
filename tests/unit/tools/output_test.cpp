#include "tools/output.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <limits>

#include "kernels/tensor/error.h"
#include "kernels/tensor/file.h"
#include "tests/support/temporary_directory.h"

namespace panda::tools {
namespace {

Records sample_records() {
  Records records({{"file", "file"}, {"score", "score", 3}, {"anomalous", "anomalous"}});
  records.add({"a, \"b\".png", 0.1, false});
  records.add({"long name\x1b.png", 12.5, true});
  records.add({"c", nullptr, nullptr});
  return records;
}

TEST(Records, AlignsColumnsForPeople) {
  EXPECT_EQ(sample_records().table(),
            "file                score  anomalous\n"
            "a, \"b\".png          0.100  no\n"
            "long name\\x1b.png  12.500  yes\n"
            "c                       -  -\n");
}

TEST(Records, QuotesCsv) {
  EXPECT_EQ(sample_records().csv(),
            "file,score,anomalous\n"
            "\"a, \"\"b\"\".png\",0.1,false\n"
            "long name\\x1b.png,12.5,true\n"
            "c,,\n");
}

TEST(Records, KeepKeysInOrderInJson) {
  EXPECT_EQ(sample_records().json()[0].dump(), R"({"file":"a, \"b\".png","score":0.1,"anomalous":false})");
  EXPECT_EQ(Records(std::vector<Field>{{"a", "a"}}).json().dump(), "[]");
}

TEST(Records, RefuseAWrongNumberOfValues) {
  EXPECT_THROW(Records(std::vector<Field>{{"a", "a"}}).add({1, 2}), InternalError);
}

TEST(JsonText, ReadsBackAsTheSameDoubles) {
  for (const double value : {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, -0.0, 12345678.9}) {
    const Json parsed = Json::parse(json_text(Json{{"x", value}}));
    EXPECT_EQ(parsed["x"].get<double>(), value);
    EXPECT_EQ(std::signbit(parsed["x"].get<double>()), std::signbit(value));
  }
  EXPECT_TRUE(Json::parse(json_text(Json{{"x", std::nan("")}}))["x"].is_null());
  EXPECT_EQ(json_text(Json("\xff")), "\"\xEF\xBF\xBD\"\n");
}

TEST(PrintObject, FlattensForCsv) {
  test::TemporaryDirectory directory;
  const std::string path = directory.path("out");
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  OutputStream out(descriptor, path);
  print_object(out, OutputFormat::kCsv,
               Json{{"auroc", 0.5}, {"seconds", {{"fit", 1.5}}}, {"per_image", {1, 2}}}, "");
  out.flush();
  ::close(descriptor);
  const std::vector<uint8_t> bytes = read_file(path);
  EXPECT_EQ(std::string(bytes.begin(), bytes.end()), "auroc,seconds.fit\n0.5,1.5\n");
}

TEST(CsvField, IsOneLineAndQuotedWhereNeeded) {
  EXPECT_EQ(csv_field("plain"), "plain");
  EXPECT_EQ(csv_field(""), "");
  EXPECT_EQ(csv_field("a\nb"), "a\\x0ab");
  EXPECT_EQ(csv_field(" padded"), "\" padded\"");
  EXPECT_EQ(csv_field("\""), "\"\"\"\"");
}

TEST(Numbers, AreShortestOrFixed) {
  EXPECT_EQ(shortest_number(0.1), "0.1");
  EXPECT_EQ(shortest_number(std::numeric_limits<double>::infinity()), "");
  EXPECT_EQ(fixed_number(0.98765, 2), "0.99");
  EXPECT_EQ(fixed_number(std::nan(""), 2), "-");
  EXPECT_EQ(fixed_number(-1e308, 1).size(), 312u);
  EXPECT_EQ(duration_text(0.4), "0.40 s");
  EXPECT_EQ(duration_text(65), "1:05");
  EXPECT_EQ(duration_text(7387), "2:03:07");
}

TEST(OutputStream, ThrowsWhereTheDiskIsFull) {
  const int descriptor = ::open("/dev/full", O_WRONLY);
  ASSERT_GE(descriptor, 0);
  OutputStream out(descriptor, "standard output");
  out.write("x");
  try {
    out.flush();
    FAIL() << "no error";
  } catch (const IoError& error) {
    EXPECT_EQ(error.error_number(), ENOSPC);
    EXPECT_STREQ(error.what(), "standard output: cannot write: No space left on device");
  }
  ::close(descriptor);
}

TEST(OutputStream, DropsTheRestWhenTheReaderIsGone) {
  auto* const previous = ::signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ::close(ends[0]);
  OutputStream out(ends[1], "standard output");
  EXPECT_NO_THROW(out.write(std::string(1 << 20, 'x')));
  EXPECT_NO_THROW(out.flush());
  ::close(ends[1]);
  ::signal(SIGPIPE, previous);
}

}  // namespace
}  // namespace panda::tools
