// fuzz: manifest base
#include <cstring>

#include "base/check.h"
#include "manifest/manifest_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // The digest that the message states, so that the reader goes beyond it.
  std::uint64_t layout_digest = 0;
  if (size >= 9) std::memcpy(&layout_digest, data + 1, sizeof layout_digest);
  const std::string_view messages[] = {text};
  const auto manifests = ckpt::assemble_manifests(messages, nullptr, layout_digest);
  if (manifests.ok()) CKPT_CHECK(ckpt::encode_manifest((*manifests)[0], layout_digest) == text);
  const auto parameters = ckpt::decode_parameters(text);
  if (parameters.ok()) CKPT_CHECK(ckpt::encode_parameters(*parameters) == text);
  return 0;
}
