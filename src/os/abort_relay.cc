#include "os/abort_relay.h"

#include <poll.h>

#include <cerrno>

#include "os/threads.h"

namespace ckpt {

AbortRelay::AbortRelay(std::vector<const AbortSignal*> sources, std::function<void(const Status&)> act)
    : sources_(std::move(sources)), act_(std::move(act)) {
  Result<std::thread> thread = start_thread("watch for interrupts", [this] { watch(); });
  if (thread.ok())
    thread_ = std::move(thread).value();
  else
    act_(thread.status());  // waits that nothing could end are not begun
}

AbortRelay::~AbortRelay() {
  quit_.trigger_from_signal_handler();
  if (thread_.joinable()) thread_.join();
}

void AbortRelay::watch() {
  std::vector<pollfd> entries{{quit_.fd(), POLLIN, 0}};
  for (const AbortSignal* source : sources_) entries.push_back({source->fd(), POLLIN, 0});
  for (;;) {
    // A signal without a descriptor (none was left) is looked at ten times a second.
    if (::poll(entries.data(), entries.size(), 100) < 0 && errno != EINTR) return;
    for (const AbortSignal* source : sources_) {
      if (!source->triggered()) continue;
      act_(source->check());
      return;
    }
    if (quit_.triggered()) return;
  }
}

}  // namespace ckpt
