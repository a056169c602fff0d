// panda kmeans as a user runs it.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
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
  std::string data = directory.path("x.npy");
  std::string centroids = directory.path("c.npy");
  std::string labels = directory.path("a.npy");

  [[nodiscard]] std::vector<std::string> command(const std::vector<std::string>& more) const {
    std::vector<std::string> all = {"kmeans", "--data", data, "--centroids", centroids, "--labels", labels};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(CliKmeans, WritesCentroidsAndLabelsAndSaysWhatItDid) {
  const Files files;
  // Two groups around 0 and 100.
  const Tensor points = random_vectors(200, 3, 1);
  for (int64_t i = 0; i < 90 * 3; ++i) points.data<float>()[i] += 100;
  weights::write_npy(files.data, points);
  const Outcome result = run_panda_command(files.command({"-k", "2", "-o", "json"}));
  ASSERT_EQ(result.exit_code, 0) << result.standard_error;
  const auto json = nlohmann::json::parse(result.standard_output);
  EXPECT_EQ(json["n"], 200);
  EXPECT_EQ(json["d"], 3);
  EXPECT_EQ(json["k"], 2);
  EXPECT_EQ(json["device"], "cpu");
  EXPECT_EQ(json["converged"], true);
  EXPECT_GE(json["iterations"].get<int>(), 1);
  EXPECT_GE(json["seconds"].get<double>(), 0);
  // 600 squares of normal numbers.
  EXPECT_NEAR(json["inertia"].get<double>(), 600, 150);
  const Tensor centroids = weights::read_npy(files.centroids);
  const Tensor labels = weights::read_npy(files.labels);
  ASSERT_EQ(centroids.shape(), (Shape{2, 3}));
  ASSERT_EQ(labels.shape(), (Shape{200}));
  const int64_t far = labels.data<int64_t>()[0];
  EXPECT_NEAR(centroids.data<float>()[far * 3], 100, 1);
  for (int64_t i = 0; i < 200; ++i) EXPECT_EQ(labels.data<int64_t>()[i] == far, i < 90) << i;
  const Outcome table = run_panda_command(files.command({"-k", "2"}));
  EXPECT_EQ(table.exit_code, 0);
  EXPECT_NE(table.standard_output.find("converged"), std::string::npos) << table.standard_output;
}

TEST(CliKmeans, WritesTheSameBytesForAnyThreadsAndMemory) {
  const Files files;
  weights::write_npy(files.data, random_vectors(3000, 128, 2));  // 1.5 MB
  std::string centroids;
  std::string labels;
  for (const auto& [threads, memory] : {std::pair("1", "2048"), {"2", "2048"}, {"2", "1"}}) {
    const Outcome result = run_panda_command(files.command(
        {"-k", "20", "--iterations", "3", "--threads", threads, "--memory", memory, "--seed", "9"}));
    ASSERT_EQ(result.exit_code, 0) << result.standard_error;
    if (centroids.empty()) {
      centroids = bytes_of(files.centroids);
      labels = bytes_of(files.labels);
      EXPECT_GT(centroids.size(), 20U * 128 * 4);
    }
    EXPECT_TRUE(bytes_of(files.centroids) == centroids) << threads << " " << memory;
    EXPECT_TRUE(bytes_of(files.labels) == labels) << threads << " " << memory;
  }
}

TEST(CliKmeans, StartsFromAFileAndWeighs) {
  const Files files;
  const float points[] = {0, 3, 7, 100};
  const float start[] = {5, 90};
  const double weight[] = {2, 1, 0, 1};
  const std::string start_path = files.directory.path("s.npy");
  const std::string weight_path = files.directory.path("w.npy");
  weights::write_npy(files.data, Tensor::from<float>({4, 1}, points));
  weights::write_npy(start_path, Tensor::from<float>({2, 1}, start));
  weights::write_npy(weight_path, Tensor::from<double>({4}, weight));
  const Outcome result = run_panda_command(
      files.command({"-k", "2", "--start", start_path, "--weights-file", weight_path, "-o", "json"}));
  ASSERT_EQ(result.exit_code, 0) << result.standard_error;
  EXPECT_EQ(nlohmann::json::parse(result.standard_output)["inertia"], 6);
  const Tensor centroids = weights::read_npy(files.centroids);
  EXPECT_EQ(centroids.data<float>()[0], 1);
  EXPECT_EQ(centroids.data<float>()[1], 100);
}

TEST(CliKmeans, RefusesBadInputInOneLine) {
  const Files files;
  weights::write_npy(files.data, random_vectors(30, 4, 1));
  const std::string other = files.directory.path("o.npy");
  const auto refused = [&](const std::vector<std::string>& more, const std::string& message) {
    const Outcome result = run_panda_command(files.command(more));
    EXPECT_EQ(result.exit_code, 2) << result.standard_error;
    EXPECT_NE(result.standard_error.find(message), std::string::npos) << result.standard_error;
    EXPECT_EQ(std::count(result.standard_error.begin(), result.standard_error.end(), '\n'), 1);
    EXPECT_FALSE(std::filesystem::exists(files.centroids));
  };
  refused({"-k", "31"}, "x.npy: k=31 with 30 vectors, expected k <= 30");
  refused({"-k", "0"}, "-k: expected an integer >= 1");
  refused({"-k", "3", "--init", "guess"}, "--init");
  refused({"-k", "3", "--labels", files.centroids}, "--centroids and --labels are both");
  refused({"-k", "3", "--labels", "a.txt"}, "expected an output name that ends in .npy");
  weights::write_npy(other, random_vectors(3, 5, 1));
  refused({"-k", "3", "--start", other}, "o.npy: vectors of d=5, expected d=4");
  refused({"-k", "3", "--weights-file", other}, "o.npy: f32 3x5, expected f32 or f64 30");
  weights::write_npy(other, random_vectors(2, 4, 1));
  refused({"-k", "3", "--start", other}, "o.npy: 2 vectors, expected the 3 of -k");
  const Tensor negative = random_vectors(1, 30, 1).reshaped({30});
  negative.data<float>()[11] = -1;
  for (int64_t i = 0; i < 11; ++i) negative.data<float>()[i] = 1;
  weights::write_npy(other, negative);
  refused({"-k", "3", "--weights-file", other}, "weight 11 is -1, expected a finite number >= 0");
  const Tensor bad = random_vectors(30, 4, 1);
  bad.data<float>()[4 * 17 + 2] = NAN;
  weights::write_npy(files.data, bad);
  refused({"-k", "3"}, "x.npy: row 17 holds nan at component 2");
}

}  // namespace
}  // namespace panda::test
