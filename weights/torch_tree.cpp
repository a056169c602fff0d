#include "weights/torch_tree.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "kernels/tensor/error.h"

namespace panda::weights {
namespace {

using Kind = PickleNode::Kind;

constexpr int kMaxDepth = 64;
constexpr size_t kMaxNameBytes = 512;

constexpr std::array<std::pair<const char*, DType>, 10> kElementNames = {{{"Double", DType::kF64},
                                                                          {"Float", DType::kF32},
                                                                          {"Half", DType::kF16},
                                                                          {"BFloat16", DType::kBF16},
                                                                          {"Long", DType::kI64},
                                                                          {"Int", DType::kI32},
                                                                          {"Short", DType::kI16},
                                                                          {"Char", DType::kI8},
                                                                          {"Byte", DType::kU8},
                                                                          {"Bool", DType::kBool}}};

std::vector<std::string> make_globals() {
  std::vector<std::string> globals = {"collections.OrderedDict",
                                      "torch._utils._rebuild_tensor",
                                      "torch._utils._rebuild_tensor_v2",
                                      "torch._utils._rebuild_parameter",
                                      "torch._utils._rebuild_parameter_with_state",
                                      "torch._tensor._rebuild_from_type_v2",
                                      "torch.Tensor",
                                      "torch.Size",
                                      "torch.nn.parameter.Parameter",
                                      "torch.autograd.variable.Variable"};
  for (const auto& [name, dtype] : kElementNames) {
    for (const char* module : {"torch.", "torch.cuda."}) {
      globals.push_back(text(module, name, "Storage"));
      globals.push_back(text(module, name, "Tensor"));
    }
  }
  return globals;
}

class TreeReader {
 public:
  TreeReader(const ByteSource& source, const PickleTree& tree, int64_t pickle_bytes,
             const std::map<std::string, TorchTensor>* tar_tensors, std::vector<TorchStorage> tar_storages)
      : source_(source), tree_(tree), most_visits_(4 * pickle_bytes + 1000), tar_tensors_(tar_tensors) {
    contents_.storages = std::move(tar_storages);
  }

  TorchContents read() {
    if (tar_tensors_ == nullptr) {
      // Also those of the parts not chosen: the legacy stream's storages can only be found one after another.
      for (const PickleNode& node : tree_.nodes) {
        int64_t unused = 0;
        if (node.kind == Kind::kPersistent) (void)storage_of(node, &unused, &unused);
      }
    }
    walk(choose_root(), "", 0);
    if (contents_.tensors.empty()) throw FormatError(source_.name(), "a checkpoint without tensors");
    strip_module();
    std::sort(contents_.tensors.begin(), contents_.tensors.end(),
              [](const TorchTensor& a, const TorchTensor& b) { return a.name < b.name; });
    for (size_t i = 1; i < contents_.tensors.size(); ++i) {
      if (contents_.tensors[i].name == contents_.tensors[i - 1].name) {
        throw FormatError(source_.name(),
                          text("two tensors are named '", printable(contents_.tensors[i].name), "'"));
      }
    }
    return std::move(contents_);
  }

 private:
  [[noreturn]] void fail(const PickleNode& node, const std::string& what) const {
    throw FormatError(source_.name(), what, node.offset);
  }
  const PickleNode& at(PickleId id) const { return tree_[id]; }

  [[nodiscard]] PickleId choose_root() const {
    const PickleNode& root = tree_.root_node();
    if (root.kind != Kind::kDict) return tree_.root;
    for (const char* wanted : {"state_dict", "model_state_dict", "model", "net"}) {
      for (size_t i = root.items.size(); i >= 2; i -= 2) {  // the last of equal keys counts
        const PickleNode& key = at(root.items[i - 2]);
        if (key.kind != Kind::kString || key.string != wanted) continue;
        if (at(root.items[i - 1]).kind == Kind::kDict) return root.items[i - 1];
        break;
      }
    }
    return tree_.root;
  }

