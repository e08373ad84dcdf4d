#include "os/boot_id.h"

#include "os/file.h"

namespace ckpt {

Result<std::string> boot_id() {
  CKPT_ASSIGN_OR_RETURN(const Bytes text, read_small_file("/proc/sys/kernel/random/boot_id"));
  std::string id(as_text(text));
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

}  // namespace ckpt
