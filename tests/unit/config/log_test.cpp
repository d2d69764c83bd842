#include "config/log.hpp"

#include <catch2/catch.hpp>

using namespace understudy::log;

TEST_CASE("an event is one line of key=value") {
  CHECK(format_line("epoch.sealed", {kv("epoch", 7), kv("guest", "pg")}) ==
        "epoch.sealed epoch=7 guest=pg");
}

TEST_CASE("values that would break the line are quoted") {
  CHECK(format_line("e", {kv("why", "no route")}) == R"(e why="no route")");
  CHECK(format_line("e", {kv("why", "a\nb\"c\\\x01")}) == R"(e why="a\nb\"c\\\x01")");
  CHECK(format_line("e", {kv("why", "")}) == R"(e why="")");
}
