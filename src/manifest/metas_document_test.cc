// Holds docs/format/metas.md against the code: every example of the page is read here.
#include <fmt/format.h>

#include <fstream>
#include <sstream>

#include "base/bytes.h"
#include "manifest/manifest_codec.h"
#include "manifest/metas_json.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

struct Example {
  std::string caption;  ///< the last line of text before the block
  std::string language;
  std::string text;  ///< lines of the block, each with its end of line
};

std::vector<Example> examples_of_the_page() {
  std::ifstream page(CKPT_METAS_PAGE);
  std::vector<Example> examples;
  std::string caption;
  bool inside = false;
  for (std::string line; std::getline(page, line);) {
    const bool fence = line.starts_with("```");
    if (fence && !inside) examples.push_back({caption, line.substr(3), {}});
    if (fence) inside = !inside;
    if (!fence && inside) examples.back().text += line + "\n";
    if (!fence && !inside && !line.empty()) caption = line;
  }
  return examples;
}

std::string hex_lines(std::string_view bytes) {
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    out += fmt::format("{:02x}{}", static_cast<unsigned char>(bytes[i]), i % 32 == 31 || i + 1 == bytes.size() ? "\n" : " ");
  return out;
}

std::vector<Manifest> described(const std::shared_ptr<CheckpointLayout>& layout) {
  std::vector<Manifest> manifests(2);
  for (std::uint32_t rank = 0; rank < 2; ++rank)
    manifests[rank] = {"step-1", rank, "boot-a", fmt::format("HOST-boot-a-{}", rank), 1 * GiB, layout, {{4096 * (rank + 1), 512, ""}}, {}};
  return manifests;
}

std::vector<Manifest> striped_example() {
  auto layout = std::make_shared<CheckpointLayout>();
  layout->parameters = {{"model.norm.weight", DType::BF16, {300}, 600}, {"scale", DType::F32, {}, 4}, {"none", DType::I64, {0, 3}, 0}};
  layout->frames = make_striped_layout(layout->parameters, 2, {1 * MiB, 64 * KiB}).value();
  std::vector<Manifest> manifests = described(std::move(layout));
  manifests[0].digests = {{0, 0, 0x0123456789abcdef}};
  manifests[1].digests = {{0, 0, 0xfedcba9876543210}};
  return manifests;
}

std::vector<Manifest> shares_example() {
  auto layout = std::make_shared<CheckpointLayout>();
  layout->parameters = {{"a", DType::F8_E4M3, {16, 16}, 256}, {"say \"b\"", DType::F32, {2}, 8}, {"c", DType::BOOL, {3}, 3}};
  layout->frames = make_share_layout(layout->parameters, std::vector<std::uint32_t>{0, 0, 1}, 2, {1 * MiB, 64 * KiB}).value();
  return described(std::move(layout));
}

TEST(MetasPage, WrittenDocumentsAreThoseOfThePage) {
  std::vector<std::string> accepted;
  for (const Example& example : examples_of_the_page()) {
    if (!example.caption.starts_with("Accepted")) continue;
    const auto manifests = manifests_from_json(example.text);
    ASSERT_OK(manifests);
    EXPECT_EQ(manifests_json(*manifests), example.text);
    accepted.push_back(example.text);
  }
  EXPECT_EQ(accepted, (std::vector<std::string>{manifests_json(striped_example()), manifests_json(shares_example())}));
}

TEST(MetasPage, WhatThePageRefusesIsRefused) {
  int num_refused = 0;
  for (const Example& example : examples_of_the_page()) {
    constexpr std::string_view kRefused = "Refused: ";
    if (!example.caption.starts_with(kRefused)) continue;
    ++num_refused;
    EXPECT_THAT(manifests_from_json(example.text), Is(StatusCode::data_corruption, HasSubstr(example.caption.substr(kRefused.size()))));
  }
  EXPECT_EQ(num_refused, 5);
}

TEST(MetasPage, MessagesAreThoseOfThePage) {
  std::vector<std::string> dumps;
  for (const Example& example : examples_of_the_page())
    if (example.language == "hex") dumps.push_back(example.text);
  const auto striped = striped_example();
  const auto shares = shares_example();
  EXPECT_EQ(dumps, (std::vector<std::string>{hex_lines(encode_manifest(striped[0], digest(*striped[0].layout))),
                                             hex_lines(encode_parameters(std::span(shares[0].layout->parameters).last(1)))}));
}

}  // namespace
}  // namespace ckpt
