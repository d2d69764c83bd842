#include "checkpointer/page_server.hpp"

#include <utility>

#include "config/limits.hpp"

namespace understudy::checkpointer {

PageServer::PageServer(std::shared_ptr<RamSnapshot> moment,
                       std::shared_ptr<hypervisor::PagesOnDemand> machine)
    : moment_{std::move(moment)}, machine_{std::move(machine)}, thread_{[this] { run(); }} {}

PageServer::~PageServer() {
  machine_->stop();
  thread_.join();
}

void PageServer::run() {
  for (auto pages = machine_->wanted(); !pages.empty(); pages = machine_->wanted()) {
    for (const auto page : pages) serve(page);
  }
}

void PageServer::serve(std::uint64_t page) {
  const auto wanted = moment_->fetch(page);
  if (wanted == RamSnapshot::Page::zeros) machine_->give_zeros(page);
  if (wanted != RamSnapshot::Page::there) return;
  const auto first = page / limits::clone_fault_pages * limits::clone_fault_pages;
  for (auto beside = first; beside < first + limits::clone_fault_pages; ++beside)
    static_cast<void>(moment_->fetch(beside));
}

Result<> PageServer::check() const {
  if (moment_->detached())
    return fail(ErrorKind::closed, "the replica whose memory it shares is no more");
  return machine_->check();
}

}  // namespace understudy::checkpointer
