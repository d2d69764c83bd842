// What is answered to a request over HTTP.
#pragma once

#include <string>

namespace understudy::failover {

struct HttpAnswer {
  unsigned status{200};
  std::string type{"text/plain; charset=utf-8"};
  std::string body;
};

}  // namespace understudy::failover
