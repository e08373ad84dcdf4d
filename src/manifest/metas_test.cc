#include "base/bytes.h"
#include "manifest/manifest_codec.h"
#include "manifest/metas_json.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

std::vector<Manifest> two_ranks() {
  auto layout = std::make_shared<CheckpointLayout>();
  layout->parameters = {{"model.norm.weight", DType::BF16, {8}, 16}, {"scale", DType::F32, {}, 4}, {"none", DType::I64, {0, 3}, 0}};
  layout->frames = make_striped_layout(layout->parameters, 2, {1 * MiB, 1 * MiB}).value();
  std::vector<Manifest> manifests(2);
  for (std::uint32_t rank = 0; rank < 2; ++rank) {
    manifests[rank] = {"step-1", rank, "boot-a", fmt::format("HOST-boot-a-{}", rank), 1 * GiB, layout, {{4096, 512, ""}}, {{0, 0, 0x1234 + rank}}};
  }
  return manifests;
}

void expect_equal(const std::vector<Manifest>& a, const std::vector<Manifest>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].checkpoint, b[i].checkpoint);
    EXPECT_EQ(a[i].rank, b[i].rank);
    EXPECT_EQ(a[i].device_key, b[i].device_key);
    EXPECT_EQ(a[i].free_device_bytes, b[i].free_device_bytes);
    EXPECT_EQ(a[i].segments, b[i].segments);
    EXPECT_EQ(a[i].digests, b[i].digests);
    EXPECT_EQ(a[i].layout->parameters, b[i].layout->parameters);
    EXPECT_EQ(a[i].layout->frames, b[i].layout->frames);
  }
}

TEST(ManifestCodec, MessagesComeBackAsTheyWere) {
  const auto manifests = two_ranks();
  const std::uint64_t key = digest(*manifests[0].layout);
  const std::string first = encode_manifest(manifests[0], key);
  const std::string second = encode_manifest(manifests[1], key);
  const std::vector<std::string_view> messages{first, second};
  const auto back = assemble_manifests(messages, manifests[0].layout, key);
  ASSERT_OK(back);
  expect_equal(*back, manifests);
}

TEST(ManifestCodec, ARankThatDiffersIsNamed) {
  auto manifests = two_ranks();
  const std::uint64_t key = digest(*manifests[0].layout);
  const std::string first = encode_manifest(manifests[0], key);
  const std::string other_headers = encode_manifest(manifests[1], key + 1);
  EXPECT_THAT(assemble_manifests(std::vector<std::string_view>{first, other_headers}, manifests[0].layout, key),
              Is(StatusCode::failed_precondition, HasSubstr("rank 1 read other headers")));
  EXPECT_THAT(assemble_manifests(std::vector<std::string_view>{first}, manifests[0].layout, key + 1),
              Is(StatusCode::failed_precondition, HasSubstr("another layout than this rank's")));
  manifests[1].checkpoint = "step-2";
  const std::string other_name = encode_manifest(manifests[1], key);
  EXPECT_THAT(assemble_manifests(std::vector<std::string_view>{first, other_name}, manifests[0].layout, key),
              Is(StatusCode::failed_precondition, HasSubstr("rank 1 registered checkpoint step-2, rank 0 step-1")));
}

TEST(ManifestCodec, EveryCutMessageIsRefused) {
  const auto manifests = two_ranks();
  const std::uint64_t key = digest(*manifests[0].layout);
  const std::string whole = encode_manifest(manifests[0], key);
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(assemble_manifests(std::vector<std::string_view>{std::string_view(whole).substr(0, size)}, manifests[0].layout, key).ok()) << size;
}

TEST(ParameterCodec, ListsComeBackAndCutOnesAreRefused) {
  const auto parameters = two_ranks()[0].layout->parameters;
  const std::string text = encode_parameters(parameters);
  EXPECT_EQ(*decode_parameters(text), parameters);
  for (std::size_t size = 0; size < text.size(); ++size)
    EXPECT_THAT(decode_parameters(text.substr(0, size)), Is(StatusCode::data_corruption)) << size;
  std::string many = text;
  many[1] = '\xff';
  many[4] = '\xff';
  EXPECT_THAT(decode_parameters(many), Is(StatusCode::data_corruption));
  const std::vector<Parameter> many_dimensions{{"deep", DType::U8, std::vector<std::uint64_t>(300, 1), 1}};
  EXPECT_EQ(*decode_parameters(encode_parameters(many_dimensions)), many_dimensions);
}

