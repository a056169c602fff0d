#include "tools/exit_code.h"

#include <new>
#include <system_error>

#include "kernels/tensor/error.h"

namespace panda::tools {

namespace {

Failure failure(int exit_code, const std::string& message) {
  return {exit_code, "panda: " + printable(message) + "\n"};
}

int exit_code_of(const std::system_error& error) {
  const std::error_code& code = error.code();
  const bool exhausted = code == std::errc::resource_unavailable_try_again ||
                         code == std::errc::not_enough_memory || code == std::errc::no_space_on_device ||
                         code == std::errc::too_many_files_open ||
                         code == std::errc::too_many_files_open_in_system ||
                         code == std::errc::file_too_large || code == std::errc::io_error;
  return exhausted ? kExitResource : kExitBadInput;
}

}  // namespace

Failure describe_failure(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Interrupted& interrupted) {
    return failure(kExitInterrupted, interrupted.what());
  } catch (const OutOfMemory& out_of_memory) {
    return failure(kExitResource, out_of_memory.what());
  } catch (const IoError& io_error) {
    return failure(io_error.exhausted() ? kExitResource : kExitBadInput, io_error.what());
  } catch (const DeviceError& device_error) {
    return failure(kExitDevice, device_error.what());
  } catch (const InternalError& internal) {
    return failure(kExitInternal, internal.what());
  } catch (const Error& bad_input) {
    return failure(kExitBadInput, bad_input.what());
  } catch (const std::bad_alloc&) {
    return failure(kExitResource, "out of memory");
  } catch (const std::system_error& system_error) {
    return failure(exit_code_of(system_error), system_error.what());
  } catch (const std::exception& other) {
    return failure(kExitInternal, text("internal error: ", other.what()));
  } catch (...) {
    return failure(kExitInternal, "internal error: an unknown exception");
  }
}

}  // namespace panda::tools
