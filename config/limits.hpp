// Every limit of the project by name. Relations between them are checked here, once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "config/clock.hpp"
#include "config/types.hpp"

namespace understudy::limits {

using namespace std::chrono_literals;

// --- configuration
inline constexpr std::size_t name_length = 63;  ///< of a host, guest or cluster
inline constexpr std::size_t hosts = 16;
inline constexpr std::size_t guests_per_host = 64;
inline constexpr std::size_t nics_per_guest = 8;
inline constexpr std::uint32_t memory_mib_min = 32;
inline constexpr std::uint32_t memory_mib_max = 1U << 20U;  ///< 1 TiB
inline constexpr std::uint32_t vcpus_max = 64;
inline constexpr std::uint32_t interval_ms_min = 2;
inline constexpr std::uint32_t interval_ms_max = 10'000;
inline constexpr std::uint32_t epochs_in_flight_min = 2;
inline constexpr std::uint32_t epochs_in_flight_max = 16;
inline constexpr std::size_t config_file_bytes = 1U << 20U;

// --- hypervisor
inline constexpr auto qemu_start = 10s;    ///< spawn to the monitor's greeting
inline constexpr auto monitor_reply = 5s;  ///< any QMP command; a hung QEMU is killed after it
inline constexpr auto accelerator_probe = 5s;
inline constexpr std::size_t ram_blocks = 256;
inline constexpr std::size_t device_state_bytes = 64U << 20U;
inline constexpr std::size_t monitor_line_bytes = 1U << 20U;

// --- replication
/// A frame with its header fits a 61,440-byte DPDK af_packet slot on a 65,535-byte MTU.
inline constexpr std::size_t frame_bytes = 60'416;
inline constexpr std::size_t frame_header_bytes = 48;
inline constexpr std::size_t frame_payload_bytes = frame_bytes - frame_header_bytes;
inline constexpr std::size_t frames_in_flight = 1024;  ///< sent and kept until acknowledged: 59 MiB
inline constexpr auto link_connect = 3s;
inline constexpr auto link_keepalive = 200ms;  ///< an idle link carries a ping this often
inline constexpr auto link_silence = 3s;  ///< a link that carries nothing for this long is down
inline constexpr auto link_reconnect = 100ms;  ///< between attempts
inline constexpr auto link_doze = 300ms;       ///< who has stood still for so long connects anew
inline constexpr auto link_tick = 100ms;       ///< how often silence is looked for
inline constexpr auto link_goodbye = 150ms;    ///< how long a bye may take to leave
inline constexpr std::size_t link_queue_frames = 64;     ///< taken by a link, not yet by the kernel
inline constexpr int link_socket_bytes = 4 << 20;        ///< of the kernel, each way
inline constexpr std::size_t ack_every_frames = 16;      ///< beside the ack that a commit carries
inline constexpr std::size_t greeting_connections = 32;  ///< that have not said hello yet
inline constexpr std::size_t refusal_lines = 10;         ///< of a hostile peer's, in the log ...
inline constexpr auto refusal_period = 1s;               ///< ... in this time; then how many more
inline constexpr std::size_t staging_kept_bytes = 128U
                                                  << 20U;  ///< what an epoch took above goes back
/// What pre-copy may add to one epoch; the pause adds each page at most once, so that a backup with
/// room for the guest's RAM plus this can stage any epoch.
inline constexpr std::size_t precopy_bytes_per_epoch = 48U << 20U;
inline constexpr std::size_t sync_passes =
    12;  ///< rounds of full synchronisation before the first epoch

// --- disks
inline constexpr std::size_t disks_per_guest = 8;
inline constexpr std::uint32_t nbd_request_bytes = 1U << 20U;  ///< of one read or write
inline constexpr std::uint32_t nbd_skipped_bytes =
    32U << 20U;  ///< of a write that is refused; beyond, the connection ends
inline constexpr std::uint32_t nbd_option_bytes = 8U << 10U;  ///< of one in the negotiation
inline constexpr std::size_t nbd_options = 64;                ///< in one negotiation
inline constexpr std::size_t nbd_waiting_flushes = 1024;
inline constexpr std::uint32_t disk_chunk_bytes = 64U << 10U;  ///< what synchronisation compares
inline constexpr std::uint64_t disk_digests = 256;  ///< chunks in one question to the backup
inline constexpr std::uint64_t disk_digests_at_a_rate = 16;  ///< ... when its speed is limited
inline constexpr auto disk_rate_step = 50ms;  ///< how often such a wait asks whether to go on
inline constexpr std::uint64_t disk_chunks_left = 64;  ///< so few may be left to the first epoch
inline constexpr std::size_t disk_sync_passes = 8;     ///< over what was written meanwhile
/// Writes of the running epoch: above the first an epoch ends sooner, above the second a write
/// waits, at the third protection ends.
inline constexpr std::size_t disk_epoch_bytes_hasten = 8U << 20U;
inline constexpr std::size_t disk_epoch_bytes_wait = 64U << 20U;
inline constexpr std::size_t disk_epoch_bytes_max = 512U << 20U;
inline constexpr auto disk_write_wait = 100ms;  ///< longest, of one write
/// Committed and not yet in the backup's images: above this the primary waits for its commits ...
inline constexpr std::size_t disk_queue_bytes = 128U << 20U;
inline constexpr auto disk_queue_wait = 2s;  ///< ... so long; then the session ends
/// A backup that is stopped applies what is committed: so long, looking at the time so often.
inline constexpr auto disk_drain = 5s;
inline constexpr std::size_t disk_drain_bytes = 8U << 20U;
inline constexpr auto disk_retry = 1s;  ///< of a guest that stands still since its disk failed
inline constexpr std::size_t disk_state_file_bytes = 4096;
/// What a host remembers of its own writes, so that a return copies only that (activity_log.hpp).
inline constexpr std::uint64_t activity_extent_bytes = 4U << 20U;
inline constexpr std::size_t activity_extents = 65'536;  ///< above, the whole image is compared
inline constexpr std::size_t activity_spare = 2048;      ///< marks until the file is written anew
inline constexpr auto activity_cold = 15s;               ///< not written for so long: it may go
inline constexpr auto activity_poll = 1s;  ///< how often the backup is asked what is durable
inline constexpr std::size_t activity_map_bytes = 48U << 10U;  ///< of a bitmap in one reply

// --- clones and drills
inline constexpr std::size_t clone_copy_pages = 64;  ///< taken at once of a replica's memory
inline constexpr auto clone_copy_rest = 2;  ///< times as long as that took, before the next ones
/// Given to a clone that touches one of them: with fewer it shares more, and waits more often.
inline constexpr std::size_t clone_fault_pages = 16;
inline constexpr auto clone_memory_check = 1s;  ///< between questions whether enough is left
inline constexpr auto clone_disk_step = 100ms;  ///< between questions whether the disks are ready
/// What a clone leaves free: of the memory, and of the file system with its temporary files, which
/// is where the record lies.
inline constexpr std::uint64_t clone_memory_reserve = 256U << 20U;
inline constexpr std::uint64_t clone_disk_reserve = 256U << 20U;
inline constexpr std::size_t drill_probes = 32;
inline constexpr std::uint32_t probe_timeout_s_max = 600;
inline constexpr std::size_t probe_text_bytes = 1024;  ///< kept of what a probe said
inline constexpr auto probe_retry = 100ms;             ///< between attempts of one probe
inline constexpr auto drill_step = 50ms;               ///< between looks whether it should end
inline constexpr auto drill_longest = 900s;
inline constexpr std::size_t real_drill_failure_bytes = 500;  ///< before what is to be done
inline constexpr auto real_drill_move = 60s;                  ///< for a switchover's answer
inline constexpr auto real_drill_patience = 120s;             ///< for a copy that does not get on
inline constexpr auto real_drill_copy = 3600s;                ///< for one that does
inline constexpr std::uint32_t drill_commit_ms_max = 10'000;
inline constexpr std::size_t drill_plan_bytes = 32U << 10U;
inline constexpr std::size_t drill_reports = 100;  ///< kept; the oldest goes
inline constexpr std::size_t drill_report_bytes = 256U << 10U;

// --- history
inline constexpr std::uint32_t history_depth_s_max = 366U * 86'400;
inline constexpr std::uint32_t history_mib_max = 1U << 20U;
/// Of one guest, on their way to the file; above it all history is dropped: commits never wait.
inline constexpr std::size_t history_queue_bytes = 128U << 20U;
inline constexpr std::size_t history_points = 65'536;  ///< the oldest goes
/// Every epoch for so long, then one each second, later one each minute.
inline constexpr auto history_each_epoch = 10s;
inline constexpr auto history_each_second = 600s;
inline constexpr std::size_t history_merge_bytes = 256U << 20U;  ///< read at once to thin it out
inline constexpr auto history_tick = 1s;                         ///< it is looked at so often
inline constexpr auto history_patience = 10s;  ///< until what is committed is in the file
inline constexpr std::size_t clones = 4;       ///< at once, on one host

// --- checkpoint files
inline constexpr std::size_t checkpoint_block_bytes = 1U << 20U;  ///< of pages or chunks in one
/// With the numbers that go before them.
inline constexpr std::size_t checkpoint_contents_bytes = checkpoint_block_bytes + (4U << 10U);
inline constexpr std::size_t checkpoint_about_bytes = 256U << 10U;
inline constexpr std::size_t checkpoint_path_bytes = 4000;
/// Written until it is on the disk before more is: what else lives there waits for no more.
inline constexpr std::size_t checkpoint_sync_bytes = 8U << 20U;

inline constexpr auto drill_lateness = 3600s;  ///< of a scheduled drill that could not be begun
inline constexpr std::size_t schedule_bytes = 100;

// --- rewind
inline constexpr std::size_t branches = 8;  ///< kept of a guest; then one must be removed by hand
/// What a guest's disks are turned back by at once: it goes through the journal whole.
inline constexpr std::uint64_t rewind_disk_bytes = 1U << 30U;
inline constexpr auto rewind_question = 120s;  ///< the moment that was told of is kept so long
inline constexpr auto rewind_hand_over = 60s;  ///< until the guest has been handed over
inline constexpr auto rewind_answer = 5s;      ///< after that, for how long it stood still

inline constexpr std::size_t hooks = 16;
inline constexpr std::size_t hook_queue = 64;  ///< events that wait for one hook; the oldest goes
inline constexpr std::size_t hook_words = 32;
inline constexpr std::uint32_t hook_timeout_s_max = 300;
inline constexpr std::uint32_t hook_retries_max = 20;
inline constexpr auto hook_retry = 1s;  ///< after a first failure; doubles with each ...
inline constexpr auto hook_retry_max = 60s;
inline constexpr auto hook_poll = 20ms;  ///< an attempt is looked after this often
inline constexpr std::size_t url_bytes = 1024;

inline constexpr auto drain_patience = 15s;  ///< for a backup's copy to begin, or a guest to go
inline constexpr std::size_t drain_file_bytes = 4096;

inline constexpr auto link_test_bulk = 2s;      ///< as many frames as the link takes
inline constexpr auto link_test_longest = 15s;  ///< echoes and all

// --- DPDK
inline constexpr std::size_t interface_name_bytes = 16;  ///< the kernel's IFNAMSIZ, with its zero
inline constexpr std::uint32_t mtu_max = 65'535;
inline constexpr std::uint32_t processors = 1024;  ///< of a host, glibc's CPU_SETSIZE
inline constexpr std::size_t ring_slots_min = 32;  ///< of an AF_PACKET ring, each way
inline constexpr std::size_t ring_slots_max = 1024;
inline constexpr std::size_t device_packets = 4096;   ///< in use at once, however small they are
inline constexpr int packet_socket_bytes = 64 << 20;  ///< sent and not freed by the kernel
inline constexpr auto device_poll = 200us;   ///< between looks at a device that cannot wake us
inline constexpr auto device_spin = 20us;    ///< a look is cheaper than sleeping, after work
inline constexpr auto device_kick = 1ms;     ///< between attempts to send what is stuck
inline constexpr auto carrier_poll = 100ms;  ///< where the kernel does not tell of it
inline constexpr std::uint32_t dpdk_memory_mib_min = 32;
inline constexpr std::uint32_t dpdk_memory_mib_max = 4096;
inline constexpr std::size_t datagram_ring_bytes = 4U << 20U;  ///< each way: 64 of the largest
inline constexpr std::size_t datagram_memory_bytes =
    16U << 20U;  ///< received and in use; half as much again for those to send
inline constexpr std::size_t uplink_ring_bytes = 1U << 20U;  ///< each way: 512 usual frames
inline constexpr auto stale_interface = 1s;  ///< one of a killed process is gone after that

// --- security
inline constexpr std::size_t shared_key_bytes = 32;  ///< at least, of the pre-shared key's file
inline constexpr std::size_t shared_key_bytes_max = 4096;
/// Records under one key: far below what AES-GCM allows for records of a frame's size (RFC
/// 8446 5.5: 2^24.5 of 16 KiB).
inline constexpr std::uint64_t records_per_key = 1U << 20U;
inline constexpr std::size_t handshake_bytes = 16U << 10U;  ///< of a peer's, in all

// --- replication over datagrams
inline constexpr std::size_t datagram_header_bytes = 64;
inline constexpr std::size_t datagram_tag_bytes = 16;  ///< behind the payload: AEAD or checksum
inline constexpr std::size_t datagram_overhead = datagram_header_bytes + datagram_tag_bytes;
inline constexpr std::size_t datagram_bytes_min = 256;    ///< a port for less is of no use
inline constexpr std::size_t channel_segments = 1024;     ///< sent ahead of the last one delivered
inline constexpr std::size_t channel_first_segments = 8;  ///< the same before the peer has spoken
inline constexpr std::size_t channel_room_min = 4;        ///< however many share a port
inline constexpr std::size_t channel_window_first = 16;   ///< packets in flight at the start ...
inline constexpr std::size_t channel_window_min = 4;      ///< ... and however many are lost
inline constexpr std::uint64_t channel_reordered = 3;     ///< packets overtaken by so many are lost
inline constexpr std::size_t channel_ack_packets = 8;     ///< an ack at least this often ...
inline constexpr auto channel_ack_delay = 1ms;            ///< ... or this late
inline constexpr auto channel_probe_first = 50ms;         ///< while no round trip was measured
inline constexpr auto channel_probe_min = 2ms;
inline constexpr auto channel_probe_max = 100ms;
inline constexpr std::size_t channel_probes = 8;             ///< remembered until answered
inline constexpr std::uint64_t channel_numbers = 1U << 16U;  ///< a packet may be this old or new
inline constexpr std::size_t inbox_datagrams = 1280;  ///< of a link, not yet looked at, at most
inline constexpr std::size_t inbox_batch = 16;        ///< looked at per turn of its thread
inline constexpr auto port_retry = 1ms;               ///< after a port had no free buffer
inline constexpr auto ask_retry = 50ms;               ///< between questions where a host is
inline constexpr auto ask_patience = 300ms;           ///< for an answer that bears the key
inline constexpr std::size_t ticket_bytes = 16;       ///< that opens a place
inline constexpr auto invitation_period = 4s;         ///< one is good for this long, or twice that
inline constexpr std::size_t unvouched_connections = 4;  ///< half open, where hosts have a key
inline constexpr std::size_t gone_answers = 20;          ///< to connections that are not known ...
inline constexpr auto gone_period = 100ms;               ///< ... in this time
inline constexpr std::size_t farewells = 64;             ///< of closed connections, said again

// --- memory from before
inline constexpr std::uint64_t memory_digests = 3072;  ///< pages that are compared by one question
inline constexpr auto memory_kept = 60s;  ///< of a guest that is gone, for a replica of it

// --- output
inline constexpr std::size_t packet_bytes = 69'632;  ///< an Ethernet frame; QEMU's NET_BUFSIZE
inline constexpr std::size_t hold_packets = 65'536;  ///< per NIC, beside the configured bytes
inline constexpr std::size_t announcements = 5;      ///< RARP frames after a promotion
inline constexpr std::size_t nic_socket_bytes = 1U << 20U;  ///< each way between QEMU and us
inline constexpr std::size_t nic_read_bytes = 256U << 10U;  ///< taken from a NIC's socket at once
inline constexpr std::size_t ingress_batch = 64;  ///< frames for a guest per turn of its thread
/// Of a guest whose NIC uses vhost-user: a longer one is dropped. The most that an mbuf holds.
inline constexpr std::size_t vhost_frame_bytes = 65'407;
inline constexpr std::size_t vhost_frames = 64;     ///< taken from a guest, not yet in its queue
inline constexpr std::size_t detour_frames = 1024;  ///< for a guest that moves, per NIC
/// Copied to the backup of what a guest was given, per NIC and epoch; what is more is not.
inline constexpr std::size_t input_copy_bytes = 32U << 10U;
inline constexpr std::size_t input_messages = 64;  ///< of such copies, on their way to the link
inline constexpr std::size_t input_kept_bytes = 1U << 20U;  ///< of such copies, by a backup
inline constexpr std::size_t hold_samples = 4096;  ///< packets behind the hold times in a status

// --- who may run
inline constexpr auto corosync_retry = 100ms;
inline constexpr auto record_agreement = 5s;  ///< hosts that agree take milliseconds
inline constexpr std::size_t record_file_bytes = 1U << 20U;
inline constexpr auto role_tick = 100ms;  ///< roles are looked at anew at least this often
inline constexpr auto link_give_up = 5s;  ///< a link to a living backup may be down this long
inline constexpr auto primary_away = 2 * link_give_up;  ///< then its session here ends
inline constexpr auto replica_grace = 10s;  ///< a replica whose session ended waits for a decision
inline constexpr auto reprotect_settle = 3s;  ///< a host is in the cluster before it is tried
inline constexpr auto reprotect_handed_over = 500ms;  ///< the same, of who has just given a guest
inline constexpr auto reprotect_retry = 2s;        ///< after a first failure; doubles with each ...
inline constexpr auto reprotect_refused = 10s;     ///< ... as this does after a refusal ...
inline constexpr auto reprotect_retry_max = 120s;  ///< ... up to this
inline constexpr auto reprotect_stable = 60s;  ///< protected for so long, failures are forgotten
inline constexpr auto watchdog_period = 1s;    ///< between two pats
inline constexpr int watchdog_timeout_s = 30;  ///< unless the configuration says otherwise
inline constexpr int watchdog_timeout_s_min = 10;
inline constexpr int watchdog_timeout_s_max = 600;
inline constexpr auto switchover_commit = 2s;   ///< the guest is paused for its last epoch's commit
inline constexpr Duration fencing_pause = 1s;   ///< between attempts in a row
inline constexpr Duration fencing_retry = 30s;  ///< after the last of them has failed
inline constexpr auto fencing_poll = 20ms;      ///< an agent is looked after this often
inline constexpr auto fencing_status = 500ms;   ///< between questions whether the power is off
inline constexpr std::uint32_t fencing_timeout_s_max = 600;
inline constexpr std::uint32_t fencing_retries_max = 20;
inline constexpr std::uint32_t fencing_delay_ms_max = 60'000;
inline constexpr std::size_t fencing_options = 64;
inline constexpr std::size_t fencing_message_bytes = 400;  ///< of what an agent says
inline constexpr auto summary_period =
    1s;  ///< what the others' status shows of a guest is this old
inline constexpr std::size_t guests_heard_of = hosts * guests_per_host;
inline constexpr auto corosync_send_retry = 2ms;  ///< while corosync's flow control refuses
inline constexpr std::size_t membership_message_bytes = 256U << 10U;
inline constexpr std::size_t membership_outgoing = 1024;  ///< messages that wait for corosync
inline constexpr std::size_t membership_incoming = 4096;  ///< events that wait for the daemon

// --- monitoring
inline constexpr auto availability_tick = 250ms;  ///< between looks at what a guest's clients have
inline constexpr auto availability_store_period = 10s;
inline constexpr std::size_t availability_months = 13;  ///< a year, and the month that runs
inline constexpr std::size_t availability_file_bytes = 1U << 20U;
/// A protected guest whose newest commit is older has its output held for so long: it is down.
inline constexpr auto service_stall = 1s;
inline constexpr std::size_t http_header_bytes = 8U << 10U;
inline constexpr auto http_exchange = 10s;  ///< for a request to arrive, or its answer to be read
inline constexpr std::size_t http_clients = 32;
inline constexpr std::size_t http_token_bytes = 16;  ///< at least
inline constexpr std::size_t http_token_bytes_max = 512;
inline constexpr std::size_t http_key_bytes_max = 64U << 10U;  ///< of https's private key, as PEM
inline constexpr unsigned http_token_failures = 10;            ///< of one address in a period
inline constexpr auto http_token_period = 60s;
inline constexpr std::size_t http_token_addresses = 64;  ///< remembered; the oldest goes
inline constexpr std::size_t events_kept = 512;          ///< for the page; the oldest goes ...
inline constexpr auto events_age = 3600s;                ///< ... also when it is so old
inline constexpr auto events_ahead = 60s;                ///< ... or so far in the future
inline constexpr std::size_t drills_told = 300;          ///< of all hosts, for the page
inline constexpr std::size_t told_text_bytes = 500;      ///< of what is said of one of these
inline constexpr std::size_t told_item_bytes = 2048;     ///< one of them
inline constexpr std::size_t timeline_message_bytes = 16U << 10U;  ///< in a summary_period

// --- console
inline constexpr std::size_t control_request_bytes = 64U << 10U;
inline constexpr std::size_t control_reply_bytes = 4U << 20U;
inline constexpr std::size_t control_clients = 32;
inline constexpr auto accept_retry = 100ms;   ///< after the system refused a descriptor
inline constexpr auto control_exchange = 5s;  ///< for a request to arrive, or its reply to be read
inline constexpr auto control_reply =
    120s;  ///< a command's longest time, full synchronisation included

static_assert(frame_payload_bytes >= 14 * (page_bytes + 8), "14 whole pages travel in a frame");
static_assert(frame_bytes <= 61'440 - 66 - 4 - 16, "a frame must fit the largest af_packet slot");
static_assert(frame_bytes + datagram_overhead <= 61'440 - 66 - 14, "... in one packet");
static_assert(datagram_bytes_min >= datagram_overhead + channel_segments / 8, "an ack fits");
static_assert(datagram_bytes_min >= datagram_overhead + frame_header_bytes,
              "a frame's header is never cut");
static_assert(channel_first_segments <= channel_segments && channel_room_min <= channel_segments);
static_assert(channel_window_min > channel_reordered, "later packets can tell of a lost one");
static_assert(inbox_datagrams > channel_segments, "what was allowed has room, and acks beside it");
static_assert(channel_numbers * 2 <= records_per_key, "a number never skips a key");
static_assert(channel_probe_max * 10 < link_silence, "a link that lives again is noticed in time");
static_assert(ack_every_frames * 4 <= frames_in_flight, "acks come long before the window closes");
static_assert(link_keepalive * 3 < link_silence, "three lost pings must not cut a link");
static_assert(link_tick * 2 < link_doze, "a session that runs is known to");
static_assert(link_silence < link_give_up, "a link must be known to be down before it is given up");
static_assert(membership_message_bytes <= 1'047'552, "corosync fragments a longer message");
static_assert(invitation_period > link_connect, "a ticket is good while its connection is made");
static_assert(vhost_frame_bytes <= packet_bytes, "the queue takes any frame");
static_assert(nic_read_bytes >= 2 * packet_bytes, "a whole packet fits behind a partial one");
static_assert(http_token_bytes_max * 2 < http_header_bytes, "a token fits a request's header");
static_assert(shared_key_bytes < shared_key_bytes_max, "a key file may be longer than it must");
static_assert(disk_digests * 18 + 64 <= frame_payload_bytes, "digests fit their reply's frame");
static_assert(activity_extent_bytes % disk_chunk_bytes == 0, "an extent has whole chunks");
static_assert(checkpoint_block_bytes % disk_chunk_bytes == 0 &&
                  checkpoint_block_bytes / page_bytes * 8 + 8 <=
                      checkpoint_contents_bytes - checkpoint_block_bytes,
              "the numbers of a block's pages fit before them");
static_assert(checkpoint_about_bytes <= checkpoint_contents_bytes);
static_assert(activity_map_bytes + 4096 <= frame_payload_bytes, "a map fits its reply's frame");
static_assert(rewind_disk_bytes <= 2 * disk_epoch_bytes_max + disk_queue_bytes,
              "a journal holds it");
static_assert(disk_queue_wait < link_silence, "a link is not silent while a disk is slow");
static_assert(watchdog_period * 5 < std::chrono::seconds{watchdog_timeout_s_min},
              "a slow disk under the records is no reason for a reset");
static_assert(epochs_in_flight_min >= 2, "the guest executes while the last epoch travels");

}  // namespace understudy::limits
