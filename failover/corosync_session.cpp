#include "failover/corosync_session.hpp"

#include <corosync/corotypes.h>
#include <corosync/cpg.h>
#include <corosync/quorum.h>
#include <sys/uio.h>

#include <algorithm>
#include <optional>
#include <string_view>

namespace understudy::failover {
namespace {

std::string_view describe(cs_error_t code) {
  switch (code) {
    case CS_ERR_LIBRARY: return "no connection";
    case CS_ERR_TIMEOUT: return "it does not answer";
    case CS_ERR_TRY_AGAIN: return "it is not ready yet";
    case CS_ERR_ACCESS: return "it refuses this user (see uidgid in corosync.conf(5))";
    case CS_ERR_NO_MEMORY: return "out of memory";
    case CS_ERR_EXIST: return "already joined";
    case CS_ERR_NAME_TOO_LONG: return "the group's name is too long";
    case CS_ERR_NO_RESOURCES: return "it is out of resources";
    case CS_ERR_BAD_HANDLE: return "the connection is closed";
    default: return "it refuses";
  }
}

tl::unexpected<Error> unreachable(std::string_view call, cs_error_t code) {
  return fail(code == CS_ERR_ACCESS ? ErrorKind::invalid : ErrorKind::unavailable,
              "cannot reach corosync: {}: {} (error {}); is it running? start it with `systemctl "
              "start corosync`",
              call, describe(code), static_cast<int>(code));
}

tl::unexpected<Error> lost(std::string_view call, cs_error_t code) {
  return fail(ErrorKind::closed, "lost corosync: {}: {} (error {})", call, describe(code),
              static_cast<int>(code));
}

Result<Attempt> attempt(std::string_view call, cs_error_t code) {
  if (code == CS_OK) return Attempt::done;
  if (code == CS_ERR_TRY_AGAIN) return Attempt::not_now;
  return lost(call, code);
}

/// A handle of one of Corosync's libraries.
template <cs_error_t (*finalize)(std::uint64_t)>
class Handle {
 public:
  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (value_) finalize(*value_);
  }
  void hold(std::uint64_t value) { value_ = value; }
  [[nodiscard]] std::uint64_t get() const { return *value_; }

 private:
  std::optional<std::uint64_t> value_;
};

GroupMember member_of(const cpg_address& address) {
  return {NodeId{address.nodeid}, address.pid};
}

bool with_node(const cpg_address& address) {
  return address.reason == CPG_REASON_NODEDOWN || address.reason == CPG_REASON_NODEUP;
}

std::vector<GroupMember> members_of(std::span<const cpg_address> addresses) {
  std::vector<GroupMember> members;
  members.reserve(addresses.size());
  std::transform(addresses.begin(), addresses.end(), std::back_inserter(members), member_of);
  return members;
}

class Session final : public CorosyncSession {
 public:
  explicit Session(CorosyncEvents& events) : events_{events} {}

  /// Quorum first, so that nothing has to be asked once changes of the group begin to arrive.
  Result<> connect(const std::string& group) {
    UNDERSTUDY_CHECK(connect_quorum());
    return connect_group(group);
  }

  [[nodiscard]] int group_fd() const override { return group_fd_; }
  [[nodiscard]] int quorum_fd() const override { return quorum_fd_; }

  Result<Attempt> dispatch_group() override {
    return attempt("cpg_dispatch", cpg_dispatch(cpg_.get(), CS_DISPATCH_ONE_NONBLOCKING));
  }

  Result<Attempt> dispatch_quorum() override {
    return attempt("quorum_dispatch", quorum_dispatch(quorum_.get(), CS_DISPATCH_ONE_NONBLOCKING));
  }

  Result<Attempt> send(std::span<const std::byte> message) override {
    // SAFETY: cpg_mcast_joined only reads; iovec has no const form.
    iovec part{const_cast<std::byte*>(message.data()), message.size()};
    return attempt("cpg_mcast_joined", cpg_mcast_joined(cpg_.get(), CPG_TYPE_AGREED, &part, 1));
  }

  void leave() override { cpg_leave(cpg_.get(), &group_); }

