#include "checkpoint/tensor_digests.h"

#include <xxhash.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "checkpoint/printable.h"
#include "os/file.h"

namespace ckpt {
namespace {

constexpr std::uint64_t kReadBytes = 4 * MiB;

struct FreeState {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};
using StatePtr = std::unique_ptr<XXH3_state_t, FreeState>;

Result<std::uint64_t> digest_of(const File& file, std::uint64_t offset, std::uint64_t bytes, Bytes& piece, XXH3_state_t* state) {
  XXH3_64bits_reset(state);
  while (bytes > 0) {
    const std::span<std::byte> part = std::span(piece).first(std::min<std::uint64_t>(piece.size(), bytes));
    CKPT_RETURN_IF_ERROR(file.read_all(offset, part));
    XXH3_64bits_update(state, part.data(), part.size());
    offset += part.size();
    bytes -= part.size();
  }
  return XXH3_64bits_digest(state);
}

}  // namespace

Result<std::vector<std::uint64_t>> tensor_digests(const Checkpoint& checkpoint) {
  const StatePtr state(XXH3_createState());
  if (state == nullptr) return Status(StatusCode::resource_exhausted, Scope::operation, "no memory for a digest");
  Bytes piece(kReadBytes);
  std::vector<std::uint64_t> digests;
  std::optional<File> file;  // parameters lie in file order
  std::uint32_t opened = 0;
  for (std::size_t i = 0; i < checkpoint.parameters.size(); ++i) {
    const TensorLocation& location = checkpoint.locations[i];
    if (!file || opened != location.file) {
      CKPT_ASSIGN_OR_RETURN(File next, File::open_for_reading(checkpoint.files[location.file].path));
      file.emplace(std::move(next));
      opened = location.file;
    }
    const Result<std::uint64_t> digest = digest_of(*file, location.offset_bytes, checkpoint.parameters[i].bytes, piece, state.get());
    if (!digest.ok()) return digest.status().with_note("tensor {}", printable(checkpoint.parameters[i].name));
    digests.push_back(*digest);
  }
  return digests;
}

}  // namespace ckpt
