#include "weights/torch_checkpoint.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "kernels/tensor/checked_math.h"
#include "weights/pickle.h"
#include "weights/tar.h"
#include "weights/tensor_values.h"
#include "weights/torch_tree.h"
#include "weights/zip.h"

namespace panda::weights {
namespace {

using Kind = PickleNode::Kind;

constexpr int64_t kMaxPickleBytes = int64_t{1} << 30;
// The little-endian bytes of 0x1950a86a20f9469cfc6c.
constexpr char kMagicNumber[] = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
constexpr int64_t kStreamProtocol = 1001;

/// True if row-major strides describe the shape (extents of 1 may have any stride).
bool is_dense(const TorchTensor& tensor) {
  int64_t expected = 1;
  for (int d = tensor.shape.rank() - 1; d >= 0; --d) {
    if (tensor.shape[d] != 1 && tensor.strides[static_cast<size_t>(d)] != expected) return false;
    expected *= tensor.shape[d];
  }
  return true;
}

class TorchCheckpoint final : public NamedTensors {
 public:
  TorchCheckpoint(ByteSourcePtr source, TorchContents contents, std::vector<ZipMember> members,
                  bool big_endian)
      : source_(std::move(source)),
        contents_(std::move(contents)),
        members_(std::move(members)),
        checked_(members_.size()),
        big_endian_(big_endian) {}

  [[nodiscard]] std::vector<TensorInfo> list() const override {
    std::vector<TensorInfo> infos;
    infos.reserve(contents_.tensors.size());
    for (const TorchTensor& tensor : contents_.tensors) {
      infos.push_back({tensor.name, contents_.storages[tensor.storage].dtype, tensor.shape});
    }
    return infos;
  }
  [[nodiscard]] bool contains(const std::string& name) const override { return find(name) != nullptr; }
  [[nodiscard]] std::string source() const override { return source_->name(); }

  [[nodiscard]] Tensor load(const std::string& name) const override {
    const TorchTensor* tensor = find(name);
    PANDA_CHECK(tensor != nullptr, source_->name(), ": has no tensor '", printable(name), "'");
    const TorchStorage& storage = contents_.storages[tensor->storage];
    Tensor result(host(), storage.dtype, tensor->shape, "weights");
    if (result.numel() > 0) read_elements(*tensor, storage, static_cast<uint8_t*>(result.view().raw()));
    if (big_endian_) swap_bytes(result);
    check_bool_bytes(result, source_->name(), name);
    return result;
  }

 private:
  [[nodiscard]] const TorchTensor* find(const std::string& name) const {
    const auto at = std::lower_bound(
        contents_.tensors.begin(), contents_.tensors.end(), name,
        [](const TorchTensor& tensor, const std::string& wanted) { return tensor.name < wanted; });
    return at != contents_.tensors.end() && at->name == name ? &*at : nullptr;
  }

  void read_elements(const TorchTensor& tensor, const TorchStorage& storage, uint8_t* out) const {
    const int64_t size = dtype_bytes(storage.dtype);
    const int64_t bytes = tensor.shape.numel() * size;
    const bool dense = is_dense(tensor);
    if (storage.member >= 0) {
      const ZipMember& member = members_[static_cast<size_t>(storage.member)];
      if (dense && tensor.storage_offset == 0 && bytes == member.bytes) {
        ZipMemberReader(source_, member).read(out, bytes);  // compares the checksum on the way
        return;
      }
      check_member(static_cast<size_t>(storage.member));
    }
    const int64_t begin = storage.offset + tensor.storage_offset * size;
    if (dense) {
      source_->read(begin, out, bytes);
      return;
    }
    int64_t last = 0;
    for (int d = 0; d < tensor.shape.rank(); ++d)
      last += (tensor.shape[d] - 1) * tensor.strides[static_cast<size_t>(d)];
    const std::vector<uint8_t> span = source_->bytes(begin, (last + 1) * size);
    gather_strided(tensor.shape, tensor.strides, size, span.data(), out);
  }

