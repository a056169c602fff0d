#include "kernels/knn.h"

#include "kernels/checks.h"

namespace panda::kernels {

void knn_search(Device& device, const KnnSearchArgs& args) {
  const OperandCheck check("knn_search", device);
  check.present("queries", args.queries, 2);
  check.present("gallery", args.gallery, 2);
  const int64_t nq = args.queries.shape()[0];
  const int64_t nb = args.gallery.shape()[0];
  PANDA_CHECK(args.queries.shape()[1] == args.gallery.shape()[1],
              "knn_search: queries have d=", args.queries.shape()[1],
              " but the gallery has d=", args.gallery.shape()[1]);
  PANDA_CHECK(args.k >= 1 && args.k <= nb, "knn_search: k=", args.k, " with a gallery of ", nb,
              " vectors, expected 1 <= k <= ", nb);
  check.shape("distances", args.distances, {nq, args.k}, {DType::kF32, DType::kF64});
  check.shape("indices", args.indices, {nq, args.k}, {DType::kI64});
  check.no_overlap("distances", args.distances, "queries", args.queries);
  check.no_overlap("distances", args.distances, "gallery", args.gallery);
  check.no_overlap("indices", args.indices, "queries", args.queries);
  check.no_overlap("indices", args.indices, "gallery", args.gallery);
  check.no_overlap("distances", args.distances, "indices", args.indices);
  if (nq == 0) return;
  launch("knn_search", device.kernels().knn_search, device, args);
}

}  // namespace panda::kernels
