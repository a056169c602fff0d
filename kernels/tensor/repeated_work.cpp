#include "kernels/tensor/repeated_work.h"

#include "kernels/tensor/error.h"

namespace panda {

void RepeatedWork::run(const std::function<void()>& work) {
  if (warm_ && records_ && recording_ == nullptr) {
    try {
      recording_ = device_->record(work);
    } catch (const OutOfMemory&) {
      records_ = false;  // it only makes the next runs shorter
    }
  }
  if (recording_ != nullptr) return recording_->replay();
  work();
  warm_ = true;
}

void RepeatedWork::forget() {
  recording_.reset();
  warm_ = false;
}

}  // namespace panda
