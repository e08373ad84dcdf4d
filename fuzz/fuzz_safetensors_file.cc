// fuzz: checkpoint os manifest base
// Input: the length of the header in decimal, a newline, what follows these 8 bytes in the file.
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "base/check.h"
#include "checkpoint/tensor_digests.h"
#include "number_line.h"
#include "os/unique_fd.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto [length, rest] = ckpt::fuzz::split_number_line(data, size);
  const ckpt::UniqueFd fd(::memfd_create("fuzz", MFD_CLOEXEC));
  CKPT_CHECK(::pwrite(fd.get(), &length, sizeof length, 0) == sizeof length);
  CKPT_CHECK(::pwrite(fd.get(), rest.data(), rest.size(), sizeof length) == static_cast<ssize_t>(rest.size()));
  const std::string paths[] = {"/proc/self/fd/" + std::to_string(fd.get())};
  const ckpt::Result<ckpt::Checkpoint> checkpoint = ckpt::open_checkpoint_files(paths);
  if (checkpoint.ok()) CKPT_CHECK(ckpt::tensor_digests(*checkpoint).ok());  // all that was accepted can be read
  return 0;
}