TEST(MetasJson, TheDocumentComesBackAsItWas) {
  const auto manifests = two_ranks();
  const auto back = manifests_from_json(manifests_json(manifests));
  ASSERT_OK(back);
  expect_equal(*back, manifests);
}

TEST(MetasJson, SharesComeBackAsTheyWere) {
  auto layout = std::make_shared<CheckpointLayout>();
  layout->parameters = {{"r0.a", DType::U8, {1000}, 1000}, {"r0.b", DType::U8, {10}, 10}, {"r2.a", DType::U8, {700}, 700}};
  layout->frames = make_share_layout(layout->parameters, std::vector<std::uint32_t>{0, 0, 2}, 3, {1024, 1024}).value();
  std::vector<Manifest> manifests(3);
  for (std::uint32_t rank = 0; rank < 3; ++rank) manifests[rank] = {"a", rank, "h", "k", 0, layout, {}, {}};
  const auto back = manifests_from_json(manifests_json(manifests));
  ASSERT_OK(back);
  expect_equal(*back, manifests);
}

TEST(MetasJson, NamesOfAnyKindComeBack) {
  auto manifests = two_ranks();
  manifests[0].host = "tab\t quote\" backslash\\ line\n höst \x01";
  const auto back = manifests_from_json(manifests_json(manifests));
  ASSERT_OK(back);
  EXPECT_EQ((*back)[0].host, manifests[0].host);
}

TEST(MetasJson, WhatDoesNotFitIsRefusedWithTheReason) {
  const std::string good = manifests_json(two_ranks());
  const auto refused = [&](std::string_view from, std::string_view to, const std::string& reason) {
    std::string text = good;
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    EXPECT_THAT(manifests_from_json(text.replace(at, from.size(), to)), Is(StatusCode::data_corruption, HasSubstr(reason)));
  };
  EXPECT_THAT(manifests_from_json(""), Is(StatusCode::data_corruption, HasSubstr("no valid JSON")));
  EXPECT_THAT(manifests_from_json("[]"), Is(StatusCode::data_corruption, HasSubstr("no JSON object")));
  EXPECT_THAT(manifests_from_json(std::string(100'000, '[')), Is(StatusCode::data_corruption, HasSubstr("no valid JSON")));
  refused("\"version\":1", "\"version\":9", "version 9 is unknown: this build reads version 1");
  refused("\"version\":1", "\"version\":\"1\"", "field version");
  refused("\"ckpt-engine metas\"", "\"metas\"", "field format");
  refused("\"checkpoint\":\"step-1\",", "", "field checkpoint is missing");
  refused("\"checkpoint\":\"step-1\",", "\"checkpoint\":\"a\",\"checkpoint\":\"b\",", "field checkpoint stands twice");
  refused("\"BF16\"", "\"BF17\"", "parameters[0]: tensor model.norm.weight is of the unknown dtype BF17");
  refused("\"BF16\"", "\"F4\"", "does not fit the tensors");
  refused("\"BF16\",\"shape\":[8]", "\"F4\",\"shape\":[7]", "no whole number of bytes");
  refused("[8]", "[16]", "does not fit the tensors");
  refused("[8]", "[\"8\"]", "parameters[0]: a dimension of the shape is no whole number");
  refused("[8]", "[-8]", "parameters[0]: a dimension of the shape is no whole number");
  refused("[8]", "[8.5]", "parameters[0]: a dimension of the shape is no whole number");
  refused("[8]", "[9223372036854775807]", "overflows");
  refused("\"packing\":\"striped\"", "\"packing\":\"knit\"", "packing knit is unknown");
  refused("\"stripe_bytes\":1048576", "\"shares\":[1,2]", "unknown field \"shares\"");
  refused("\"host\"", "\"hast\"", "ranks[0]: unknown field \"hast\"");
  refused("\"address\":4096", "\"address\":18446744073709551615", "bytes is 512, more than 0");
  refused("[[0,0,", "[[0,7,", "a digest of frame 0 stripe 7");
  refused("[[0,0,\"00", "[[0,0,\"0", "16 hexadecimal digits");
}

TEST(MetasJson, EveryCutDocumentIsRefused) {
  const std::string whole = manifests_json(two_ranks());
  for (std::size_t size = 0; size + 1 < whole.size(); ++size) EXPECT_FALSE(manifests_from_json(std::string_view(whole).substr(0, size)).ok()) << size;
}

}  // namespace
}  // namespace ckpt
