#include "failover/node.hpp"

#include <algorithm>
#include <utility>

#include "config/limits.hpp"
#include "config/log.hpp"
#include "config/names.hpp"
#include "failover/asked_switchover.hpp"
#include "failover/console/status_json.hpp"
#include "failover/monitoring/metrics.hpp"
#include "failover/monitoring/status_page.hpp"

namespace understudy::failover {
namespace {

constexpr auto cpg_group = "understudy";

/// A ring that takes longer than this to exchange its records has lost a message on the way.
constexpr auto reminder_period = milliseconds{500};

std::vector<NodeId> host_ids(const Settings& settings) {
  std::vector<NodeId> ids;
  for (const auto& host : settings.config().host()) ids.emplace_back(host.node_id());
  return ids;
}

}  // namespace

Node::Node(boost::asio::io_context& io, Settings settings, RecordStore store, Transports transports)
    : io_{io},
      settings_{std::move(settings)},
      store_{std::move(store)},
      book_{settings_.this_node(), host_ids(settings_), store_.load()},
      fencer_{io_, settings_, book_,
              [this](const RecordBook::Messages& messages) { send(messages); }},
      transports_{std::move(transports)},
      daemon_{io_,
              settings_,
              book_,
              [this](const peer::Message& message) { send(message); },
              [this](const std::string& name, const std::string& why) {
                if (replication_) replication_->end_session(name, why);
              },
              transports_.front()},
      timer_{io},
      availability_{settings_.config().state_dir()},
      reporter_{settings_},
      drills_{io_, settings_, [this](const std::string& name) { return heard_of(name); },
              [this](const std::string& name) { ask_for_guest(daemon_, name); },
              [this](const control::DrillReport& report) { reporter_.finished(report); }},
      clones_{io_, settings_},
      files_{io_, settings_, [this](const std::string& name) { return heard_of(name); }},
      rewinds_{io_, settings_, [this](const std::string& name) { ask_for_guest(daemon_, name); }},
      drain_{settings_, [this] { return guests(); }, daemon_.end_session},
      link_tests_{io_, settings_, transports_} {
  reporter_.know(drills_.list());
}

Result<std::unique_ptr<Node>> Node::start(boost::asio::io_context& io, Settings settings,
                                          Transports transports) {
  UNDERSTUDY_TRY(auto store, RecordStore::open(settings.config().state_dir()));
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private to this factory
  std::unique_ptr<Node> node{
      new Node{io, std::move(settings), std::move(store), std::move(transports)}};
  UNDERSTUDY_CHECK(node->listen());
  for (const auto& guest : node->settings_.config().guest())
    static_cast<void>(node->guest(guest.name()));
  node->membership_ = CorosyncMembership::start(io, cpg_group, *node);
  node->tick();
  return node;
}

Result<> Node::listen() {
  const auto& host = settings_.this_host();
  if (!host.replication_address().empty()) {
    UNDERSTUDY_TRY(const auto endpoint, parse_endpoint(host.replication_address()));
    auto accept =
        [this](const replication::Offer& offer,
               const std::string& from) -> Result<std::shared_ptr<replication::ReplicaEvents>> {
      if (!valid_name(offer.guest().name()))
        return fail(ErrorKind::invalid, "the guest has no valid name");
      if (drain_.drained()) return fail(drain_.refusal());
      log::info("replica.offered", {log::kv("guest", offer.guest().name()), log::kv("from", from)});
      return guest(offer.guest().name()).accept(offer);
    };
    UNDERSTUDY_TRY(replication_, replication::ReplicationServer::listen(
                                     endpoint, settings_.config().cluster(), host.name(),
                                     std::move(accept), transports_));
  }
  UNDERSTUDY_TRY(control_, ControlServer::listen(io_, settings_.config().control_socket(),
                                                 [this](const std::shared_ptr<ControlCall>& call) {
                                                   on_call(call);
                                                 }));
  if (settings_.config().http_address().empty()) return {};
  return listen_http();
}

Result<> Node::listen_http() {
  UNDERSTUDY_TRY(const auto endpoint, parse_endpoint(settings_.config().http_address()));
  UNDERSTUDY_TRY(auto service,
                 HttpService::from(
                     settings_, [this](std::string_view path) { return on_http(path); },
                     [this](const std::shared_ptr<ControlCall>& call) { on_call(call); }));
  UNDERSTUDY_TRY(http_, HttpServer::listen(io_, endpoint, std::move(service)));
  return {};
}

// NOLINTNEXTLINE(bugprone-exception-escape): only allocation throws here, and then ending is right
Node::~Node() {
  stop();
}

void Node::stop() {
  if (std::exchange(stopped_, true)) return;
  // Closed for good: the backups may take over while the rest of this host is still being cleaned
  // up.
  for (auto* one : guests()) one->begin_stop();
  tell_others();
  if (book_.view()) send(book_.farewell());
  fencer_.stop();
  timer_.cancel();
  drills_.stop();
  clones_.stop();
  files_.stop();
  rewinds_.stop();
  reporter_.stop();
  link_tests_.stop();
  if (membership_) membership_->stop();
  if (control_) control_->stop();
  if (http_) http_->stop();
  if (replication_) replication_->stop();
  {
    const std::lock_guard lock{mutex_};
    guests_.clear();  // waits for their threads
  }
}

GuestHost& Node::guest(const std::string& name) {
  const std::lock_guard lock{mutex_};
  auto& found = guests_[name];
  if (!found) found = std::make_unique<GuestHost>(name, daemon_);
  return *found;
}

std::vector<GuestHost*> Node::guests() const {
  const std::lock_guard lock{mutex_};
  std::vector<GuestHost*> all;
  for (const auto& [name, one] : guests_) all.push_back(one.get());
  return all;
}

// --- the cluster

void Node::send(const peer::Message& message) {
  std::vector<std::byte> bytes(message.ByteSizeLong());
  message.SerializeToArray(bytes.data(), static_cast<int>(bytes.size()));
  membership_->send(std::move(bytes));
}

bool Node::remember() {
  const auto stored = store_.save(book_.memory());
  const auto trouble = stored ? std::string{} : stored.error().message;
  if (!stored && trouble != memory_trouble_) {
    log::error("record.not_stored", {log::kv("why", trouble)});
  }
  memory_trouble_ = trouble;
  return stored.has_value();
}

/// What could not be stored must not be said: reminders will try again.
void Node::send(const RecordBook::Messages& messages) {
  if (!remember()) return;
  for (const auto& message : messages) send(message);
}

void Node::on_view(const View& view) {
  if (stopped_) return;
  std::string members;
  for (const auto member : view.members)
    members += fmt::format("{}{}", members.empty() ? "" : ",", member);
  log::info("cluster.view",
            {log::kv("ring", fmt::format("{}.{:x}", view.ring.representative, view.ring.sequence)),
             log::kv("members", members),
             log::kv("quorum", view.quorum == Quorum::present ? "yes" : "no")});
  cluster_trouble_.clear();
  for (auto* one : guests()) one->on_view(view);
  reporter_.on_view(view);
  reminded_ = now();
  send(book_.on_view(view));
  decide_all();
}

void Node::on_message(NodeId sender, std::span<const std::byte> bytes) {
  peer::Message message;
  if (stopped_) return;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return log::warning("cluster.rubbish",
                        {log::kv("from", sender), log::kv("bytes", bytes.size())});
  }
  if (message.has_summary()) {
    if (sender != settings_.this_node()) hear(message.summary());
    return;
  }
  if (message.has_timeline()) {
    if (sender != settings_.this_node()) reporter_.hear(sender, message.timeline());
    return;
  }
  if (message.has_switch_over()) return on_asked(sender, message.switch_over());
  if (message.has_switch_over_answer()) {
    drills_.answered(message.switch_over_answer());
    return rewinds_.answered(message.switch_over_answer());
  }
  const bool was_ready = book_.ready();
  send(book_.on_message(sender, message));
  if (book_.ready() && !was_ready) log::info("cluster.ready");
  decide_all();
}

