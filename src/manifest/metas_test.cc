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
}

TEST(MetasJson, TheDocumentComesBackAsItWas) {
  const auto manifests = two_ranks();
  const auto back = manifests_from_json(manifests_json(manifests));
  ASSERT_OK(back);
  expect_equal(*back, manifests);
}

TEST(MetasJson, WhatDoesNotFitIsRefusedWithTheReason) {
  const std::string good = manifests_json(two_ranks());
  const auto changed = [&](std::string_view from, std::string_view to) {
    std::string text = good;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  EXPECT_THAT(manifests_from_json("[]"), Is(StatusCode::data_corruption, HasSubstr("no JSON object")));
  EXPECT_THAT(manifests_from_json(changed("\"version\":1", "\"version\":9")), Is(StatusCode::data_corruption, HasSubstr("version 9 is unknown")));
  EXPECT_THAT(manifests_from_json(changed("\"BF16\"", "\"BF17\"")), Is(StatusCode::data_corruption, HasSubstr("unknown dtype")));
  EXPECT_THAT(manifests_from_json(changed("[8]", "[16]")), Is(StatusCode::data_corruption, HasSubstr("digest does not fit")));
  EXPECT_THAT(manifests_from_json(changed("[8]", "[\"8\"]")), Is(StatusCode::data_corruption, HasSubstr("field shape")));
  EXPECT_THAT(manifests_from_json(changed("[8]", "[99999999999]")), Is(StatusCode::data_corruption, HasSubstr("outside its frame")));
  EXPECT_THAT(manifests_from_json(changed("\"host\"", "\"hast\"")), Is(StatusCode::data_corruption, HasSubstr("field host")));
}

}  // namespace
}  // namespace ckpt