  void walk(PickleId id, const std::string& name, int depth) {
    const PickleNode& node = at(id);
    if (depth > kMaxDepth) fail(node, text("values nest deeper than ", kMaxDepth));
    if (++visits_ > most_visits_)
      fail(node, "the checkpoint repeats its parts more often than its size allows");
    if (node.kind == Kind::kDict) return walk_dict(node, name, depth);
    if (node.kind == Kind::kList || node.kind == Kind::kTuple) {
      for (size_t i = 0; i < node.items.size(); ++i)
        walk(node.items[i], joined(node, name, std::to_string(i)), depth + 1);
      return;
    }
    std::optional<TorchTensor> tensor = tensor_of(id, name, 0);
    if (!tensor) return;
    tensor->name = name.empty() ? "tensor" : name;
    if (static_cast<int64_t>(contents_.tensors.size()) * 8 > most_visits_)
      fail(node, "more tensors than the checkpoint's size allows");
    contents_.tensors.push_back(std::move(*tensor));
  }

  void walk_dict(const PickleNode& dict, const std::string& name, int depth) {
    std::map<std::string, PickleId> values;  // of equal keys the last counts, as in Python
    for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      const PickleNode& key = at(dict.items[i]);
      if (++visits_ > most_visits_)
        fail(key, "the checkpoint repeats its parts more often than its size allows");
      if (key.string.size() > kMaxNameBytes) fail(key, text("a name of more than ", kMaxNameBytes, " bytes"));
      if (key.kind == Kind::kString) {
        values[key.string] = dict.items[i + 1];
      } else if (key.kind == Kind::kInt) {
        values[std::to_string(key.integer)] = dict.items[i + 1];
      } else {
        fail(key, text("a dict has a ", pickle_kind_name(key.kind), " as its key, expected a name"));
      }
    }
    for (const auto& [key, value] : values) walk(value, joined(dict, name, key), depth + 1);
  }

  [[nodiscard]] std::string joined(const PickleNode& node, const std::string& prefix,
                                   const std::string& name) const {
    if (prefix.size() + name.size() + 1 > kMaxNameBytes)
      fail(node, text("a name of more than ", kMaxNameBytes, " bytes"));
    return prefix.empty() ? name : prefix + "." + name;
  }

  /// Nothing if the value is no tensor.
  std::optional<TorchTensor> tensor_of(PickleId id, const std::string& name, int depth) {
    const PickleNode& node = at(id);
    if (depth > kMaxDepth) fail(node, "parameters nest too deep");
    if (node.kind == Kind::kPersistent && tar_tensors_ != nullptr) return tar_tensor(node);
    if (node.kind != Kind::kCall) return std::nullopt;
    const std::string& global = at(node.items[0]).string;
    const std::vector<PickleId>& arguments = at(node.items[1]).items;
    if (global == "torch.Size") return std::nullopt;
    if (global == "torch._utils._rebuild_tensor" || global == "torch._utils._rebuild_tensor_v2") {
      return rebuilt(node, arguments, name);
    }
    if (global == "torch._tensor._rebuild_from_type_v2") {
      const bool plain = arguments.size() == 4 && at(arguments[0]).kind == Kind::kGlobal &&
                         at(arguments[2]).kind == Kind::kTuple &&
                         at(arguments[0]).string == "torch._utils._rebuild_tensor_v2";
      if (!plain) fail(node, text("'", printable(name), "': a tensor of a class of its own"));
      return rebuilt(node, at(arguments[2]).items, name);
    }
    // What remains wraps a tensor: a Parameter by one of two functions or, in files of 2017, by its class and
    // perhaps its state.
    const PickleNode* wrapped = nullptr;
    PickleId inner = 0;
    if (!arguments.empty()) {
      inner = arguments[0];
      wrapped = &at(inner);
    } else if (node.items.size() == 3 && at(node.items[2]).kind == Kind::kTuple &&
               at(node.items[2]).items.size() == 5) {
      inner = at(node.items[2]).items[0];
      wrapped = &at(inner);
    }
    const bool wraps =
        global.find("arameter") != std::string::npos || global == "torch.autograd.variable.Variable";
    if (!wraps || wrapped == nullptr)
      fail(node, text("'", printable(name), "': cannot make a tensor of ", global));
    std::optional<TorchTensor> tensor = tensor_of(inner, name, depth + 1);
    if (!tensor)
      fail(node, text("'", printable(name), "': a parameter of a ", pickle_kind_name(wrapped->kind)));
    return tensor;
  }

