#include "failover/console/status_view.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace understudy::failover::console {
namespace {

constexpr std::size_t name_columns = 24;
constexpr std::size_t label_columns = 16;

std::string state_name(control::GuestState state) {
  auto name = control::GuestState_Name(state);
  if (name.empty()) return "unknown";
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return name;
}

Colour state_colour(control::GuestState state) {
  switch (state) {
    case control::PROTECTED: return Colour::green;
    case control::FAILED: return Colour::red;
    case control::STOPPED: return Colour::dim;
    default: return Colour::yellow;
  }
}

std::string fencing_text(const control::Fencing& fencing) {
  const auto host = clip(fencing.host(), name_columns);
  const auto since = time_text(fencing.since_unix_us());
  switch (fencing.state()) {
    case control::WAITING: return fmt::format("of {}: soon", host);
    case control::IN_PROGRESS: return fmt::format("of {}: in progress since {}", host, since);
    case control::SUCCEEDED: return fmt::format("of {}: succeeded at {}", host, since);
    default:
      return fmt::format("of {}: failed {} times, last at {}: {}", host, fencing.failures(), since,
                         fencing.failure());
  }
}

class View {
 public:
  explicit View(const Paint& paint) : paint_{paint} {}

  std::string take() { return std::move(out_); }

  void header(const control::Status& status) {
    out_ += fmt::format("{}   cluster {}   understudyd {}\n",
                        paint_(clip("host " + status.host(), 25), Colour::bold),
                        clip(status.cluster(), 18), clip(status.version(), 12));
  }

  void quorum(const control::Quorum& quorum) {
    Paragraph line{screen_columns, 8};
    line.add("quorum ", 7);
    if (!quorum.corosync_connected()) {
      add(line, "NO (corosync is not reachable)", Colour::red);
    } else {
      add(line, quorum.quorate() ? "yes" : "NO", quorum.quorate() ? Colour::green : Colour::red);
    }
    if (!quorum.ring().empty()) add(line, "  ring " + clip(quorum.ring(), 24), Colour::none);
    if (!quorum.voter()) add(line, "  not voting yet", Colour::yellow);
    add(line, "  members:", Colour::none);
    for (const auto& member : quorum.member()) add_member(line, member);
    if (!quorum.goes_on_without().empty())
      add(line, "  goes on without " + clip(quorum.goes_on_without(), name_columns),
          Colour::yellow);
    out_ += std::move(line).text();
  }

  void fencing(const control::Fencing& fencing) {
    if (fencing.state() == control::IDLE) return;
    Paragraph line{screen_columns, 8};
    line.add("fencing ", 8);
    line.add_text(fencing_text(fencing));
    out_ += std::move(line).text();
  }

  void warning(const std::string& text) {
    Paragraph line{screen_columns, 9};
    add(line, "warning:", Colour::yellow);
    line.add_text(text);
    out_ += std::move(line).text();
  }

  void guest(const control::Guest& guest) {
    headline(guest);
    detail(guest);
    if (guest.state() == control::SYNCHRONISING) synchronisation(guest);
    for (const auto& host : guest.candidate()) candidate(host);
    if (guest.epoch() > 0) epochs(guest);
    if (guest.pause_us().count() > 0) quantiles("pause", guest.pause_us());
    if (guest.commit_latency_us().count() > 0)
      quantiles("commit latency", guest.commit_latency_us());
    held(guest);
    if (!guest.link().empty()) row("link", clip(guest.link(), screen_columns - label_columns - 2));
    if (guest.disk_waiting_bytes() > 0) {
      row("disks", fmt::format("{} of writes wait to be in the images here",
                               bytes_text(static_cast<double>(guest.disk_waiting_bytes()))));
    }
    if (guest.throttled()) {
      row("throttled", "the backup or the link is slower than the guest writes", Colour::yellow);
    }
    if (guest.has_last_failover()) failover(guest.last_failover());
    if (guest.has_last_drill()) drill(guest.last_drill());
  }

 private:
  void add(Paragraph& line, const std::string& text, Colour colour) const {
    line.add(paint_(text, colour), text.size());
  }

  void add_member(Paragraph& line, const control::Member& member) const {
    auto text = clip(member.name(), name_columns);
    if (member.witness()) text += " (witness)";
    if (!member.present()) text += " ABSENT";
    add(line, " " + text, member.present() ? Colour::none : Colour::red);
  }

