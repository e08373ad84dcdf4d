/// Whether somebody still listens at a sender's address, without disturbing who does.
#pragma once

#include <string>

namespace ckpt {

/// False when the process that bound `address` ("ipc:///path" or "ipc://@name") has surely gone. True where that cannot be told.
[[nodiscard]] bool somebody_listens(const std::string& address);

}  // namespace ckpt
