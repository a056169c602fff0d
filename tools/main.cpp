// The process around the command: descriptors and signals.

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "kernels/tensor/progress.h"
#include "tools/application.h"

namespace {

// A descriptor 0, 1 or 2 that is closed would be given to the next file we open, and messages would land in
// it. In its place stands /dev/null, opened so that writing results to it is an error and not a silent loss.
void fill_standard_descriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) != -1 || errno != EBADF) continue;
    (void)::open("/dev/null",
                 descriptor == STDIN_FILENO || descriptor == STDOUT_FILENO ? O_RDONLY : O_WRONLY);
  }
}

extern "C" void on_stop_signal(int) {
  panda::request_interrupt();
}

// The first signal asks for a clean stop at the next safe point; the second finds the default action and ends
// the process. A signal that the caller had ignored (nohup, a shell's background job) stays ignored.
void stop_cleanly_on(int signal_number) {
  struct sigaction action {};
  if (::sigaction(signal_number, nullptr, &action) != 0 || action.sa_handler == SIG_IGN) return;
  action = {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  ::sigemptyset(&action.sa_mask);
  (void)::sigaction(signal_number, &action, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  fill_standard_descriptors();
  // A reader that goes away is seen where we write (tools/output.h), not as the end of the process amid its
  // files.
  (void)::signal(SIGPIPE, SIG_IGN);
  for (const int signal_number : {SIGINT, SIGTERM, SIGHUP}) stop_cleanly_on(signal_number);
  return panda::tools::run_panda(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
}
