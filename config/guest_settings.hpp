// What the configuration says of a guest: complains of what is wrong, fills in what is left out.
#pragma once

#include "config/config.pb.h"
#include "config/examined.hpp"

namespace understudy {

void examine_guest(const Examined<config::Guest>& guest);
void examine_drill(const Examined<config::Drill>& drill);

}  // namespace understudy