/// Everyone hears it; who runs the guest answers.
void Node::on_asked(NodeId asker, const peer::SwitchOverRequest& request) {
  if (!book_.ready() || book_.decided(request.guest()).active != settings_.this_node()) return;
  switch_over_for(daemon_, guest(request.guest()), asker, request);
}

void Node::on_lost(const Error& reason) {
  if (stopped_) return;
  log::error("cluster.lost", {log::kv("why", reason.message)});
  cluster_trouble_ = reason.message;
  book_.on_lost();
  decide_all();
}

void Node::decide_all() {
  for (auto* one : guests()) one->decide();
  fencer_.decide();
}

void Node::tick() {
  if (stopped_) return;
  const auto at = now();
  if (book_.quorate()) quorate_ = at;
  for (auto* one : guests()) {
    one->drained(drain_.drained());
    one->tick();
  }
  drills_.tick();
  files_.tick();
  for (const auto& drill : drills_.due()) drills_.begin_scheduled(guest(drill.guest), drill);
  rewinds_.tick();
  drain_.tick();
  fencer_.decide();
  if (!memory_trouble_.empty()) static_cast<void>(remember());
  if (book_.waits() && at - reminded_ > reminder_period) {
    reminded_ = at;
    send(book_.remind());
  }
  if (at - summarised_ > limits::summary_period) {
    summarised_ = at;
    summarise();
    tell_others();
  }
  if (at - accounted_ > limits::availability_tick) {
    accounted_ = at;
    account();
    report_changes();
  }
  timer_.expires_after(limits::role_tick);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) tick();
  });
}

