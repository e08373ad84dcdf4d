#include "transfer/ucx/ucx_carrier.h"

#include <algorithm>
#include <bit>

#include "base/log.h"
#include "base/options.h"
#include "os/limits.h"
#include "os/threads.h"

namespace ckpt {
namespace {

constexpr std::size_t kMaxAddressBytes = 16 * KiB;
constexpr std::uint64_t kOneCopyFromBytes = 64 * KiB;  // below, the offer and the answer cost more than the second copy
constexpr unsigned kMaxCopiers = 4;
constexpr std::uint64_t kUcxDescriptors = 64;  // UCX 1.13: 30 to 40 with TCP and shared memory on a host of few interfaces
constexpr std::uint64_t kDescriptorsPerPeer = 4;
constexpr const char* kHowToAllow = "ranks of one host need one user, one PID namespace, and process_vm_readv";
constexpr std::uint64_t kOfferTag = std::uint64_t{1} << 62;
constexpr std::uint64_t kAnswerTag = std::uint64_t{2} << 62;

Status failed(const char* error) { return {StatusCode::unavailable, Scope::group, "UCX: {}", error}; }

/// Whoever pins UCX to transports (a test of TCP, a site's UCX_TLS) gets those alone: CMA too only if it is among them.
bool allows_one_copy(std::string tls) {
  if (tls.empty()) return true;
  const bool excludes = tls.front() == '^';
  if (excludes) tls.erase(0, 1);
  bool names_it = false;
  for (const char* name : {"all", "sm", "shm", "cma"}) names_it = names_it || ("," + tls + ",").find(fmt::format(",{},", name)) != std::string::npos;
  return names_it != excludes;
}

/// The receiver's answer to an offer: several ranks may answer to one tag of an owner, and are told apart by the lowest bits.
std::uint64_t answer_tag(std::uint64_t tag, std::uint32_t receiver) { return ((tag & ~std::uint64_t{kMaxRanks - 1}) + receiver) | kAnswerTag; }

}  // namespace

/// A transfer under way. Touched by one thread at a time: the plug-in's, and between offer and answer a copier's.
struct UcxCarrier::Running {
  Transfer transfer;
  Offer offer{};
  std::uint8_t answer = 0;  // 1: the bytes were read
  int num_open = 1;         // messages that must end before the transfer has
  Status failure;

  void end(const Status& status) {
    if (failure.ok()) failure = status;
    if (--num_open == 0) transfer.ended(failure);
  }
};

/// One message of a transfer: what the plug-in gives back when it has ended; deleted then.
struct UcxCarrier::Message {
  enum class Step : std::uint8_t { whole, offer_sent, offer_received, answer_sent, answer_received };
  UcxCarrier* carrier;
  std::shared_ptr<Running> running;  // shared: an owner waits for two messages of one transfer
  Step step;
};

UcxCarrier::~UcxCarrier() {
  if (ucx_ == nullptr) return;
  abort(Status(StatusCode::cancelled, Scope::group, "the collective ended"));
  if (copiers_) copiers_->stop();  // before the plug-in: its jobs post answers
  if (api_.destroy(ucx_) != 0) log_warning("UCX did not let go of all memory in time: it is kept until the process ends");
}

Status UcxCarrier::connect(Group& group, const UcxOptions& options, Deadline deadline) {
  rank_ = group.rank();
  // UCX ends the process where it finds none left in the middle.
  CKPT_RETURN_IF_ERROR(check_descriptors(kUcxDescriptors + kDescriptorsPerPeer * group.size(), "UCX"));
  char error[CKPT_UCX_TEXT_BYTES] = {};
  const bool chosen = !options.tls.empty() || environment("UCX_TLS").has_value();
  const CkptUcxConfig config{group.size(), options.tls.c_str(), chosen ? 1 : 0, on_done};
  if (api_.create(&config, &ucx_, error) != 0) return failed(error);
  Bytes address(kMaxAddressBytes);
  std::size_t bytes = address.size();
  if (api_.address(ucx_, address.data(), &bytes, error) != 0) return failed(error);
  address.resize(bytes);
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> all, group.all_gather("ucx addresses", std::move(address), deadline));
  for (std::uint32_t peer = 0; peer < group.size(); ++peer)
    if (peer != rank_ && api_.connect(ucx_, peer, all[peer].data(), all[peer].size(), error) != 0) return failed(error).with_note("rank {}", peer);
  char lane[128] = {};
  api_.lane(ucx_, lane, sizeof lane);
  lane_ = lane;
  if (api_.connect(ucx_, 0, nullptr, 0, error) != 0) return failed(error);
  const std::string pinned = options.tls.empty() ? environment("UCX_TLS").value_or("") : options.tls;
  return exchange_tickets(group, allows_one_copy(pinned), deadline);
}

/// The second round says who could read whom, so that owner and receiver take the same way; it is also the barrier after connecting.
Status UcxCarrier::exchange_tickets(Group& group, bool one_copy, Deadline deadline) {
  const MemoryTicket mine = one_copy ? fence_.ticket() : MemoryTicket{};
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> tickets, group.all_gather("memory tickets", mine.encode(), deadline));
  const Bytes could_read = open_peers(tickets, one_copy);
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> readers, group.all_gather("readable ranks", could_read, deadline));
  read_by_.resize(group.size());
  unsigned num_readable = 0;
  bool any = false;
  for (std::uint32_t peer = 0; peer < group.size(); ++peer) {
    read_by_[peer] = readers[peer].size() == group.size() && readers[peer][rank_] == std::byte{1};
    num_readable += readable_[peer] ? 1 : 0;
    any = any || read_by_[peer] || readable_[peer];
  }
  if (!any) return Status::success();
  copiers_.emplace(std::clamp(usable_cores() / (num_readable + 1), 1u, kMaxCopiers));
  if (lane_.find("cma") == std::string::npos) lane_ += "+cma";
  return Status::success();
}

