// The log of connections that a backup refuses, one line each:
//   warning replication.refused from=192.0.2.7:40112 why="..."
// At most limits::refusal_lines in limits::refusal_period; then one that tells how many more:
//   warning replication.refused suppressed=2041
#pragma once

#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "config/limits.hpp"
#include "replication/line_budget.hpp"

namespace understudy::replication {

/// Runs on its executor's thread. What is still untold when it is destroyed is told then.
class RefusalLog {
 public:
  explicit RefusalLog(const boost::asio::any_io_executor& executor) : timer_{executor} {}
  RefusalLog(const RefusalLog&) = delete;
  RefusalLog& operator=(const RefusalLog&) = delete;
  ~RefusalLog() { tell_suppressed(); }

  void refused(const std::string& from, const std::string& why);

 private:
  void tell_suppressed();

  LineBudget budget_{limits::refusal_lines, limits::refusal_period};
  boost::asio::steady_timer timer_;
  bool will_tell_{};
};

}  // namespace understudy::replication