  TorchTensor tar_tensor(const PickleNode& node) const {
    const PickleNode& id = at(node.items[0]);
    const std::string key = id.kind == Kind::kInt ? std::to_string(id.integer) : id.string;
    const auto found = tar_tensors_->find(key);
    if (found == tar_tensors_->end())
      fail(node, text("names the tensor '", printable(key), "', and there is none"));
    return found->second;
  }

  int64_t integer(PickleId id, const PickleNode& where, const char* what) const {
    if (at(id).kind != Kind::kInt || at(id).integer < 0) fail(where, text(what, " is no integer >= 0"));
    return at(id).integer;
  }

  std::vector<int64_t> integers(PickleId id, const PickleNode& where, const char* what) const {
    const PickleNode* list = &at(id);
    if (list->kind == Kind::kCall && at(list->items[0]).string == "torch.Size" &&
        at(list->items[1]).items.size() == 1) {
      list = &at(at(list->items[1]).items[0]);
    }
    if (list->kind != Kind::kTuple && list->kind != Kind::kList)
      fail(where, text(what, " is a ", pickle_kind_name(list->kind), ", expected a tuple"));
    if (list->items.size() > Shape::kMaxRank)
      fail(where, text(what, " has ", list->items.size(), " numbers, at most ", Shape::kMaxRank));
    std::vector<int64_t> values;
    for (const PickleId item : list->items) values.push_back(integer(item, where, what));
    return values;
  }

  /// _rebuild_tensor(storage, offset, size, stride[, requires_grad, hooks[, metadata]])
  TorchTensor rebuilt(const PickleNode& node, const std::vector<PickleId>& arguments,
                      const std::string& name) {
    if (arguments.size() < 4 || arguments.size() > 7)
      fail(node, text("'", printable(name), "': a tensor of ", arguments.size(), " arguments"));
    if (arguments.size() == 7 && !at(arguments[6]).items.empty()) {
      throw Unsupported(text(source_.name(), ": '", printable(name),
                             "' is a negated or conjugated view; save a clone of it"));
    }
    TorchTensor tensor;
    tensor.name = name;
    int64_t view_begin = 0;
    int64_t view_numel = 0;
    tensor.storage = storage_of(at(arguments[0]), &view_begin, &view_numel);
    tensor.storage_offset = integer(arguments[1], node, "a tensor's offset");
    tensor.strides = integers(arguments[3], node, "a tensor's stride");
    try {
      tensor.shape = Shape(integers(arguments[2], node, "a tensor's shape"));
    } catch (const InvalidArgument& error) {
      fail(node, text("'", printable(name), "': ", error.what()));
    }
    check_inside_storage(tensor, view_numel, source_.name());
    tensor.storage_offset += view_begin;
    return tensor;
  }

