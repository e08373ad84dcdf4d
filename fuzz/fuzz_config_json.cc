// fuzz: checkpoint manifest base
#include "base/check.h"
#include "checkpoint/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto config = ckpt::parse_model_config({reinterpret_cast<const char*>(data), size});
  if (config.ok()) CKPT_CHECK((config->weight_block_rows == 0) == (config->weight_block_columns == 0));
  return 0;
}
