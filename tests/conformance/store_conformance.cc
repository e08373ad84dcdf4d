// What every store of keys must do. A backend gives connections to one fresh store.
#include <thread>

#include "rendezvous/store_client.h"
#include "rendezvous/store_server.h"
#include "support/matchers.h"

namespace ckpt {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using testing::Is;
using testing::soon;

/// Our own TCP store.
class TcpBackend {
 public:
  std::unique_ptr<StoreClient> connect() {
    GroupOptions options;
    options.store = server_->address();
    options.token = "secret";
    auto client = StoreClient::connect(options, Deadline::after(20s), never_, {});
    EXPECT_OK(client);
    return std::move(client).value();
  }

 private:
  AbortSignal never_;
  std::unique_ptr<StoreServer> server_ = StoreServer::start({.token = "secret"}, Deadline::after(20s)).value();
};

struct Names {
  template <typename Backend>
  static std::string GetName(int) {
    return "tcp";
  }
};

template <typename Backend>
class Store : public ::testing::Test {
 protected:
  Backend backend_;
  decltype(backend_.connect()) a_ = backend_.connect();
  decltype(backend_.connect()) b_ = backend_.connect();
};
using Backends = ::testing::Types<TcpBackend>;
TYPED_TEST_SUITE(Store, Backends, Names);

TYPED_TEST(Store, OneSetsAndTheOtherGets) {
  EXPECT_THAT(this->a_->get("k", soon()), Is(StatusCode::not_found, HasSubstr("\"k\"")));
  EXPECT_OK(this->a_->set("k", to_bytes("v1"), soon()));
  EXPECT_OK(this->a_->set("k", to_bytes("v2"), soon()));
  const auto value = this->b_->get("k", soon());
  ASSERT_OK(value);
  EXPECT_EQ(as_text(value->bytes), "v2");
  EXPECT_EQ(value->version, 2);
}

TYPED_TEST(Store, WaitEndsAtItsDeadline) {
  EXPECT_THAT(this->a_->wait("never", Deadline::after(20ms)), Is(StatusCode::deadline_exceeded, HasSubstr("\"never\"")));
  EXPECT_OK(this->a_->set("never", {}, soon()));  // the connection is as good as before
}

TYPED_TEST(Store, WaitEndsWhenTheKeyComes) {
  std::thread setter([this] { EXPECT_OK(this->a_->set("k", to_bytes("v"), soon())); });
  const auto value = this->b_->wait("k", soon());
  setter.join();
  ASSERT_OK(value);
  EXPECT_EQ(as_text(value->bytes), "v");
}

TYPED_TEST(Store, WatchSeesEachChangeOnce) {
  EXPECT_OK(this->a_->set("k", to_bytes("1"), soon()));
  EXPECT_EQ(this->b_->watch("k", 0, soon())->version, 1);
  EXPECT_THAT(this->b_->watch("k", 1, Deadline::after(20ms)), Is(StatusCode::deadline_exceeded));
  EXPECT_OK(this->a_->set("k", to_bytes("2"), soon()));
  EXPECT_EQ(as_text(this->b_->watch("k", 1, soon())->bytes), "2");
}

TYPED_TEST(Store, AddCountsFromZeroForBoth) {
  std::vector<std::thread> threads;
  for (auto* client : {this->a_.get(), this->b_.get()})
    threads.emplace_back([client, this] {
      for (int i = 0; i < 50; ++i) EXPECT_OK(client->add("n", 2, soon()));
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(*this->a_->add("n", -200, soon()), 0);
  EXPECT_OK(this->a_->set("text", to_bytes("x"), soon()));
  EXPECT_THAT(this->a_->add("text", 1, soon()), Is(StatusCode::failed_precondition, HasSubstr("no number")));
  EXPECT_OK(this->a_->add("max", INT64_MAX, soon()));
  EXPECT_THAT(this->a_->add("max", 1, soon()), Is(StatusCode::failed_precondition, HasSubstr("too large")));
}

TYPED_TEST(Store, CompareSetLetsOneWin) {
  EXPECT_EQ(*this->a_->compare_set("k", 0, to_bytes("a"), soon()), 1);
  EXPECT_THAT(this->b_->compare_set("k", 0, to_bytes("b"), soon()), Is(StatusCode::failed_precondition, HasSubstr("version 1, not 0")));
  EXPECT_EQ(as_text(this->b_->get("k", soon())->bytes), "a");
}

TYPED_TEST(Store, KeysOutOfBoundsAreRefused) {
  EXPECT_THAT(this->a_->set("", {}, soon()), Is(StatusCode::invalid_argument));
  EXPECT_THAT(this->a_->set(std::string(1025, 'k'), {}, soon()), Is(StatusCode::invalid_argument));
  EXPECT_OK(this->a_->set(std::string(1024, 'k'), Bytes(1 << 20), soon()));
}

}  // namespace
}  // namespace ckpt
