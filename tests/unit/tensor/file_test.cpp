#include "kernels/tensor/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "kernels/tensor/error.h"
#include "kernels/tensor/scratch_file.h"
#include "tests/support/temporary_directory.h"

namespace panda {
namespace {

TEST(AtomicFile, AppearsOnlyWithCommit) {
  const test::TemporaryDirectory folder;
  const std::string path = folder.path("model");
  {
    AtomicFile file(path);
    file.write("half");
  }
  EXPECT_TRUE(list_directory(folder.path()).empty());
  AtomicFile file(path);
  file.write("whole");
  EXPECT_FALSE(path_exists(path));
  file.commit();
  EXPECT_EQ(list_directory(folder.path()), std::vector<std::string>{"model"});
  const std::vector<uint8_t> bytes = read_file(path);
  EXPECT_EQ(std::string(bytes.begin(), bytes.end()), "whole");
}

TEST(AtomicFile, LeavesTheOldFileWhenAbandoned) {
  const test::TemporaryDirectory folder;
  const std::string path = folder.path("model");
  {
    AtomicFile file(path);
    file.write("old");
    file.commit();
  }
  {
    AtomicFile file(path);
    file.write("new");
  }
  const std::vector<uint8_t> bytes = read_file(path);
  EXPECT_EQ(std::string(bytes.begin(), bytes.end()), "old");
}

TEST(AtomicFile, RefusesDirectoriesAndMissingParents) {
  const test::TemporaryDirectory folder;
  EXPECT_THROW(AtomicFile(folder.path()), InvalidArgument);
  EXPECT_THROW(AtomicFile(folder.path("no/such/file")), IoError);
}

TEST(InputFile, RefusesWhatIsNoRegularFile) {
  const test::TemporaryDirectory folder;
  EXPECT_THROW(InputFile(folder.path()), InvalidArgument);
  EXPECT_THROW(InputFile(folder.path("missing")), IoError);
  const std::string fifo = folder.path("fifo");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_THROW(InputFile{fifo}, InvalidArgument);
}

TEST(InputFile, ReadingPastTheEndIsAnErrorWithItsOffset) {
  const test::TemporaryDirectory folder;
  const std::string path = folder.write("five", "12345");
  const InputFile file(path);
  char buffer[8];
  file.read(1, buffer, 4);
  EXPECT_EQ(std::string(buffer, 4), "2345");
  try {
    file.read(3, buffer, 4);
    FAIL() << "no error";
  } catch (const FormatError& error) {
    EXPECT_EQ(error.byte_offset(), 5);
  }
}

TEST(ScratchFile, GivesBackWhatWasWrittenAndLeavesNothing) {
  const test::TemporaryDirectory folder;
  ScratchFile file(folder.path());
  EXPECT_EQ(file.append("12345", 5), 0);
  EXPECT_EQ(file.append("678", 3), 5);
  char buffer[4];
  file.read(3, buffer, 4);
  EXPECT_EQ(std::string(buffer, 4), "4567");
  EXPECT_THROW(file.read(6, buffer, 3), InternalError);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(ScratchFile, NamesTheDirectoryThatIsNotThere) {
  const test::TemporaryDirectory folder;
  try {
    ScratchFile file(folder.path("missing"));
    FAIL() << "no error";
  } catch (const IoError& error) {
    EXPECT_EQ(error.what(),
              folder.path("missing") + ": cannot create a working file here: No such file or directory");
  }
}

TEST(Paths, ExtensionIsLowerCaseAndOfTheNameOnly) {
  EXPECT_EQ(extension_of("a/b.PNG"), "png");
  EXPECT_EQ(extension_of("a.d/b"), "");
  EXPECT_EQ(join_path("a/", "b"), "a/b");
}

}  // namespace
}  // namespace panda
