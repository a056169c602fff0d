#include "anomaly/detector.h"

#include "anomaly/adapted.h"
#include "anomaly/dn2.h"
#include "anomaly/spade.h"
#include "kernels/tensor/error.h"

namespace panda::anomaly {

std::unique_ptr<Detector> load_detector(Device& device, const std::string& path, const LoadOptions& options) {
  const auto file = std::make_shared<const FittedModelFile>(path);
  if (is_dn2_method(file->method())) return std::make_unique<Dn2>(Dn2::load(device, *file));
  if (file->method() == "spade") return std::make_unique<Spade>(Spade::load(device, file, options));
  if (is_adapted_method(file->method())) return std::make_unique<Adapted>(Adapted::load(device, *file));
  throw FormatError(file->source(), text("a model of the method ", printable(file->method()),
                                         ", which this build does not have"));
}

}  // namespace panda::anomaly
