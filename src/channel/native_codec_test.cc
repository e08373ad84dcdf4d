#include "channel/native_codec.h"

#include <functional>
#include <msgpack.hpp>

#include "base/bytes.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

const Parameter kScalar{"scale", DType::F32, {}, 4};
const Parameter kMatrix{"w", DType::F8_E4M3, {16, 32}, 512};

std::string bucket() {
  const PlacedTensor placed[] = {{&kScalar, 0}, {&kMatrix, 5 * GiB}};
  const UnitCheck check{{{0, 4}, {5 * GiB, 512}}, 0xfedcba9876543210, 3};
  return encode_native_bucket(7, placed, std::span(&check, 1));
}

TEST(NativeCodec, MessagesComeBackAsTheyWere) {
  const auto handle = decode_native(encode_native_handle({"/run/x.fd", 1234}));
  ASSERT_OK(handle);
  EXPECT_EQ(std::get<NativeHandle>(*handle).fd_socket, "/run/x.fd");
  EXPECT_EQ(std::get<NativeHandle>(*handle).bytes, 1234u);
  std::string raw(64, 'h');
  raw[3] = '\0';
  const auto gpu = decode_native(encode_native_handle({"", 5 * GiB, "GPU-e50fd23a", raw}));
  ASSERT_OK(gpu);
  EXPECT_EQ(std::get<NativeHandle>(*gpu).device_key, "GPU-e50fd23a");
  EXPECT_EQ(std::get<NativeHandle>(*gpu).cuda_ipc_handle, raw);
  EXPECT_EQ(std::get<NativeHandle>(*gpu).bytes, 5 * GiB);
  EXPECT_THAT(decode_native(encode_native_handle({"", 1, "GPU-e50fd23a", raw + "x"})), Is(StatusCode::data_corruption));
  EXPECT_THAT(decode_native(encode_native_handle({"", 1, "GPU-e50fd23a", "short"})), Is(StatusCode::data_corruption, HasSubstr("not 64 bytes")));
  const auto decoded = decode_native(bucket());
  ASSERT_OK(decoded);
  const auto& back = std::get<NativeBucket>(*decoded);
  EXPECT_EQ(back.index, 7u);
  ASSERT_EQ(back.tensors.size(), 2u);
  EXPECT_EQ(back.tensors[0].parameter, kScalar);
  EXPECT_EQ(back.tensors[1].parameter, kMatrix);
  EXPECT_EQ(back.tensors[1].offset_bytes, 5 * GiB);
  ASSERT_EQ(back.checks.size(), 1u);
  EXPECT_EQ(back.checks[0].xxh3, 0xfedcba9876543210u);
  EXPECT_EQ(back.checks[0].ranges[1].bytes, 512u);
  EXPECT_TRUE(std::holds_alternative<NativeRelease>(*decode_native(encode_native_release())));
  EXPECT_TRUE(std::holds_alternative<NativeFinish>(*decode_native(encode_native_finish())));
  EXPECT_EQ(std::get<NativeAbort>(*decode_native(encode_native_abort("why"))).reason, "why");
}

TEST(NativeCodec, EveryCutMessageIsRefused) {
  const std::string whole = bucket();
  for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_THAT(decode_native(whole.substr(0, size)), Is(StatusCode::data_corruption)) << size;
}

TEST(NativeCodec, EveryFlippedByteIsRefusedOrStaysInBounds) {
  const std::string whole = bucket();
  for (std::size_t i = 0; i < whole.size(); ++i)
    for (const char flip : {'\x01', '\x80', '\xff'}) {
      std::string changed = whole;
      changed[i] = static_cast<char>(changed[i] ^ flip);
      if (const auto decoded = decode_native(changed); decoded.ok() && std::holds_alternative<NativeBucket>(*decoded))
        static_cast<void>(check_native_bucket(std::get<NativeBucket>(*decoded), 6 * GiB));
    }
}

TEST(NativeCodec, PlacesOutsideTheBufferAreRefused) {
  const auto decoded = decode_native(bucket());
  ASSERT_OK(decoded);
  EXPECT_OK(check_native_bucket(std::get<NativeBucket>(*decoded), 5 * GiB + 512));
  EXPECT_THAT(check_native_bucket(std::get<NativeBucket>(*decoded), 5 * GiB + 511),
              Is(StatusCode::data_corruption, HasSubstr("tensor w of 512 bytes")));
  NativeBucket odd{0, {{kScalar, 4}}, {}};
  EXPECT_THAT(check_native_bucket(odd, 1024), Is(StatusCode::data_corruption, HasSubstr("no multiple of 256")));
}

std::string packed(const std::function<void(msgpack::packer<msgpack::sbuffer>&)>& fields) {
  msgpack::sbuffer buffer;
  msgpack::packer<msgpack::sbuffer> packer(buffer);
  fields(packer.pack_array(5).pack(kNativeVersion).pack("bucket"));
  return {buffer.data(), buffer.size()};
}

TEST(NativeCodec, BytesBehindTheMessageAreRefused) {
  EXPECT_THAT(decode_native(bucket() + '\0'), Is(StatusCode::data_corruption, HasSubstr("1 bytes behind")));
  EXPECT_THAT(decode_native(encode_native_release() + encode_native_release()), Is(StatusCode::data_corruption, HasSubstr("behind")));
}

TEST(NativeCodec, NumbersThatDoNotFitAreRefused) {
  const std::uint64_t large = std::uint64_t{1} << 32;
  const auto index = [&](auto& packer) { packer.pack(large).pack_array(0).pack_array(0); };
  EXPECT_THAT(decode_native(packed(index)), Is(StatusCode::data_corruption, HasSubstr("index below 2^32")));
  const auto rank = [&](auto& packer) { packer.pack(0).pack_array(0).pack_array(1).pack_array(3).pack(large + 3).pack(7).pack_array(0); };
  EXPECT_THAT(decode_native(packed(rank)), Is(StatusCode::data_corruption, HasSubstr("rank below 2^32")));
}

TEST(NativeCodec, NamesMustBeUtf8) {
  const Parameter odd{"layer.\xff\x1b", DType::F32, {}, 4};
  const PlacedTensor placed[] = {{&odd, 0}};
  EXPECT_THAT(decode_native(encode_native_bucket(0, placed, {})), Is(StatusCode::data_corruption, HasSubstr("\"layer.\\xff\\x1b\" is no UTF-8")));
}

TEST(NativeCodec, OtherVersionsAndKindsAreRefused) {
  std::string version = encode_native_release();
  version[1] = 9;
  EXPECT_THAT(decode_native(version), Is(StatusCode::data_corruption, HasSubstr("version 9 is unknown")));
  std::string kind = encode_native_release();
  kind[4] = 'x';
  EXPECT_THAT(decode_native(kind), Is(StatusCode::data_corruption, HasSubstr("is unknown")));
  EXPECT_THAT(decode_native(""), Is(StatusCode::data_corruption));
}

}  // namespace
}  // namespace ckpt
