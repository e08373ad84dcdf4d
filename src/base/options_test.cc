#include "base/options.h"

#include "base/bytes.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using testing::Is;

TEST(Bytes, ReadsWhatPeopleWrite) {
  EXPECT_EQ(*parse_bytes("4096"), 4096u);
  EXPECT_EQ(*parse_bytes("512MiB"), 512 * MiB);
  EXPECT_EQ(*parse_bytes("0.5 GB"), 500'000'000u);
  EXPECT_EQ(*parse_bytes("18446744073709551615"), ~std::uint64_t{0});
  for (const char* bad : {"", "x", "-1", "1XB", "1e300", "nan", "99999999999999999999"})
    EXPECT_THAT(parse_bytes(bad), Is(StatusCode::invalid_argument)) << bad;
}

TEST(Bytes, FormatsThreeDigits) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(16'380'000'000), "16.4 GB");
  EXPECT_EQ(format_bytes(999'999), "1.00 MB");
}

TEST(Settings, DefaultsAreInRange) {
  const Settings settings = Settings::defaults();
  for (const Option& option : option_table()) {
    Settings copy = settings;
    EXPECT_OK(copy.set(option.name, option.default_value, option.environment));
  }
}

TEST(Settings, ErrorsNameTheSourceAndTheRange) {
  Settings settings = Settings::defaults();
  EXPECT_THAT(settings.set("bucket_size", "12", "--bucket-size"),
              Is(StatusCode::invalid_argument, HasSubstr("--bucket-size: 12 is out of range: from 256 bytes")));
  EXPECT_THAT(settings.set("ack_timeout", "soon", "CKPT_ACK_TIMEOUT"),
              Is(StatusCode::invalid_argument, HasSubstr("CKPT_ACK_TIMEOUT: \"soon\" is not a duration")));
  EXPECT_THAT(settings.set("no_such", "1", "--no-such"), Is(StatusCode::not_found));
}

TEST(Settings, DurationsHaveUnits) {
  EXPECT_EQ(*parse_duration("30"), std::chrono::seconds(30));
  EXPECT_EQ(*parse_duration("200ms"), std::chrono::milliseconds(200));
  EXPECT_EQ(*parse_duration("1.5m"), std::chrono::seconds(90));
  for (const char* bad : {"", "s", "-1s", "1 day", "inf"}) EXPECT_THAT(parse_duration(bad), Is(StatusCode::invalid_argument)) << bad;
}

TEST(Bytes, AsHexadecimalDigits) {
  EXPECT_EQ(to_hex(""), "");
  EXPECT_EQ(to_hex(std::string_view("\x00\x7f\xff", 3)), "007fff");
}

}  // namespace
}  // namespace ckpt
