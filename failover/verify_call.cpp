#include "failover/verify_call.hpp"

#include <utility>

#include <boost/asio/post.hpp>

namespace understudy::failover {
namespace {

control::Verification to_message(const checkpointer::VerifyVerdict& verdict) {
  control::Verification message;
  message.set_epoch(verdict.epoch.value());
  for (const auto& block : verdict.blocks) {
    auto& one = *message.add_block();
    one.set_name(block.name);
    one.set_bytes(block.bytes);
    one.set_identical(block.identical);
  }
  for (const auto& disk : verdict.disks) {
    auto& one = *message.add_block();
    one.set_name(disk.path);
    one.set_bytes(disk.bytes);
    one.set_identical(disk.different == 0);
    one.set_chunks_different(disk.different);
    one.mutable_different_at()->Add(disk.different_at.begin(), disk.different_at.end());
    one.set_chunks_repaired(disk.repaired);
  }
  return message;
}

}  // namespace

checkpointer::VerifyOrder verify_order(boost::asio::io_context& io,
                                       std::shared_ptr<ControlCall> call) {
  checkpointer::VerifyOrder order;
  const bool repair = call->request().verify().repair();
  order.repair = repair ? checkpointer::Repair::yes : checkpointer::Repair::no;
  order.progress = [&io, weak = std::weak_ptr{call}](const std::string& step, double fraction) {
    boost::asio::post(io, [weak, step, fraction] {
      if (const auto asked = weak.lock()) asked->progress(step, fraction);
    });
  };
  // Shared by the copies of this function; empty once one of them was called.
  auto held = std::make_shared<std::shared_ptr<ControlCall>>(std::move(call));
  order.done = [&io, held](Result<checkpointer::VerifyVerdict> verdict) {
    boost::asio::post(io, [asked = std::move(*held), verdict = std::move(verdict)] {
      if (!verdict) return asked->fail(verdict.error());
      control::Reply reply;
      *reply.mutable_verification() = to_message(*verdict);
      asked->finish(std::move(reply));
    });
  };
  return order;
}

}  // namespace understudy::failover
