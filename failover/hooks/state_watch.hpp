// Finds out what has changed between two looks at this host. Pure.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "failover/control.pb.h"

namespace understudy::failover {

/// Knows nothing at first: the first look at a thing is no change. Ids and times are the caller's.
class StateWatch {
 public:
  explicit StateWatch(std::string host) : host_{std::move(host)} {}

  using Events = std::vector<control::Event>;
  /// A guest as its GuestHost outlines it. Its active host speaks for it, and who was that last.
  [[nodiscard]] Events look(const control::Guest& guest);
  [[nodiscard]] Events look(const control::Quorum& quorum);
  [[nodiscard]] static control::Event finished(const control::DrillReport& drill);

 private:
  struct Known {
    control::GuestState state{};
    bool ours{};  ///< it is active here, or was when nobody else has been since
    bool was_protected{};
    bool lost{};  ///< was told that its replica is lost
    std::uint64_t promoted{};
  };
  [[nodiscard]] Events changes(const Known& before, Known& known,
                               const control::Guest& guest) const;

  const std::string host_;
  std::map<std::string, Known> guests_;
  std::optional<bool> quorate_;
  std::optional<std::set<std::string>> members_;
};

}  // namespace understudy::failover
