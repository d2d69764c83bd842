#include "failover/checkpoint_files.hpp"

#include <mutex>
#include <thread>
#include <utility>

#include <boost/asio/post.hpp>

#include "checkpointer/guest_import.hpp"
#include "config/limits.hpp"
#include "config/log.hpp"
#include "config/priority.hpp"
#include "failover/clones.hpp"
#include "failover/console/text.hpp"
#include "failover/drills.hpp"

namespace understudy::failover {

using checkpointer::Checkpoint;
using checkpointer::CheckpointProgress;

/// What is under way, and who waits for it.
class CheckpointFiles::Job {
 public:
  using Tell = std::function<void(const std::string& step, double fraction)>;
  using Done = std::function<void(const Result<>&)>;

  Job(std::string guest, std::shared_ptr<ControlCall> call, Work work, Tell tell, Done done)
      : guest_{std::move(guest)},
        call_{std::move(call)},
        thread_{[this, work = std::move(work), tell = std::move(tell), done = std::move(done)] {
          leave_real_time();  // inherited, and not for this
          done(work({.tell = tell, .go_on = [this] { return go_on(); }}));
        }} {}
  ~Job() {
    cancel("this host's daemon is stopping");
    thread_.join();
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  void cancel(const std::string& why) {
    const std::lock_guard lock{mutex_};
    if (cancelled_.empty()) cancelled_ = why;
  }
  [[nodiscard]] const std::string& guest() const { return guest_; }
  [[nodiscard]] const std::shared_ptr<ControlCall>& call() const { return call_; }

 private:
  [[nodiscard]] Result<> go_on() {
    const std::lock_guard lock{mutex_};
    if (cancelled_.empty()) return {};
    return fail(ErrorKind::closed, "{}", cancelled_);
  }

  const std::string guest_;
  const std::shared_ptr<ControlCall> call_;
  std::mutex mutex_;
  std::string cancelled_;  ///< why; empty: it is not
  std::thread thread_;
};

CheckpointFiles::CheckpointFiles(boost::asio::io_context& io, const Settings& settings, Seen seen)
    : io_{io}, settings_{settings}, seen_{std::move(seen)} {}

CheckpointFiles::~CheckpointFiles() {
  stop();
}

bool CheckpointFiles::refuse_second(const std::shared_ptr<ControlCall>& call) const {
  if (!preparing_ && !job_) return false;
  call->fail({ErrorKind::conflict,
              "another checkpoint file is being written or read here; try again when it is done"});
  return true;
}

void CheckpointFiles::start(const std::shared_ptr<ControlCall>& call, const std::string& guest,
                            Work work, std::function<void(const Result<>&)> finished) {
  auto tell = [this](const std::string& step, double fraction) {
    boost::asio::post(io_, [this, step, fraction] {
      if (!stopped_ && job_) job_->call()->progress(step, fraction);
    });
  };
  auto done = [this, finished = std::move(finished)](const Result<>& outcome) {
    boost::asio::post(io_, [this, finished, outcome] {
      if (stopped_) return;
      const auto asked = job_->call();  // until the job has let go of it
      job_.reset();
      finished(outcome);
      if (!outcome) asked->fail(outcome.error());
    });
  };
  job_ = std::make_unique<Job>(guest, call, std::move(work), std::move(tell), std::move(done));
}

// --- export

void CheckpointFiles::begin_export(const std::shared_ptr<ControlCall>& call, GuestHost& guest) {
  if (const auto possible = guest.check_replica(); !possible) return call->fail(possible.error());
  if (refuse_second(call)) return;
  const auto& request = call->request().export_();
  auto order = std::make_shared<ExportOrder>();
  order->moment = wish_of(request.moment(), unix_now());
  order->path = request.path();
  order->if_there =
      request.replace() ? checkpointer::IfThere::replace : checkpointer::IfThere::refuse;
  order->directory = settings_.config().state_dir();
  order->author = {settings_.this_host().name(), UNDERSTUDY_VERSION};
  preparing_ = true;
  guest.clone_source([this, call, order](Result<checkpointer::CloneSource> source) {
    preparing_ = false;
    if (stopped_) return;
    if (!source) return call->fail(source.error());
    order->source = std::move(*source);
    const auto name = order->source.guest.name();
    max_commit_ms_ = drill_of(settings_, name).max_commit_ms();
    log::info("export.started", {log::kv("guest", name), log::kv("file", order->path)});
    auto exported = std::make_shared<control::Exported>();
    start(
        call, name,
        [order, exported](const CheckpointProgress& progress) -> Result<> {
          UNDERSTUDY_TRY(*exported, export_checkpoint(*order, progress));
          return {};
        },
        [call, name, exported](const Result<>& outcome) {
          log::info("export.done", {log::kv("guest", name), log::kv("epoch", exported->epoch()),
                                    log::kv("bytes", exported->bytes()),
                                    log::kv("why", outcome ? "" : outcome.error().message)});
          if (!outcome) return;
          control::Reply reply;
          *reply.mutable_exported() = *exported;
          call->finish(std::move(reply));
        });
  });
}

void CheckpointFiles::tick() {
  if (!job_) return;
  const auto& call = *job_->call();
  if (call.abandoned()) job_->cancel("the command was ended");
  if (!call.request().has_export_()) return;
  const auto* seen = seen_(job_->guest());
  if (seen == nullptr) return;
  if (const auto why = why_too_much(*seen, max_commit_ms_))
    job_->cancel("stopped by itself: " + *why);
}

// --- import

std::string import_stakes(const config::Guest& guest, const Checkpoint& about,
                          const std::string& path) {
  using console::bytes_text;
  using console::time_text;
  auto text =
      fmt::format("{} is whole: guest {} as of epoch {}, committed {}, written on host {}.\n", path,
                  guest.name(), about.epoch(), time_text(about.committed_unix_us()), about.host());
  for (int i = 0; i < guest.disk_size(); ++i) {
    text += fmt::format("This disk image is overwritten: {} ({}).\n", guest.disk(i).path(),
                        bytes_text(static_cast<double>(about.machine().disk_bytes(i))));
  }
  text += fmt::format(
      "Guest {} goes on from that moment on this host. What it did later is lost{}.\n",
      guest.name(),
      guest.disk_size() == 0 ? "" : ", here at once, elsewhere when it is protected to there");
  return text;
}

void CheckpointFiles::begin_import(const std::shared_ptr<ControlCall>& call, GuestHost& guest) {
  const auto& request = call->request().import();
  const auto* known = settings_.find_guest(request.guest());
  if (known == nullptr || !request.path().starts_with('/'))
    return call->fail({ErrorKind::invalid, "a known guest, and the file's whole path are needed"});
  if (const auto possible = guest.check_import(); !possible) return call->fail(possible.error());
  if (refuse_second(call)) return;
  auto about = std::make_shared<Checkpoint>();
  start(
      call, request.guest(),
      [about, own = *known, path = request.path()](const CheckpointProgress& progress) -> Result<> {
        UNDERSTUDY_TRY(*about, checkpointer::check_checkpoint(path, progress));
        return checkpointer::check_import(*about, own);
      },
      [call, about, known, &guest](const Result<>& outcome) {
        if (!outcome || call->abandoned()) return;
        if (call->request().import().sure()) return guest.import_from(call);
        control::Reply reply;
        reply.mutable_stakes()->set_text(
            import_stakes(*known, *about, call->request().import().path()));
        call->finish(std::move(reply));
      });
}

void CheckpointFiles::stop() {
  if (std::exchange(stopped_, true)) return;
  job_.reset();
}

}  // namespace understudy::failover
