// panda knn as a user runs it.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/tensor/random.h"
#include "tests/cli/run_command.h"
#include "tests/support/temporary_directory.h"
#include "weights/npy.h"

namespace panda::test {
namespace {

Tensor random_vectors(int64_t n, int64_t d, uint64_t seed) {
  Random random(seed);
  Tensor x(host(), DType::kF32, {n, d}, "vectors");
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = static_cast<float>(random.next_normal());
  return x;
}

struct Files {
  TemporaryDirectory directory;
  std::string gallery = directory.path("g.npy");
  std::string queries = directory.path("q.npy");
  std::string indices = directory.path("i.npy");
  std::string distances = directory.path("d.npy");

  [[nodiscard]] std::vector<std::string> command(const std::vector<std::string>& more) const {
    std::vector<std::string> all = {"knn",       "--gallery", gallery,       "--queries", queries,
                                    "--indices", indices,     "--distances", distances};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

TEST(CliKnn, WritesTheNearestInOrderAndSaysWhatItDid) {
  const Files files;
  const Tensor gallery = random_vectors(300, 9, 1);
  weights::write_npy(files.gallery, gallery);
  weights::write_npy(files.queries, gallery.view().rows(20, 25));
  for (const char* filter : {"auto", "none", "int8", "int16", "f32", "f16", "bf16"}) {
    const Outcome result = run_panda_command(files.command({"-k", "3", "--filter", filter, "-o", "json"}));
    ASSERT_EQ(result.exit_code, 0) << result.standard_error;
    const auto json = nlohmann::json::parse(result.standard_output);
    for (const char* key : {"nq", "nb", "d", "k", "metric", "device", "filter", "exact", "seconds",
                            "queries_per_second", "gflops", "rescanned_rows"}) {
      EXPECT_TRUE(json.contains(key)) << key;
    }
    EXPECT_EQ(json["nb"], 300);
    EXPECT_EQ(json["exact"], true);
    const Tensor indices = weights::read_npy(files.indices);
    const Tensor distances = weights::read_npy(files.distances);
    ASSERT_EQ(indices.shape(), (Shape{5, 3}));
    for (int64_t i = 0; i < 5; ++i) {
      EXPECT_EQ(indices.data<int64_t>()[i * 3], 20 + i);
      EXPECT_EQ(distances.data<double>()[i * 3], 0);
      EXPECT_GT(distances.data<double>()[i * 3 + 1], 0);
      EXPECT_GE(distances.data<double>()[i * 3 + 2], distances.data<double>()[i * 3 + 1]);
    }
  }
}

/// The same vectors as .fvecs.
void write_fvecs(const std::string& path, const Tensor& rows) {
  std::ofstream file(path, std::ios::binary);
  const auto d = static_cast<int32_t>(rows.shape()[1]);
  for (int64_t i = 0; i < rows.shape()[0]; ++i) {
    file.write(reinterpret_cast<const char*>(&d), sizeof d);
    file.write(reinterpret_cast<const char*>(rows.data<float>() + i * d), d * 4);
  }
}

TEST(CliKnn, HasTheSameBytesWhenTheGalleryIsReadInParts) {
  Files files;
  // 3.1 MB: four parts of 1 MB. Every 997th row is a copy of row 5, so that parts tie.
  const Tensor gallery = random_vectors(19500, 40, 1);
  for (int64_t row = 5; row < 19500; row += 997)
    std::copy_n(gallery.data<float>() + 5 * 40, 40, gallery.data<float>() + row * 40);
  weights::write_npy(files.gallery, gallery);
  weights::write_npy(files.queries, gallery.view().rows(0, 30));
  for (const char* metric : {"l2", "cosine", "ip"}) {
    ASSERT_EQ(run_panda_command(files.command({"-k", "12", "--metric", metric})).exit_code, 0);
    const std::string indices = content_of(files.indices);
    const std::string distances = content_of(files.distances);
    const auto same = [&](const char* what) {
      EXPECT_EQ(content_of(files.indices), indices) << what << ' ' << metric;
      EXPECT_EQ(content_of(files.distances), distances) << what << ' ' << metric;
    };
    ASSERT_EQ(run_panda_command(files.command({"-k", "12", "--metric", metric, "--memory", "1"})).exit_code,
              0);
    same("parts");
    Files other;
    other.gallery = other.directory.path("g.fvecs");
    other.queries = files.queries;
    other.indices = files.indices;
    other.distances = files.distances;
    write_fvecs(other.gallery, gallery);
    ASSERT_EQ(run_panda_command(other.command({"-k", "12", "--metric", metric, "--memory", "1", "--threads",
                                               "1", "--filter", "none"}))
                  .exit_code,
              0);
    same("parts of .fvecs");
  }
  EXPECT_EQ(weights::read_npy(files.indices).shape(), (Shape{30, 12}));
}

TEST(CliKnn, NamesTheRowOfAnotherPartThatIsNotFinite) {
  const Files files;
  const Tensor gallery = random_vectors(19500, 40, 1);
  gallery.data<float>()[40 * 19001 + 7] = INFINITY;
  weights::write_npy(files.gallery, gallery);
  weights::write_npy(files.queries, gallery.view().rows(0, 3));
  const Outcome result = run_panda_command(files.command({"-k", "2", "--memory", "1"}));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.standard_error.find("g.npy: row 19001 holds inf at component 7"), std::string::npos)
      << result.standard_error;
}

TEST(CliKnn, RefusesBadInputInOneLine) {
  const Files files;
  weights::write_npy(files.gallery, random_vectors(30, 4, 1));
  weights::write_npy(files.queries, random_vectors(3, 5, 2));
  const auto refused = [&](const std::vector<std::string>& more, const std::string& message) {
    const Outcome result = run_panda_command(files.command(more));
    EXPECT_EQ(result.exit_code, 2) << result.standard_error;
    EXPECT_NE(result.standard_error.find(message), std::string::npos) << result.standard_error;
    EXPECT_EQ(std::count(result.standard_error.begin(), result.standard_error.end(), '\n'), 1);
  };
  refused({"-k", "3"}, "vectors of d=5, expected d=4");
  weights::write_npy(files.queries, random_vectors(3, 4, 2));
  refused({"-k", "31"}, "k=31 with a gallery of 30 vectors, expected k <= 30");
  refused({"-k", "0"}, "-k: expected an integer >= 1");
  refused({"-k", "3", "--metric", "l1"}, "--metric");
  refused({"-k", "3", "--memory", "0"}, "--memory");
  const Tensor bad = random_vectors(30, 4, 1);
  bad.data<float>()[4 * 17 + 2] = NAN;
  weights::write_npy(files.gallery, bad);
  refused({"-k", "3"}, "g.npy: row 17 holds nan at component 2");
}

}  // namespace
}  // namespace panda::test