void Node::summarise() {
  if (!book_.quorate()) return;
  for (const auto* one : guests()) {
    const auto report = this->report(*one);
    if (report.active_host() != settings_.this_host().name()) continue;
    auto message = book_.message();
    report.SerializeToString(message.mutable_summary()->mutable_guest());
    send(message);
  }
}

/// Also without a quorum: what is told is known later.
void Node::tell_others() {
  if (!book_.view()) return;
  auto told = reporter_.to_tell();
  if (!told) return;
  auto message = book_.message();
  *message.mutable_timeline() = std::move(*told);
  send(message);
}

void Node::hear(const peer::Summary& summary) {
  Heard heard{{}, now()};
  if (!heard.guest.ParseFromString(summary.guest())) return;
  if (heard_.size() >= limits::guests_heard_of && !heard_.contains(heard.guest.name())) return;
  if (heard.guest.has_availability() && !is_stale(heard.guest)) {
    availability_.take_over(heard.guest.name(), heard.guest.availability());
  }
  heard_[heard.guest.name()] = std::move(heard);
}

const control::Guest* Node::heard_of(const std::string& name) const {
  const auto found = heard_.find(name);
  return found == heard_.end() ? nullptr : &found->second.guest;
}

void Node::account() {
  const AvailabilityBook::Moment at{unix_now(), now()};
  const auto& here = settings_.this_host().name();
  for (const auto* one : guests()) {
    const auto report = one->outline();
    // Who runs a guest is not known before the records are agreed.
    if (book_.ready() || report.active_host() == here) availability_.look(report, here, at);
  }
  availability_.store(at.steady);
}

void Node::report_changes() {
  control::Status status;
  add_quorum(status);
  reporter_.look(status.quorum(), guests());
}

HttpAnswer Node::on_http(std::string_view path) {
  const auto json = [](const google::protobuf::Message& message) {
    return HttpAnswer{.type = "application/json",
                      .body = console::json_text(message, console::JsonLayout::line)};
  };
  if (path == "/healthz") return {.body = "alive\n"};
  if (path == "/api/status") return json(status());
  if (path == "/api/events") return json(reporter_.events());
  if (path == "/api/drills") return json(reporter_.with_elsewhere(drills_.list()));
  if (constexpr std::string_view drills = "/drills/"; path.starts_with(drills)) {
    if (auto page = drills_.page(path.substr(drills.size())))
      return {.type = "text/html; charset=utf-8", .body = *std::move(page)};
  }
  if (path == "/metrics") {
    return {.type = "text/plain; version=0.0.4; charset=utf-8",
            .body = metrics_text(status(), unix_now())};
  }
  if (path == "/") return {.type = "text/html; charset=utf-8", .body = std::string{status_page}};
  return {.status = 404,
          .body = "there is /, /metrics, /healthz, /drills/ID and /api/{status,events,drills}\n"};
}

