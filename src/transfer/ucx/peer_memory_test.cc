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
    MemoryOffer offer;
  };
  enum class Kind : std::uint8_t { ordinary, sealed, unsealed };

  explicit Owner(Kind kind = Kind::ordinary) {
    shared_ = static_cast<Shared*>(::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    pid_ = ::fork();
    if (pid_ == 0) live(kind, ready[1]);
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
  [[noreturn]] void live(Kind kind, int ready) {
    Bytes ordinary(kBytes);
    const UniqueFd fd = kind == Kind::sealed ? create_memfd("window", kBytes).value() : UniqueFd(::memfd_create("window", MFD_CLOEXEC));
    if (kind == Kind::unsealed && ::ftruncate(fd.get(), kBytes) != 0) ::_exit(1);
    const Mapping mapping = kind == Kind::ordinary ? Mapping() : Mapping::shared(fd.get(), kBytes, Access::read_write).value();
    std::byte* bytes = kind == Kind::ordinary ? ordinary.data() : mapping.data();
    for (std::size_t i = 0; i < kBytes; ++i) bytes[i] = static_cast<std::byte>(i);
    const MemoryFence fence;
    *shared_ = {fence.ticket(), {std::bit_cast<std::uint64_t>(bytes), kBytes}};
    if (kind != Kind::ordinary) {
      shared_->offer.window = 1;
      shared_->offer.window_bytes = kBytes;
      shared_->offer.window_fd = fd.get();
    }
    static_cast<void>(!::write(ready, "!", 1));
    for (;;) ::pause();
  }
  Shared* shared_ = nullptr;
  pid_t pid_ = -1;
};

TEST(PeerMemory, BytesOfAnotherProcessArrive) {
  const Owner owner;
  const Result<std::unique_ptr<PeerMemory>> memory = PeerMemory::open(owner.shared().ticket);
  ASSERT_OK(memory);
  Bytes into(kBytes);
  const AbortSignal never;
  ASSERT_OK((*memory)->read(owner.shared().offer, into, never));
  for (std::size_t i = 0; i < kBytes; ++i) ASSERT_EQ(into[i], static_cast<std::byte>(i)) << i;
}

TEST(PeerMemory, AWindowIsMappedOnceAndItsOwnersEndIsStillSeen) {
  for (const Owner::Kind kind : {Owner::Kind::sealed, Owner::Kind::unsealed}) {
    Owner owner(kind);
    const Result<std::unique_ptr<PeerMemory>> memory = PeerMemory::open(owner.shared().ticket);
    ASSERT_OK(memory);
    const AbortSignal never;
    MemoryOffer offer = owner.shared().offer;
    const bool mapped = kind == Owner::Kind::sealed;
    offer.address = mapped ? 4096 : offer.address;  // a mapped one is not looked for at its address; what may shrink is not mapped
    Bytes into(kBytes);
    ASSERT_OK((*memory)->read(offer, into, never));
    for (std::size_t i = 0; i < kBytes; ++i) ASSERT_EQ(into[i], static_cast<std::byte>(i)) << i;
    offer.window_offset = MiB + 5;
    offer.address += mapped ? 0 : MiB + 5;
    offer.bytes = 99;
    ASSERT_OK((*memory)->read(offer, std::span(into).first(99), never));
    EXPECT_EQ(into[0], static_cast<std::byte>(5));
    owner.kill();
    EXPECT_THAT((*memory)->read(offer, std::span(into).first(99), never), Is(StatusCode::unavailable, HasSubstr("No such process")));
  }
}

TEST(PeerMemory, AnOfferBeyondItsWindowIsNotReadThroughTheMapping) {
  const Owner owner(Owner::Kind::sealed);
  const Result<std::unique_ptr<PeerMemory>> memory = PeerMemory::open(owner.shared().ticket);
  ASSERT_OK(memory);
  const AbortSignal never;
  MemoryOffer offer = owner.shared().offer;
  offer.address = 4096;
  offer.window_offset = 1;
  Bytes into(kBytes);
  EXPECT_THAT((*memory)->read(offer, into, never), Is(StatusCode::unavailable, HasSubstr("Bad address")));
}

TEST(PeerMemory, ADeadOwnerIsAnErrorOfThatPeer) {
  Owner owner;
  const Result<std::unique_ptr<PeerMemory>> memory = PeerMemory::open(owner.shared().ticket);
  ASSERT_OK(memory);
  owner.kill();
  Bytes into(64);
  const AbortSignal never;
  const Status read = (*memory)->read(owner.shared().offer, into, never);
  EXPECT_THAT(read, Is(StatusCode::unavailable, HasSubstr("No such process")));
  EXPECT_EQ(read.scope(), Scope::peer);
}

TEST(PeerMemory, BytesThatAreNotThereAreAnError) {
  const Owner owner;
  const Result<std::unique_ptr<PeerMemory>> memory = PeerMemory::open(owner.shared().ticket);
  ASSERT_OK(memory);
  Bytes into(64);
  const AbortSignal never;
  EXPECT_THAT((*memory)->read({4096, into.size()}, into, never), Is(StatusCode::unavailable, HasSubstr("Bad address")));
}

TEST(PeerMemory, NothingIsReadPastAFenceThatWasTakenDown) {
  MemoryFence fence;
  const Result<std::unique_ptr<PeerMemory>> memory = PeerMemory::open(fence.ticket());
  ASSERT_OK(memory);
  const Bytes source(64, std::byte{7});
  Bytes into(64);
  const AbortSignal never;
  ASSERT_OK((*memory)->read({std::bit_cast<std::uint64_t>(source.data()), into.size()}, into, never));
  EXPECT_EQ(into, source);
  fence.take_down();
  EXPECT_THAT((*memory)->read({std::bit_cast<std::uint64_t>(source.data()), into.size()}, into, never),
              Is(StatusCode::unavailable, HasSubstr("ended the exchange")));
  EXPECT_THAT(PeerMemory::open(fence.ticket()), Is(StatusCode::unsupported));
}

TEST(PeerMemory, AnAbortEndsARead) {
  const MemoryFence fence;
  const Result<std::unique_ptr<PeerMemory>> memory = PeerMemory::open(fence.ticket());
  ASSERT_OK(memory);
  AbortSignal abort;
  abort.trigger(Status(StatusCode::cancelled, Scope::operation, "enough"));
  Bytes into(64, std::byte{1});
  const Bytes source(64, std::byte{7});
  EXPECT_THAT((*memory)->read({std::bit_cast<std::uint64_t>(source.data()), into.size()}, into, abort),
              Is(StatusCode::cancelled, HasSubstr("enough")));
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
