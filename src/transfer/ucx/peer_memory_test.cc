#include "transfer/ucx/peer_memory.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <csignal>

#include "base/fault_point.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

constexpr std::size_t kBytes = 3 * MiB + 17;

/// Another process: it holds bytes 0, 1, 2 … and a fence, and waits to be killed. What it knows of itself lies in shared memory.
class Owner {
 public:
  struct Shared {
    MemoryTicket ticket;
    std::uint64_t address;
  };

  Owner() {
    shared_ = static_cast<Shared*>(::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    pid_ = ::fork();
    if (pid_ == 0) live(ready[1]);
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    ::close(ready[1]);
  }
  ~Owner() {
    kill();
    ::munmap(shared_, sizeof(Shared));
  }
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;

  [[nodiscard]] const Shared& shared() const { return *shared_; }
  void kill() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  [[noreturn]] void live(int ready) {
    Bytes bytes(kBytes);
    for (std::size_t i = 0; i < kBytes; ++i) bytes[i] = static_cast<std::byte>(i);
    const MemoryFence fence;
    *shared_ = {fence.ticket(), std::bit_cast<std::uint64_t>(bytes.data())};
    static_cast<void>(!::write(ready, "!", 1));
    for (;;) ::pause();
  }
  Shared* shared_ = nullptr;
  pid_t pid_ = -1;
};

TEST(PeerMemory, BytesOfAnotherProcessArrive) {
  const Owner owner;
  const Result<PeerMemory> memory = PeerMemory::open(owner.shared().ticket);
  ASSERT_OK(memory);
  Bytes into(kBytes);
  const AbortSignal never;
  ASSERT_OK(memory->read(owner.shared().address, into, never));
  for (std::size_t i = 0; i < kBytes; ++i) ASSERT_EQ(into[i], static_cast<std::byte>(i)) << i;
}

TEST(PeerMemory, ADeadOwnerIsAnErrorOfThatPeer) {
  Owner owner;
  const Result<PeerMemory> memory = PeerMemory::open(owner.shared().ticket);
  ASSERT_OK(memory);
  owner.kill();
  Bytes into(64);
  const AbortSignal never;
  const Status read = memory->read(owner.shared().address, into, never);
  EXPECT_THAT(read, Is(StatusCode::unavailable, HasSubstr("No such process")));
  EXPECT_EQ(read.scope(), Scope::peer);
}

TEST(PeerMemory, BytesThatAreNotThereAreAnError) {
  const Owner owner;
  const Result<PeerMemory> memory = PeerMemory::open(owner.shared().ticket);
  ASSERT_OK(memory);
  Bytes into(64);
  const AbortSignal never;
  EXPECT_THAT(memory->read(4096, into, never), Is(StatusCode::unavailable, HasSubstr("Bad address")));
}

TEST(PeerMemory, NothingIsReadPastAFenceThatWasTakenDown) {
  MemoryFence fence;
  const Result<PeerMemory> memory = PeerMemory::open(fence.ticket());
  ASSERT_OK(memory);
  const Bytes source(64, std::byte{7});
  Bytes into(64);
  const AbortSignal never;
  ASSERT_OK(memory->read(std::bit_cast<std::uint64_t>(source.data()), into, never));
  EXPECT_EQ(into, source);
  fence.take_down();
  EXPECT_THAT(memory->read(std::bit_cast<std::uint64_t>(source.data()), into, never), Is(StatusCode::unavailable, HasSubstr("ended the exchange")));
  EXPECT_THAT(PeerMemory::open(fence.ticket()), Is(StatusCode::unsupported));
}

TEST(PeerMemory, AnAbortEndsARead) {
  const MemoryFence fence;
  const Result<PeerMemory> memory = PeerMemory::open(fence.ticket());
  ASSERT_OK(memory);
  AbortSignal abort;
  abort.trigger(Status(StatusCode::cancelled, Scope::operation, "enough"));
  Bytes into(64, std::byte{1});
  const Bytes source(64, std::byte{7});
  EXPECT_THAT(memory->read(std::bit_cast<std::uint64_t>(source.data()), into, abort), Is(StatusCode::cancelled, HasSubstr("enough")));
  EXPECT_EQ(into, Bytes(64, std::byte{1}));
}

TEST(PeerMemory, OtherHostsAndRefusalsAreToldApart) {
  const MemoryFence fence;
  MemoryTicket ticket = fence.ticket();
  ticket.host ^= 2;
  EXPECT_THAT(PeerMemory::open(ticket), Is(StatusCode::not_found));
  EXPECT_THAT(PeerMemory::open(MemoryTicket{}), Is(StatusCode::not_found));
  ticket = fence.ticket();
  ticket.pid_space ^= 1;
  EXPECT_THAT(PeerMemory::open(ticket), Is(StatusCode::unsupported, HasSubstr("PID namespace")));
  ticket = fence.ticket();
  ticket.fence ^= 1;  // a process that has taken over the number of a dead one
  EXPECT_THAT(PeerMemory::open(ticket), Is(StatusCode::unsupported));
#if defined(CKPT_FAULT_POINTS)
  ASSERT_OK(set_fault_rules("sys.process_vm_readv:1:error"));
  EXPECT_THAT(PeerMemory::open(fence.ticket()), Is(StatusCode::unsupported, HasSubstr("injected fault")));
  ASSERT_OK(set_fault_rules(""));
#endif
}

TEST(PeerMemory, ATicketTravelsAndOtherBytesAreNone) {
  const MemoryFence fence;
  const MemoryTicket ticket = fence.ticket();
  const auto decoded = MemoryTicket::decode(ticket.encode());
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(decoded->encode(), ticket.encode());
  EXPECT_FALSE(MemoryTicket::decode(Bytes(3)).has_value());
}

}  // namespace
}  // namespace ckpt
