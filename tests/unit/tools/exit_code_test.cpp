#include "tools/exit_code.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <new>
#include <system_error>

#include "kernels/tensor/error.h"
#include "tools/options.h"

namespace panda::tools {
namespace {

template <typename Thrown>
Failure failure_of(const Thrown& thrown) {
  return describe_failure(std::make_exception_ptr(thrown));
}

TEST(ExitCode, IsTheOneOfTheErrorsClass) {
  EXPECT_EQ(failure_of(UsageError("x")).exit_code, 2);
  EXPECT_EQ(failure_of(InvalidArgument("x")).exit_code, 2);
  EXPECT_EQ(failure_of(Unsupported("x")).exit_code, 2);
  EXPECT_EQ(failure_of(FormatError("f", "x", 3)).exit_code, 2);
  EXPECT_EQ(failure_of(IoError("f", "open", ENOENT)).exit_code, 2);
  EXPECT_EQ(failure_of(IoError("f", "write", ENOSPC)).exit_code, 3);
  EXPECT_EQ(failure_of(OutOfMemory("x")).exit_code, 3);
  EXPECT_EQ(failure_of(std::bad_alloc()).exit_code, 3);
  EXPECT_EQ(failure_of(std::system_error(EAGAIN, std::generic_category())).exit_code, 3);
  EXPECT_EQ(failure_of(std::filesystem::filesystem_error(
                           "x", std::make_error_code(std::errc::no_such_file_or_directory)))
                .exit_code,
            2);
  EXPECT_EQ(failure_of(DeviceError("x")).exit_code, 4);
  EXPECT_EQ(failure_of(Interrupted()).exit_code, 130);
  EXPECT_EQ(failure_of(InternalError("x")).exit_code, 70);
  EXPECT_EQ(failure_of(std::runtime_error("x")).exit_code, 70);
  EXPECT_EQ(failure_of(42).exit_code, 70);
}

TEST(ExitCode, LineIsOneLineWithoutControlCharacters) {
  EXPECT_EQ(failure_of(FormatError("a\nb\x1b[2J.png", "cut short", 12)).line,
            "panda: a\\x0ab\\x1b[2J.png: cut short (byte 12)\n");
  EXPECT_EQ(failure_of(Interrupted()).line, "panda: interrupted\n");
}

}  // namespace
}  // namespace panda::tools
