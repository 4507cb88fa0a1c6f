//! Counters of one loop: what it holds now and what has happened since it started.
//!
//! Refuses to know what the numbers are shown with. Invariant: every limit and every cause of an end has its counter.

use std::time::Duration;

use crate::conn::closed::{By, Cause};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one loop. Those of the first group are levels; all others only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// Time that the last turn worked, waiting not counted.
            pub turn_last: Duration,
            /// The longest such time.
            pub turn_max: Duration,
            /// The sum of such times.
            pub turn_sum: Duration,
        }

        impl Stats {
            /// All counters by name, in the order of their declaration; times are in microseconds.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [
                    $((stringify!($name), self.$name),)*
                    ("turn_last_us", self.turn_last.as_micros() as u64),
                    ("turn_max_us", self.turn_max.as_micros() as u64),
                    ("turn_sum_us", self.turn_sum.as_micros() as u64),
                ].into_iter()
            }
        }
    };
}

counters! {
    /// Connections held now, in any phase.
    connections,
    /// Of these, open WebSockets.
    open,
    /// Of these, not yet through their first handshake or request.
    half_open,
    /// Of these, refused peers that are being told so.
    refusing,
    /// Bytes queued to all peers now; a frame queued to n peers counts n times.
    queued_bytes,
    /// Memory that queues and incomplete messages hold now, in bytes; a frame queued to n peers counts once.
    memory_bytes,
    /// Memory of buffers that are kept for messages to come, in bytes, out of `spare_bytes`.
    spares_bytes,
    /// Topics that exist now.
    topics,
    /// User timers armed now.
    timers,
    /// Open WebSockets that compress with what the loop has (`shared`).
    deflate_shared,
    /// Open WebSockets that compress or inflate with something of their own (`dedicated`).
    deflate_dedicated,
    /// Memory that is set aside for those now, in bytes, out of `deflate_budget`.
    deflate_bytes,

    /// Connections accepted, refused ones included.
    accepted,
    /// Connections made to other servers.
    connected,
    /// WebSockets opened.
    opened,
    /// Requests that reached the application.
    requests,
    /// Connections that ended.
    ended,

    /// Refused: `connections_max`.
    refused_connections,
    /// Refused: `connections_per_source_max`.
    refused_source,
    /// Refused: `half_open_max`.
    refused_half_open,
    /// Refused: `accepts_per_second_max`.
    refused_rate,
    /// Refused without a word: `refusals_max`.
    refused_silently,
    /// Refused: no descriptor left (`EMFILE`, `ENFILE`).
    refused_descriptors,
    /// Turns in which `accept` failed for another reason.
    accept_errors,

    /// Ended: closing handshake begun by the peer.
    ended_by_peer,
    /// Ended: by the application.
    ended_by_application,
    /// Ended: stream over without a Close.
    ended_end_of_stream,
    /// Ended: TLS stream over without a `close_notify`, nor a Close before it.
    ended_truncated,
    /// Ended: TLS failed, in the handshake or later.
    ended_tls,
    /// Ended: I/O error.
    ended_io,
    /// Ended: protocol broken on an open WebSocket, or our opening handshake declined or answered wrongly.
    ended_protocol,
    /// Ended: bad request, or one refused by a rule.
    ended_bad_request,
    /// Ended: `handshake_timeout`.
    ended_handshake_timeout,
    /// Ended: `reply_timeout`.
    ended_reply_timeout,
    /// Ended: `pong_timeout`.
    ended_ping_timeout,
    /// Ended: `idle_timeout`.
    ended_idle,
    /// Ended: slow consumer (`backlog_max`, `backlog_grace`).
    ended_slow_consumer,
    /// Ended: largest debtor (`memory_max`).
    ended_memory,
    /// Ended: shutdown.
    ended_shutdown,

    /// Of the ended: cut, because the peer did not answer our Close or take our last bytes (`close_timeout`). Each is
    /// also counted with what its end began with.
    cut_close_timeout,
    /// Of the ended: cut, because the peer did not end its stream after our last byte (`linger_timeout`). Each is also
    /// counted with what its end began with.
    cut_linger_timeout,

    /// Messages received, to their end.
    messages_in,
    /// Parts of messages received.
    parts_in,
    /// Messages queued, one for each recipient.
    messages_out,
    /// Bytes read.
    bytes_in,
    /// Bytes written.
    bytes_out,
    /// Pings sent.
    pings_out,
    /// Pings received.
    pings_in,
    /// Pongs received.
    pongs_in,
    /// Messages published, one for each `publish`.
    published,
    /// Messages not queued to a recipient by its topic's policy.
    dropped_by_policy,
    /// Messages refused because they alone exceed `backlog_max`.
    refused_messages,
    /// Times a backlog rose above `backlog_high`.
    backlog_highs,
    /// Subscriptions refused: `topics_max`, `subscriptions_max`, `topic_name_max`.
    refused_subscriptions,
    /// Timers refused: `timers_max`.
    refused_timers,
    /// Commands of other threads carried out.
    commands,
    /// Commands of other threads refused: `inbox_max`, `inbox_bytes_max`.
    refused_commands,
    /// Long messages that were put into a buffer which had been kept.
    spares_used,
    /// Buffers given back because `spare_bytes` were kept.
    spares_full,
    /// Messages sent in several frames because of `fragment_bytes`, one for each recipient.
    fragmented_out,
    /// WebSockets that became `shared` because `deflate_budget` was spent.
    deflate_budget_spent,
    /// WebSockets opened without compression although it was offered and is on: no offer could be accepted.
    deflate_declined,
    /// Bytes of messages that were compressed, before it.
    deflated_from,
    /// Bytes of the same messages after it; those that would not get shorter are sent and counted as they were.
    deflated_to,
    /// Bytes of compressed messages that came, as they came.
    inflated_from,
    /// Bytes of the same messages inflated.
    inflated_to,
    /// TLS handshakes begun on the plain port.
    tls_on_plain_port,
    /// Requests in plain HTTP on a port for TLS.
    plain_on_tls_port,
    /// TLS handshakes completed, resumed ones included.
    tls_handshakes,
    /// Of these, resumed ones.
    tls_resumed,

    /// Turns of the loop.
    turns,
    /// Waits for readiness (`epoll_wait`).
    waits,
    /// Of these, looks that did not sleep (`spin`).
    spins,
    /// Readiness events.
    events,
    /// Reads (`recv`), also those that gave nothing.
    reads,
    /// Writes (`send`, `writev`), also those that took nothing.
    writes,
    /// Reads that gave nothing.
    reads_empty,
    /// Reads of all of `scratch_bytes`, or of all of `read_budget` where that is less.
    reads_full,
    /// Times something sent to the peer being read did not fit into `cork_bytes` and went to its backlog.
    cork_spills,
    /// Writes that took nothing or not all.
    writes_short,
    /// Times a peer was cut off by `read_budget`.
    budget_read,
    /// Times a peer was cut off by `inflate_budget`.
    budget_inflate,
    /// Times a peer was cut off by `flush_budget`.
    budget_flush,
    /// Times the listener was cut off by `accept_budget`.
    budget_accept,
    /// Times the connections to be made were cut off by `dial_budget`.
    budget_dial,
    /// Times more deadlines of connections were due than `expire_budget`.
    budget_expire,
    /// Times a peer was put off by `tls_handshake_budget`.
    budget_tls_handshake,
    /// Times the inbox was cut off by `inbox_budget`.
    budget_inbox,
    /// Times as many events came as `events_max` lets in.
    budget_events,
}

