// How a replica's past is kept: undo records, which turn a later image into an earlier one. They
// are page records (page_codec.hpp) with the old contents of what was changed. Pure.
//
// Of several for one line, that of the earliest change tells the truth; so a run of epochs merges
// into one step that leads back over all of them.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "checkpointer/page_codec.hpp"

namespace understudy::checkpointer {

using UndoRecords = std::vector<std::byte>;

/// Before `payload` is applied to the image: appends what it will overwrite there. A page may occur
/// several times: see merge_undo.
void append_undo(std::span<const std::byte> payload, const ImageView& image, UndoRecords& out);

/// One record for each page, by rising pages; in any order they lead from after the last of
/// `oldest_first` to before the first. All have passed check_records.
[[nodiscard]] UndoRecords merge_undo(std::span<const std::span<const std::byte>> oldest_first);

}  // namespace understudy::checkpointer
