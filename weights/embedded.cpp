#include "weights/embedded.h"

// The assembler finds the file in weights/embedded/ (CMakeLists.txt names the folder and the dependency).
asm(".pushsection .rodata\n"
    ".balign 64\n"
    ".global panda_embedded_backbone\n"
    ".global panda_embedded_backbone_end\n"
    "panda_embedded_backbone:\n"
    ".incbin \"backbone.safetensors\"\n"
    "panda_embedded_backbone_end:\n"
    ".byte 0\n"
    ".popsection\n");

extern "C" const unsigned char panda_embedded_backbone[];
extern "C" const unsigned char panda_embedded_backbone_end[];

namespace panda::weights {

ByteSourcePtr embedded_source() {
  return borrowed_source(panda_embedded_backbone, panda_embedded_backbone_end - panda_embedded_backbone,
                         "embedded backbone");
}

ByteSourcePtr weights_source(const std::string& path_or_word) {
  return path_or_word == kEmbeddedName ? embedded_source() : file_source(path_or_word);
}

}  // namespace panda::weights