impl Stats {
    /// Counts an end. Every connection that was admitted is counted here exactly once.
    pub(crate) fn count_end(&mut self, by: By, cause: Cause) {
        self.ended += 1;
        let counter = match cause {
            Cause::Close | Cause::Answered if by == By::Peer => &mut self.ended_by_peer,
            Cause::Close | Cause::Answered => &mut self.ended_by_application,
            Cause::EndOfStream => &mut self.ended_end_of_stream,
            Cause::Truncated => &mut self.ended_truncated,
            Cause::Tls(_) => &mut self.ended_tls,
            Cause::Io(_) => &mut self.ended_io,
            Cause::Protocol(_) | Cause::BadAnswer | Cause::Declined(_) => &mut self.ended_protocol,
            Cause::BadHead(_) | Cause::BadBody(_) | Cause::Refused(_) => &mut self.ended_bad_request,
            Cause::HandshakeTimeout => &mut self.ended_handshake_timeout,
            Cause::ReplyTimeout => &mut self.ended_reply_timeout,
            Cause::PingTimeout => &mut self.ended_ping_timeout,
            Cause::Idle => &mut self.ended_idle,
            Cause::SlowConsumer => &mut self.ended_slow_consumer,
            Cause::Memory => &mut self.ended_memory,
            Cause::Shutdown => &mut self.ended_shutdown,
        };
        *counter += 1;
    }
}
