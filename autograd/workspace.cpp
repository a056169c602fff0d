#include "autograd/workspace.h"

namespace panda::autograd {

namespace {
/// The address of every buffer of a dry run: a view needs one, nobody reads or writes there.
constexpr char kNowhere = 0;
}  // namespace

BufferPool::BufferPool(Workspace& workspace, Mode mode) : workspace_(workspace), mode_(mode) {
  if (mode == Mode::kRun && workspace.planned() && !workspace.arena_.present() && workspace.arena_bytes_ > 0)
    workspace.arena_ = Tensor(workspace.device(), DType::kU8, {workspace.arena_bytes_}, "training step");
}

int BufferPool::take(int64_t bytes) {
  const int index = static_cast<int>(buffers_.size());
  Buffer buffer;
  buffer.bytes = bytes;
  buffer.first = clock_++;
  if (mode_ == Mode::kRun && workspace_.planned()) {
    const auto planned = workspace_.requests_.size();
    PANDA_CHECK(deviation_ < 0, "tape: the step differs from its plan: buffer ", deviation_,
                " was given back at another time");
    PANDA_CHECK(static_cast<size_t>(index) < planned, "tape: the step takes more than the ", planned,
                " buffers of its plan");
    const int64_t expected = workspace_.requests_[static_cast<size_t>(index)].bytes;
    PANDA_CHECK(expected == bytes, "tape: the step differs from its plan: buffer ", index, " has ", bytes,
                " bytes, planned ", expected);
  } else if (mode_ == Mode::kRun && bytes > 0) {
    buffer.own = Tensor(workspace_.device(), DType::kU8, {bytes}, "training step");
  }
  bytes_in_use_ += bytes;
  buffers_.push_back(std::move(buffer));
  return index;
}

void BufferPool::give_back(int index) noexcept {
  Buffer& buffer = buffers_[static_cast<size_t>(index)];
  buffer.last = clock_++;
  buffer.own = Tensor();
  bytes_in_use_ -= buffer.bytes;
  if (mode_ == Mode::kPlan || !workspace_.planned()) return;
  // A buffer that lives longer than planned would be overwritten by the next one taken: take() says so. Here
  // nothing may be thrown.
  if (buffer.last != workspace_.requests_[static_cast<size_t>(index)].last && deviation_ < 0)
    deviation_ = index;
}

void* BufferPool::pointer(int index) const {
  const Buffer& buffer = buffers_[static_cast<size_t>(index)];
  if (buffer.bytes == 0) return nullptr;
  if (mode_ == Mode::kPlan) return const_cast<char*>(&kNowhere);
  if (!workspace_.planned()) return buffer.own.view().raw();
  return static_cast<char*>(workspace_.arena_.view().raw()) +
         workspace_.requests_[static_cast<size_t>(index)].offset;
}

void BufferPool::finish_plan() {
  workspace_.arena_ = Tensor();
  workspace_.requests_.clear();
  for (Buffer& buffer : buffers_) {
    if (buffer.last < 0) buffer.last = clock_;
    workspace_.requests_.push_back({buffer.bytes, buffer.first, buffer.last, 0});
  }
  workspace_.arena_bytes_ = place_in_arena(workspace_.requests_);
}

}  // namespace panda::autograd