// --- the control API

void Node::on_call(const std::shared_ptr<ControlCall>& call) {
  if (call->request().has_status()) {
    control::Reply reply;
    *reply.mutable_status() = status();
    return call->finish(std::move(reply));
  }
  if (call->request().has_link_test()) return link_tests_.begin(call);
  if (call->request().has_drills()) {
    control::Reply reply;
    *reply.mutable_drills() = reporter_.with_elsewhere(drills_.list());
    return call->finish(std::move(reply));
  }
  if (call->request().has_clones()) return clones_.list(call);
  if (call->request().has_stop_clone()) return clones_.end(call);
  if (call->request().has_drain() || call->request().has_undrain()) return on_drain_call(call);
  if (call->request().has_confirm_dead()) return on_confirm_dead(call);
  if (guest_of(call->request()).empty()) {
    return call->fail(
        {ErrorKind::invalid, "this daemon does not know such a request; are both of one version?"});
  }
  on_guest_call(call);
}

void Node::on_drain_call(const std::shared_ptr<ControlCall>& call) {
  const auto& request = call->request();
  const auto& wanted = request.has_drain() ? request.drain().host() : request.undrain().host();
  const auto& here = settings_.this_host().name();
  if (wanted != here) {
    return call->fail(
        {ErrorKind::invalid,
         settings_.find_host(wanted) == nullptr
             ? fmt::format("there is no host \"{}\" in the configuration", wanted)
             : fmt::format("this is host {}; give the command on host {}", here, wanted)});
  }
  if (request.has_drain()) return drain_.begin(call);
  drain_.end(call);
}

void Node::on_guest_call(const std::shared_ptr<ControlCall>& call) {
  const auto& request = call->request();
  const auto name = guest_of(request);
  const bool known = [&] {
    const std::lock_guard lock{mutex_};
    return guests_.contains(name);
  }();
  const bool starts = request.has_start() || request.has_import();
  if (!known || (starts && settings_.find_guest(name) == nullptr)) {
    return call->fail(
        {ErrorKind::invalid,
         fmt::format("host {} has no guest \"{}\" in its configuration; `understudy status` lists "
                     "the guests it knows",
                     settings_.this_host().name(), name)});
  }
  if ((starts || request.drill().real()) && drain_.drained()) return call->fail(drain_.refusal());
  auto& one = guest(name);
  switch (request.what_case()) {
    case control::Request::kStart: return one.start(call);
    case control::Request::kStop: return one.stop(call);
    case control::Request::kProtect: return one.protect(call);
    case control::Request::kUnprotect: return one.unprotect(call);
    case control::Request::kSwitchOver: return one.switch_over(call);
    case control::Request::kDrill: return drills_.begin(call, one);
    case control::Request::kHistory: return clones_.history(call, one);
    case control::Request::kClone: return clones_.begin(call, one);
    case control::Request::kExport: return files_.begin_export(call, one);
    case control::Request::kImport: return files_.begin_import(call, one);
    case control::Request::kRewind: return rewinds_.begin(call, one);
    default: return one.verify(call);
  }
}

void Node::on_confirm_dead(const std::shared_ptr<ControlCall>& call) {
  const auto& request = call->request().confirm_dead();
  auto answer = request.sure() ? fencer_.confirm(request.host()) : fencer_.stakes(request.host());
  if (!answer) return call->fail(answer.error());
  if (request.sure()) return call->done(*answer);
  control::Reply reply;
  reply.mutable_stakes()->set_text(*answer);
  call->finish(std::move(reply));
}

}  // namespace understudy::failover
