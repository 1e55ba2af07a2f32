//! Names of the metrics, which are public as `metric_names`, and helpers to record them.

use std::time::Duration;

/// Counter: connections of other peers that were not admitted: of another network, version or secret, or silent.
pub const CONNECTIONS_REFUSED: &str = "mosaik_connections_refused_total";

/// Gauge: other live peers in the catalog.
pub const DISCOVERY_PEERS: &str = "mosaik_discovery_peers";
/// Gauge: gossip neighbours.
pub const DISCOVERY_NEIGHBOURS: &str = "mosaik_discovery_neighbours";
/// Gauge: open discovery connections.
pub const DISCOVERY_CONNECTIONS: &str = "mosaik_discovery_connections";
/// Counter: own entries announced.
pub const DISCOVERY_ANNOUNCEMENTS: &str = "mosaik_discovery_announcements_total";
/// Counter: catalog exchanges completed, whoever began them.
pub const DISCOVERY_SYNCS: &str = "mosaik_discovery_syncs_total";
/// Counter: catalog exchanges that failed.
pub const DISCOVERY_SYNC_FAILURES: &str = "mosaik_discovery_sync_failures_total";
/// Counter: entries refused, because they were forged, foreign, malformed or over a limit.
pub const DISCOVERY_ENTRIES_REFUSED: &str = "mosaik_discovery_entries_refused_total";
/// Counter: gossip messages dropped, because a neighbour took them too slowly or sent too many.
pub const DISCOVERY_GOSSIP_DROPPED: &str = "mosaik_discovery_gossip_dropped_total";
/// Counter: probes of peers that were suspected to be gone.
pub const DISCOVERY_PROBES: &str = "mosaik_discovery_probes_total";
/// Counter: peers found dead by a probe.
pub const DISCOVERY_DEATHS: &str = "mosaik_discovery_deaths_total";
/// Counter: peers whose clock was found ahead of ours.
pub const DISCOVERY_CLOCK_SKEWS: &str = "mosaik_discovery_clock_skews_total";

/// Counter: datums handed to the transport, once for each consumer.
pub const STREAM_DATUMS_SENT: &str = "mosaik_stream_datums_sent_total";
/// Counter: bytes of these, with framing.
pub const STREAM_BYTES_SENT: &str = "mosaik_stream_bytes_sent_total";
/// Counter: datums received.
pub const STREAM_DATUMS_RECEIVED: &str = "mosaik_stream_datums_received_total";
/// Counter: bytes of these, with framing.
pub const STREAM_BYTES_RECEIVED: &str = "mosaik_stream_bytes_received_total";
/// Counter: consumers cut because they took nothing for too long.
pub const STREAM_CONSUMERS_CUT: &str = "mosaik_stream_consumers_cut_total";
/// Counter: subscriptions refused, on either side.
pub const STREAM_REFUSALS: &str = "mosaik_stream_refusals_total";
/// Counter: datums that a consumer missed and was told of.
pub const STREAM_DATUMS_MISSED: &str = "mosaik_stream_datums_missed_total";
/// Counter: datums that could not be decoded.
pub const STREAM_DATUMS_UNDECODABLE: &str = "mosaik_stream_datums_undecodable_total";
/// Counter: malformed messages from peers.
pub const STREAM_MALFORMED: &str = "mosaik_stream_malformed_total";

/// Gauge: groups in which commands can be applied from here.
pub const GROUPS_ONLINE: &str = "mosaik_groups_online";
/// Gauge: groups that this process leads.
pub const GROUPS_LED: &str = "mosaik_groups_led";
/// Counter: times that a leader of a group became known, this member or another.
pub const GROUP_LEADER_CHANGES: &str = "mosaik_group_leader_changes_total";
/// Counter: descendant charters founded, or joined, after a quorum was lost.
pub const GROUP_REFOUNDED: &str = "mosaik_group_refounded_total";
/// Counter: voters that such a descendant could not fence: what they acknowledge later is lost.
pub const GROUP_VOTERS_UNFENCED: &str = "mosaik_group_voters_unfenced_total";
/// Counter: charters that were superseded by another one.
pub const GROUP_SUPERSEDED: &str = "mosaik_group_superseded_total";
/// Counter: replicas that failed and were rebuilt from their logs.
pub const GROUP_REBUILDS: &str = "mosaik_group_rebuilds_total";
/// Counter: times that a disk here was found to have gone back to an older image.
pub const GROUP_ROLLBACKS: &str = "mosaik_group_rollbacks_total";

/// Histogram: seconds from a call of commands to its end, whether they were applied or not; a batch is one call.
pub const GROUP_COMMAND_SECONDS: &str = "mosaik_group_command_seconds";
/// Histogram: seconds from a query to its end, answered or not. Where a replica is, until it may answer: what the query
/// itself takes then is the program's. Local queries are not counted.
pub const GROUP_QUERY_SECONDS: &str = "mosaik_group_query_seconds";

/// Counts datums handed to the transport.
pub(crate) fn sent(datums: u64, bytes: usize) {
    metrics::counter!(STREAM_DATUMS_SENT).increment(datums);
    metrics::counter!(STREAM_BYTES_SENT).increment(bytes as u64);
}

/// Counts datums received.
pub(crate) fn received(datums: u64, bytes: usize) {
    metrics::counter!(STREAM_DATUMS_RECEIVED).increment(datums);
    metrics::counter!(STREAM_BYTES_RECEIVED).increment(bytes as u64);
}

/// Counts a consumer that is cut.
pub(crate) fn consumer_cut() {
    metrics::counter!(STREAM_CONSUMERS_CUT).increment(1);
}

/// Counts a refused subscription.
pub(crate) fn subscription_refused() {
    metrics::counter!(STREAM_REFUSALS).increment(1);
}

/// Counts datums that a consumer missed.
pub(crate) fn missed(datums: u64) {
    metrics::counter!(STREAM_DATUMS_MISSED).increment(datums);
}

/// Counts a datum that cannot be decoded.
pub(crate) fn datum_undecodable() {
    metrics::counter!(STREAM_DATUMS_UNDECODABLE).increment(1);
}

/// Records how long a call of commands took.
pub(crate) fn command_ended(took: Duration) {
    metrics::histogram!(GROUP_COMMAND_SECONDS).record(took);
}

/// Records how long a query took.
pub(crate) fn query_ended(took: Duration) {
    metrics::histogram!(GROUP_QUERY_SECONDS).record(took);
}

/// Counts a malformed message.
pub(crate) fn malformed() {
    metrics::counter!(STREAM_MALFORMED).increment(1);
}
