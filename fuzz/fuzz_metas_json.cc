// fuzz: manifest base
#include "base/check.h"
#include "manifest/metas_json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto manifests = ckpt::manifests_from_json({reinterpret_cast<const char*>(data), size});
  if (!manifests.ok()) return 0;
  if (manifests->empty()) return 0;
  // What was accepted is written in one form, which reads as the same.
  const std::string text = ckpt::manifests_json(*manifests);
  const auto again = ckpt::manifests_from_json(text);
  CKPT_CHECK(again.ok());
  CKPT_CHECK(again->size() == manifests->size());
  CKPT_CHECK((*again)[0].layout->frames == (*manifests)[0].layout->frames);
  CKPT_CHECK(ckpt::manifests_json(*again) == text);
  return 0;
}
