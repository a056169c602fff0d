#include "anomaly/fitted_model.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/tensor/error.h"
#include "weights/manifest.h"
#include "weights/tensor_values.h"

namespace panda::anomaly {

namespace {

constexpr const char* kFormat = "panda-fitted-model";
constexpr const char* kDigestKey = "sha256";

template <typename Number>
std::string shortest(Number value) {
  std::array<char, 64> buffer;
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return {buffer.data(), result.ptr};
}

template <typename Number>
Number parsed(const std::string& source, const std::string& key, const std::string& value) {
  Number number{};
  const auto result = std::from_chars(value.data(), value.data() + value.size(), number);
  if (result.ec != std::errc() || result.ptr != value.data() + value.size()) {
    throw FormatError(source,
                      text("the model's field ", key, " is '", printable(value), "', expected a number"));
  }
  return number;
}

void hash_text(weights::Sha256& hash, const std::string& value) {
  const std::string counted = text(value.size(), ":", value);
  hash.update(counted.data(), static_cast<int64_t>(counted.size()));
}

constexpr std::array<std::pair<data::ImageTransform::ResizeMode, const char*>, 3> kResizeModes = {{
    {data::ImageTransform::ResizeMode::kShortSide, "short-side"},
    {data::ImageTransform::ResizeMode::kSquare, "square"},
    {data::ImageTransform::ResizeMode::kNone, "none"},
}};

}  // namespace

void TensorBundle::add(const std::string& name, Tensor tensor) {
  PANDA_CHECK(entries_.count(name) == 0, source_, ": two tensors named '", name, "'");
  const TensorInfo info{name, tensor.dtype(), tensor.shape()};
  entries_[name] = {std::move(tensor), nullptr, info};
}

void TensorBundle::add_from(const std::string& prefix, const NamedTensors& from,
                            const std::vector<std::string>& names) {
  std::map<std::string, TensorInfo> infos;
  for (const TensorInfo& info : from.list()) infos[info.name] = info;
  for (const std::string& name : names) {
    PANDA_CHECK(entries_.count(prefix + name) == 0, source_, ": two tensors named '", prefix + name, "'");
    const auto found = infos.find(name);
    PANDA_CHECK(found != infos.end(), from.source(), ": there is no tensor '", name, "'");
    entries_[prefix + name] = {Tensor(), &from, found->second};
  }
}

std::vector<TensorInfo> TensorBundle::list() const {
  std::vector<TensorInfo> infos;
  for (const auto& [name, entry] : entries_) infos.push_back({name, entry.info.dtype, entry.info.shape});
  return infos;
}

Tensor TensorBundle::load(const std::string& name) const {
  const auto found = entries_.find(name);
  PANDA_CHECK(found != entries_.end(), source_, ": there is no tensor '", name, "'");
  const Entry& entry = found->second;
  return entry.from == nullptr ? entry.tensor : entry.from->load(entry.info.name);
}

std::vector<TensorInfo> PrefixedTensors::list() const {
  std::vector<TensorInfo> infos;
  for (TensorInfo info : from_->list()) {
    if (info.name.compare(0, prefix_.size(), prefix_) != 0) continue;
    info.name.erase(0, prefix_.size());
    infos.push_back(std::move(info));
  }
  return infos;
}

std::string content_digest(const weights::Metadata& metadata, const NamedTensors& tensors) {
  weights::Sha256 hash;
  for (const auto& [key, value] : metadata) {
    if (key == kDigestKey) continue;
    hash_text(hash, key);
    hash_text(hash, value);
  }
  hash_text(hash, weights::content_sha256(tensors));
  return hash.hex_digest();
}

void write_fitted_model(const std::string& path, const std::string& method, const weights::Metadata& fields,
                        const NamedTensors& tensors, int64_t version) {
  weights::Metadata metadata = fields;
  metadata["format"] = kFormat;
  metadata["version"] = std::to_string(version);
  metadata["method"] = method;
  metadata[kDigestKey] = content_digest(metadata, tensors);
  weights::SafetensorsWriter writer(path, tensors.list(), metadata);
  for (const TensorInfo& info : writer.order()) {
    writer.write(tensors.load(info.name));
    check_interrupt();
  }
  writer.commit();
}

FittedModelFile::FittedModelFile(weights::ByteSourcePtr source, DigestCheck check)
    : file_(std::move(source)) {
  const weights::Metadata& metadata = file_.metadata();
  const auto format = metadata.find("format");
  if (format == metadata.end() || format->second != kFormat) {
    throw FormatError(file_.source(), "this safetensors file is not a fitted model (panda fit makes one)");
  }
  const int64_t version = parsed<int64_t>(file_.source(), "version", text_field("version"));
  if (version < kFittedModelVersion || version > kNewestModelVersion) {
    throw FormatError(
        file_.source(),
        text("a fitted model of version ", version, ", but this panda reads versions ", kFittedModelVersion,
             " to ", kNewestModelVersion,
             version > kNewestModelVersion ? ": use a newer panda, or fit it again with this one"
                                           : ": fit it again with this panda"));
  }
  if (check == DigestCheck::kRequired && text_field(kDigestKey) != content_digest(metadata, file_)) {
    throw FormatError(
        file_.source(),
        "the model is damaged: its content does not match its SHA-256; fit it again or restore the file");
  }
}

const std::string& FittedModelFile::text_field(const std::string& key) const {
  const auto found = file_.metadata().find(key);
  if (found == file_.metadata().end())
    throw FormatError(file_.source(), text("the model has no field ", key));
  return found->second;
}

int64_t FittedModelFile::integer_field(const std::string& key, int64_t minimum, int64_t maximum) const {
  const auto value = parsed<int64_t>(file_.source(), key, text_field(key));
  if (value < minimum || value > maximum) {
    throw FormatError(file_.source(), text("the model's field ", key, " is ", value, ", expected ", minimum,
                                           " to ", maximum));
  }
  return value;
}

double FittedModelFile::real_field(const std::string& key) const {
  const auto value = parsed<double>(file_.source(), key, text_field(key));
  if (!std::isfinite(value))
    throw FormatError(file_.source(), text("the model's field ", key, " is not finite"));
  return value;
}

float FittedModelFile::float_field(const std::string& key) const {
  const double value = real_field(key);
  if (std::abs(value) > double{std::numeric_limits<float>::max()}) {
    throw FormatError(file_.source(), text("the model's field ", key, " is ", value, ", beyond a float"));
  }
  return static_cast<float>(value);
}

bool FittedModelFile::flag_field(const std::string& key) const {
  return integer_field(key, 0, 1) == 1;
}

Tensor FittedModelFile::load(const std::string& name, DType dtype, int rank) const {
  if (!file_.contains(name)) throw FormatError(file_.source(), text("the model has no tensor '", name, "'"));
  Tensor tensor = file_.load(name);
  if (tensor.dtype() != dtype || tensor.shape().rank() != rank) {
    throw FormatError(file_.source(), text("the model's tensor '", name, "' is ", tensor.view().to_string(),
                                           ", expected ", dtype_name(dtype), " of rank ", rank));
  }
  try {
    weights::check_finite(tensor, name);
  } catch (const InvalidArgument& error) {
    throw FormatError(file_.source(), error.what());
  }
  return tensor;
}

std::string field_text(double value) {
  return shortest(value);
}
std::string field_text(float value) {
  return shortest(value);
}

void put_transform(weights::Metadata& fields, const data::ImageTransform& transform) {
  for (const auto& [mode, name] : kResizeModes) {
    if (mode == transform.resize_mode) fields["transform.resize_mode"] = name;
  }
  fields["transform.resize"] = std::to_string(transform.resize);
  fields["transform.crop"] = std::to_string(transform.crop);
  fields["transform.channels"] = std::to_string(transform.channels);
  for (size_t c = 0; c < 3; ++c) {
    fields[text("transform.mean.", c)] = field_text(transform.mean[c]);
    fields[text("transform.stddev.", c)] = field_text(transform.stddev[c]);
  }
}

data::ImageTransform get_transform(const FittedModelFile& file, bool whole_pictures) {
  constexpr int64_t kMaxExtent = 4096;  // what --resize and --crop take
  data::ImageTransform transform;
  const std::string& mode_name = file.text_field("transform.resize_mode");
  bool known = false;
  for (const auto& [mode, name] : kResizeModes) {
    if (mode_name != name) continue;
    transform.resize_mode = mode;
    known = true;
  }
  if (!known)
    throw FormatError(file.source(), text("unknown transform.resize_mode '", printable(mode_name), "'"));
  transform.resize = file.integer_field("transform.resize", 1, kMaxExtent);
  transform.crop = file.integer_field("transform.crop", whole_pictures ? 0 : 1, kMaxExtent);
  transform.channels = file.integer_field("transform.channels", 1, 3);
  for (size_t c = 0; c < 3; ++c) {
    transform.mean[c] = file.float_field(text("transform.mean.", c));
    transform.stddev[c] = file.float_field(text("transform.stddev.", c));
  }
  try {
    transform.check();
  } catch (const InvalidArgument& error) {
    throw FormatError(file.source(), error.what());
  }
  return transform;
}

void put_manifest(weights::Metadata& fields, const FitManifest& manifest) {
  fields["manifest.weights_sha256"] = manifest.weights_sha256;
  fields["manifest.training_files_sha256"] = manifest.training_files_sha256;
  fields["manifest.panda_version"] = manifest.panda_version;
  fields["manifest.device"] = manifest.device;
  fields["manifest.seed"] = std::to_string(manifest.seed);
}

FitManifest get_manifest(const FittedModelFile& file) {
  return {file.text_field("manifest.weights_sha256"), file.text_field("manifest.training_files_sha256"),
          file.text_field("manifest.panda_version"), file.text_field("manifest.device"),
          file.integer_field("manifest.seed", 0, INT64_MAX)};
}

}  // namespace panda::anomaly
