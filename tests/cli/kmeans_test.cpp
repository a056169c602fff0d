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

/// 6000 vectors around 0 and then 6000 around 20: a sorted file.
Tensor two_groups() {
  const Tensor points = random_vectors(12000, 64, 3);
  for (int64_t i = 6000 * 64; i < points.numel(); ++i) points.data<float>()[i] += 20;
  return points;
}

TEST(CliKmeans, LearnsFromMinibatchesAndGivesLabelsWhereAskedFor) {
  const Files files;
  weights::write_npy(files.data, two_groups());
  const std::vector<std::string> options = {
      "kmeans", "--data",      files.data,      "-k", "2",   "--minibatch",
      "500",    "--centroids", files.centroids, "-o", "json"};
  const Outcome unlabelled = run_panda_command(options);
  ASSERT_EQ(unlabelled.exit_code, 0) << unlabelled.standard_error;
  const auto json = nlohmann::json::parse(unlabelled.standard_output);
  EXPECT_EQ(json["n"], 12000);
  EXPECT_EQ(json["minibatch"], 500);
  EXPECT_GE(json["iterations"].get<int>(), 12);
  EXPECT_LE(json["passes"].get<int>(), 10);
  EXPECT_EQ(json["stopped_by"], "inertia");
  EXPECT_TRUE(json["inertia"].is_null());
  EXPECT_NEAR(json["smoothed_inertia"].get<double>(), 64, 3);
  EXPECT_FALSE(std::filesystem::exists(files.labels));
  const std::string centroids = bytes_of(files.centroids);

  const Outcome labelled = run_panda_command(files.command({"-k", "2", "--minibatch", "500", "-o", "json"}));
  ASSERT_EQ(labelled.exit_code, 0) << labelled.standard_error;
  EXPECT_TRUE(bytes_of(files.centroids) == centroids);
  // What Lloyd's says of these centroids.
  const std::string learned = files.directory.path("learned.npy");
  const std::string labels = bytes_of(files.labels);
  std::filesystem::copy(files.centroids, learned);
  const Outcome lloyd =
      run_panda_command(files.command({"-k", "2", "--start", learned, "--iterations", "0", "-o", "json"}));
  EXPECT_TRUE(bytes_of(files.labels) == labels);
  EXPECT_EQ(nlohmann::json::parse(labelled.standard_output)["inertia"],
            nlohmann::json::parse(lloyd.standard_output)["inertia"]);
  const Tensor found = weights::read_npy(files.labels);
  for (int64_t i = 0; i < 12000; ++i)
    ASSERT_EQ(found.data<int64_t>()[i] == found.data<int64_t>()[0], i < 6000) << i;
  const Outcome table = run_panda_command(files.command({"-k", "2", "--minibatch", "500"}));
  EXPECT_NE(table.standard_output.find("stopped by inertia"), std::string::npos) << table.standard_output;
}

TEST(CliKmeans, MinibatchesOfSeveralFilesAndFormatsAreThoseOfOne) {
  const Files files;
  Random random(5);
  const Tensor bytes(host(), DType::kU8, {900, 16}, "bytes");
  for (int64_t i = 0; i < bytes.numel(); ++i)
    bytes.data<uint8_t>()[i] = static_cast<uint8_t>(random.next_below(256));
  weights::write_npy(files.data, bytes);
  const std::string first = files.directory.path("1.bvecs");
  const std::string second = files.directory.path("2.fvecs");
  std::ofstream bvecs(first, std::ios::binary);
  std::ofstream fvecs(second, std::ios::binary);
  const int32_t d = 16;
  for (int64_t i = 0; i < 900; ++i) {
    std::ofstream& file = i < 333 ? bvecs : fvecs;
    file.write(reinterpret_cast<const char*>(&d), 4);
    if (i < 333) file.write(reinterpret_cast<const char*>(bytes.data<uint8_t>() + i * d), d);
    for (int64_t j = 0; i >= 333 && j < d; ++j) {
      const float x = bytes.data<uint8_t>()[i * d + j];
      file.write(reinterpret_cast<const char*>(&x), 4);
    }
  }
  bvecs.close();
  fvecs.close();
  const Tensor weight(host(), DType::kF64, {900}, "weights");
  for (int64_t i = 0; i < 900; ++i) weight.data<double>()[i] = static_cast<double>(i % 3);
  const std::string weight_path = files.directory.path("w.npy");
  weights::write_npy(weight_path, weight);
  for (const std::vector<std::string>& how :
       {std::vector<std::string>{"--minibatch", "128"}, {"--iterations", "4"}}) {
    std::vector<std::string> options = how;
    options.insert(options.end(), {"-k", "7", "--weights-file", weight_path, "--seed", "3"});
    ASSERT_EQ(run_panda_command(files.command(options)).exit_code, 0);
    const std::string centroids = bytes_of(files.centroids);
    const std::string labels = bytes_of(files.labels);
    options.insert(options.end(), {"--threads", "1", "--memory", "1"});
    std::vector<std::string> several = {"kmeans",      "--data",        first,      "--data",    second,
                                        "--centroids", files.centroids, "--labels", files.labels};
    several.insert(several.end(), options.begin(), options.end());
    const Outcome result = run_panda_command(several);
    ASSERT_EQ(result.exit_code, 0) << result.standard_error;
    EXPECT_TRUE(bytes_of(files.centroids) == centroids) << how[0];
    EXPECT_TRUE(bytes_of(files.labels) == labels) << how[0];
  }
}

