//! Every limit of the server, in one table: name, kind, default, and what happens at the limit.
//!
//! Knows no layer above; each layer reads the fields that concern it. Invariant: every default is
//! finite. `docs/LIMITS.md` is the same table for readers, and a test compares the two.

use std::time::Duration;

/// A number of things.
pub type Count = usize;
/// A size in memory, in bytes.
pub type Bytes = usize;
/// A length that need not fit into memory, in bytes.
pub type Length = u64;
/// A time span.
pub type Time = Duration;
/// On or off.
pub type Flag = bool;

/// Who remembers what for compression (permessage-deflate, RFC 7692).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeflateMode {
    /// Nobody compresses.
    #[default]
    Off,
    /// Every message is compressed by itself, by one compressor for all of a loop: a connection costs nothing.
    Shared,
    /// Connections have a compressor and an inflater of their own, which remember the messages before, as long as
    /// `deflate_budget` lasts; those that come later are `Shared`.
    Dedicated,
}

/// Hands the table of limits to the macro named by the caller, so that [`Limits`], its defaults, the
/// builder of `Config` and the names for command line and file come from one place.
#[macro_export]
#[doc(hidden)]
macro_rules! with_limits {
    ($callback:ident) => {
        $callback! {
            /// Connections held at once, in any phase. Over it a new peer gets `503` with `Retry-After`.
            connections_max: Count = 1_000_000;
            /// Connections held at once from one source address (an IPv6 source is its /64 network). Over it: `503`.
            /// A client machine's default port range is 28,232 wide, so a lone load generator never meets the default;
            /// a public server wants it far lower.
            connections_per_source_max: Count = 32_768;
            /// Connections that have not finished their opening handshake or first request. Over it: `503`.
            half_open_max: Count = 16_384;
            /// New connections per second, averaged over one second. Over it: `503`.
            accepts_per_second_max: Count = 100_000;
            /// Refused peers that are being told `503` and waited for at once. Over it a refused peer is just closed.
            refusals_max: Count = 1_024;

            /// New connections taken per turn of the loop; the rest wait for the next turn.
            accept_budget: Count = 256;
            /// Connections begun per turn of the loop; the rest wait for the next turn.
            dial_budget: Count = 256;
            /// Connections whose TLS handshake is worked on per turn; the others wait for the next turn. A step takes around a
            /// tenth of a millisecond, during which nobody else is served.
            tls_handshake_budget: Count = 32;
            /// Bytes of one connection after which it is not read again in a turn; the rest waits for the next turn.
            read_budget: Bytes = 1032 * 1024;
            /// Bytes to which the messages of one connection are inflated per turn; the rest waits for the next turn.
            inflate_budget: Bytes = 1024 * 1024;
            /// Bytes written to one connection per turn; the rest waits for the next turn.
            flush_budget: Bytes = 1040 * 1024;
            /// Commands of other threads carried out per turn; the rest waits for the next turn.
            inbox_budget: Count = 1_024;
            /// Deadlines of connections met per turn, Pings included; the rest waits for the next turn.
            expire_budget: Count = 1_024;
            /// Readiness events taken from the kernel per turn; the rest waits for the next turn.
            events_max: Count = 1_024;
            /// Size of the loop's one read buffer, in bytes, a frame's header not counted. A little more than a power of
            /// two, so that a long message whose length is one comes without a further read for its end, which the headers
            /// have pushed back.
            scratch_bytes: Bytes = 516 * 1024;
            /// Size of the loop's one write buffer, in bytes; replies beyond it go to the connection's backlog.
            cork_bytes: Bytes = 64 * 1024;
            /// Whether replies wait for the end of the turn; off, each peer's are written as soon as it has been read. On,
            /// what is sent to a peer in several steps of a turn leaves in one write, and each reply is copied once more.
            flush_per_turn: Flag = false;
            /// Whether a read that came back short has emptied the socket. Off, a peer is read until the kernel has nothing
            /// more: one more system call per wake-up. (It must be off where the poller is `poll(2)`, and is.)
            short_read_rule: Flag = !cfg!(mio_unsupported_force_poll_poll);
            /// Whether the kernel reports writability of every peer at all times; off, only after a write that was cut
            /// short. On, a peer that does not keep up costs no further system calls, and others cost events in vain.
            write_interest: Flag = false;
            /// Time after the last event for which the loop looks for the next one without sleeping; zero sleeps at once.
            /// While it lasts, a processor is busy whether there is anything to do or not.
            spin: Time = Duration::ZERO;

            /// Bytes of an HTTP head (request line and header fields). Over it: `431`.
            head_max: Bytes = 8 * 1024;
            /// Bytes kept of an unfinished TLS handshake, certificates of the client included, or of an unfinished record.
            /// Over it the connection is closed.
            tls_handshake_max: Bytes = 32 * 1024;
            /// Bytes of a request target. Over it: `414`.
            target_max: Bytes = 4 * 1024;
            /// Header fields of a request. Over it: `431`.
            headers_max: Count = 64;
            /// Bytes of a request body. Over it: `413`.
            body_max: Bytes = 64 * 1024;
            /// Requests answered on one connection before it is closed.
            requests_max: Count = 1_000;

            /// Bytes of one incoming message. Over it: close code 1009, judged at the frame header.
            message_max: Bytes = 1024 * 1024;
            /// Bytes of one incoming frame. Over it: close code 1009, judged at the frame header.
            frame_max: Length = 1024 * 1024 * 1024;
            /// Bytes of one incoming message that the application takes in parts. Over it: close code 1009.
            streamed_message_max: Length = 64 * 1024 * 1024 * 1024;
            /// Frames of one incoming message. Over it: close code 1008.
            fragments_max: Count = 131_072;
            /// Bytes that may come of one byte of a compressed incoming message, once it is longer than 256 KiB. Over it:
            /// close code 1008.
            inflate_ratio_max: Count = 200;
            /// Outgoing messages longer than this are split into fragments of this many bytes. Where it is not less than
            /// `scratch_bytes`, what one read has brought of a long message can be answered with one frame, which is not copied.
            fragment_bytes: Bytes = 516 * 1024;

            /// Backlog of one connection, in bytes, above which `Sent::High` is returned and the peer is no longer read.
            backlog_high: Bytes = 256 * 1024;
            /// Backlog at which `on_drain` is called and reading goes on.
            backlog_low: Bytes = 64 * 1024;
            /// Backlog above which the connection is closed at once as a slow consumer.
            backlog_max: Bytes = 4 * 1024 * 1024;
            /// Time in which a backlog that rose above `backlog_high` must fall to `backlog_low`. Over it the connection is
            /// closed as a slow consumer.
            backlog_grace: Time = Duration::from_secs(10);
            /// Bytes of all backlogs and incomplete messages of one loop. Over it the largest debtors are closed.
            memory_max: Bytes = 512 * 1024 * 1024;
            /// Bytes of buffers of 128 KiB and more that the loop keeps when their messages have been sent on, for messages to
            /// come, until nothing has come for a tenth of a second. Over it the oldest are given back.
            spare_bytes: Bytes = 4 * 1024 * 1024;

            /// Whether compression (permessage-deflate) is agreed to where it is offered: `off`; `shared`, where messages do
            /// not refer to each other and a connection costs nothing; `dedicated`, where they do and each connection has a
            /// compressor and an inflater of its own. Needs a build with the feature `deflate`.
            deflate: DeflateMode = DeflateMode::Off;
            /// Outgoing messages shorter than this are not compressed.
            deflate_min: Bytes = 128;
            /// How hard compressors try, 1 (fast) to 9 (short).
            deflate_level: Count = 3;
            /// Memory of a compressor for what it has not coded yet, 1 (896 B) to 9 (224 KiB); each step doubles it.
            deflate_memory_level: Count = 8;
            /// How far messages look back, as a power of two: 9 (512 B) to 15 (32 KiB). The client is told too, if it lets
            /// itself be told.
            deflate_window_bits: Count = 15;
            /// Bytes that compressors and inflaters of single connections may hold together. Over it new connections are
            /// `shared`.
            deflate_budget: Bytes = 64 * 1024 * 1024;

            /// Time from accept to the end of a request's head and body, whatever arrives meanwhile. Over it: `408`, close.
            handshake_timeout: Time = Duration::from_secs(10);
            /// Time that a request answered with `Reply::Later` or `Reply::Stream` may stay open. Over it: `503` or the end of the stream.
            reply_timeout: Time = Duration::from_secs(60);
            /// Time between two Pings to an open connection; zero sends none. It is shortened by up to a 32nd (0.64 s at the
            /// most) where that lets those of many connections go out together.
            ping_interval: Time = Duration::from_secs(25);
            /// Time after a Ping in which the peer must send anything at all. Over it the connection is closed as timed out.
            pong_timeout: Time = Duration::from_secs(20);
            /// Time without any received byte after which an open connection is closed with 1001; zero never does.
            idle_timeout: Time = Duration::from_secs(300);
            /// Time for the peer to answer our Close frame; `backlog_grace` more, once, if it has not yet taken what was
            /// queued before it. Over it the connection is cut.
            close_timeout: Time = Duration::from_secs(5);
            /// Time that we wait for the peer's end of stream after our last byte. Over it the connection is cut.
            linger_timeout: Time = Duration::from_secs(2);
            /// Time until a listener that could not accept (descriptors used up) is tried again.
            listener_retry: Time = Duration::from_millis(100);

            /// Topics that exist at once. Over it `subscribe` is refused.
            topics_max: Count = 100_000;
            /// Topics of one connection. Over it `subscribe` is refused.
            subscriptions_max: Count = 128;
            /// Bytes of a topic's name. Over it `subscribe` is refused.
            topic_name_max: Bytes = 256;
            /// User timers armed at once. Over it `set_timer` is refused.
            timers_max: Count = 10_000;
            /// Commands of other threads that wait for the loop. Over it `Full` is returned to the sender.
            inbox_max: Count = 4_096;
            /// Payload bytes of the commands that wait for the loop. Over it `Full` is returned to the sender.
            inbox_bytes_max: Bytes = 16 * 1024 * 1024;

            /// Connections told to go away (1001) per step of a graceful shutdown; more, where it would take over half of
            /// `shutdown_timeout` to tell all.
            shutdown_batch: Count = 1_000;
            /// Time between two steps of a graceful shutdown.
            shutdown_interval: Time = Duration::from_millis(20);
            /// Time for a graceful shutdown as a whole. Over it what is left is cut.
            shutdown_timeout: Time = Duration::from_secs(10);
        }
    };
}

macro_rules! define_limits {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr;)*) => {
        /// Every limit, budget and deadline of one loop, and how its turns go. Sizes are in bytes unless the text says
        /// otherwise.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits { $($(#[$doc])* pub $name: $type,)* }

        impl Default for Limits {
            fn default() -> Self {
                Limits { $($name: $default,)* }
            }
        }
    };
}
with_limits!(define_limits);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_read_can_be_answered_with_one_frame() {
        let limits = Limits::default();
        assert!(limits.scratch_bytes <= limits.fragment_bytes && limits.scratch_bytes <= limits.read_budget);
    }
}
