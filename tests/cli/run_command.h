// Runs the command as a user would, and keeps what it printed and how it ended.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kernels/tensor/file.h"
#include "tests/support/temporary_directory.h"

namespace panda::test {

struct Outcome {
  int exit_code = -1;  ///< -1 if a signal ended it
  int signal_number = 0;
  std::string standard_output;
  std::string standard_error;
  int64_t peak_bytes = 0;  ///< resident, as the kernel saw it

  [[nodiscard]] int64_t error_lines() const {
    return std::count(standard_error.begin(), standard_error.end(), '\n');
  }
};

struct RunOptions {
  std::string standard_output_path;  ///< where standard output goes; "": captured
  std::string standard_input;        ///< what it reads there
  std::string directory;             ///< where it runs; "": here
  bool close_standard_output = false;
  /// Called with the process id while the command runs.
  std::function<void(pid_t)> while_running;
};

inline std::string content_of(const std::string& path) {
  const std::vector<uint8_t> bytes = read_file(path);
  return {bytes.begin(), bytes.end()};
}

/// Runs PANDA_BINARY with the arguments.
inline Outcome run_panda_command(const std::vector<std::string>& arguments, const RunOptions& options = {}) {
  const TemporaryDirectory directory;
  const std::string output =
      options.standard_output_path.empty() ? directory.path("out") : options.standard_output_path;
  const std::string errors = directory.path("err");
  const std::string input = directory.write("in", options.standard_input);
  std::vector<char*> argument_pointers;
  std::string program = PANDA_BINARY;
  argument_pointers.push_back(program.data());
  for (const std::string& argument : arguments)
    argument_pointers.push_back(const_cast<char*>(argument.c_str()));
  argument_pointers.push_back(nullptr);

  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("cannot fork");
  if (child == 0) {
    const int in = ::open(input.c_str(), O_RDONLY);
    const int out = ::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int err = ::open(errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (in < 0 || out < 0 || err < 0) ::_exit(99);
    ::dup2(in, STDIN_FILENO);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(err, STDERR_FILENO);
    ::close(in);
    ::close(out);
    ::close(err);
    if (options.close_standard_output) ::close(STDOUT_FILENO);
    if (!options.directory.empty() && ::chdir(options.directory.c_str()) != 0) ::_exit(99);
    ::signal(SIGINT, SIG_DFL);  // a test run in the background has it ignored
    ::execv(PANDA_BINARY, argument_pointers.data());
    ::_exit(99);
  }
  if (options.while_running) options.while_running(child);
  int status = 0;
  rusage usage{};
  if (::wait4(child, &status, 0, &usage) != child) throw std::runtime_error("cannot wait");
  Outcome outcome;
  outcome.peak_bytes = int64_t{usage.ru_maxrss} * 1024;
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal_number = WTERMSIG(status);
  if (options.standard_output_path.empty() && !options.close_standard_output)
    outcome.standard_output = content_of(output);
  outcome.standard_error = content_of(errors);
  return outcome;
}

/// Waits until `happened`, at most ten seconds; false if it did not.
inline bool wait_until(const std::function<bool()>& happened) {
  for (int i = 0; i < 2000; ++i) {
    if (happened()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

}  // namespace panda::test
