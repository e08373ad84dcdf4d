// What senders of the field write, as Python 3.11 and torch 2.13 pickled it, and what does not fit.
#include "channel/sender_pickle.h"

#include <fstream>

#include "channel/pickle_writer.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

/// As Python pickled it; the number is the protocol.
std::string seed(const std::string& name) {
  std::ifstream file(std::string(CKPT_SOURCE_DIR "/fuzz/corpus/fuzz_sender_pickle/") + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// (rebuild_cuda_tensor, …) of a buffer of 1 MiB on GPU 3, 512 bytes into its block, with an event and a reference counter.
TEST(SenderPickle, ReadsTorchsHandle) {
  const auto message = decode_sender_pickle(seed("handle_4"));
  ASSERT_OK(message);
  const auto& handle = std::get<PickledHandle>(*message);
  EXPECT_EQ(handle.bytes, 1u << 20);
  EXPECT_EQ(handle.tensor_offset, 0u);
  EXPECT_EQ(handle.storage_device, 3);
  EXPECT_EQ(handle.storage_handle,
            "\x02"
            "c" +
                std::string(64, 'h'));
  EXPECT_EQ(handle.storage_size_bytes, 1u << 20);
  EXPECT_EQ(handle.storage_offset_bytes, 512u);
  EXPECT_FALSE(handle.requires_grad);
  EXPECT_EQ(handle.ref_counter_handle, "/torch_17_4_0");
  EXPECT_EQ(handle.ref_counter_offset, 5u);
  EXPECT_EQ(handle.event_handle, std::string(64, 'e'));
  EXPECT_TRUE(handle.event_sync_required);
}

TEST(SenderPickle, ReadsBucketsOfEachProtocol) {
  for (const char* name : {"bucket_4", "bucket_2"}) {
    const auto message = decode_sender_pickle(seed(name));
    ASSERT_OK(message);
    const auto& tensors = std::get<NativeBucket>(*message).tensors;
    ASSERT_EQ(tensors.size(), 2u);
    EXPECT_EQ(tensors[0].parameter, (Parameter{"a.weight", DType::BF16, {2, 3}, 12}));
    EXPECT_EQ(tensors[0].offset_bytes, 256u);
    EXPECT_EQ(tensors[1].parameter, (Parameter{"b", DType::BF16, {}, 2}));
    EXPECT_EQ(tensors[1].offset_bytes, 5ull << 30);
    EXPECT_OK(check_pickled_bucket(std::get<NativeBucket>(*message), (5ull << 30) + 2));
    EXPECT_THAT(check_pickled_bucket(std::get<NativeBucket>(*message), (5ull << 30) + 1),
                Is(StatusCode::data_corruption, HasSubstr("tensor b of 2 bytes at 5368709120 lies outside the buffer")));
  }
}

TEST(SenderPickle, ReadsExceptions) {
  for (const char* name : {"exception_4", "exception_2"})
    EXPECT_THAT(std::get<NativeAbort>(decode_sender_pickle(seed(name)).value()).reason,
                HasSubstr("RuntimeError: Some workers failed to update weights"));
}

TEST(SenderPickle, ReadsWhatOurOwnWriterWrites) {
  EXPECT_TRUE(std::holds_alternative<PickledNone>(decode_sender_pickle(pickle_none()).value()));
  EXPECT_EQ(std::get<NativeAbort>(decode_sender_pickle(pickle_abort("stop")).value()).reason, "RuntimeError: stop");
  EXPECT_EQ(std::get<PickledHandle>(decode_sender_pickle(pickle_handle(std::string(64, 'h'), 4096)).value()).bytes, 4096u);
  EXPECT_TRUE(std::get<NativeBucket>(decode_sender_pickle(pickle_bucket({})).value()).tensors.empty());
}

TEST(SenderPickle, ShapesMayBeTuplesOrLists) {
  const auto message = decode_sender_pickle(seed("shape_list_4"));
  ASSERT_OK(message);
  EXPECT_EQ(std::get<NativeBucket>(*message).tensors[0].parameter, (Parameter{"x", DType::U8, {7}, 7}));
  EXPECT_OK(check_pickled_bucket(std::get<NativeBucket>(*message), 10));
}

TEST(SenderPickle, OffsetsAreMultiplesOfTheElement) {
  NativeBucket bucket;
  bucket.tensors.push_back({{"a", DType::F32, {1}, 4}, 6});
  EXPECT_THAT(check_pickled_bucket(bucket, 100), Is(StatusCode::data_corruption, HasSubstr("tensor a starts at 6")));
}

TEST(SenderPickle, RefusesWhatDoesNotFit) {
  const auto refused = [](const std::string& pickle, const char* why) {
    EXPECT_THAT(decode_sender_pickle(pickle), Is(StatusCode::data_corruption, HasSubstr(why)));
  };
  const std::string proto = "\x80\x04";
  refused(proto + "K\x05.", "no message of this channel: 5");
  refused(proto + "N\x85.", "(rebuild_cuda_tensor, its 15 arguments)");
  refused(proto + "]Na.", "no dict with name, dtype, shape and offset");
  refused(proto + "cos\nsystem\n.", "os.system");
  refused(seed("handle_short_storage_4"), "a tensor of 1048576 bytes at 0 in a storage of 262144");
  refused(seed("handle_2"), "_codecs.encode");
  refused(seed("shape_exception_4"), "that is none");
  refused(seed("dtype_tensor_4"), "that is none");
}

}  // namespace
}  // namespace ckpt
