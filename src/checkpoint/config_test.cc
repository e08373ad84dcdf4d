#include "checkpoint/config.h"

#include "support/temporary_directory.h"
#include "support/tiny_checkpoint.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

TEST(ModelConfig, FieldsAreOptionalAndNullMeansAbsent) {
  EXPECT_EQ(*parse_model_config("{}"), ModelConfig{});
  EXPECT_EQ(*parse_model_config(R"({"num_key_value_heads":null,"quantization_config":null,"unknown":[1,{"a":2}]})"), ModelConfig{});
}

TEST(ModelConfig, OfModelsThatAlsoSeeTheTextPartCounts) {
  const auto config = parse_model_config(
      R"({"model_type":"qwen3_vl","hidden_size":1,"tie_word_embeddings":true,"text_config":{"model_type":"qwen3","hidden_size":64}})");
  ASSERT_OK(config);
  EXPECT_EQ(config->hidden_size, 64u);
  EXPECT_EQ(config->model_type, "qwen3");
  EXPECT_TRUE(config->tie_word_embeddings);
}

TEST(ModelConfig, MadeUpModelsSayWhatTheyAre) {
  const auto qwen = parse_model_config(make_synthetic_model("qwen3-0.6b", 1'200'000'000)->config_json);
  ASSERT_OK(qwen);
  EXPECT_EQ(*qwen, (ModelConfig{"qwen3", 1024, 28, 16, 8, 128, 151936, true, 0, 0}));
  const auto deepseek = parse_model_config(make_synthetic_model("deepseek-fp8", 500'000'000)->config_json);
  ASSERT_OK(deepseek);
  EXPECT_EQ(deepseek->hidden_size, 7168u);
  EXPECT_EQ(deepseek->weight_block_rows, 128u);
  EXPECT_EQ(deepseek->weight_block_columns, 128u);
}

TEST(ModelConfig, WrongTypesAreRefusedByName) {
  const struct {
    const char* json;
    const char* text;
  } cases[] = {
      {"", "no JSON object"},
      {"[]", "no JSON object"},
      {"{} x", "no JSON object"},
      {R"({"hidden_size":-1})", "hidden_size is no whole number"},
      {R"({"hidden_size":1.5})", "hidden_size is no whole number"},
      {R"({"num_attention_heads":"8"})", "num_attention_heads is no whole number"},
      {R"({"vocab_size":18446744073709551616})", "no JSON object"},
      {R"({"tie_word_embeddings":1})", "tie_word_embeddings is neither"},
      {R"({"model_type":7})", "model_type is no text"},
      {R"({"quantization_config":[]})", "quantization_config is no object"},
      {R"({"quantization_config":{"weight_block_size":[128]}})", "weight_block_size is no pair"},
      {R"({"quantization_config":{"weight_block_size":[0,128]}})", "weight_block_size is no pair"},
      {R"({"head_dim":1,"head_dim":2})", "head_dim stands twice"},
      {R"({"text_config":{"head_dim":1,"head_dim":2}})", "head_dim stands twice"},
  };
  for (const auto& broken : cases)
    EXPECT_THAT(parse_model_config(broken.json), Is(StatusCode::data_corruption, HasSubstr(broken.text))) << broken.json;
}

TEST(ModelConfig, ErrorsNameTheFile) {
  const testing::TemporaryDirectory dir;
  EXPECT_THAT(read_model_config(dir.path()), Is(StatusCode::not_found, HasSubstr("config.json")));
  dir.write("config.json", std::string(100000, '['));
  EXPECT_THAT(read_model_config(dir.path()), Is(StatusCode::data_corruption, HasSubstr("config.json: it is no JSON object")));
  std::filesystem::resize_file(dir / "config.json", 20'000'000);
  EXPECT_THAT(read_model_config(dir.path()), Is(StatusCode::resource_exhausted, HasSubstr("are more than")));
}

}  // namespace
}  // namespace ckpt
