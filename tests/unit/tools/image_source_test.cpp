#include "tools/image_source.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "kernels/tensor/error.h"
#include "tests/support/temporary_directory.h"

namespace panda::tools {
namespace {

using Words = std::vector<std::string>;

/// A pipe with this content; `open` keeps its writing end.
class Pipe {
 public:
  Pipe() {
    if (::pipe(ends_.data()) != 0) throw std::runtime_error("no pipe");
  }
  ~Pipe() {
    ::close(ends_[0]);
    end();
  }
  void write(const std::string& bytes) {
    ASSERT_EQ(::write(ends_[1], bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  void end() {
    if (ends_[1] >= 0) ::close(ends_[1]);
    ends_[1] = -1;
  }
  [[nodiscard]] int reading() const { return ends_[0]; }

 private:
  std::array<int, 2> ends_{};
};

TEST(ImageSource, GivesLinesAsTheyCome) {
  Pipe pipe;
  const auto source = images_from_lines(pipe.reading(), 2);
  pipe.write("a\nb\n\nc\nhalf");
  EXPECT_EQ(source->next(), (Words{"a", "b"}));
  EXPECT_EQ(source->next(), (Words{"c"}));  // does not wait for the rest of the line
  pipe.write(" a line\r\nlast");
  EXPECT_EQ(source->next(), (Words{"half a line"}));
  pipe.end();
  EXPECT_EQ(source->next(), (Words{"last"}));
  EXPECT_EQ(source->next(), Words{});
}

TEST(ImageSource, WatchesUntilNothingComes) {
  const test::TemporaryDirectory folder;
  folder.write("in/a.png", "1");
  folder.write("in/notes.txt", "1");
  const auto source = watched_images({folder.path("in")}, 0.01, 0.05);
  EXPECT_EQ(source->next(), (Words{folder.path("in/a.png")}));
  folder.write("in/b.png", "2");
  EXPECT_EQ(source->next(), (Words{folder.path("in/b.png")}));
  EXPECT_EQ(source->next(), Words{});
  EXPECT_THROW(static_cast<void>(watched_images({folder.path("in/a.png")}, 0.01, 0)), InvalidArgument);
}

TEST(ImageSource, WatchesFoldersBelowAndWhatIsWrittenAgain) {
  const test::TemporaryDirectory folder;
  folder.write("in/a.png", "1");
  const std::string a = folder.path("in/a.png");
  const std::string b = folder.path("in/later/deeper/b.png");
  const auto source = watched_images({folder.path("in")}, 0.01, 0.05);
  EXPECT_EQ(source->next(), (Words{a}));
  folder.write("in/later/deeper/b.png", "1");
  EXPECT_EQ(source->next(), (Words{b}));
  folder.write("in/a.png", "half of it was read before");
  EXPECT_EQ(source->next(), (Words{a}));
  std::filesystem::remove_all(folder.path("in/later"));
  EXPECT_EQ(source->next(), Words{});
  folder.write("in/later/deeper/b.png", "2");  // a new file of an old name and size
  EXPECT_EQ(source->next(), (Words{b}));
  EXPECT_EQ(source->next(), Words{});
}

TEST(ImageSource, WaitsForAFileThatIsStillWritten) {
  const test::TemporaryDirectory folder;
  const std::string path = folder.write("in/a.png", "");
  std::atomic<bool> written = false;
  std::thread writer([&] {
    for (int i = 0; i < 60; ++i) {
      std::ofstream(path, std::ios::app) << "more";
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    written = true;
  });
  const auto source = watched_images({folder.path("in")}, 0.4, 5);
  EXPECT_EQ(source->next(), (Words{path}));
  EXPECT_TRUE(written);
  writer.join();
}

TEST(ImageSource, EndsWhenTheWatchedFolderIsGone) {
  const test::TemporaryDirectory folder;
  folder.write("in/a.png", "1");
  const auto source = watched_images({folder.path("in")}, 0.01, 0);
  EXPECT_EQ(source->next(), (Words{folder.path("in/a.png")}));
  std::filesystem::remove_all(folder.path("in"));
  EXPECT_THROW(static_cast<void>(source->next()), IoError);
}

}  // namespace
}  // namespace panda::tools