  void row(std::string_view label, std::string_view text, Colour colour = Colour::none) {
    out_ += fmt::format("  {:<{}}{}\n", label, label_columns, paint_(text, colour));
  }

  void headline(const control::Guest& guest) {
    const auto or_none = [](const std::string& host) {
      return host.empty() ? std::string{"-"} : clip(host, name_columns);
    };
    Paragraph line{screen_columns, 2};
    add(line, fmt::format("{:<12}", clip(guest.name(), name_columns)), Colour::bold);
    add(line, fmt::format("{:<13}", state_name(guest.state())), state_colour(guest.state()));
    add(line, "active " + or_none(guest.active_host()), Colour::none);
    add(line, "  backup " + or_none(guest.backup_host()), Colour::none);
    if (!guest.accelerator().empty()) add(line, "  " + clip(guest.accelerator(), 8), Colour::dim);
    add(line, fmt::format("  term {}", guest.term()), Colour::dim);
    out_ += std::move(line).text();
  }

  void detail(const control::Guest& guest) {
    if (!guest.detail().empty()) {
      Paragraph line{screen_columns - 2, 0};
      line.add_text(guest.detail());
      indented(std::move(line));
    }
    if (guest.report_age_us() > 0) {
      const auto age = duration_text(static_cast<double>(guest.report_age_us()));
      row("reported by", fmt::format("{}, {} ago", clip(guest.active_host(), name_columns), age));
    }
  }

  void candidate(const control::Candidate& host) {
    auto text = "to " + clip(host.host(), name_columns);
    if (host.possible()) {
      text += host.in_us() == 0
                  ? " next"
                  : fmt::format(" in {:.0f} s", std::ceil(static_cast<double>(host.in_us()) / 1e6));
    }
    if (!host.obstacle().empty()) text += ": " + host.obstacle();
    Paragraph line{screen_columns - 2, label_columns};
    line.add(fmt::format("{:<{}}", "re-protection", label_columns - 1), label_columns - 1);
    line.add_text(text);
    indented(std::move(line));
  }

  void indented(Paragraph paragraph) {
    auto text = "  " + std::move(paragraph).text();
    for (auto at = text.find('\n'); at + 1 < text.size(); at = text.find('\n', at + 1)) {
      text.insert(at + 1, "  ");
    }
    out_ += text;
  }

  void synchronisation(const control::Guest& guest) {
    row("synchronised", fmt::format("{:.0f} %", 100 * std::clamp(guest.sync_fraction(), 0.0, 1.0)));
  }

  void epochs(const control::Guest& guest) {
    row("epoch", fmt::format("{}, committed {} ago, {:.1f} per second", count_text(guest.epoch()),
                             duration_text(static_cast<double>(guest.commit_age_us())),
                             static_cast<double>(guest.epochs_per_second_milli()) / 1000));
    row("per epoch", fmt::format("{:.0f} pages, {}", guest.pages_per_epoch(),
                                 bytes_text(guest.bytes_per_epoch())));
  }

  void quantiles(std::string_view label, const control::Quantiles& of) {
    row(label, fmt::format("p50 {}   p99 {}   max {}", duration_text(of.p50()),
                           duration_text(of.p99()), duration_text(of.max())));
  }

  void held(const control::Guest& guest) {
    const bool any = guest.held_packets() > 0 || guest.hold_us().count() > 0;
    if (!any && guest.epoch() == 0) return;
    auto text = fmt::format("{} packets, {}", count_text(guest.held_packets()),
                            bytes_text(static_cast<double>(guest.held_bytes())));
    if (guest.hold_us().count() > 0) {
      text += fmt::format("; waited p50 {}, p99 {}", duration_text(guest.hold_us().p50()),
                          duration_text(guest.hold_us().p99()));
    }
    row("held output", text);
    if (guest.hold_full() == 0 && guest.ingress_cut() == 0) return;
    row("held at limit",
        fmt::format("{} times, of {}; {} packets to the guest cut", count_text(guest.hold_full()),
                    bytes_text(static_cast<double>(guest.hold_limit_bytes())),
                    count_text(guest.ingress_cut())));
  }

  void failover(const control::Outage& outage) {
    row(outage.planned() ? "last switchover" : "last failover",
        fmt::format("{}; decision to running {}", time_text(outage.running_unix_us()),
                    duration_text(static_cast<double>(outage.promote_us()))));
  }

