// `understudy verify` between its client and the engine that does it.
#pragma once

#include <memory>

#include <boost/asio/io_context.hpp>

#include "checkpointer/verification.hpp"
#include "failover/control_server.hpp"

namespace understudy::failover {

/// What the call asks for. Its answer goes back to `io`'s thread, which alone may release the call;
/// `io` outlives the order.
[[nodiscard]] checkpointer::VerifyOrder verify_order(boost::asio::io_context& io,
                                                     std::shared_ptr<ControlCall> call);

}  // namespace understudy::failover
