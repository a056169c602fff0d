#include "kernels/cuda/arena.h"

#include <algorithm>

#include "kernels/tensor/checked_math.h"
#include "kernels/tensor/error.h"

namespace panda::kernels::cuda {

Arena::~Arena() {
  for (const auto& [address, range] : ranges_)
    if (range.begins_chunk) source_.free_chunk(address);
}

void Arena::insert_free(Ranges::iterator range) {
  free_[range->second.small].insert({range->second.bytes, range->first});
}

void Arena::erase_free(Ranges::iterator range) {
  free_[range->second.small].erase({range->second.bytes, range->first});
}

bool Arena::joins_next(Ranges::iterator range) {
  const auto next = std::next(range);
  return next != ranges_.end() && !next->second.begins_chunk;
}

Arena::Ranges::iterator Arena::find_free(int64_t bytes, bool small) {
  const auto fit = free_[small].lower_bound({bytes, nullptr});
  return fit == free_[small].end() ? ranges_.end() : ranges_.find(fit->second);
}

Arena::Ranges::iterator Arena::take_chunk(int64_t bytes, bool small) {
  // Large chunks grow with what is held, so that their number stays small.
  const int64_t wanted = small
                             ? kSmallChunkBytes
                             : std::max({bytes, kLargeChunkBytes, round_up(reserved_bytes_ / 8, kAlignment)});
  for (const int64_t chunk_bytes : {wanted, bytes}) {
    void* chunk = source_.allocate_chunk(chunk_bytes);
    if (chunk == nullptr) continue;
    reserved_bytes_ += chunk_bytes;
    peak_reserved_bytes_ = std::max(peak_reserved_bytes_, reserved_bytes_);
    ++chunks_taken_;
    const auto range = ranges_.insert({static_cast<Address>(chunk), {chunk_bytes, true, small, true}}).first;
    insert_free(range);
    return range;
  }
  return ranges_.end();
}

void* Arena::allocate(int64_t bytes) {
  PANDA_INTERNAL_ASSERT(bytes > 0, bytes, " bytes");
  if (bytes > INT64_MAX - kAlignment) return nullptr;
  bytes = round_up(bytes, kAlignment);
  const bool small = bytes <= kSmallBytes;
  auto range = find_free(bytes, small);
  if (range == ranges_.end()) range = take_chunk(bytes, small);
  // Before giving up: chunks that hold nothing may together make room for one of this size.
  if (range == ranges_.end() && trim() > 0) range = take_chunk(bytes, small);
  if (range == ranges_.end()) return nullptr;
  erase_free(range);
  if (range->second.bytes > bytes) {
    const auto rest =
        ranges_.insert({range->first + bytes, {range->second.bytes - bytes, true, small, false}}).first;
    insert_free(rest);
  }
  range->second.bytes = bytes;
  range->second.free = false;
  bytes_in_use_ += bytes;
  return range->first;
}

void Arena::free(void* block) noexcept {
  auto range = ranges_.find(static_cast<Address>(block));
  if (range == ranges_.end() || range->second.free) return;
  bytes_in_use_ -= range->second.bytes;
  range->second.free = true;
  if (joins_next(range)) {
    const auto next = std::next(range);
    if (next->second.free) {
      erase_free(next);
      range->second.bytes += next->second.bytes;
      ranges_.erase(next);
    }
  }
  if (!range->second.begins_chunk) {
    const auto previous = std::prev(range);
    if (previous->second.free) {
      erase_free(previous);
      previous->second.bytes += range->second.bytes;
      ranges_.erase(range);
      range = previous;
    }
  }
  insert_free(range);
}

int64_t Arena::trim() noexcept {
  int64_t given_back = 0;
  for (auto range = ranges_.begin(); range != ranges_.end();) {
    const auto here = range++;
    const bool whole_chunk =
        here->second.begins_chunk && (range == ranges_.end() || range->second.begins_chunk);
    if (!whole_chunk || !here->second.free) continue;
    erase_free(here);
    given_back += here->second.bytes;
    source_.free_chunk(here->first);
    ranges_.erase(here);
  }
  reserved_bytes_ -= given_back;
  return given_back;
}

}  // namespace panda::kernels::cuda