  /// ("storage", class, key, location, numel[, view of it: (key, offset, numel)])
  size_t storage_of(const PickleNode& node, int64_t* view_begin, int64_t* view_numel) {
    if (node.kind != Kind::kPersistent)
      fail(node, text("a tensor's storage is a ", pickle_kind_name(node.kind)));
    const PickleNode& id = at(node.items[0]);
    if (id.kind != Kind::kTuple || id.items.size() < 5 || id.items.size() > 6 ||
        at(id.items[0]).string != "storage") {
      fail(node, "a persistent id that is no storage's");
    }
    const PickleNode& global = at(id.items[1]);
    const PickleNode& key = at(id.items[2]);
    if (global.kind != Kind::kGlobal || key.kind != Kind::kString)
      fail(node, "a storage without class or key");
    TorchStorage storage;
    storage.key = key.string;
    storage.dtype = torch_storage_dtype(global.string, source_.name(), node.offset);
    storage.numel = integer(id.items[4], node, "a storage's size");
    *view_begin = 0;
    *view_numel = storage.numel;
    if (id.items.size() == 6 && at(id.items[5]).kind != Kind::kNone) {
      const PickleNode& view = at(id.items[5]);
      if (view.kind != Kind::kTuple || view.items.size() != 3)
        fail(node, "a storage's view that is no triple");
      *view_begin = integer(view.items[1], node, "a view's offset");
      *view_numel = integer(view.items[2], node, "a view's size");
      if (*view_begin > storage.numel || *view_numel > storage.numel - *view_begin)
        fail(node, "a view reaches outside its storage");
    }
    const auto [known, is_new] = index_of_key_.try_emplace(storage.key, contents_.storages.size());
    if (is_new) {
      contents_.storages.push_back(storage);
    } else if (contents_.storages[known->second].dtype != storage.dtype ||
               contents_.storages[known->second].numel != storage.numel) {
      fail(node, text("the storage '", printable(storage.key), "' is described in two ways"));
    }
    return known->second;
  }

  void strip_module() {
    const std::string prefix = "module.";
    for (const TorchTensor& tensor : contents_.tensors) {
      if (tensor.name.size() <= prefix.size() || tensor.name.compare(0, prefix.size(), prefix) != 0) return;
    }
    for (TorchTensor& tensor : contents_.tensors) tensor.name.erase(0, prefix.size());
  }

  const ByteSource& source_;
  const PickleTree& tree_;
  int64_t most_visits_;
  int64_t visits_ = 0;
  const std::map<std::string, TorchTensor>* tar_tensors_;
  std::map<std::string, size_t> index_of_key_;
  TorchContents contents_;
};

}  // namespace

const std::vector<std::string>& torch_globals() {
  static const std::vector<std::string> globals = make_globals();
  return globals;
}

DType torch_storage_dtype(const std::string& global, const std::string& source, int64_t offset) {
  for (const auto& [name, dtype] : kElementNames) {
    if (global == text("torch.", name, "Storage") || global == text("torch.cuda.", name, "Storage"))
      return dtype;
  }
  throw FormatError(source, text(printable(global), " is no class of storages"), offset);
}

void check_inside_storage(const TorchTensor& tensor, int64_t storage_numel, const std::string& source) {
  const std::string shown = text("tensor '", printable(tensor.name), "' (", tensor.shape, ")");
  if (tensor.strides.size() != static_cast<size_t>(tensor.shape.rank())) {
    throw FormatError(source, text(shown, " has ", tensor.strides.size(), " strides"));
  }
  int64_t last = tensor.storage_offset;
  bool inside = tensor.storage_offset >= 0 && tensor.storage_offset <= storage_numel;
  for (int d = 0; d < tensor.shape.rank() && inside && !tensor.shape.empty(); ++d) {
    const int64_t stride = tensor.strides[static_cast<size_t>(d)];
    int64_t step = 0;
    inside = stride >= 0 && !__builtin_mul_overflow(tensor.shape[d] - 1, stride, &step) &&
             !__builtin_add_overflow(last, step, &last);
  }
  if (!inside || (!tensor.shape.empty() && last >= storage_numel)) {
    throw FormatError(source, text(shown, " reaches outside its storage of ", storage_numel, " elements"));
  }
  if (tensor.shape.numel() > storage_numel) {
    throw FormatError(source, text(shown, " has more elements than its storage (", storage_numel,
                                   "): an expanded tensor; save a clone of it"));
  }
}

TorchContents read_torch_tree(const ByteSource& source, const PickleTree& tree, int64_t pickle_bytes,
                              const std::map<std::string, TorchTensor>* tar_tensors,
                              std::vector<TorchStorage> tar_storages) {
  return TreeReader(source, tree, pickle_bytes, tar_tensors, std::move(tar_storages)).read();
}

}  // namespace panda::weights