 private:
  Result<> connect_quorum() {
    quorum_model_v1_data_t model{};
    model.model = QUORUM_MODEL_V1;
    model.quorum_notify_fn = on_quorum;
    std::uint32_t type{};
    quorum_handle_t handle{};
    // SAFETY: the library's model parameter is the base of a tagged family of structs.
    auto* data = reinterpret_cast<quorum_model_data_t*>(&model);
    const auto made = quorum_model_initialize(&handle, QUORUM_MODEL_V1, data, &type, this);
    if (made != CS_OK) return unreachable("quorum_initialize", made);
    quorum_.hold(handle);
    if (type != QUORUM_SET) {
      return fail(
          ErrorKind::invalid,
          "corosync has no quorum provider: put `quorum {{ provider: corosync_votequorum }}` "
          "into corosync.conf on every host");
    }
    const auto tracked = quorum_trackstart(handle, CS_TRACK_CURRENT | CS_TRACK_CHANGES);
    if (tracked != CS_OK) return unreachable("quorum_trackstart", tracked);
    const auto known = quorum_fd_get(handle, &quorum_fd_);
    if (known != CS_OK) return unreachable("quorum_fd_get", known);
    return {};
  }

  Result<> connect_group(const std::string& group) {
    if (group.size() >= sizeof group_.value) {
      return fail(ErrorKind::invalid, "the group's name is longer than {} letters",
                  sizeof group_.value - 1);
    }
    group_.length = static_cast<std::uint32_t>(group.size());
    std::copy(group.begin(), group.end(), std::begin(group_.value));
    cpg_model_v1_data_t model{CPG_MODEL_V1, on_message, on_change, on_ring,
                              CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF};
    cpg_handle_t handle{};
    // SAFETY: the library's model parameter is the base of a tagged family of structs.
    auto* data = reinterpret_cast<cpg_model_data_t*>(&model);
    const auto made = cpg_model_initialize(&handle, CPG_MODEL_V1, data, this);
    if (made != CS_OK) return unreachable("cpg_initialize", made);
    cpg_.hold(handle);
    const auto known = cpg_fd_get(handle, &group_fd_);
    if (known != CS_OK) return unreachable("cpg_fd_get", known);
    const auto joined = cpg_join(handle, &group_);
    if (joined != CS_OK) return unreachable("cpg_join", joined);
    return {};
  }

  static Session& of_group(cpg_handle_t handle) {
    void* context = nullptr;
    cpg_context_get(handle, &context);
    return *static_cast<Session*>(context);
  }

  static void on_message(cpg_handle_t handle, const cpg_name* /*group*/, std::uint32_t node,
                         std::uint32_t /*process*/, void* message, std::size_t length) {
    of_group(handle).events_.on_group_message(NodeId{node},
                                              {static_cast<const std::byte*>(message), length});
  }

  static void on_change(cpg_handle_t handle, const cpg_name* /*group*/, const cpg_address* members,
                        std::size_t member_count, const cpg_address* left, std::size_t left_count,
                        const cpg_address* joined, std::size_t joined_count) {
    const std::span gone{left, left_count};
    const std::span come{joined, joined_count};
    const bool ring_follows = std::any_of(gone.begin(), gone.end(), with_node) ||
                              std::any_of(come.begin(), come.end(), with_node);
    of_group(handle).events_.on_group_changed(
        {members_of({members, member_count}), members_of(gone),
         ring_follows ? GroupChange::Cause::node : GroupChange::Cause::process});
  }

  static void on_ring(cpg_handle_t handle, cpg_ring_id ring, std::uint32_t /*count*/,
                      const std::uint32_t* /*nodes*/) {
    of_group(handle).events_.on_group_ring({ring.seq, NodeId{ring.nodeid}});
  }

  static void on_quorum(quorum_handle_t handle, std::uint32_t quorate, quorum_ring_id ring,
                        std::uint32_t /*count*/, const std::uint32_t* /*nodes*/) {
    const void* context = nullptr;
    quorum_context_get(handle, &context);
    // SAFETY: the context is the Session that made this handle; the library hands it back as const.
    const auto& session = *static_cast<const Session*>(context);
    session.events_.on_quorum({ring.seq, NodeId{ring.nodeid}},
                              quorate != 0 ? Quorum::present : Quorum::absent);
  }

  CorosyncEvents& events_;
  Handle<quorum_finalize> quorum_;
  Handle<cpg_finalize> cpg_;
  cpg_name group_{};
  int quorum_fd_{-1};
  int group_fd_{-1};
};

}  // namespace

Result<std::unique_ptr<CorosyncSession>> CorosyncSession::open(const std::string& group,
                                                               CorosyncEvents& events) {
  auto session = std::make_unique<Session>(events);
  UNDERSTUDY_CHECK(session->connect(group));
  return session;
}

}  // namespace understudy::failover
