// Golden files under tests/golden: lines of "name quantity value value ...".
#pragma once

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace panda::test {

using Goldens = std::map<std::string, std::vector<double>>;  // of one name, by quantity

/// The lines of `name` in tests/golden/`file_name`; empty if there are none (or no such file).
[[nodiscard]] inline Goldens read_goldens(const std::string& file_name, const std::string& name) {
  std::ifstream file(std::string(PANDA_SOURCE_DIR) + "/tests/golden/" + file_name);
  Goldens goldens;
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string of;
    std::string quantity;
    fields >> of >> quantity;
    if (of != name) continue;
    for (double value = 0; fields >> value;) goldens[quantity].push_back(value);
  }
  return goldens;
}

}  // namespace panda::test
