#include "channel/peer_text.h"

#include <gmock/gmock.h>

namespace ckpt {
namespace {

TEST(PeerText, KnowsUtf8) {
  for (const char* good : {"", "plain", "\xc2\xa0", "é", "漢字", "\xf0\x9f\x98\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"}) EXPECT_TRUE(is_utf8(good));
  for (const char* bad :
       {"\x80", "\xc0\xaf", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "a\xff"})
    EXPECT_FALSE(is_utf8(bad)) << bad;
}

TEST(PeerText, LeavesTextAloneAndShowsTheRest) {
  EXPECT_EQ(peer_text("Traceback:\n\tline “1”\n"), "Traceback:\n\tline “1”\n");
  EXPECT_EQ(peer_text("\x1b[31mred\x07"), "\\x1b[31mred\\x07");
  EXPECT_EQ(peer_text("\xc2\x9b"), "\\x9b");
  EXPECT_EQ(peer_text("cut \xe2\x82"), "cut \\xe2\\x82");
  EXPECT_EQ(peer_text(std::string_view("a\0b", 3)), "a\\x00b");
}

TEST(PeerText, KeepsBothEndsOfALongText) {
  const std::string text = peer_text("first " + std::string(100000, 'x') + " last", 100);
  EXPECT_LT(text.size(), 200u);
  EXPECT_TRUE(text.starts_with("first "));
  EXPECT_TRUE(text.ends_with(" last"));
  EXPECT_THAT(text, ::testing::HasSubstr("bytes left out"));
  std::string wide;
  for (int i = 0; i < 100; ++i) wide += "漢";
  EXPECT_TRUE(is_utf8(peer_text(wide, 100)));
}

}  // namespace
}  // namespace ckpt
