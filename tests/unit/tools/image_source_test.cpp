#include "tools/image_source.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>

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

}  // namespace
}  // namespace panda::tools
