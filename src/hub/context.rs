//! `Context`: the loop, lent to a callback.
//!
//! Refuses to do I/O: everything is queued and written when the callback has returned. Invariant: a call that names a
//! connection which has ended does nothing and says so.

use std::net::IpAddr;
use std::time::Duration;

use super::Hub;
use super::deadlines::TimerId;
use super::exchange::Response;
use super::outgoing::Sent;
use super::stats::Stats;
use super::topics::{Policy, TopicError};
use crate::conn::Flags;
use crate::conn::closed::{By, Cause, Closed};
use crate::conn::message::{Kind, Message};
use crate::conn::phase::Phase;
#[cfg(feature = "tls")]
use crate::conn::tls::TlsSession;
use crate::ground::id::ConnId;

/// The loop, lent to a callback: all of it, since the event that is being handled does not borrow it.
#[derive(Debug)]
pub struct Context<'a> {
    pub(crate) hub: &'a mut Hub,
}

impl<'a> Context<'a> {
    pub(crate) fn new(hub: &'a mut Hub) -> Self {
        Context { hub }
    }

    /// Sends a message: anything that turns into one (`&str`, `String`, `&[u8]`, `Vec<u8>`, a received [`Message`]).
    /// What is owned is moved, not copied, when it is long.
    pub fn send<'m>(&mut self, conn: ConnId, message: impl Into<Message<'m>>) -> Sent {
        self.hub.send(conn, message.into())
    }

    /// Sends one fragment of a message whose length need not be known; `last` ends it. While it is open, other
    /// messages to the same connection wait (RFC 6455 §5.4), control frames do not.
    ///
    /// When this returns [`Sent::High`], stop, and go on in `Handler::on_drain`. Of a text message, only the whole
    /// need be UTF-8; it is not checked. To send parts back to the peer whose they are, as they come, costs no memory and no
    /// copy as long as the kernel takes them:
    ///
    /// ```
    /// # use tidegate::{ConnId, Context, Handler, Message, Part};
    /// struct Echo;
    ///
    /// impl Handler for Echo {
    ///     fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
    ///         cx.receive_parts(conn, true);
    ///     }
    ///     fn on_part(&mut self, cx: &mut Context<'_>, conn: ConnId, part: Part<'_>) {
    ///         cx.send_part(conn, part.kind, part.bytes, part.last);
    ///     }
    /// #   fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    /// }
    /// ```
    pub fn send_part(&mut self, conn: ConnId, kind: Kind, bytes: &[u8], last: bool) -> Sent {
        self.hub.send_part(conn, kind, bytes, last)
    }

    /// Sends a message to every subscriber of a topic, encoded once. Returns to how many it was queued.
    pub fn publish<'m>(&mut self, topic: &str, message: impl Into<Message<'m>>) -> usize {
        self.hub.publish(topic, &message.into())
    }

    /// Subscribes a connection to a topic, which comes about with its first subscriber. Twice is once. The
    /// subscription ends with the connection.
    ///
    /// # Errors
    /// When the connection is not open, or a limit is reached: `topics_max`, `subscriptions_max`, `topic_name_max`.
    pub fn subscribe(&mut self, conn: ConnId, topic: &str) -> Result<(), TopicError> {
        self.hub.subscribe(conn, topic)
    }

    /// Ends a subscription; false when there was none.
    pub fn unsubscribe(&mut self, conn: ConnId, topic: &str) -> bool {
        self.hub.unsubscribe(conn, topic)
    }

    /// Number of subscribers of a topic.
    pub fn subscribers(&self, topic: &str) -> usize {
        self.hub.subscribers(topic)
    }

    /// Sets what happens to publications of a topic for subscribers that do not keep up. A topic with another policy
    /// than [`Policy::Close`] exists without subscribers too, until it is set back.
    ///
    /// # Errors
    /// When the topic does not exist yet and `topics_max` or `topic_name_max` is reached.
    pub fn topic_policy(&mut self, topic: &str, policy: Policy) -> Result<(), TopicError> {
        self.hub.topic_policy(topic, policy)
    }

    /// Begins the closing handshake, behind everything queued; false when the WebSocket is not open. A code that must
    /// not be sent (RFC 6455 §7.4) becomes 1000; a reason longer than 123 bytes is cut at a character's boundary.
    ///
    /// A request that waits for its answer is ended without one.
    pub fn close(&mut self, conn: ConnId, code: u16, reason: &str) -> bool {
        let Some(index) = self.hub.find(conn) else { return false };
        let closed = Closed::with(By::Application, Cause::Close, Some(code), reason);
        if self.hub.slot(index).is_some_and(|slot| slot.conn.phase == Phase::Reply) {
            self.hub.abandon(index);
            return true;
        }
        self.hub.close(index, closed)
    }

    /// Stops reading this peer, without a system call: no message, Ping or Close of it is seen, and when the kernel's
    /// buffers are full it cannot send any more. False when the connection has ended or is closing.
    ///
    /// It takes effect at once: messages that were read together with the one being handled wait for
    /// [`Context::resume`] too (`head_max` and one read, of `scratch_bytes` and a header, are kept at most). Only of a message that is
    /// taken in parts, the parts that were read together with the one being handled are still delivered.
    ///
    /// Sending goes on, and a reset by the peer is noticed as ever. So do the deadlines: a peer that is not read cannot
    /// show life, so with Pings on it is cut by `pong_timeout`, with `idle_timeout` on it is closed as idle, and before
    /// the WebSocket is open `handshake_timeout` ends it. [`Context::close`] ends the pause, for the peer's Close is to
    /// be read.
    ///
    /// ```
    /// # use tidegate::{ConnId, Context, Handler, Message};
    /// /// Takes one message a second from its one peer.
    /// struct Slow(Option<ConnId>);
    ///
    /// impl Handler for Slow {
    ///     fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, _: Message<'_>) {
    ///         self.0 = Some(conn);
    ///         cx.pause(conn);
    ///         cx.set_timer(std::time::Duration::from_secs(1), 0);
    ///     }
    ///
    ///     fn on_timer(&mut self, cx: &mut Context<'_>, _: u64) {
    ///         if let Some(conn) = self.0 {
    ///             cx.resume(conn);
    ///         }
    ///     }
    /// }
    /// ```
    pub fn pause(&mut self, conn: ConnId) -> bool {
        self.hub.pause(conn)
    }

    /// Goes on reading a peer after [`Context::pause`], from the next turn on and with what arrived meanwhile; nothing
    /// changes where it was not paused. False when the connection has ended.
    pub fn resume(&mut self, conn: ConnId) -> bool {
        let Some(index) = self.hub.find(conn) else { return false };
        self.hub.unpause(index);
        true
    }

    /// Ends a connection at once with a TCP reset: nothing of what is queued is written. `on_close` follows, where it
    /// is owed, with `By::Application`, `Cause::Close`, no code, and not clean; an end that had begun before keeps its
    /// reason. False when there is none.
    ///
    /// Works in every phase, for a connection that is still being made too.
    pub fn abort(&mut self, conn: ConnId) -> bool {
        self.hub.abort(conn)
    }

    /// Answers a request that was answered with `Reply::Later`; false when it does not wait any more.
    pub fn respond(&mut self, conn: ConnId, response: Response) -> bool {
        self.hub.respond(conn, &response)
    }

    /// Sends a piece of a response that was begun with `Reply::Stream`: one chunk (RFC 9112 §7.1), or plain bytes to
    /// an HTTP/1.0 client.
    pub fn stream(&mut self, conn: ConnId, bytes: &[u8]) -> Sent {
        self.hub.stream(conn, bytes)
    }

    /// Ends a streamed response; false when there is none. Like any response that has been given whole, it is not
    /// followed by `on_close`.
    pub fn end(&mut self, conn: ConnId) -> bool {
        self.hub.end_stream(conn)
    }

    /// Calls `Handler::on_timer` with `tag` after at least `after`, at most a tick (10 ms) late. `None` when
    /// `timers_max` timers are armed.
    pub fn set_timer(&mut self, after: Duration, tag: u64) -> Option<TimerId> {
        self.hub.set_timer(after, tag)
    }

    /// Disarms a timer; false when it has fired or was cancelled.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.hub.cancel_timer(timer)
    }

    /// Bytes queued to a connection that the kernel has not taken, those of this callback not counted while they fit
    /// into the loop's write buffer; zero for one that has ended.
    pub fn buffered(&self, conn: ConnId) -> usize {
        self.hub.find(conn).map_or(0, |index| self.hub.slots.0[index as usize].conn.backlog())
    }

    /// The address that a connection counts against: its IPv4 address, or its IPv6 /64 network. (The whole address,
    /// with port, is in `Request::peer`.)
    pub fn source(&self, conn: ConnId) -> Option<IpAddr> {
        self.hub.source_of(conn)
    }

    /// Takes this connection's messages in parts as they arrive (`Handler::on_part`) from the next one on, or whole
    /// again. In parts, a message may be as long as `streamed_message_max`, and none of it is held. One that lies whole in what
    /// was read comes as one part, first and last.
    pub fn receive_parts(&mut self, conn: ConnId, on: bool) {
        if let Some(index) = self.hub.find(conn) {
            self.hub.slots.0[index as usize].conn.flags.set(Flags::PARTS, on);
        }
    }

    /// What is known of a connection's TLS session; `None` on a plain one, and until the TLS handshake is done. A request
    /// that is being handled has it in `Request::tls`. (Feature `tls`.)
    #[cfg(feature = "tls")]
    pub fn tls(&self, conn: ConnId) -> Option<TlsSession<'_>> {
        self.hub.find(conn).and_then(|index| self.hub.tls_session(index))
    }

    /// True where permessage-deflate has been agreed, as it has by the time of `on_open` if at all. What is sent in parts
    /// ([`Context::send_part`]) is not compressed. (Feature `deflate`.)
    #[cfg(feature = "deflate")]
    pub fn is_compressed(&self, conn: ConnId) -> bool {
        let index = self.hub.find(conn);
        index.is_some_and(|index| self.hub.slots.0[index as usize].conn.flags.has(Flags::DEFLATE))
    }

    /// True while the WebSocket is open: neither side has begun to close it.
    pub fn is_open(&self, conn: ConnId) -> bool {
        self.hub.find_in(conn, Phase::Open).is_some()
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.hub.stats()
    }

    /// Time since the loop started, as of this turn.
    pub fn now(&self) -> Duration {
        self.hub.now
    }

    /// Begins a graceful shutdown: nobody is let in, open WebSockets get Close 1001 in batches, and `run` returns when
    /// the last connection has ended or `shutdown_timeout` is over.
    pub fn shutdown(&mut self) {
        self.hub.begin_shutdown();
    }

    /// The number of the handler that runs, kept with connections and timers so that a router finds it again.
    pub(crate) fn scope(&self) -> u16 {
        self.hub.scope
    }

    pub(crate) fn set_scope(&mut self, scope: u16) {
        self.hub.scope = scope;
    }
}