/// By rank: 1 where this rank reads its memory.
Bytes UcxCarrier::open_peers(const std::vector<Bytes>& tickets, bool one_copy) {
  Bytes could_read(tickets.size());
  readable_.resize(tickets.size());
  for (std::uint32_t peer = 0; peer < tickets.size(); ++peer) {
    const auto ticket = MemoryTicket::decode(tickets[peer]);
    if (peer == rank_ || !one_copy || !ticket) continue;
    Result<PeerMemory> memory = PeerMemory::open(*ticket);
    could_read[peer] = std::byte{memory.ok()};
    if (memory.ok())
      readable_[peer] = *memory;
    else if (memory.status().code() != StatusCode::not_found)
      log_warning("bytes of rank {}, on this host, are copied twice, since its memory cannot be read: {} ({})", peer, memory.status().message(),
                  kHowToAllow);
  }
  return could_read;
}

bool UcxCarrier::copies_once(const Transfer& transfer) const {
  if (transfer.bytes < kOneCopyFromBytes) return false;
  return transfer.is_receive ? readable_[transfer.peer].has_value() : read_by_[transfer.peer];
}

void UcxCarrier::add_messages(std::vector<CkptUcxOp>& ops, Transfer transfer) {
  using Step = Message::Step;
  const bool once = copies_once(transfer);
  auto running = std::make_shared<Running>();
  running->transfer = std::move(transfer);
  const Transfer& of = running->transfer;
  const auto add = [&](int is_receive, std::uint64_t tag, void* buffer, std::size_t bytes, Step step) {
    ops.push_back({is_receive, of.peer, tag, buffer, bytes, new Message{this, running, step}});
  };
  if (!once) return add(of.is_receive ? 1 : 0, of.tag, of.buffer, of.bytes, Step::whole);
  if (of.is_receive) return add(1, of.tag | kOfferTag, &running->offer, sizeof running->offer, Step::offer_received);
  running->offer = {std::bit_cast<std::uint64_t>(of.buffer), of.bytes};
  running->num_open = 2;
  add(1, answer_tag(of.tag, of.peer), &running->answer, sizeof running->answer, Step::answer_received);
  add(0, of.tag | kOfferTag, &running->offer, sizeof running->offer, Step::offer_sent);
}

void UcxCarrier::start(std::vector<Transfer> transfers) {
  std::vector<CkptUcxOp> ops;
  for (Transfer& transfer : transfers) add_messages(ops, std::move(transfer));
  if (!ops.empty()) api_.post(ucx_, ops.data(), ops.size());
}

/// On a copier's thread, after the owner's offer.
void UcxCarrier::copy(const std::shared_ptr<Running>& running) {
  const Transfer& of = running->transfer;
  if (running->offer.bytes != of.bytes)
    running->failure =
        Status(StatusCode::internal, Scope::peer, "rank {} offers {} bytes where {} are expected", of.peer, running->offer.bytes, of.bytes);
  else if (const Status read = readable_[of.peer]->read(running->offer.address, {of.buffer, of.bytes}, aborted_); !read.ok())
    running->failure = read.scope() == Scope::peer ? read.with_note("rank {}", of.peer) : read;
  running->answer = running->failure.ok() ? 1 : 0;
  const CkptUcxOp op{
      0, of.peer, answer_tag(of.tag, rank_), &running->answer, sizeof running->answer, new Message{this, running, Message::Step::answer_sent}};
  api_.post(ucx_, &op, 1);
}

void UcxCarrier::message_ended(const Message& message, const Status& status) {
  using Step = Message::Step;
  const std::shared_ptr<Running>& running = message.running;
  switch (message.step) {
    case Step::whole:
    case Step::answer_sent: return running->end(status);
    case Step::offer_received:
      if (!status.ok()) return running->end(status);
      if (!copiers_->push([this, running] { copy(running); })) running->end(aborted_.check());
      return;
    case Step::offer_sent:
    case Step::answer_received: break;
  }
  if (!status.ok()) fence_.take_down();  // the peer may still be reading what the caller is about to reuse
  if (status.ok() && message.step == Step::answer_received && running->answer != 1)
    return running->end(Status(StatusCode::unavailable, Scope::peer, "rank {} could not read this rank's memory", running->transfer.peer));
  running->end(status);
}

void UcxCarrier::on_done(void* user, int outcome, std::uint32_t peer, const char* text) {
  const std::unique_ptr<Message> message(static_cast<Message*>(user));
  message->carrier->message_ended(*message, message->carrier->status_of(outcome, peer, text));
}

Status UcxCarrier::status_of(int outcome, std::uint32_t peer, const char* text) const {
  if (outcome == CKPT_UCX_DONE) return Status::success();
  if (outcome == CKPT_UCX_PEER_FAILED) return {StatusCode::unavailable, Scope::peer, "rank {} is gone, or cut off: {}", peer, text};
  const Status reason = aborted_.check();
  if (!reason.ok()) return reason;
  return {StatusCode::internal, Scope::peer, "a message with rank {}: {}", peer, text};
}

Status UcxCarrier::register_buffer(std::span<std::byte> buffer) {
  char error[CKPT_UCX_TEXT_BYTES] = {};
  return api_.register_memory(ucx_, buffer.data(), buffer.size(), error) == 0 ? Status::success() : failed(error);
}

void UcxCarrier::abort(const Status& reason) noexcept {
  fence_.take_down();
  aborted_.trigger(reason);
  if (ucx_ != nullptr) api_.abort(ucx_);
}

}  // namespace ckpt
