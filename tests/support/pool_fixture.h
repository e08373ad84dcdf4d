/// A small checkpoint of awkward sizes on disk or in /dev/shm, a host device and a pool, and the way back from runs to tensors.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "device/host/host_device.h"
#include "hostpool/host_pool.h"
#include "support/matchers.h"
#include "support/temporary_directory.h"

namespace ckpt::testing {

/// Two shards of U8 tensors; tensor i holds tensor(i). The parameter of the test is the directory below which they lie.
class PoolFixture : public ::testing::TestWithParam<const char*> {
 protected:
  PoolFixture() : dir_(GetParam()) {}
  void SetUp() override {
    write_checkpoint();
    device_ = make_host_device({0, 2}).value();
    pool_ = make_host_pool(*device_);
    checkpoint_ = open_checkpoint(dir_.path()).value();
    options_.read_chunk_bytes = 256 * KiB;
  }

  [[nodiscard]] const std::string& tensor(std::size_t index) const { return tensors_[index]; }
  [[nodiscard]] std::vector<std::string> make_tensors() const {
    std::vector<std::string> tensors;
    for (std::size_t t = 0; t < sizes_.size(); ++t) {
      tensors.emplace_back(sizes_[t], '\0');
      for (std::size_t i = 0; i < sizes_[t]; ++i) tensors[t][i] = static_cast<char>((t * 131 + i * 7 + i / 251) & 0xff);
    }
    return tensors;
  }
  void write_checkpoint() const {
    for (std::size_t shard = 0; shard < 2; ++shard) {
      std::string json = "{";
      std::string data;
      for (std::size_t i = shard * sizes_.size() / 2; i < (shard + 1) * sizes_.size() / 2; ++i) {
        json += fmt::format("{}\"t{:03}\":{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", json.size() > 1 ? "," : "", i, sizes_[i],
                            data.size(), data.size() + sizes_[i]);
        data += tensor(i);
      }
      json += "}";
      const std::uint64_t length = json.size();
      dir_.write(fmt::format("model-{}.safetensors", shard), std::string(reinterpret_cast<const char*>(&length), sizeof length) + json + data);
    }
  }
  [[nodiscard]] CheckpointLayout layout_of(std::uint32_t num_ranks) const {
    CheckpointLayout layout{checkpoint_.parameters, {}};
    layout.frames = make_striped_layout(layout.parameters, num_ranks, {1 * MiB, 64 * KiB}).value();
    return layout;
  }
  Result<std::unique_ptr<PoolShare>> load(const CheckpointLayout& layout, std::uint32_t rank, LoadReport* report = nullptr) {
    return pool_->load(checkpoint_, layout, rank, options_, Deadline::after(std::chrono::seconds(60)), abort_, report);
  }
  /// Puts the runs of `share` into `frames` as the pipeline does.
  static void place(const PoolShare& share, const CheckpointLayout& layout, std::vector<Bytes>& frames) {
    frames.resize(layout.frames.frames.size());
    for (std::uint32_t f = 0; f < frames.size(); ++f) {
      frames[f].resize(layout.frames.frames[f].bytes);
      for (std::uint32_t s = 0; s < layout.frames.frames[f].stripes.size(); ++s)
        for (const CopyRun& run : share.runs(f, s)) std::memcpy(frames[f].data() + run.frame_offset_bytes, run.source, run.bytes);
    }
  }
  void expect_tensors(const CheckpointLayout& layout, const std::vector<Bytes>& frames) const {
    for (std::uint32_t f = 0; f < frames.size(); ++f)
      for (const Placement& placement : layout.frames.frames[f].placements)
        EXPECT_EQ(as_text(frames[f]).substr(placement.offset_bytes, sizes_[placement.parameter]), tensor(placement.parameter))
            << "tensor " << placement.parameter << " of frame " << f;
  }
  /// What the ranks of each count load is the checkpoint, together.
  void expect_shares_make_the_checkpoint(std::initializer_list<std::uint32_t> counts) {
    for (const std::uint32_t num_ranks : counts) {
      const CheckpointLayout layout = layout_of(num_ranks);
      std::vector<Bytes> frames;
      for (std::uint32_t rank = 0; rank < num_ranks; ++rank) {
        auto share = load(layout, rank);
        ASSERT_OK(share);
        place(**share, layout, frames);
      }
      expect_tensors(layout, frames);
    }
  }
  /// Writes one byte of tensor 0, which the first file holds behind its header.
  void change_a_byte() const { std::fstream(checkpoint_.files[0].path, std::ios::in | std::ios::out | std::ios::binary).seekp(5000).put('!'); }

  /// What a load may leave behind.
  struct Left {
    std::ptrdiff_t descriptors;
    std::ptrdiff_t threads;
    std::ptrdiff_t file_mappings;  ///< of the checkpoint's files
    std::uint64_t pool_bytes;
    friend bool operator==(const Left&, const Left&) = default;
  };
  [[nodiscard]] Left left() const {
    const auto entries = [](const char* dir) {
      return std::distance(std::filesystem::directory_iterator(dir), std::filesystem::directory_iterator());
    };
    std::ptrdiff_t mappings = 0;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) mappings += line.find(dir_.path()) != std::string::npos ? 1 : 0;
    return {entries("/proc/self/fd"), entries("/proc/self/task"), mappings, pool_->reserved_bytes()};
  }

  const std::vector<std::uint64_t> sizes_{100'000, 256, 0, 5'000'000, 4097, 1, 300'000, 77'777, 1'000'000, 512};
  const std::vector<std::string> tensors_ = make_tensors();
  TemporaryDirectory dir_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<HostPool> pool_;
  Checkpoint checkpoint_;
  LoadOptions options_;
  AbortSignal abort_;
};

inline std::string pool_place_name(const ::testing::TestParamInfo<const char*>& place) {
  return std::string(place.param) == "/tmp" ? "OnDisk" : "InMemory";
}

}  // namespace ckpt::testing
