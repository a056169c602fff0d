#include "anomaly/record_sorter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <limits>
#include <type_traits>

#include "kernels/device_registry.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/random.h"
#include "tests/support/temporary_directory.h"

namespace panda::anomaly {
namespace {

template <typename Record>
std::vector<Record> draw(int64_t n, int64_t different) {
  Random random(static_cast<uint64_t>(n));
  std::vector<Record> records;
  const Record scale = std::is_same_v<Record, int64_t> ? Record{1} << (sizeof(Record) * 4) : Record{1};
  for (int64_t i = 0; i < n; ++i)
    records.push_back(static_cast<Record>(random.next_below(different) - different / 2) * scale);
  return records;
}

template <typename Record>
std::vector<Record> falling(std::vector<Record> records) {
  std::sort(records.begin(), records.end(), std::greater<>());
  return records;
}

template <typename Record>
class Sorting {
 public:
  explicit Sorting(const std::vector<Record>& records, const std::string& device = "cpu")
      : device_(kernels::make_device({device, 1, ""})), sorter(*device_, 1, folder_.path()) {
    for (const Record record : records) sorter.add(record);
    sorter.finish();
    EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  }

 private:
  test::TemporaryDirectory folder_;
  std::unique_ptr<Device> device_;

 public:
  RecordSorter<Record> sorter;
};

template <typename Record>
void expect_read(const std::vector<Record>& records, const std::string& device) {
  Sorting<Record> of(records, device);
  std::vector<Record> read;
  for (Record record = 0; of.sorter.next(record);) {
    read.push_back(record);
  }
  EXPECT_EQ(read, falling(records));
  EXPECT_EQ(of.sorter.head(), nullptr);
  EXPECT_EQ(of.sorter.pass(std::numeric_limits<Record>::min()).count, 0);
}

TEST(RecordSorter, ReadsInFallingOrderWhereverRunsEnd) {
  for (const std::string device : {"cpu", "simt"}) {
    // 64 KiB: runs of 8192 or 4096.
    for (const int64_t n : {0, 1, 4095, 4096, 4097, 8192, 8193, 16384, 20000}) {
      SCOPED_TRACE(text(n, " on ", device));
      expect_read(draw<int32_t>(n, 3000), device);
      expect_read(draw<int64_t>(n, 3000), device);
    }
  }
}

TEST(RecordSorter, WritesToDiskOnlyWhatMemoryCannotHold) {
  const auto runs = [](int64_t n) { return Sorting<int32_t>(draw<int32_t>(n, 100)).sorter.runs_on_disk(); };
  EXPECT_EQ(runs(0), 0);
  EXPECT_EQ(runs(8192), 0);
  EXPECT_EQ(runs(8193), 2);
  EXPECT_EQ(runs(16384), 2);
  EXPECT_EQ(runs(16385), 3);
}

TEST(RecordSorter, CountsWhatItPassesOver) {
  for (const int64_t n : {1, 5000, 50000}) {
    for (const int64_t different : {1, 7, 100000}) {
      SCOPED_TRACE(text(n, " of ", different));
      const std::vector<int32_t> records = draw<int32_t>(n, different);
      const std::vector<int32_t> expected = falling(records);
      Sorting<int32_t> of(records);
      Random random(3);
      size_t at = 0;
      // Reads and passes in turn, to the end.
      while (at < expected.size()) {
        ASSERT_NE(of.sorter.head(), nullptr);
        ASSERT_EQ(*of.sorter.head(), expected[at]);
        if (random.next_below(3) == 0) {
          int32_t record = 0;
          ASSERT_TRUE(of.sorter.next(record));
          ASSERT_EQ(record, expected[at++]);
          continue;
        }
        const size_t reach = at + static_cast<size_t>(random.next_below(n / 10 + 2));
        const int32_t least =
            expected[std::min(reach, expected.size() - 1)] + static_cast<int32_t>(random.next_below(2));
        size_t end = at;
        while (end < expected.size() && expected[end] >= least) ++end;
        const auto passed = of.sorter.pass(least);
        ASSERT_EQ(passed.count, static_cast<int64_t>(end - at));
        if (end > at) {
          ASSERT_EQ(passed.last, expected[end - 1]);
        }
        at = end;
      }
      EXPECT_EQ(of.sorter.head(), nullptr);
    }
  }
}

TEST(RecordSorter, NamesADirectoryWithoutRoom) {
  const auto cpu = kernels::make_device({"cpu", 1, ""});
  RecordSorter<int64_t> sorter(*cpu, 1, "/nowhere/at/all");
  for (int64_t i = 0; i < 4096; ++i) sorter.add(i);
  try {
    sorter.add(0);
    FAIL() << "no error";
  } catch (const IoError& error) {
    EXPECT_NE(std::string(error.what()).find("/nowhere/at/all: cannot create a working file here"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace panda::anomaly
