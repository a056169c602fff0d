#include "data/synthetic.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>

#include "data/image_decode.h"
#include "kernels/tensor/error.h"
#include "kernels/tensor/file.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/data/support.h"

namespace panda::data {
namespace {

namespace fs = std::filesystem;

SyntheticOptions small(SyntheticKind kind, uint64_t seed) {
  return {.kind = kind, .count = 20, .size = 64, .seed = seed};
}

std::vector<SyntheticOptions> every_design() {
  std::vector<SyntheticOptions> all;
  for (const uint64_t seed : {0, 1, 2}) {
    all.push_back(small(SyntheticKind::kTexture, seed));
    all.push_back(small(SyntheticKind::kObjects, seed));
  }
  return all;
}

// Relative paths and contents of all files below a directory.
std::vector<std::pair<std::string, std::vector<uint8_t>>> files_below(const std::string& directory) {
  std::vector<std::pair<std::string, std::vector<uint8_t>>> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    files.emplace_back(fs::relative(entry.path(), directory).string(), read_file(entry.path().string()));
  }
  std::sort(files.begin(), files.end());
  return files;
}

TEST(Synthetic, MaskIsExactlyWhereTheTwinsDiffer) {
  for (const SyntheticOptions& options : every_design()) {
    for (const SyntheticItem& item : list_synthetic(options)) {
      SCOPED_TRACE(synthetic_design(options) + " " + item.path);
      const SyntheticPicture picture = draw_synthetic(options, item);
      int64_t marked = 0;
      for (size_t pixel = 0; pixel < picture.mask.pixels.size(); ++pixel) {
        const bool differs =
            !std::equal(picture.image.pixels.begin() + static_cast<std::ptrdiff_t>(pixel * 3),
                        picture.image.pixels.begin() + static_cast<std::ptrdiff_t>(pixel * 3 + 3),
                        picture.normal.pixels.begin() + static_cast<std::ptrdiff_t>(pixel * 3));
        ASSERT_EQ(picture.mask.pixels[pixel], differs ? 255 : 0) << "pixel " << pixel;
        marked += differs ? 1 : 0;
      }
      if (item.defect_kind == "good") {
        EXPECT_EQ(marked, 0);
      } else {
        EXPECT_GE(marked, 3);
        EXPECT_LE(marked, options.size * options.size / 4);
      }
    }
  }
}

TEST(Synthetic, NormalPicturesVaryButShowTheSameThing) {
  for (const SyntheticOptions& options : every_design()) {
    std::set<std::vector<uint8_t>> different;
    std::vector<double> means;
    for (const SyntheticItem& item : list_synthetic(options)) {
      const Image image = draw_synthetic(options, item).normal;
      different.insert(image.pixels);
      double sum = 0;
      for (const uint8_t sample : image.pixels) sum += sample;
      means.push_back(sum / static_cast<double>(image.pixels.size()));
    }
    EXPECT_EQ(different.size(), 20u);
    const auto [low, high] = std::minmax_element(means.begin(), means.end());
    EXPECT_GT(*low, 40) << synthetic_design(options);
    EXPECT_LT(*high, 230) << synthetic_design(options);
    EXPECT_LT(*high / *low, 1.6) << synthetic_design(options);
  }
}

// The samples are the same on every machine and in every build: made once, and compared since.
TEST(Synthetic, SamplesAreTheRecordedOnes) {
  const std::vector<uint32_t> recorded = {3786555024, 3372801587, 1168986048,
                                          3782523503, 1797204620, 1718296631};
  std::vector<uint32_t> crcs;
  for (const SyntheticOptions& options : every_design()) {
    const std::vector<SyntheticItem> items = list_synthetic(options);
    std::vector<uint8_t> samples;
    for (const size_t index : {size_t{0}, items.size() - 2, items.size() - 1}) {
      const Image image = draw_synthetic(options, items[index]).image;
      samples.insert(samples.end(), image.pixels.begin(), image.pixels.end());
    }
    crcs.push_back(test::hash_of(samples.data(), samples.size()).first);
  }
  EXPECT_EQ(crcs, recorded);
}

TEST(Synthetic, ListHasTheLayoutAndTheCount) {
  for (const int64_t count : {kSmallestSyntheticCount, int64_t{60}, int64_t{1237}}) {
    SyntheticOptions options;
    options.count = count;
    const std::vector<SyntheticItem> items = list_synthetic(options);
    ASSERT_EQ(static_cast<int64_t>(items.size()), count);
    std::set<std::string> paths;
    int64_t defective = 0;
    for (const SyntheticItem& item : items) {
      paths.insert(item.path);
      defective += item.mask_path.empty() ? 0 : 1;
      EXPECT_EQ(item.mask_path.empty(), item.defect_kind == "good");
    }
    EXPECT_EQ(static_cast<int64_t>(paths.size()), count);
    EXPECT_GE(defective, 2);
  }
}

TEST(Synthetic, RefusesOptionsOutOfRange) {
  SyntheticOptions options;
  options.count = 7;
  EXPECT_THROW((void)list_synthetic(options), InvalidArgument);
  options.count = 8;
  options.size = 31;
  EXPECT_THROW((void)list_synthetic(options), InvalidArgument);
}

TEST(WriteSynthetic, GivesTheSameFilesForAnyNumberOfThreads) {
  panda::test::TemporaryDirectory directory;
  const SyntheticOptions options = small(SyntheticKind::kObjects, 2);
  ThreadPool one(1);
  ThreadPool four(4);
  write_synthetic(directory.path("a"), options, false, one, nullptr);
  write_synthetic(directory.path("b"), options, false, four, nullptr);
  const auto files = files_below(directory.path("a"));
  EXPECT_EQ(files, files_below(directory.path("b")));
  std::set<std::string> names;
  for (const auto& [name, bytes] : files) names.insert(name);
  for (const SyntheticItem& item : list_synthetic(options)) {
    EXPECT_EQ(names.count(item.path), 1u) << item.path;
    if (item.mask_path.empty()) continue;
    EXPECT_EQ(names.count(item.mask_path), 1u) << item.mask_path;
    const Image mask = decode_image(read_file(directory.path("a/" + item.mask_path)), item.mask_path);
    EXPECT_EQ(mask.pixels, draw_synthetic(options, item).mask.pixels);
  }
  EXPECT_EQ(list_directory(directory.path()), (std::vector<std::string>{"a", "b"})) << "nothing else is left";
}

TEST(WriteSynthetic, ReplacesOnlyAnEarlierSyntheticDataSet) {
  panda::test::TemporaryDirectory directory;
  ThreadPool pool(2);
  const SyntheticOptions first = small(SyntheticKind::kTexture, 1);
  const SyntheticOptions second = small(SyntheticKind::kTexture, 4);
  fs::create_directory(directory.path("set"));
  write_synthetic(directory.path("set"), first, false, pool, nullptr);
  const auto before = files_below(directory.path("set"));
  EXPECT_THROW(write_synthetic(directory.path("set"), second, false, pool, nullptr), InvalidArgument);
  EXPECT_EQ(files_below(directory.path("set")), before);
  write_synthetic(directory.path("set"), second, true, pool, nullptr);
  EXPECT_NE(files_below(directory.path("set")), before);
  directory.write("set/notes.txt", "mine");
  EXPECT_THROW(write_synthetic(directory.path("set"), first, true, pool, nullptr), InvalidArgument);
  EXPECT_TRUE(path_exists(directory.path("set/notes.txt")));
  directory.write("file", "x");
  EXPECT_THROW(write_synthetic(directory.path("file"), first, true, pool, nullptr), InvalidArgument);
  EXPECT_EQ(list_directory(directory.path()), (std::vector<std::string>{"file", "set"}));
}

// Asks to stop after some pictures.
class StoppingProgress : public Progress {
 public:
  void update(const char* /*stage*/, int64_t done, int64_t /*total*/) override {
    if (done == 3) request_interrupt();
  }
};

TEST(WriteSynthetic, LeavesNothingWhenInterrupted) {
  panda::test::TemporaryDirectory directory;
  ThreadPool pool(2);
  StoppingProgress progress;
  EXPECT_THROW(write_synthetic(directory.path("deep/er/set"), small(SyntheticKind::kTexture, 0), false, pool,
                               &progress),
               Interrupted);
  clear_interrupt();
  EXPECT_TRUE(list_directory(directory.path()).empty());
}

}  // namespace
}  // namespace panda::data
