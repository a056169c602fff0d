// What tests of the command expect of an outcome again and again.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/cli/run_command.h"

namespace panda::test {

using Words = std::vector<std::string>;
using Json = nlohmann::json;

/// What the command prints with -o json; it succeeds in silence.
inline Json json_of(Words words) {
  words.insert(words.end(), {"-o", "json"});
  const Outcome outcome = run_panda_command(words);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.standard_error;
  EXPECT_EQ(outcome.standard_error, "");
  return Json::parse(outcome.standard_output);
}

/// One line with `part` in it, this exit code, nothing on standard output.
inline void expect_refused(const Words& words, const std::string& part, int exit_code = 2) {
  const Outcome outcome = run_panda_command(words);
  SCOPED_TRACE(part);
  EXPECT_EQ(outcome.exit_code, exit_code) << outcome.standard_error;
  EXPECT_EQ(outcome.error_lines(), 1) << outcome.standard_error;
  EXPECT_EQ(outcome.standard_error.compare(0, 7, "panda: "), 0) << outcome.standard_error;
  EXPECT_NE(outcome.standard_error.find(part), std::string::npos) << outcome.standard_error;
  EXPECT_EQ(outcome.standard_output, "");
}

}  // namespace panda::test
