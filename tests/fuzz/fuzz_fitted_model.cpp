// The fitted-model reader on arbitrary bytes, behind its digest: an Error, or a detector that scores.
#include "anomaly/dn2.h"
#include "kernels/device_registry.h"
#include "tests/fuzz/fuzz_tools.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace panda;
  static const std::unique_ptr<Device> device = kernels::make_device({"reference", 1, ""});
  return fuzz::expect_errors_only([&] {
    const anomaly::FittedModelFile file(fuzz::source_of(data, size), anomaly::DigestCheck::kSkipped);
    static_cast<void>(anomaly::get_manifest(file));
    const anomaly::Dn2State state = anomaly::read_dn2_state(file);
    const anomaly::FeatureScorer scorer(*device, state.reference, state.options.score);
    Tensor query(host(), DType::kF32, {1, scorer.feature_width()}, "query");
    host().fill(query.view().raw(), 0, query.bytes());
    static_cast<void>(scorer.score(query));
    if (!state.calibration_scores.empty()) {
      static_cast<void>(anomaly::conformal_threshold(state.calibration_scores,
                                                     state.options.false_alarm_rate.value_or(0.5)));
    }
  });
}
