#include "os/signals.h"

#include <atomic>
#include <cerrno>
#include <csignal>

#include "base/check.h"

namespace ckpt {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM};

std::atomic<AbortSignal*> g_abort{nullptr};
std::atomic<int> g_received{0};
struct sigaction g_before[2];

extern "C" void on_interrupt(int number) {
  const int error = errno;
  int none = 0;
  g_received.compare_exchange_strong(none, number);
  if (AbortSignal* abort = g_abort.load()) abort->trigger_from_signal_handler();
  errno = error;
}

}  // namespace

InterruptSignals::InterruptSignals(AbortSignal& abort) {
  AbortSignal* none = nullptr;
  CKPT_CHECK(g_abort.compare_exchange_strong(none, &abort));
  g_received = 0;
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < 2; ++i) CKPT_CHECK(::sigaction(kSignals[i], &action, &g_before[i]) == 0);
}

InterruptSignals::~InterruptSignals() {
  for (int i = 0; i < 2; ++i) ::sigaction(kSignals[i], &g_before[i], nullptr);
  g_abort = nullptr;
}

int InterruptSignals::received() const { return g_received; }

}  // namespace ckpt