  /// Reads a storage once through for its checksum, when no tensor takes it whole.
  void check_member(size_t index) const {
    const std::lock_guard lock(mutex_);
    if (checked_[index]) return;
    ZipMemberReader reader(source_, members_[index]);
    std::vector<uint8_t> chunk(static_cast<size_t>(std::min<int64_t>(reader.bytes_left(), int64_t{1} << 20)));
    while (reader.bytes_left() > 0)
      reader.read(chunk.data(), std::min<int64_t>(reader.bytes_left(), static_cast<int64_t>(chunk.size())));
    checked_[index] = true;
  }

  ByteSourcePtr source_;
  TorchContents contents_;
  std::vector<ZipMember> members_;
  mutable std::mutex mutex_;
  mutable std::vector<bool> checked_;
  bool big_endian_;
};

// ---- zip ----

std::string read_small(const ZipArchive& archive, const std::string& name) {
  const ZipMember* member = archive.find(name);
  if (member == nullptr) return "";
  const std::vector<uint8_t> bytes = read_zip_member(archive.source(), *member, 64);
  return {bytes.begin(), bytes.end()};
}

/// The folder of data.pkl, with its slash.
std::string prefix_of(const ZipArchive& archive) {
  const std::string wanted = "data.pkl";
  const ZipMember* found = nullptr;
  for (const ZipMember& member : archive.members()) {
    const size_t slash = member.name.find('/');
    const std::string base = slash == std::string::npos ? member.name : member.name.substr(slash + 1);
    if (base != wanted) continue;
    if (found != nullptr) throw FormatError(archive.source()->name(), "zip: two members named data.pkl");
    found = &member;
  }
  if (found == nullptr)
    throw FormatError(archive.source()->name(),
                      "a zip archive without data.pkl, expected a PyTorch checkpoint");
  return found->name.substr(0, found->name.size() - wanted.size());
}

std::unique_ptr<NamedTensors> open_zip(const ByteSourcePtr& source) {
  const ZipArchive archive(source);
  const std::string prefix = prefix_of(archive);
  if (archive.find(prefix + "constants.pkl") != nullptr) {
    throw Unsupported(
        text(source->name(),
             ": a TorchScript program, expected a checkpoint (save the model's state_dict() by torch.save)"));
  }
  const std::string byte_order = read_small(archive, prefix + "byteorder");
  if (byte_order != "" && byte_order != "little" && byte_order != "big") {
    throw FormatError(source->name(),
                      text("byteorder is '", printable(byte_order), "', expected little or big"));
  }
  const ZipMember& pickle = *archive.find(prefix + "data.pkl");
  if (pickle.deflated)
    throw FormatError(source->name(), "zip: data.pkl is compressed, which torch.save never does",
                      pickle.data_offset);
  const ByteSourcePtr pickle_source =
      buffer_source(read_zip_member(source, pickle, kMaxPickleBytes), source->name());
  const PickleTree tree = parse_pickle(*pickle_source, 0, pickle_source->size(), torch_globals());
  if (tree.end != pickle_source->size())
    throw FormatError(source->name(), "data.pkl goes on after its STOP", pickle.data_offset + tree.end);
  TorchContents contents = read_torch_tree(*pickle_source, tree, tree.end);

  std::vector<ZipMember> members;
  for (TorchStorage& storage : contents.storages) {
    const ZipMember* member = archive.find(prefix + "data/" + storage.key);
    if (member == nullptr)
      throw FormatError(source->name(), text("the storage data/", printable(storage.key), " is missing"));
    if (member->deflated) {
      throw FormatError(
          source->name(),
          text("zip: '", printable(member->name), "' is compressed, which torch.save never does"),
          member->data_offset);
    }
    if (storage.numel > member->bytes / dtype_bytes(storage.dtype)) {
      throw FormatError(source->name(),
                        text("the storage data/", printable(storage.key), " has ", member->bytes,
                             " bytes, expected ", storage.numel, " elements of ", dtype_name(storage.dtype)),
                        member->data_offset);
    }
    storage.offset = member->data_offset;
    storage.member = static_cast<int64_t>(members.size());
    members.push_back(*member);
  }
  return std::make_unique<TorchCheckpoint>(source, std::move(contents), std::move(members),
                                           byte_order == "big");
}

// ---- legacy stream ----

/// The size in elements that stands before a storage's bytes, checked against what is left; `at` moves to the
/// bytes.
int64_t storage_numel(const ByteSource& source, int64_t* at, int64_t end, DType dtype,
                      const std::string& key) {
  if (end - *at < 8)
    throw FormatError(source.name(), text("ends before the storage '", printable(key), "'"), end);
  const uint64_t numel = load_le64(source.bytes(*at, 8).data());
  *at += 8;
  if (numel > static_cast<uint64_t>((end - *at) / dtype_bytes(dtype))) {
    throw FormatError(source.name(),
                      text("the storage '", printable(key), "' declares ", numel, " elements of ",
                           dtype_name(dtype), ", ", end - *at, " bytes are left"),
                      *at);
  }
  return static_cast<int64_t>(numel);
}

void check_little_endian(const ByteSource& source, const PickleTree& system) {
  const PickleNode& root = system.root_node();
  if (root.kind != Kind::kDict)
    throw FormatError(source.name(), "the description of the system is no dict", root.offset);
  for (size_t i = 0; i + 1 < root.items.size(); i += 2) {
    if (system[root.items[i]].string == "little_endian" && system[root.items[i + 1]].integer != 1) {
      throw Unsupported(text(source.name(), ": a legacy checkpoint of a big-endian machine"));
    }
  }
}

std::unique_ptr<NamedTensors> open_stream(const ByteSourcePtr& source) {
  const int64_t size = source->size();
  const PickleTree magic = parse_pickle(*source, 0, size, {});
  if (magic.root_node().kind != Kind::kBigInt || magic.root_node().string != std::string(kMagicNumber, 10)) {
    throw FormatError(source->name(), "a pickle, but no PyTorch checkpoint (its magic number is missing)", 0);
  }
  const PickleTree protocol = parse_pickle(*source, magic.end, size, {});
  if (protocol.root_node().kind != Kind::kInt || protocol.root_node().integer != kStreamProtocol) {
    throw FormatError(source->name(), text("expected the legacy protocol ", kStreamProtocol), magic.end);
  }
  const PickleTree system = parse_pickle(*source, protocol.end, size, {});
  check_little_endian(*source, system);
  const PickleTree tree = parse_pickle(*source, system.end, size, torch_globals());
  TorchContents contents = read_torch_tree(*source, tree, tree.end - system.end);
  const PickleTree keys = parse_pickle(*source, tree.end, size, {});
  if (keys.root_node().kind != Kind::kList)
    throw FormatError(source->name(), "the storages' keys are no list", tree.end);

  std::map<std::string, size_t> index_of;
  for (size_t i = 0; i < contents.storages.size(); ++i) index_of[contents.storages[i].key] = i;
  int64_t at = keys.end;
  for (const PickleId id : keys.root_node().items) {
    const std::string& key = keys[id].string;
    const auto found = index_of.find(key);
    if (found == index_of.end())
      throw FormatError(source->name(),
                        text("the storage '", printable(key), "' is one that the checkpoint does not use"),
                        keys[id].offset);
    TorchStorage& storage = contents.storages[found->second];
    if (storage.offset >= 0)
      throw FormatError(source->name(), text("the storage '", printable(key), "' stands twice"),
                        keys[id].offset);
    const int64_t numel = storage_numel(*source, &at, size, storage.dtype, key);
    if (numel != storage.numel) {
      throw FormatError(source->name(),
                        text("the storage '", printable(key), "' has ", numel,
                             " elements, its tensors expect ", storage.numel),
                        at);
    }
    storage.offset = at;
    at += numel * dtype_bytes(storage.dtype);
  }
  for (const TorchStorage& storage : contents.storages) {
    if (storage.offset < 0)
      throw FormatError(source->name(), text("the storage '", printable(storage.key), "' is missing"),
                        keys.end);
  }
  if (at != size) throw FormatError(source->name(), text(size - at, " bytes after the last storage"), at);
  return std::make_unique<TorchCheckpoint>(source, std::move(contents), std::vector<ZipMember>(), false);
}

// ---- legacy tar ----

const TarMember& tar_member(const ByteSource& source, const std::vector<TarMember>& members,
                            const std::string& name) {
  for (const TarMember& member : members) {
    if (member.name == name) return member;
  }
  throw FormatError(source.name(),
                    text("a tar archive without the member '", name, "', expected a PyTorch checkpoint"));
}

/// Reads the next pickle at `*at` and moves behind it.
PickleTree next_pickle(const ByteSource& source, int64_t* at, int64_t end) {
  PickleTree tree = parse_pickle(source, *at, end, torch_globals());
  *at = tree.end;
  return tree;
}

int64_t next_count(const ByteSource& source, int64_t* at, int64_t end) {
  const int64_t begin = *at;
  const PickleTree tree = next_pickle(source, at, end);
  if (tree.root_node().kind != Kind::kInt || tree.root_node().integer < 0)
    throw FormatError(source.name(), "expected a count", begin);
  return tree.root_node().integer;
}

/// Keys are addresses: integers, in some versions as text.
std::string key_of(const ByteSource& source, const PickleNode& node) {
  if (node.kind == Kind::kInt) return std::to_string(node.integer);
  if (node.kind == Kind::kString) return node.string;
  throw FormatError(source.name(), "a key that is no number", node.offset);
}

const std::vector<PickleId>& triple(const ByteSource& source, const PickleTree& tree, PickleId id,
                                    size_t count) {
  const PickleNode& node = tree[id];
  if (node.kind != Kind::kTuple || node.items.size() != count)
    throw FormatError(source.name(), text("expected a tuple of ", count), node.offset);
  return node.items;
}

struct TarStorageRef {
  size_t storage = 0;
  int64_t begin = 0;
  int64_t numel = 0;
};

std::map<std::string, TarStorageRef> read_tar_storages(const ByteSource& source, const TarMember& member,
                                                       std::vector<TorchStorage>* storages) {
  std::map<std::string, TarStorageRef> refs;
  int64_t at = member.offset;
  const int64_t end = member.offset + member.bytes;
  const int64_t count = next_count(source, &at, end);
  for (int64_t i = 0; i < count; ++i) {
    const PickleTree tree = next_pickle(source, &at, end);
    const std::vector<PickleId>& parts = triple(source, tree, tree.root, 3);  // key, location, class
    TorchStorage storage;
    storage.key = key_of(source, tree[parts[0]]);
    storage.dtype = torch_storage_dtype(tree[parts[2]].string, source.name(), tree[parts[2]].offset);
    storage.numel = storage_numel(source, &at, end, storage.dtype, storage.key);
    storage.offset = at;
    at += storage.numel * dtype_bytes(storage.dtype);
    const TarStorageRef ref = {storages->size(), 0, storage.numel};
    if (!refs.emplace(storage.key, ref).second)
      throw FormatError(source.name(), text("the storage '", printable(storage.key), "' stands twice"), at);
    storages->push_back(std::move(storage));
  }
  const PickleTree views = next_pickle(source, &at, end);
  if (views.root_node().kind != Kind::kList)
    throw FormatError(source.name(), "expected a list of views", views.root_node().offset);
  for (const PickleId id : views.root_node().items) {
    const std::vector<PickleId>& parts = triple(source, views, id, 4);  // key, key of the whole, offset, size
    const auto whole = refs.find(key_of(source, views[parts[1]]));
    const int64_t begin = views[parts[2]].integer;
    const int64_t numel = views[parts[3]].integer;
    const bool integers = views[parts[2]].kind == Kind::kInt && views[parts[3]].kind == Kind::kInt;
    if (!integers || whole == refs.end() || begin < 0 || numel < 0 || begin > whole->second.numel ||
        numel > whole->second.numel - begin) {
      throw FormatError(source.name(), "a view reaches outside its storage", views[id].offset);
    }
    refs[key_of(source, views[parts[0]])] = {whole->second.storage, whole->second.begin + begin, numel};
  }
  if (at != end) throw FormatError(source.name(), "bytes after the last storage", at);
  return refs;
}

std::map<std::string, TorchTensor> read_tar_tensors(const ByteSource& source, const TarMember& member,
                                                    const std::map<std::string, TarStorageRef>& storages) {
  std::map<std::string, TorchTensor> tensors;
  int64_t at = member.offset;
  const int64_t end = member.offset + member.bytes;
  const int64_t count = next_count(source, &at, end);
  for (int64_t i = 0; i < count; ++i) {
    const PickleTree tree = next_pickle(source, &at, end);
    const std::vector<PickleId>& parts = triple(source, tree, tree.root, 3);  // key, storage, class
    TorchTensor tensor;
    tensor.name = key_of(source, tree[parts[0]]);
    const auto storage = storages.find(key_of(source, tree[parts[1]]));
    if (storage == storages.end())
      throw FormatError(source.name(), "a tensor names a storage that is not there", tree.root_node().offset);
    if (end - at < 8) throw FormatError(source.name(), "ends inside a tensor's description", at);
    const int64_t rank = load_le32(source.bytes(at, 4).data());  // four more bytes follow, of no meaning
    at += 8;
    if (rank > Shape::kMaxRank || end - at < 16 * rank + 8)
      throw FormatError(source.name(), text("a tensor of ", rank, " dimensions"), at);
    const std::vector<uint8_t> numbers = source.bytes(at, 16 * rank + 8);
    std::vector<int64_t> values;
    for (int64_t k = 0; k < 2 * rank + 1; ++k)
      values.push_back(static_cast<int64_t>(load_le64(&numbers[static_cast<size_t>(8 * k)])));
    try {
      tensor.shape = Shape(std::vector<int64_t>(values.begin(), values.begin() + rank));
    } catch (const InvalidArgument& error) {
      throw FormatError(source.name(), text("tensor ", printable(tensor.name), ": ", error.what()), at);
    }
    tensor.strides.assign(values.begin() + rank, values.begin() + 2 * rank);
    tensor.storage_offset = values.back();
    at += 16 * rank + 8;
    check_inside_storage(tensor, storage->second.numel, source.name());
    tensor.storage_offset += storage->second.begin;
    tensor.storage = storage->second.storage;
    const std::string key = tensor.name;
    if (!tensors.emplace(key, std::move(tensor)).second)
      throw FormatError(source.name(), text("the tensor ", printable(key), " stands twice"), at);
  }
  if (at != end) throw FormatError(source.name(), "bytes after the last tensor", at);
  return tensors;
}

std::unique_ptr<NamedTensors> open_tar(const ByteSourcePtr& source) {
  const std::vector<TarMember> members = read_tar(*source);
  const TarMember& pickle = tar_member(*source, members, "pickle");
  std::vector<TorchStorage> storages;
  const auto refs = read_tar_storages(*source, tar_member(*source, members, "storages"), &storages);
  const auto tensors = read_tar_tensors(*source, tar_member(*source, members, "tensors"), refs);
  const PickleTree tree = parse_pickle(*source, pickle.offset, pickle.offset + pickle.bytes, torch_globals());
  TorchContents contents = read_torch_tree(*source, tree, pickle.bytes, &tensors, std::move(storages));
  return std::make_unique<TorchCheckpoint>(source, std::move(contents), std::vector<ZipMember>(), false);
}

}  // namespace

bool looks_like_torch_stream(const ByteSource& source) {
  // PROTO 2, LONG1 of ten bytes, STOP
  const std::string expected = std::string("\x80\x02\x8a\x0a", 4) + std::string(kMagicNumber, 10) + ".";
  if (source.size() < static_cast<int64_t>(expected.size())) return false;
  const std::vector<uint8_t> begin = source.bytes(0, static_cast<int64_t>(expected.size()));
  return std::equal(begin.begin(), begin.end(), expected.begin(),
                    [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); });
}

std::unique_ptr<NamedTensors> open_torch_checkpoint(const std::string& path) {
  return open_torch_checkpoint(file_source(path));
}

std::unique_ptr<NamedTensors> open_torch_checkpoint(ByteSourcePtr source) {
  if (looks_like_tar(*source)) return open_tar(source);
  if (source->size() >= 2) {
    const std::vector<uint8_t> begin = source->bytes(0, 2);
    if (begin[0] == 'P' && begin[1] == 'K') return open_zip(source);
  }
  return open_stream(source);
}

}  // namespace panda::weights
