#include "tools/progress_line.h"

#include <gtest/gtest.h>

namespace panda::tools {
namespace {

struct Recorder {
  std::string written;
  double now = 100;
  ProgressLine line(ProgressStyle style) {
    return ProgressLine(
        style, [this](const std::string& bytes) { written += bytes; }, [this] { return now; });
  }
};

TEST(ProgressLine, WritesKeyValueLines) {
  Recorder recorder;
  ProgressLine line = recorder.line(ProgressStyle::kKeyValue);
  line.update("reading images", 0, 4);
  recorder.now += 2;
  line.update("reading images", 1, 4);
  recorder.now += 2;
  line.update("reading images", 4, 4);
  line.finish();
  line.finish();
  EXPECT_EQ(recorder.written,
            "stage=reading_images done=0 total=4 eta_seconds=nan\n"
            "stage=reading_images done=1 total=4 eta_seconds=6.0\n"
            "stage=reading_images done=4 total=4 eta_seconds=0.0\n"
            "progress=end\n");
}

TEST(ProgressLine, WritesAtMostTenTimesASecondAndAlwaysTheLast) {
  Recorder recorder;
  ProgressLine line = recorder.line(ProgressStyle::kKeyValue);
  for (int done = 0; done <= 1000; ++done) {
    line.update("fit", done, 1000);
    recorder.now += 0.001;
  }
  const auto lines = std::count(recorder.written.begin(), recorder.written.end(), '\n');
  EXPECT_GE(lines, 10);
  EXPECT_LE(lines, 12);
  EXPECT_NE(recorder.written.find("done=1000 total=1000"), std::string::npos);
}

TEST(ProgressLine, DrawsRateAndRemainingTimeAndErasesItself) {
  Recorder recorder;
  ProgressLine line = recorder.line(ProgressStyle::kLine);
  line.update("fit", 0, 100);
  recorder.now += 4;
  recorder.written.clear();
  line.update("fit", 40, 100);
  EXPECT_EQ(recorder.written, "\r\x1b[Kfit  40/100  40%  10.0/s  ETA 0:06");
  recorder.written.clear();
  line.finish();
  EXPECT_EQ(recorder.written, "\r\x1b[K");
}

TEST(ProgressLine, StartsTheClockAnewForEachStage) {
  Recorder recorder;
  ProgressLine line = recorder.line(ProgressStyle::kKeyValue);
  line.update("a", 0, 2);
  recorder.now += 10;
  line.update("b", 0, 2);
  recorder.now += 1;
  recorder.written.clear();
  line.update("b", 1, 2);
  EXPECT_EQ(recorder.written, "stage=b done=1 total=2 eta_seconds=1.0\n");
}

TEST(ProgressLine, IsSilentWhenAskedTo) {
  Recorder recorder;
  ProgressLine line = recorder.line(ProgressStyle::kNone);
  line.update("a", 1, 2);
  line.finish();
  EXPECT_EQ(recorder.written, "");
}

}  // namespace
}  // namespace panda::tools
