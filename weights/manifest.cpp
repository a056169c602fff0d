#include "weights/manifest.h"

#include <algorithm>

#include "weights/sha256.h"

namespace panda::weights {
namespace {

void add_number(Sha256& hash, int64_t value) {
  uint8_t bytes[8];
  store_le64(static_cast<uint64_t>(value), bytes);
  hash.update(bytes, 8);
}

void add_text(Sha256& hash, const std::string& value) {
  add_number(hash, static_cast<int64_t>(value.size()));
  hash.update(value.data(), static_cast<int64_t>(value.size()));
}

}  // namespace

void ContentHash::add(const std::string& name, const ConstTensorView& tensor) {
  PANDA_CHECK(tensor.present() && tensor.layout() == Layout::kDense && tensor.device().host_accessible(),
              "sha256: '", printable(name), "' must be a dense tensor in host memory");
  add_text(hash_, name);
  add_text(hash_, dtype_name(tensor.dtype()));
  add_number(hash_, tensor.shape().rank());
  for (const int64_t extent : tensor.shape()) add_number(hash_, extent);
  hash_.update(tensor.raw(), tensor.bytes());
}

std::string source_sha256(const ByteSource& source) {
  Sha256 hash;
  std::vector<uint8_t> chunk(static_cast<size_t>(std::min<int64_t>(source.size(), int64_t{1} << 20)));
  for (int64_t at = 0; at < source.size();) {
    const int64_t step = std::min<int64_t>(source.size() - at, static_cast<int64_t>(chunk.size()));
    source.read(at, chunk.data(), step);
    hash.update(chunk.data(), step);
    at += step;
  }
  return hash.hex_digest();
}

std::string file_sha256(const std::string& path) { return source_sha256(*file_source(path)); }

std::string content_sha256(const NamedTensors& tensors) {
  ContentHash hash;
  for (const TensorInfo& info : tensors.list()) hash.add(info.name, tensors.load(info.name));
  return hash.hex_digest();
}

std::string tensor_sha256(const std::string& name, const ConstTensorView& tensor) {
  ContentHash hash;
  hash.add(name, tensor);
  return hash.hex_digest();
}

}  // namespace panda::weights
