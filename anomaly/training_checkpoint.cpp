#include "anomaly/training_checkpoint.h"

#include <charconv>
#include <cstdio>
#include <filesystem>

#include "anomaly/fitted_model.h"
#include "kernels/tensor/file.h"

namespace panda::anomaly {

namespace {

constexpr const char* kFormat = "panda-fit-checkpoint";
constexpr const char* kFitPrefix = "fit.";

void check_same_fit(const std::string& source, const weights::Metadata& stored,
                    const weights::Metadata& fit) {
  const auto refuse = [&](const std::string& key, const std::string& there, const std::string& here) {
    throw FormatError(source, text("is the checkpoint of another fit: ", printable(key), " is ",
                                   printable(there), " there and ", printable(here), " here"));
  };
  const std::string prefix = kFitPrefix;
  for (const auto& [key, here] : fit) {
    const auto there = stored.find(prefix + key);
    if (there == stored.end()) refuse(key, "absent", here);
    if (there->second != here) refuse(key, there->second, here);
  }
  for (const auto& [key, there] : stored) {
    if (key.compare(0, prefix.size(), prefix) == 0 && fit.count(key.substr(prefix.size())) == 0)
      refuse(key.substr(prefix.size()), there, "absent");
  }
}

}  // namespace

TrainingState part_of(const TrainingState& state, const std::string& prefix) {
  TrainingState part;
  for (const auto& [name, tensor] : state) {
    if (name.compare(0, prefix.size(), prefix) == 0) part.emplace(name.substr(prefix.size()), tensor);
  }
  return part;
}

std::string checkpoint_path(const std::string& model_path) {
  return model_path + ".checkpoint";
}

void remove_abandoned_files(const std::string& model_path) {
  const std::filesystem::path path(model_path);
  const std::string parent = path.parent_path().empty() ? "." : path.parent_path().string();
  for (const std::string& place : {model_path, checkpoint_path(model_path)}) {
    // AtomicFile's names.
    const std::string part = std::filesystem::path(place).filename().string() + ".part-";
    for (const std::string& name : list_directory(parent)) {
      if (name.compare(0, part.size(), part) == 0) std::remove(join_path(parent, name).c_str());
    }
  }
}

void write_training_state(const std::string& path, const weights::Metadata& fit, int64_t steps,
                          const TrainingState& state) {
  weights::Metadata metadata;
  metadata["format"] = kFormat;
  metadata["minibatch"] = std::to_string(steps);
  for (const auto& [key, value] : fit) metadata[kFitPrefix + key] = value;
  TensorBundle tensors(path);
  for (const auto& [name, tensor] : state) tensors.add(name, tensor);
  metadata["sha256"] = content_digest(metadata, tensors);
  weights::SafetensorsWriter writer(path, tensors.list(), metadata);
  for (const TensorInfo& info : writer.order()) writer.write(tensors.load(info.name));
  writer.commit();
}

void read_training_state(const std::string& path, const weights::Metadata& fit,
                         const std::function<void(int64_t steps, const TrainingState& state)>& restore) {
  const weights::SafetensorsFile file(path);
  const weights::Metadata& metadata = file.metadata();
  const auto field = [&](const std::string& key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? std::string() : found->second;
  };
  if (field("format") != kFormat)
    throw FormatError(file.source(), "this safetensors file is no checkpoint of a fit");
  if (field("sha256") != content_digest(metadata, file)) {
    throw FormatError(
        file.source(),
        "the checkpoint is damaged: its content does not match its SHA-256; remove it to begin again");
  }
  check_same_fit(file.source(), metadata, fit);
  const std::string minibatch = field("minibatch");
  int64_t steps = -1;
  const auto parsed = std::from_chars(minibatch.data(), minibatch.data() + minibatch.size(), steps);
  if (parsed.ec != std::errc() || parsed.ptr != minibatch.data() + minibatch.size() || steps < 0)
    throw FormatError(file.source(),
                      text("its minibatch is '", printable(minibatch), "', expected a number"));
  TrainingState state;
  for (const TensorInfo& info : file.list()) state.emplace(info.name, file.load(info.name));
  try {
    restore(steps, state);
  } catch (const InvalidArgument& error) {
    throw FormatError(file.source(), error.what());
  }
}

}  // namespace panda::anomaly
