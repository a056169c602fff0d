#include "data/loader.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>

#include "data/image_write.h"
#include "kernels/tensor/error.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/data/support.h"

namespace panda::data {
namespace {

/// Made images in memory; some of them cannot be loaded.
class MadeSet final : public ImageSet {
 public:
  explicit MadeSet(int64_t count, std::vector<int64_t> bad = {})
      : ImageSet(samples(count)), bad_(std::move(bad)) {}
  [[nodiscard]] Image load(int64_t index) const override {
    ++loads;
    for (const int64_t bad : bad_) {
      if (bad == index) throw FormatError(sample(index).file, "is damaged");
    }
    return test::made_image(static_cast<uint64_t>(index), 0, 3, 10 + index % 7, 12);
  }
  mutable std::atomic<int64_t> loads{0};

 private:
  static std::vector<Sample> samples(int64_t count) {
    std::vector<Sample> all;
    for (int64_t i = 0; i < count; ++i) all.push_back({text("image", i), 0, "", -1, ""});
    return all;
  }
  std::vector<int64_t> bad_;
};

ImageTransform small_transform() {
  ImageTransform transform;
  transform.resize = 9;
  transform.crop = 8;
  return transform;
}

/// All batches' floats and indices, one after another.
struct Everything {
  std::vector<float> floats;
  std::vector<int64_t> indices;
  std::vector<int64_t> firsts;
};

Everything load_all(BatchLoader& loader) {
  Everything all;
  while (const std::optional<Batch> batch = loader.next()) {
    const auto* floats = batch->images.data<float>();
    EXPECT_EQ(batch->images.shape()[0], static_cast<int64_t>(batch->indices.size()));
    all.floats.insert(all.floats.end(), floats, floats + batch->images.numel());
    all.indices.insert(all.indices.end(), batch->indices.begin(), batch->indices.end());
    all.firsts.push_back(batch->first);
  }
  return all;
}

TEST(BatchLoader, GivesPicturesOneByOneWithoutACrop) {
  const MadeSet set(4, {1});
  ImageTransform transform = small_transform();
  transform.crop = 0;
  LoaderOptions options;
  options.batch_size = 1;
  options.skip_bad = true;
  for (const int threads : {0, 2}) {
    options.threads = threads;
    BatchLoader loader(set, transform, options);
    std::vector<int64_t> indices;
    while (const std::optional<Batch> batch = loader.next()) {
      if (batch->indices.empty()) continue;
      indices.push_back(batch->indices[0]);
      const Tensor expected = transform.apply(set.load(indices.back()));
      ASSERT_EQ(batch->images.shape(), expected.shape());
      EXPECT_TRUE(std::equal(expected.data<float>(), expected.data<float>() + expected.numel(),
                             batch->images.data<float>()));
    }
    EXPECT_EQ(indices, (std::vector<int64_t>{0, 2, 3}));
    ASSERT_EQ(loader.failures().size(), 1U);
  }
  options.batch_size = 2;
  EXPECT_THROW(BatchLoader(set, transform, options), InvalidArgument);
}

TEST(BatchLoader, GivesTheSameBatchesForAnyNumberOfThreads) {
  const MadeSet set(23);
  const ImageTransform transform = small_transform();
  std::vector<float> expected;
  for (int64_t i = 0; i < set.size(); ++i) {
    const Tensor tensor = transform.apply(set.load(i));
    expected.insert(expected.end(), tensor.data<float>(), tensor.data<float>() + tensor.numel());
  }
  for (const int threads : {0, 1, 2, 5}) {
    for (const int64_t batch_size : {1, 4, 23, 100}) {
      LoaderOptions options;
      options.threads = threads;
      options.batch_size = batch_size;
      BatchLoader loader(set, transform, options);
      const Everything all = load_all(loader);
      EXPECT_EQ(all.floats, expected) << threads << " threads, batches of " << batch_size;
      EXPECT_EQ(all.indices.size(), 23U);
      EXPECT_EQ(all.firsts.back(), 22 / batch_size * batch_size);
      EXPECT_FALSE(loader.next().has_value());
    }
  }
}

TEST(BatchLoader, FollowsTheOrderGiven) {
  const MadeSet set(9);
  LoaderOptions options;
  options.order = {8, 0, 3, 3};
  options.batch_size = 3;
  BatchLoader loader(set, small_transform(), options);
  EXPECT_EQ(loader.size(), 4);
  EXPECT_EQ(load_all(loader).indices, options.order);
  options.order = {9};
  EXPECT_THROW(BatchLoader(set, small_transform(), options), InvalidArgument);
}

TEST(BatchLoader, ThrowsTheFirstErrorInOrder) {
  const MadeSet set(40, {13, 14, 30});
  for (const int threads : {0, 1, 4}) {
    LoaderOptions options;
    options.threads = threads;
    options.batch_size = 4;
    BatchLoader loader(set, small_transform(), options);
    for (int batch = 0; batch < 3; ++batch) EXPECT_TRUE(loader.next().has_value());
    try {
      (void)loader.next();
      FAIL() << "no error";
    } catch (const FormatError& error) {
      EXPECT_STREQ(error.what(), "image13: is damaged");
    }
    EXPECT_FALSE(loader.next().has_value());
  }
}

TEST(BatchLoader, SkipsAndCollectsBadImages) {
  const MadeSet set(10, {0, 3, 4, 5, 9});
  const MadeSet good(10);
  for (const int threads : {0, 3}) {
    LoaderOptions options;
    options.threads = threads;
    options.batch_size = 3;
    options.skip_bad = true;
    BatchLoader loader(set, small_transform(), options);
    const Everything all = load_all(loader);
    EXPECT_EQ(all.indices, (std::vector<int64_t>{1, 2, 6, 7, 8}));
    EXPECT_EQ(all.firsts, (std::vector<int64_t>{0, 3, 6, 9}));
    ASSERT_EQ(loader.failures().size(), 5U);
    EXPECT_EQ(loader.failures()[1].index, 3);
    EXPECT_EQ(loader.failures()[1].message, "image3: is damaged");
    LoaderOptions same;
    same.order = all.indices;
    BatchLoader reference(good, small_transform(), same);
    EXPECT_EQ(all.floats, load_all(reference).floats);
  }
}

TEST(BatchLoader, NamesTheFileWhenTheTransformRefuses) {
  const MadeSet set(1);
  ImageTransform transform = small_transform();
  transform.resize_mode = ImageTransform::ResizeMode::kNone;
  transform.crop = 11;
  BatchLoader loader(set, transform, {});
  try {
    (void)loader.next();
    FAIL() << "no error";
  } catch (const InvalidArgument& error) {
    EXPECT_EQ(std::string(error.what()).rfind("image0: center crop: 11 x 11", 0), 0U) << error.what();
  }
}

TEST(BatchLoader, LoadsNoFurtherAheadThanAsked) {
  const MadeSet set(1000);
  LoaderOptions options;
  options.threads = 3;
  options.batch_size = 4;
  options.prefetch = 2;
  {
    BatchLoader loader(set, small_transform(), options);
    (void)loader.next();
    (void)loader.next();
  }
  // Two batches given and at most two more opened.
  EXPECT_GE(set.loads, 8);
  EXPECT_LE(set.loads, 16);
}

TEST(BatchLoader, StopsWhenDestroyedEarly) {
  const MadeSet set(1000);
  for (int round = 0; round < 50; ++round) {
    LoaderOptions options;
    options.threads = 4;
    BatchLoader loader(set, small_transform(), options);
    if (round % 2 == 1) (void)loader.next();
  }
}

TEST(BatchLoader, AnEmptySetHasNoBatches) {
  const MadeSet set(0);
  BatchLoader loader(set, small_transform(), {});
  EXPECT_FALSE(loader.next().has_value());
}

TEST(BatchLoader, RunningOutOfMemoryIsAnErrorAndNotABadImage) {
  const MadeSet set(8);
  LoaderOptions options;
  options.skip_bad = true;
  const int64_t in_use = host().memory_report().bytes_in_use;
  host().set_memory_limit(in_use + 100);
  for (const int threads : {0, 2}) {
    options.threads = threads;
    BatchLoader loader(set, small_transform(), options);
    EXPECT_THROW((void)loader.next(), OutOfMemory);
    EXPECT_FALSE(loader.next().has_value());
  }
  host().set_memory_limit(INT64_MAX);
}

}  // namespace
}  // namespace panda::data
