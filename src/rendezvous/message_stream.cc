#include "rendezvous/message_stream.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/fault_point.h"
#include "os/error.h"

namespace ckpt {

Status SendQueue::flush(const Socket& socket) {
  while (!entries_.empty()) {
    std::array<iovec, 16> pieces{};
    std::size_t num_pieces = 0;
    std::size_t skip = sent_;
    const auto add = [&](std::span<const std::byte> bytes) {
      const std::size_t cut = std::min(skip, bytes.size());
      skip -= cut;
      if (cut < bytes.size()) pieces[num_pieces++] = {const_cast<std::byte*>(bytes.data()) + cut, bytes.size() - cut};
    };
    for (const Entry& entry : entries_) {
      if (num_pieces + 2 > pieces.size()) break;
      add(entry.head);
      if (entry.value) add(*entry.value);
    }
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = num_pieces;
    CKPT_FAULT_POINT("sys.sendmsg");
    const ssize_t sent = ::sendmsg(socket.fd(), &message, MSG_NOSIGNAL);
    if (sent >= 0) {
      drop_sent(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return Status::success();
    } else if (errno != EINTR) {
      return errno_status(errno, "send", Scope::peer);
    }
  }
  return Status::success();
}

void SendQueue::drop_sent(std::size_t sent) {
  sent_ += sent;
  while (!entries_.empty()) {
    const Entry& first = entries_.front();
    const std::size_t size = first.head.size() + (first.value ? first.value->size() : 0);
    if (sent_ < size) return;
    sent_ -= size;
    entries_.pop_front();
  }
}

Result<StreamState> read_messages(Socket& socket, MessageReader& reader, std::size_t budget, const std::function<Status(StoreMessage)>& handle) {
  for (std::size_t total = 0; total < budget;) {
    CKPT_ASSIGN_OR_RETURN(const std::optional<std::size_t> size, socket.receive_now(reader.room()));
    if (!size) break;
    if (*size == 0) return StreamState::closed;
    total += *size;
    CKPT_RETURN_IF_ERROR(reader.filled(*size));
    if (std::optional<StoreMessage> message = reader.take()) CKPT_RETURN_IF_ERROR(handle(std::move(*message)));
  }
  return StreamState::open;
}

}  // namespace ckpt
