#include "failover/console/text.hpp"

#include <catch2/catch.hpp>

using namespace understudy::failover::console;

TEST_CASE("numbers read well") {
  CHECK(duration_text(0) == "0 us");
  CHECK(duration_text(850.4) == "850 us");
  CHECK(duration_text(3412) == "3.4 ms");
  CHECK(duration_text(12e6) == "12.0 s");
  CHECK(duration_text(300e6) == "5 min");
  CHECK(duration_text(3 * 3600e6) == "3.0 h");
  CHECK(bytes_text(1023) == "1023 B");
  CHECK(bytes_text(1536) == "1.5 KiB");
  CHECK(bytes_text(3.5 * 1024 * 1024) == "3.5 MiB");
  CHECK(count_text(7) == "7");
  CHECK(count_text(123) == "123");
  CHECK(count_text(1234567) == "1,234,567");
  CHECK(count_text(123456) == "123,456");
  CHECK(time_text(1'795'230'667'123'456) == "2026-11-21 03:11:07 UTC");
}

TEST_CASE("foreign text cannot drive the terminal or widen the screen") {
  CHECK(clip("pg", 10) == "pg");
  CHECK(clip("abcdef", 4) == "abc~");
  CHECK(clip("a\x1b[31mb\n", 20) == "a?[31mb?");
  CHECK(clip("abc", 0).empty());
}

TEST_CASE("paint is for terminals") {
  CHECK(Paint{Paint::Mode::plain}("x", Colour::red) == "x");
  CHECK(Paint{Paint::Mode::colour}("x", Colour::red) == "\x1b[31mx\x1b[0m");
  CHECK(Paint{Paint::Mode::colour}("x", Colour::none) == "x");
}

TEST_CASE("a paragraph breaks between words and indents") {
  Paragraph paragraph{12, 2};
  paragraph.add_text("one two three four");
  CHECK(std::move(paragraph).text() == "one two\n  three four\n");
  Paragraph endless{10, 2};
  endless.add_text("incomprehensibilities  x");
  CHECK(std::move(endless).text() == "incompr~ x\n");
}
