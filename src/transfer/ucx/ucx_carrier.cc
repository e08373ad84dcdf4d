#include "transfer/ucx/ucx_carrier.h"

#include <algorithm>
#include <bit>

#include "base/log.h"
#include "base/options.h"
#include "os/limits.h"
#include "os/threads.h"
#include "transfer/ucx/ucx_plugin_loader.h"
#include "transfer/ucx/ucx_work.h"

namespace ckpt {
namespace {

constexpr std::size_t kMaxAddressBytes = 16 * KiB;
constexpr std::uint64_t kOneCopyFromBytes = 64 * KiB;  // below, the offer and the answer cost more than the second copy
constexpr unsigned kMaxCopiers = 4;
constexpr std::uint64_t kUcxDescriptors = 64;  // UCX 1.13: 30 to 40 with TCP and shared memory on a host of few interfaces
constexpr std::uint64_t kDescriptorsPerPeer = 4;
constexpr std::uint64_t kOfferTag = std::uint64_t{1} << 62;
constexpr std::uint64_t kAnswerTag = std::uint64_t{2} << 62;
constexpr std::uint64_t kGreetingTag = (std::uint64_t{1} << 62) - kMaxRanks;  // of the operation that comes last before numbers begin anew

Status failed(const char* error) { return {StatusCode::unavailable, Scope::group, "UCX: {}", error}; }

/// The receiver's answer to an offer: several ranks may answer to one tag of an owner, and are told apart by the lowest bits.
std::uint64_t answer_tag(std::uint64_t tag, std::uint32_t receiver) { return ((tag & ~std::uint64_t{kMaxRanks - 1}) + receiver) | kAnswerTag; }

}  // namespace

/// A transfer under way. Touched by one thread at a time: the plug-in's, and between offer and answer a copier's.
struct UcxCarrier::Running {
  UcxTransfer transfer;
  MemoryOffer offer{};
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
  if (api_->destroy(ucx_) != 0) log_warning("UCX did not let go of all memory in time: it is kept until the process ends");
}

Status UcxCarrier::connect(Group& group, const UcxOptions& options, Deadline deadline) {
  rank_ = group.rank();
  // UCX ends the process where it finds none left in the middle.
  CKPT_RETURN_IF_ERROR(check_descriptors(kUcxDescriptors + kDescriptorsPerPeer * group.size(), "UCX"));
  const std::string chosen = options.tls.empty() ? environment("UCX_TLS").value_or("") : options.tls;
  CKPT_RETURN_IF_ERROR(peers_.find(group, allows_one_copy(chosen), deadline));
  CKPT_ASSIGN_OR_RETURN(api_, load_ucx_plugin(options.plugin, {group.size(), peers_.two_copies()}));
  CKPT_RETURN_IF_ERROR(connect_ucx(group, options.tls, !chosen.empty(), deadline));
  CKPT_RETURN_IF_ERROR(greet(group, deadline));
  if (peers_.any()) {
    copiers_.emplace(std::clamp(usable_cores() / (peers_.num_readable() + 1), 1u, kMaxCopiers));
    if (lane_.find("cma") == std::string::npos) lane_ += "+cma";
  }
  return group.barrier("ucx connected", deadline);
}

Status UcxCarrier::connect_ucx(Group& group, const std::string& tls, bool tls_is_fixed, Deadline deadline) {
  char error[CKPT_UCX_TEXT_BYTES] = {};
  const CkptUcxConfig config{group.size(), tls.c_str(), tls_is_fixed ? 1 : 0, on_done};
  if (api_->create(&config, &ucx_, error) != 0) return failed(error);
  Bytes address(kMaxAddressBytes);
  std::size_t bytes = address.size();
  if (api_->address(ucx_, address.data(), &bytes, error) != 0) return failed(error);
  address.resize(bytes);
  CKPT_ASSIGN_OR_RETURN(const std::vector<Bytes> all, group.all_gather("ucx addresses", std::move(address), deadline));
  for (std::uint32_t peer = 0; peer < group.size(); ++peer)
    if (peer != rank_ && api_->connect(ucx_, peer, all[peer].data(), all[peer].size(), error) != 0) return failed(error).with_note("rank {}", peer);
  char lane[128] = {};
  api_->lane(ucx_, lane, sizeof lane);
  lane_ = lane;
  return api_->connect(ucx_, 0, nullptr, 0, error) == 0 ? Status::success() : failed(error);
}

/// A byte to and from each peer. UCX connects with the first message; in the middle of that it cannot be ended (its assertions end the process), so
/// none is left in it. Also finds a rank that cannot be reached while nothing has been moved.
Status UcxCarrier::greet(Group& group, Deadline deadline) {
  const auto work = std::make_shared<UcxWork>(2 * (group.size() - 1));
  const auto bytes = std::make_shared<Bytes>(2 * std::size_t{group.size()});  // shared with messages that outlive a wait that fails
  std::vector<UcxTransfer> transfers;
  for (std::uint32_t peer = 0; peer < group.size(); ++peer) {
    if (peer == rank_) continue;
    const auto ended = [work, bytes, peer](const Status& status) { work->transfer_ended(status.with_note("connect to rank {}", peer)); };
    transfers.push_back({true, peer, kGreetingTag + peer, &(*bytes)[2 * peer], 1, ended});
    transfers.push_back({false, peer, kGreetingTag + rank_, &(*bytes)[2 * peer + 1], 1, ended});
  }
  start(std::move(transfers));
  CKPT_RETURN_IF_ERROR(work->wait(deadline, group.failed()));
  const auto flushed = std::make_shared<UcxWork>(1);
  auto running = std::make_shared<Running>();
  running->transfer.ended = [flushed](const Status& status) { flushed->transfer_ended(status); };
  const CkptUcxOp flush{CKPT_UCX_FLUSH, rank_, 0, nullptr, 0, new Message{this, running, Message::Step::whole}};
  api_->post(ucx_, &flush, 1);
  return flushed->wait(deadline, group.failed());
}

bool UcxCarrier::copies_once(const UcxTransfer& transfer) const {
  if (transfer.bytes < kOneCopyFromBytes) return false;
  return transfer.is_receive ? peers_.memory(transfer.peer) != nullptr : peers_.read_by(transfer.peer);
}

void UcxCarrier::add_messages(std::vector<CkptUcxOp>& ops, UcxTransfer transfer) {
  using Step = Message::Step;
  const bool once = copies_once(transfer);
  auto running = std::make_shared<Running>();
  running->transfer = std::move(transfer);
  const UcxTransfer& of = running->transfer;
  const auto add = [&](int kind, std::uint64_t tag, void* buffer, std::size_t bytes, Step step) {
    ops.push_back({kind, of.peer, tag, buffer, bytes, new Message{this, running, step}});
  };
  if (!once) return add(of.is_receive ? CKPT_UCX_RECEIVE : CKPT_UCX_SEND, of.tag, of.buffer, of.bytes, Step::whole);
  if (of.is_receive) return add(CKPT_UCX_RECEIVE, of.tag | kOfferTag, &running->offer, sizeof running->offer, Step::offer_received);
  running->offer = offer_of(of);
  running->num_open = 2;
  add(CKPT_UCX_RECEIVE, answer_tag(of.tag, of.peer), &running->answer, sizeof running->answer, Step::answer_received);
  add(CKPT_UCX_SEND, of.tag | kOfferTag, &running->offer, sizeof running->offer, Step::offer_sent);
}

void UcxCarrier::start(std::vector<UcxTransfer> transfers) {
  std::vector<CkptUcxOp> ops;
  for (UcxTransfer& transfer : transfers) add_messages(ops, std::move(transfer));
  if (!ops.empty()) api_->post(ucx_, ops.data(), ops.size());
}

/// On a copier's thread, after the owner's offer.
void UcxCarrier::copy(const std::shared_ptr<Running>& running) {
  const UcxTransfer& of = running->transfer;
  if (running->offer.bytes != of.bytes)
    running->failure =
        Status(StatusCode::internal, Scope::peer, "rank {} offers {} bytes where {} are expected", of.peer, running->offer.bytes, of.bytes);
  else if (const Status read = peers_.memory(of.peer)->read(running->offer, {of.buffer, of.bytes}, aborted_); !read.ok())
    running->failure = read.scope() == Scope::peer ? read.with_note("rank {}", of.peer) : read;
  running->answer = running->failure.ok() ? 1 : 0;
  const CkptUcxOp op{CKPT_UCX_SEND,
                     of.peer,
                     answer_tag(of.tag, rank_),
                     &running->answer,
                     sizeof running->answer,
                     new Message{this, running, Message::Step::answer_sent}};
  api_->post(ucx_, &op, 1);
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
  if (!status.ok()) peers_.take_fence_down();  // the peer may still be reading what the caller is about to reuse
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

Status UcxCarrier::register_buffer(std::span<std::byte> buffer, int fd) {
  char error[CKPT_UCX_TEXT_BYTES] = {};
  if (api_->register_memory(ucx_, buffer.data(), buffer.size(), error) != 0) return failed(error);
  if (fd < 0) return Status::success();
  const MutexLock lock(windows_mutex_);
  const auto known = [&](const Window& window) { return window.buffer.data() == buffer.data() && window.fd == fd; };
  if (std::none_of(windows_.begin(), windows_.end(), known)) windows_.push_back({++last_window_, buffer, fd});
  return Status::success();
}

void UcxCarrier::unregister_buffer(std::span<std::byte> buffer) noexcept {
  api_->unregister_memory(ucx_, buffer.data());
  const MutexLock lock(windows_mutex_);
  std::erase_if(windows_, [&](const Window& window) { return window.buffer.data() == buffer.data(); });
}

MemoryOffer UcxCarrier::offer_of(const UcxTransfer& transfer) {
  MemoryOffer offer{std::bit_cast<std::uint64_t>(transfer.buffer), transfer.bytes};
  const MutexLock lock(windows_mutex_);
  for (const Window& window : windows_) {
    if (transfer.buffer < window.buffer.data() || transfer.buffer + transfer.bytes > window.buffer.data() + window.buffer.size()) continue;
    offer.window = window.number;
    offer.window_bytes = window.buffer.size();
    offer.window_offset = static_cast<std::uint64_t>(transfer.buffer - window.buffer.data());
    offer.window_fd = window.fd;
  }
  return offer;
}

void UcxCarrier::abort(const Status& reason) noexcept {
  peers_.take_fence_down();
  aborted_.trigger(reason);
  if (ucx_ != nullptr) api_->abort(ucx_);
}

}  // namespace ckpt
