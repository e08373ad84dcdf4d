#include "rendezvous/store_message.h"

#include <algorithm>
#include <fstream>
#include <map>

#include "rendezvous/status_wire.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

StoreMessage example() {
  return {.type = MessageType::gather,
          .rank = 3,
          .id = 7,
          .epoch = 2,
          .number = -5,
          .timeout_ns = 1'000'000'000,
          .key = "metas",
          .value = std::make_shared<const Bytes>(to_bytes("part"))};
}

Bytes whole(const StoreMessage& message) {
  Bytes bytes = encode_head(message);
  bytes.insert(bytes.end(), message.bytes().begin(), message.bytes().end());
  return bytes;
}

/// Feeds `bytes` in pieces of at most `piece`, and returns what comes out.
Result<std::vector<StoreMessage>> read_all(std::span<const std::byte> bytes, std::size_t piece) {
  MessageReader reader;
  std::vector<StoreMessage> messages;
  while (!bytes.empty()) {
    const std::span<std::byte> room = reader.room();
    const std::size_t size = std::min({room.size(), bytes.size(), piece});
    std::copy_n(bytes.begin(), size, room.begin());
    bytes = bytes.subspan(size);
    CKPT_RETURN_IF_ERROR(reader.filled(size));
    while (auto message = reader.take()) messages.push_back(std::move(*message));
  }
  return messages;
}

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

TEST(StoreMessage, ComesBackFromPiecesOfAnySize) {
  Bytes bytes = whole(example());
  const Bytes heartbeat = whole(StoreMessage{});
  bytes.insert(bytes.end(), heartbeat.begin(), heartbeat.end());
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, bytes.size()}) {
    const auto messages = read_all(bytes, piece);
    ASSERT_OK(messages);
    ASSERT_EQ(messages->size(), 2u);
    EXPECT_EQ(whole(messages->at(0)), whole(example()));
    EXPECT_EQ(messages->at(1).type, MessageType::heartbeat);
  }
}

TEST(StoreMessage, WhatIsNoHeaderIsRefusedBeforeMemoryIsTaken) {
  const auto with = [](std::size_t offset, std::byte value) {
    Bytes bytes = whole(StoreMessage{});
    bytes[offset] = value;
    return read_all(bytes, bytes.size());
  };
  EXPECT_THAT(with(6, std::byte{0}), Is(StatusCode::data_corruption, HasSubstr("type 0")));
  EXPECT_THAT(with(6, std::byte{11}), Is(StatusCode::data_corruption, HasSubstr("type 11")));
  EXPECT_THAT(with(7, std::byte{1}), Is(StatusCode::data_corruption, HasSubstr("reserved")));
  EXPECT_THAT(with(12, std::byte{1}), Is(StatusCode::data_corruption, HasSubstr("reserved")));
  EXPECT_THAT(with(3, std::byte{0x7f}), Is(StatusCode::data_corruption, HasSubstr("limits")));
  EXPECT_THAT(with(5, std::byte{0xff}), Is(StatusCode::data_corruption, HasSubstr("limits")));
}

TEST(StoreMessage, HellosDifferInEveryByteOfTheToken) {
  EXPECT_TRUE(same_hello(make_hello("secret").value(), make_hello("secret").value()));
  for (const char* other : {"", "Secret", "secreT", "secret1"}) EXPECT_FALSE(same_hello(make_hello("secret").value(), make_hello(other).value()));
  EXPECT_OK(make_hello(std::string(64, 'x')));
  EXPECT_THAT(make_hello(std::string(65, 'x')), Is(StatusCode::invalid_argument));
  EXPECT_THAT(make_hello(std::string("a\0b", 3)), Is(StatusCode::invalid_argument));
  EXPECT_NE(*random_token(), *random_token());
}

TEST(StatusWire, KeepsEveryFieldAndRefusesWhatIsNoStatus) {
  const Status full = Status(StatusCode::remote_error, Scope::peer, "raised").at_stage("hand-over").at_rank(4).advise("restart it");
  for (const Status& status : {full, Status(StatusCode::internal, Scope::process, "")}) EXPECT_EQ(decode_status(encode_status(status)), status);
  EXPECT_OK(decode_status(encode_status(Status::success())));
  const Bytes bytes = encode_status(full);
  for (std::size_t size = 1; size < bytes.size(); ++size)
    EXPECT_THAT(decode_status(std::span(bytes).first(size)), Is(StatusCode::data_corruption)) << size;
  Bytes longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_THAT(decode_status(longer), Is(StatusCode::data_corruption));
}

/// The vectors of docs/format/store.md: lines "name: hex".
TEST(StoreMessage, TheDocumentsVectorsAreWhatTheCodeWrites) {
  std::ifstream file(CKPT_SOURCE_DIR "/docs/format/store.md");
  std::map<std::string, std::string> vectors;
  for (std::string line; std::getline(file, line);)
    if (const std::size_t colon = line.find(": "); line.starts_with("vector ") && colon != std::string::npos)
      vectors[line.substr(7, colon - 7)] = line.substr(colon + 2);
  EXPECT_EQ(vectors["heartbeat"], hex(whole(StoreMessage{})));
  EXPECT_EQ(vectors["gather"], hex(whole(example())));
  EXPECT_EQ(vectors["hello"], hex(make_hello("secret").value()));
  EXPECT_EQ(vectors["status"], hex(encode_status(Status(StatusCode::unavailable, Scope::group, "gone").at_rank(2).at_stage("fill").advise("x"))));
  EXPECT_EQ(vectors.size(), 4u);
}

}  // namespace
}  // namespace ckpt
