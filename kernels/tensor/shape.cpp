#include "kernels/tensor/shape.h"

#include "kernels/tensor/checked_math.h"

namespace panda {

Shape::Shape(std::initializer_list<int64_t> extents) {
  assign(extents.begin(), extents.size());
}
Shape::Shape(const std::vector<int64_t>& extents) {
  assign(extents.data(), extents.size());
}

void Shape::assign(const int64_t* extents, size_t rank) {
  PANDA_CHECK(rank <= kMaxRank, "a tensor has at most ", kMaxRank, " dimensions, got ", rank);
  rank_ = static_cast<int>(rank);
  // The product of the non-zero extents is checked too, so that "0 x huge x huge" does not pass by its zero.
  int64_t nonzero_product = 1;
  bool has_zero = false;
  for (int i = 0; i < rank_; ++i) {
    PANDA_CHECK(extents[i] >= 0, "negative extent ", extents[i], " in dimension ", i);
    extents_[static_cast<size_t>(i)] = extents[i];
    if (extents[i] == 0) {
      has_zero = true;
    } else {
      nonzero_product = checked_mul(nonzero_product, extents[i]);
    }
  }
  numel_ = has_zero ? 0 : nonzero_product;
}

int64_t Shape::operator[](int i) const {
  const int index = i < 0 ? i + rank_ : i;
  PANDA_CHECK(index >= 0 && index < rank_, "dimension ", i, " of a tensor of rank ", rank_);
  return extents_[static_cast<size_t>(index)];
}

std::string Shape::to_string() const {
  if (rank_ == 0) return "scalar";
  std::string joined = std::to_string(extents_[0]);
  for (int i = 1; i < rank_; ++i) joined += "x" + std::to_string(extents_[static_cast<size_t>(i)]);
  return joined;
}

}  // namespace panda
