#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <memory>

#include "cli/doctor/probes.h"
#include "os/unique_fd.h"

namespace ckpt {
namespace {

constexpr std::uint16_t kEnginePort = 19730;  // default of `update --endpoint`

void rdma_devices(const MachineFiles& files, std::vector<Finding>& findings) {
  const std::string folder = "/sys/class/infiniband";
  for (const std::string& device : files.names(folder))
    for (const std::string& port : files.names(fmt::format("{}/{}/ports", folder, device))) {
      const std::string path = fmt::format("{}/{}/ports/{}", folder, device, port);
      const std::string state = files.line(path + "/state").value_or("unknown state");
      const std::string rate = files.line(path + "/rate").value_or("unknown rate");
      const bool active = state.find("ACTIVE") != std::string::npos;
      findings.push_back({"network", fmt::format("RDMA {} port {}", device, port), fmt::format("{}, {}", state, rate),
                          active ? Verdict::good : Verdict::lack, active ? "" : "weights between hosts do not use this link",
                          active ? "" : "check cable, switch and subnet manager: ibstat"});
    }
  if (findings.empty()) findings.push_back({"network", "RDMA devices", "none", Verdict::note, "", "weights between hosts travel over TCP"});
}

std::string address_text(const sockaddr& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.sa_family == AF_INET) ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text.data(), text.size());
  if (address.sa_family == AF_INET6) ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, text.data(), text.size());
  return text.data();
}

void interfaces(const MachineFiles& files, std::vector<Finding>& findings) {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, ::freeifaddrs);
  for (const ifaddrs* at = list; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr || at->ifa_addr->sa_family != AF_INET || (at->ifa_flags & IFF_UP) == 0 || (at->ifa_flags & IFF_LOOPBACK) != 0)
      continue;
    const auto speed = files.number(fmt::format("/sys/class/net/{}/speed", at->ifa_name));  // Mbit/s; -1 or absent where unknown
    findings.push_back(
        {"network", fmt::format("interface {}", at->ifa_name),
         fmt::format("{}{}", address_text(*at->ifa_addr), speed ? fmt::format(", {:g} Gbit/s", static_cast<double>(*speed) / 1000) : ""),
         Verdict::good, "", ""});
  }
}

Finding engine_port() {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kEnginePort);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool answers = socket.valid() && ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  return {"network",
          fmt::format("port {}", kEnginePort),
          answers ? "something answers: an engine at the default endpoint" : "free: no engine at the default endpoint",
          Verdict::good,
          "",
          ""};
}

}  // namespace

std::vector<Finding> examine_network(const MachineFiles& files) {
  std::vector<Finding> findings;
  rdma_devices(files, findings);
  interfaces(files, findings);
  findings.push_back(engine_port());
  return findings;
}

}  // namespace ckpt
