/// TCP and Unix stream sockets: non-blocking inside, every wait bounded by a deadline and ended by an abort signal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/deadline.h"
#include "ckpt/result.h"
#include "os/abort_signal.h"
#include "os/unique_fd.h"

namespace ckpt {

/// One connected stream. Move-only; closes itself. Threads: one sends while one receives.
/// A peer that went away is `unavailable` (peer); a passed deadline `deadline_exceeded`; both leave the stream unusable in the middle of a message.
class Socket {
 public:
  Socket() = default;
  explicit Socket(UniqueFd fd) : fd_(std::move(fd)) {}  ///< `fd`: a connected, non-blocking stream socket

  /// One attempt at each address of `host`. unavailable (refused, unreachable), not_found (no such host), deadline_exceeded.
  [[nodiscard]] static Result<Socket> connect_tcp(const std::string& host, std::uint16_t port, Deadline deadline, const AbortSignal& abort);
  /// `path`: a file, or "@name" for an abstract one. invalid_argument when it is longer than the system takes (107 bytes).
  [[nodiscard]] static Result<Socket> connect_unix(const std::string& path, Deadline deadline, const AbortSignal& abort);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] bool valid() const { return fd_.valid(); }
  /// Ends both directions: waits on either side return. The descriptor stays open.
  void shutdown() noexcept;

  [[nodiscard]] Status send_all(std::span<const std::byte> bytes, Deadline deadline, const AbortSignal& abort);
  [[nodiscard]] Status receive_all(std::span<std::byte> bytes, Deadline deadline, const AbortSignal& abort);
  /// Waits for at least one byte; 0 means that the peer has closed its side.
  [[nodiscard]] Result<std::size_t> receive_some(std::span<std::byte> bytes, Deadline deadline, const AbortSignal& abort);
  /// What can be had without waiting; nullopt: nothing yet. 0 from receive_now: the peer has closed its side.
  [[nodiscard]] Result<std::optional<std::size_t>> receive_now(std::span<std::byte> bytes);

  /// A frame: its length as 4 bytes, little-endian, then that many bytes. At most 2^32 - 1.
  [[nodiscard]] Status send_frame(std::span<const std::byte> bytes, Deadline deadline, const AbortSignal& abort);
  /// data_corruption when the peer announces more than `max_bytes`; checked before memory is taken.
  [[nodiscard]] Result<Bytes> receive_frame(std::size_t max_bytes, Deadline deadline, const AbortSignal& abort);

 private:
  UniqueFd fd_;
};

/// A listening socket. Move-only; closes itself, and removes the file of a Unix path it has bound.
class Listener {
 public:
  Listener() = default;
  Listener(Listener&&) noexcept = default;
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  /// Port 0: the system chooses, see port(). failed_precondition when the port is taken.
  [[nodiscard]] static Result<Listener> tcp(const std::string& host, std::uint16_t port, Deadline deadline, const AbortSignal& abort);
  [[nodiscard]] static Result<Listener> unix_path(const std::string& path);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] Result<Socket> accept(Deadline deadline, const AbortSignal& abort);
  /// A connection that is waiting; nullopt: none.
  [[nodiscard]] Result<std::optional<Socket>> accept_now();

 private:
  explicit Listener(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
  std::uint16_t port_ = 0;
  std::string path_;  // to remove; empty: none
};

}  // namespace ckpt