#ifndef __SANITIZE_ADDRESS__  // which keeps freed memory for a while
TEST(CliKmeans, MinibatchesTakeMemoryByTheirSizeNotByThePoints) {
  const Files files;
  const auto peak = [&](int64_t n) {
    weights::write_npy(files.data, random_vectors(n, 128, 4));
    const Outcome result = run_panda_command(files.command(
        {"-k", "4", "--minibatch", "2000", "--passes", "1", "--memory", "8", "--threads", "1"}));
    EXPECT_EQ(result.exit_code, 0) << result.standard_error;
    return result.peak_bytes;
  };
  const int64_t few = peak(20'000);    // 10 MB
  const int64_t many = peak(120'000);  // 61 MB
  EXPECT_LT(many, few + (int64_t{10} << 20));
}
#endif

TEST(CliKmeans, InterruptedMinibatchesLeaveNothing) {
  const Files files;
  weights::write_npy(files.data, two_groups());
  RunOptions run;
  run.while_running = [&](pid_t child) {  // the data, and two outputs that have begun
    EXPECT_TRUE(wait_until([&] { return list_directory(files.directory.path()).size() == 3; }));
    ::kill(child, SIGINT);
  };
  const Outcome result = run_panda_command(
      files.command({"-k", "50", "--minibatch", "100", "--passes", "100000", "--patience", "0"}), run);
  EXPECT_EQ(result.exit_code, 130) << result.standard_error;
  EXPECT_EQ(list_directory(files.directory.path()), std::vector<std::string>{"x.npy"});
}

TEST(CliKmeans, RefusesBadMinibatchesInOneLine) {
  const Files files;
  weights::write_npy(files.data, random_vectors(30, 4, 1));
  const auto refused = [&](const std::vector<std::string>& more, const std::string& message) {
    const Outcome result = run_panda_command(files.command(more));
    EXPECT_EQ(result.exit_code, 2) << result.standard_error;
    EXPECT_NE(result.standard_error.find(message), std::string::npos) << result.standard_error;
    EXPECT_EQ(result.error_lines(), 1);
    EXPECT_EQ(list_directory(files.directory.path()).size(),
              1U + (path_exists(files.directory.path("o.npy")) ? 1 : 0));
  };
  refused({"-k", "31", "--minibatch", "8"}, "x.npy: k=31 with 30 vectors, expected k <= 30");
  refused({"-k", "3", "--minibatch", "0"}, "--minibatch");
  refused({"-k", "3", "--minibatch", "8", "--iterations", "4"}, "--iterations is not for --minibatch");
  refused({"-k", "3", "--passes", "4"}, "--passes is for --minibatch");
  refused({"-k", "3", "--patience", "4"}, "--patience is for --minibatch");
  refused({"-k", "3", "--starved", "0.5"}, "--starved is for --minibatch");
  refused({"-k", "3", "--minibatch", "8", "--starved", "1"}, "--starved");
  const std::string other = files.directory.path("o.npy");
  weights::write_npy(other, random_vectors(30, 5, 1));
  refused({"-k", "3", "--data", other, "--minibatch", "8"}, "o.npy: vectors of d=5, expected d=4 as in");
  Tensor weight = random_vectors(1, 30, 1).reshaped({30});
  for (int64_t i = 0; i < 30; ++i) weight.data<float>()[i] = i == 11 ? -1.0F : 1.0F;
  weights::write_npy(other, weight);
  refused({"-k", "3", "--minibatch", "8", "--weights-file", other},
          "weight 11 is -1, expected a finite number >= 0");
  const Tensor bad = random_vectors(30, 4, 1);
  bad.data<float>()[4 * 17 + 2] = NAN;
  weights::write_npy(other, bad);
  refused({"-k", "3", "--data", other, "--minibatch", "8"}, "o.npy: row 17 holds nan at component 2");
  weights::write_npy(files.data, random_vectors(10'000, 256, 1));  // 10 MB
  refused(
      {"-k", "3", "--minibatch", "9000", "--memory", "8"},
      "--minibatch 9000 with k=3 and d=256: needs 19000 vectors in memory, 19 MB, expected at most the 8 of "
      "--memory");
  const Outcome unlabelled =
      run_panda_command({"kmeans", "--data", files.data, "-k", "2", "--centroids", files.centroids});
  EXPECT_EQ(unlabelled.exit_code, 2);
  EXPECT_NE(unlabelled.standard_error.find("--labels is required without --minibatch"), std::string::npos);
}

}  // namespace
}  // namespace panda::test
