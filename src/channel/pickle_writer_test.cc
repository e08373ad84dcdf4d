// The pickles against the vectors of docs/format/channel.md.
#include "channel/pickle_writer.h"

#include <fstream>
#include <map>
#include <sstream>

#include "base/bytes.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

std::string unhex(const std::string& text) {
  std::string out;
  std::string digits;
  for (const char c : text)
    if (std::isxdigit(static_cast<unsigned char>(c)) != 0) digits += c;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) out += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  return out;
}

/// The vectors of the document by their first word.
std::map<std::string, std::string> vectors() {
  std::ifstream file(std::string(CKPT_SOURCE_DIR) + "/docs/format/channel.md");
  std::map<std::string, std::string> found;
  std::string line;
  std::string name;
  while (std::getline(file, line)) {
    if (line.starts_with("```vector ")) {
      std::istringstream(line.substr(10)) >> name;
    } else if (line.starts_with("```")) {
      name.clear();
    } else if (!name.empty()) {
      std::string expanded;
      for (std::size_t i = 0; i < line.size(); ++i) {
        if (line.compare(i, 2, "HH") == 0) {
          for (int n = 0; n < 64; ++n) expanded += "ab";
          ++i;
        } else {
          expanded += line[i];
        }
      }
      found[name] += unhex(expanded);
    }
  }
  return found;
}

TEST(PickleWriter, WritesWhatTheFormatDocumentShows) {
  const auto expected = vectors();
  ASSERT_EQ(expected.size(), 4u);
  const Parameter weight{"a.weight", DType::BF16, {2, 3}, 12};
  const Parameter bias{"b.bias", DType::BF16, {3}, 6};
  const PlacedTensor placed[] = {{&weight, 256}, {&bias, 512}};
  EXPECT_EQ(pickle_none(), expected.at("none"));
  EXPECT_EQ(pickle_abort("stop"), expected.at("abort"));
  EXPECT_EQ(pickle_handle(std::string(64, '\xab'), 536870912), expected.at("handle"));
  EXPECT_EQ(pickle_bucket(placed), expected.at("bucket"));
}

TEST(PickleWriter, TheHandleHasTheMeasuredSize) {
  EXPECT_EQ(pickle_handle(std::string(64, 'x'), 512 * MiB).size(), 233u);
  EXPECT_EQ(pickle_handle(std::string(64, 'x'), 8 * GiB).size(), 237u);
}

}  // namespace
}  // namespace ckpt
