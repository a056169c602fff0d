// panda pretrain and panda fisher, as a user runs them: train, kill, resume, and what follows from the files.

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/cli/expect.h"

namespace panda::test {
namespace {

namespace fs = std::filesystem;

class TrainingCommands : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = new TemporaryDirectory;
    ASSERT_EQ(run_panda_command({"synth", "--out", shared_->path("set"), "--count", "24", "--size", "48"})
                  .exit_code,
              0);
    ASSERT_EQ(run_panda_command(pretrain(weights(), {"--epochs", "2", "--warm-up", "0.5"})).exit_code, 0);
  }
  static void TearDownTestSuite() { delete shared_; }

  /// Folders of kinds of defects: classes.
  static std::string labelled() { return shared_->path("set") + "/test"; }
  static std::string set() { return shared_->path("set"); }
  static std::string weights() { return shared_->path("w.safetensors"); }
  static Words with(Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  static Words pretrain(const std::string& out, const Words& more = {}) {
    return with({"pretrain", "--data", labelled(), "--out", out, "--width", "0.125", "--image-size", "32",
                 "--batch-size", "4"},
                more);
  }
  static Words fisher(const std::string& out, const Words& more = {}) {
    return with({"fisher", "--weights", weights(), "--data", labelled(), "--out", out, "--resize", "40",
                 "--crop", "32", "--batch-size", "4"},
                more);
  }
  /// Runs `words` and ends it with `signal` once `file` is there; whether it was still running.
  static bool ended_early(const Words& words, const std::string& file, int signal) {
    RunOptions options;
    options.while_running = [&](pid_t child) {
      for (int i = 0; i < 2000 && !path_exists(file); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      ::kill(child, signal);
    };
    const Outcome outcome = run_panda_command(words, options);
    return outcome.exit_code != 0;
  }
  static TemporaryDirectory* shared_;
};
TemporaryDirectory* TrainingCommands::shared_ = nullptr;

TEST_F(TrainingCommands, PretrainLearnsAndItsNetworkIsTakenByAFit) {
  const TemporaryDirectory folder;
  const std::string out = folder.path("w.safetensors");
  const Json trained = json_of(pretrain(out, {"--epochs", "12", "--log", folder.path("log.csv"), "--curves",
                                              folder.path("curves.svg"), "--lr", "0.05"}));
  EXPECT_EQ(trained.at("epochs"), 12);
  EXPECT_TRUE(trained.at("top1").is_null());
  const std::string log = content_of(folder.path("log.csv"));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 13);
  const auto loss_of = [&](size_t line_start) {
    const size_t second = log.find(',', log.find(',', line_start) + 1) + 1;
    return std::stod(log.substr(second));
  };
  EXPECT_LT(trained.at("loss").get<double>(), loss_of(log.find('\n') + 1));
  const Json fitted = json_of({"fit", "dn2", "--data", set(), "--weights", out, "--out", folder.path("m"),
                               "--resize", "40", "--crop", "32"});
  EXPECT_TRUE(fitted.is_object());
  EXPECT_EQ(list_directory(folder.path()), (Words{"curves.svg", "log.csv", "m", "w.safetensors"}));
  EXPECT_NE(content_of(folder.path("curves.svg")).find("Learning rate"), std::string::npos);
}

TEST_F(TrainingCommands, PretrainGivesTheSameBytesForAnyThreadsAndAfterAKill) {
  const TemporaryDirectory folder;
  const Words more = {"--epochs", "5", "--dtype", "f16"};
  const std::string a = folder.path("a.safetensors");
  const std::string b = folder.path("b.safetensors");
  json_of(with(pretrain(a, more), {"--threads", "1"}));
  const Words stopped = with(pretrain(b, more), {"--threads", "3"});
  if (ended_early(stopped, b + ".checkpoint", SIGKILL)) {
    EXPECT_FALSE(path_exists(b));
    json_of(with(stopped, {"--resume"}));
  }
  EXPECT_EQ(content_of(a), content_of(b));
  EXPECT_FALSE(path_exists(b + ".checkpoint"));
}

TEST_F(TrainingCommands, ACheckpointThatIsDamagedOrOfAnotherCommandIsRefused) {
  const TemporaryDirectory folder;
  const std::string out = folder.path("w.safetensors");
  const Words words = pretrain(out, {"--epochs", "100"});
  ASSERT_TRUE(ended_early(words, out + ".checkpoint", SIGKILL));
  const std::string whole = content_of(out + ".checkpoint");
  expect_refused(fisher(out, {"--resume"}), "is the checkpoint of another fit");
  expect_refused(with(words, {"--resume", "--lr", "0.2"}), "lr is 0.1 there and 0.2 here");
  std::string damaged = whole;
  damaged[damaged.size() - 5] ^= 1;
  folder.write("w.safetensors.checkpoint", damaged);
  expect_refused(with(words, {"--resume"}), "does not match its SHA-256");
}

TEST_F(TrainingCommands, PretrainEvaluatesOnTheFolderVal) {
  const TemporaryDirectory folder;
  fs::create_directory(folder.path("data"));
  for (const char* split : {"/train", "/val"})
    fs::copy(labelled(), folder.path("data") + split, fs::copy_options::recursive);
  Words words = pretrain(folder.path("w.safetensors"), {"--epochs", "2"});
  words[2] = folder.path("data");
  const double top1 = json_of(words).at("top1");
  EXPECT_TRUE(top1 >= 0 && top1 <= 1) << top1;
  const fs::path val = folder.path("data") + "/val";
  fs::remove_all(fs::directory_iterator(val)->path());
  words[4] = folder.path("other.safetensors");
  expect_refused(words, "class folders are not the");
}

TEST_F(TrainingCommands, PretrainRefusesWhatCannotBeTrained) {
  const TemporaryDirectory folder;
  const std::string out = folder.path("w.safetensors");
  expect_refused(pretrain(out, {"--batch-size", "1000"}), "batch size 1000 with ");
  expect_refused(pretrain(out, {"--epochs", "2", "--warm-up", "2"}), "2 epochs with 2 of warm-up");
  expect_refused(pretrain(folder.path("w.pth")), "ends in .safetensors");
  expect_refused(pretrain(weights()), "exists, expected a new file");
  Words words = pretrain(out);
  words[2] = folder.path("nowhere");
  expect_refused(words, "nowhere");
  folder.write("c.safetensors.checkpoint", "not a checkpoint");
  expect_refused(pretrain(folder.path("c.safetensors"), {"--resume"}), "c.safetensors.checkpoint: ");
  expect_refused(pretrain(out, {"--lr", "1000", "--epochs", "60", "--warm-up", "0"}), "training: step ");
  EXPECT_FALSE(path_exists(out));
}

TEST_F(TrainingCommands, FisherIsWhatPandaEwcTakes) {
  const TemporaryDirectory folder;
  const std::string out = folder.path("f.safetensors");
  const Json made = json_of(fisher(out, {"--batches", "3"}));
  EXPECT_EQ(made.at("samples"), 12);
  EXPECT_EQ(made.at("definition"), "per-sample");
  const Words ewc = {"fit",      "panda-ewc", "--data",       set(), "--out",         folder.path("m"),
                     "--resize", "40",        "--crop",       "32",  "--minibatches", "3",
                     "--fisher", out,         "--batch-size", "8",   "--weights"};
  EXPECT_EQ(json_of(with(ewc, {weights()})).at("minibatches"), 3);
  // The diagonal of other weights.
  const std::string other = folder.path("other.safetensors");
  json_of(pretrain(other, {"--epochs", "2", "--seed", "9"}));
  expect_refused(with(ewc, {other, "--force"}), "is the Fisher diagonal of other weights");
  // Of fewer layers.
  json_of(fisher(folder.path("g.safetensors"), {"--batches", "1", "--train-blocks", "4"}));
  Words fewer = with(ewc, {weights(), "--force"});
  fewer[13] = folder.path("g.safetensors");
  expect_refused(fewer, "the Fisher diagonal has no layer3.0.");
}

TEST_F(TrainingCommands, FisherGivesTheSameBytesAfterAnInterruption) {
  const TemporaryDirectory folder;
  const Words more = {"--batches", "150", "--labels", "sampled"};
  const std::string a = folder.path("a.safetensors");
  const std::string b = folder.path("b.safetensors");
  json_of(with(fisher(a, more), {"--threads", "1"}));
  const Words stopped = with(fisher(b, more), {"--threads", "2"});
  if (ended_early(stopped, b + ".checkpoint", SIGINT)) {
    EXPECT_FALSE(path_exists(b));
    expect_refused(fisher(b, {"--batches", "150", "--resume"}),
                   "is the checkpoint of another fit: labels is sampled there and true here");
    json_of(with(stopped, {"--resume"}));
  }
  EXPECT_EQ(content_of(a), content_of(b));
  EXPECT_EQ(list_directory(folder.path()), (Words{"a.safetensors", "b.safetensors"}));
}

TEST_F(TrainingCommands, FisherRefusesWhatHasNoMeaning) {
  const TemporaryDirectory folder;
  const std::string out = folder.path("f.safetensors");
  Words words = fisher(out);
  words[4] = set();  // DIR/train/good alone: one class
  expect_refused(words, "class folder");
  expect_refused(fisher(folder.path("f.npy")), "ends in .safetensors");
  expect_refused(fisher(out, {"--crop", "64"}), "--crop 64 is larger than --resize 40");
  expect_refused(fisher(out, {"--train-blocks", "7"}), "7");
  EXPECT_FALSE(path_exists(out));
}

}  // namespace
}  // namespace panda::test
