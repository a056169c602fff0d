// How the eight tiles are divided. Their numbers are part of an instruction: 0..3 are sums, 4 and 5 the left
// operand, 6 and 7 the right one.

/// _tile_loadconfig's operand: all eight tiles are 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);
/// Not on the stack: the intrinsic names 8 of its bytes to the compiler, which might not write the others.
constexpr TileConfig kTileConfig;
