// Memory that is taken from a system in large chunks, handed out in blocks, and kept: a step that has run
// once asks the system for nothing.
//
// Best fit with coalescing: a block comes from the smallest free range that holds it, and a freed one merges
// with its free neighbours. Blocks up to kSmallBytes live in chunks of their own, so that a bias never splits
// the range that the next activations need. One caller at a time. The arena never touches the memory; who
// frees a block while work that uses it is queued must queue the next owner's work behind it.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace panda::kernels::cuda {

/// Where chunks come from: cudaMalloc, or a test's.
class ChunkSource {
 public:
  ChunkSource() = default;
  ChunkSource(const ChunkSource&) = delete;
  ChunkSource& operator=(const ChunkSource&) = delete;
  virtual ~ChunkSource() = default;
  /// nullptr if it cannot be had; else aligned to Arena::kAlignment.
  virtual void* allocate_chunk(int64_t bytes) = 0;
  virtual void free_chunk(void* chunk) noexcept = 0;
};

class Arena {
 public:
  static constexpr int64_t kAlignment =
      512;  // what cudaMalloc gives; the widest access wants 16 (bulk copies: 128)
  static constexpr int64_t kSmallBytes = int64_t{1} << 20;
  static constexpr int64_t kSmallChunkBytes = int64_t{8} << 20;
  static constexpr int64_t kLargeChunkBytes = int64_t{64} << 20;

  explicit Arena(ChunkSource& source) : source_(source) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  /// nullptr if the source has no more, also after every wholly free chunk went back to it. bytes > 0.
  [[nodiscard]] void* allocate(int64_t bytes);
  void free(void* block) noexcept;
  /// Gives wholly free chunks back; returns their bytes.
  int64_t trim() noexcept;

  [[nodiscard]] int64_t reserved_bytes() const { return reserved_bytes_; }
  [[nodiscard]] int64_t peak_reserved_bytes() const { return peak_reserved_bytes_; }
  [[nodiscard]] int64_t bytes_in_use() const { return bytes_in_use_; }
  /// Chunks taken from the source since the beginning.
  [[nodiscard]] int64_t chunks_taken() const { return chunks_taken_; }

 private:
  /// A range of one chunk. Ranges are kept by address; the neighbours of one in its chunk are its neighbours
  /// there.
  struct Range {
    int64_t bytes = 0;
    bool free = false;
    bool small = false;  ///< of a chunk for small blocks
    bool begins_chunk = false;
  };
  using Address = char*;
  using Ranges = std::map<Address, Range>;
  using FreeKey = std::pair<int64_t, Address>;

  [[nodiscard]] Ranges::iterator find_free(int64_t bytes, bool small);
  [[nodiscard]] Ranges::iterator take_chunk(int64_t bytes, bool small);
  [[nodiscard]] bool joins_next(Ranges::iterator range);
  void insert_free(Ranges::iterator range);
  void erase_free(Ranges::iterator range);

  ChunkSource& source_;
  Ranges ranges_;
  std::set<FreeKey> free_[2];  ///< by size, then address; [small]
  int64_t reserved_bytes_ = 0;
  int64_t peak_reserved_bytes_ = 0;
  int64_t bytes_in_use_ = 0;
  int64_t chunks_taken_ = 0;
};

}  // namespace panda::kernels::cuda
