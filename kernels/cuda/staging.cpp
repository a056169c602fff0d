#include "kernels/cuda/staging.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace panda::kernels::cuda {

Staging::Staging(const RuntimeApi& api, cudaStream_t stream, Check check)
    : api_(api), stream_(stream), check_(std::move(check)) {}

Staging::~Staging() {
  for (const Buffer& buffer : buffers_) {
    if (buffer.idle != nullptr) {
      (void)api_.EventSynchronize(buffer.idle);
      (void)api_.EventDestroy(buffer.idle);
    }
    if (buffer.memory != nullptr) (void)api_.FreeHost(buffer.memory);
  }
}

void Staging::prepare() {
  for (Buffer& buffer : buffers_) {
    if (buffer.memory == nullptr) {
      check_(api_.HostAlloc(&buffer.memory, static_cast<size_t>(kPieceBytes), cudaHostAllocDefault),
             "page-locking 4 MiB of host memory for copies");
    }
    if (buffer.idle == nullptr)
      check_(api_.EventCreateWithFlags(&buffer.idle, cudaEventDisableTiming), "creating an event");
  }
}

void Staging::copy_in(void* device_destination, const void* source, int64_t bytes) {
  prepare();
  const auto* from = static_cast<const char*>(source);
  auto* to = static_cast<char*>(device_destination);
  for (int64_t done = 0, piece = 0; done < bytes; done += kPieceBytes, ++piece) {
    const Buffer& buffer = buffers_[piece % 2];
    const auto count = static_cast<size_t>(std::min(kPieceBytes, bytes - done));
    // An event that was never recorded counts as reached.
    check_(api_.EventSynchronize(buffer.idle), "waiting for a copy");
    std::memcpy(buffer.memory, from + done, count);
    check_(api_.MemcpyAsync(to + done, buffer.memory, count, cudaMemcpyHostToDevice, stream_),
           "copying from the host");
    check_(api_.EventRecord(buffer.idle, stream_), "recording an event");
  }
}

void Staging::copy_out(void* destination, const void* device_source, int64_t bytes) {
  prepare();
  auto* to = static_cast<char*>(destination);
  const auto* from = static_cast<const char*>(device_source);
  const int64_t pieces = (bytes + kPieceBytes - 1) / kPieceBytes;
  const auto size_of = [&](int64_t piece) {
    return static_cast<size_t>(std::min(kPieceBytes, bytes - piece * kPieceBytes));
  };
  for (int64_t piece = 0; piece <= pieces; ++piece) {
    if (piece < pieces) {
      const Buffer& buffer = buffers_[piece % 2];
      // Its last piece was taken out below, one round ago, or lies before this call in the stream.
      check_(api_.MemcpyAsync(buffer.memory, from + piece * kPieceBytes, size_of(piece),
                              cudaMemcpyDeviceToHost, stream_),
             "copying to the host");
      check_(api_.EventRecord(buffer.idle, stream_), "recording an event");
    }
    if (piece > 0) {
      const Buffer& buffer = buffers_[(piece - 1) % 2];
      check_(api_.EventSynchronize(buffer.idle), "waiting for a copy");
      std::memcpy(to + (piece - 1) * kPieceBytes, buffer.memory, size_of(piece - 1));
    }
  }
}

}  // namespace panda::kernels::cuda