  void drill(const control::DrillSummary& drill) {
    const auto when = time_text(drill.started_unix_us());
    if (!drill.passed()) return row("last drill", when + "; FAILED", Colour::red);
    row("last drill", fmt::format("{}; recovered in {}", when,
                                  duration_text(static_cast<double>(drill.recovery_us()))));
  }

  const Paint& paint_;
  std::string out_;
};

Outcome outcome(const control::VerifiedBlock& block) {
  if (block.identical()) return Outcome::identical;
  const bool repaired =
      block.chunks_different() > 0 && block.chunks_repaired() == block.chunks_different();
  return repaired ? Outcome::repaired : Outcome::different;
}

std::string verdict_text(Outcome outcome, const Paint& paint) {
  switch (outcome) {
    case Outcome::identical: return paint("identical", Colour::green);
    case Outcome::repaired: return paint("REPAIRED", Colour::yellow);
    case Outcome::different: break;
  }
  return paint("DIFFERS", Colour::red);
}

std::string replica_text(Outcome outcome, const Paint& paint) {
  switch (outcome) {
    case Outcome::identical: return "is " + paint("identical", Colour::green);
    case Outcome::repaired: return "differed, and is " + paint("repaired", Colour::yellow);
    case Outcome::different: break;
  }
  return paint("DIFFERS", Colour::red);
}

/// How much of a disk differs, and where.
std::string difference_text(const control::VerifiedBlock& block) {
  const auto different = block.chunks_different();
  auto words =
      fmt::format("{} of its chunks of 64 KiB {}, at byte {}", count_text(different),
                  different == 1 ? "differs" : "differ", fmt::join(block.different_at(), ", "));
  if (std::cmp_less(block.different_at_size(), different)) words += " ...";
  const auto repaired = block.chunks_repaired();
  if (repaired > 0) words += fmt::format("; {} sent again and committed", count_text(repaired));
  Paragraph paragraph{screen_columns, 4};
  paragraph.add("   ", 3);
  paragraph.add_text(words);
  return std::move(paragraph).text();
}

}  // namespace

std::string status_view(const control::Status& status, const Paint& paint) {
  View view{paint};
  view.header(status);
  view.quorum(status.quorum());
  if (status.has_fencing()) view.fencing(status.fencing());
  for (const auto& warning : status.warning()) view.warning(warning);
  auto text = view.take();
  for (const auto& guest : status.guest()) {
    view.guest(guest);
    text += "\n" + view.take();
  }
  if (status.guest().empty()) text += "\nno guests are configured\n";
  return text;
}

std::string verification_view(const control::Verification& verification, const Paint& paint) {
  std::string text;
  for (const auto& block : verification.block()) {
    text += fmt::format("  {:<32} {:>10}  {}\n", clip(block.name(), 32),
                        bytes_text(static_cast<double>(block.bytes())),
                        verdict_text(outcome(block), paint));
    if (block.chunks_different() > 0) text += difference_text(block);
  }
  return text + fmt::format("epoch {}: the replica {}\n", count_text(verification.epoch()),
                            replica_text(outcome(verification), paint));
}

std::string link_test_view(const control::LinkTest& test, const Paint& paint) {
  auto text = fmt::format("  {:<20} {:>14} {:>12} {:>12}  {}\n", "link to " + clip(test.host(), 12),
                          "throughput", "round trip", "p99", "resent");
  for (const auto& link : test.link()) {
    text += fmt::format("{} {:<20}", link.configured() ? '*' : ' ', clip(link.link(), 20));
    if (!link.failed().empty()) {
      text += " " + paint(clip(link.failed(), screen_columns - 23), Colour::red) + "\n";
      continue;
    }
    const auto resent =
        fmt::format("{} of {}", count_text(link.resent_packets()), count_text(link.sent_frames()));
    text += fmt::format(" {:>12}/s {:>12} {:>12}  {}\n", bytes_text(link.bytes_per_second()),
                        duration_text(link.round_trip_p50_us()),
                        duration_text(link.round_trip_p99_us()),
                        link.resent_packets() == 0 ? resent : paint(resent, Colour::yellow));
  }
  return text + "* what the configuration uses\n";
}

Outcome outcome(const control::Verification& verification) {
  const auto& blocks = verification.block();
  auto worst = blocks.empty() ? Outcome::different : Outcome::identical;
  for (const auto& block : blocks) worst = std::max(worst, outcome(block));
  return worst;
}

}  // namespace understudy::failover::console
