//! `Handler`: the application.
//!
//! Refuses to know how it is driven. Invariant: object-safe, so that a router or an adapter is just another handler.

use super::context::Context;
use super::exchange::{Reply, Request};
use crate::conn::closed::Closed;
use crate::conn::message::{Message, Part};
use crate::ground::id::ConnId;

/// The application, called by the loop. All methods but [`Handler::on_message`] have defaults.
///
/// Callbacks run on the loop's thread and never do I/O: whatever they send is queued and written when they have
/// returned. The longest callback is everyone's latency, so hand long work to another thread and let it answer through
/// a `Handle`.
///
/// ```
/// use tidegate::{Context, ConnId, Handler, Message};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
///         cx.send(conn, msg); // the result says how full the backlog is; ignoring it is safe
///     }
/// }
/// ```
pub trait Handler {
    /// Called once, on the first turn: a place to arm timers.
    fn on_start(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// A request came: an opening handshake ([`Request::is_websocket`]) or plain HTTP. By default every handshake is
    /// accepted and plain requests get 426.
    fn on_request(&mut self, cx: &mut Context<'_>, conn: ConnId, req: &Request<'_>) -> Reply {
        let _ = (cx, conn, req);
        Reply::upgrade()
    }

    /// The TCP connection of a `Context::connect` is made; the opening handshake's request leaves next, in this turn.
    /// Comes at most once and before [`Handler::on_open`], never for a connection that could not be made. The WebSocket
    /// is not open yet, so nothing can be sent. (Feature `client`.)
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidegate::{ConnId, ConnMap, Context, Handler, Message};
    /// #[derive(Default)]
    /// struct Stopwatch {
    ///     made: ConnMap<Duration>,
    /// }
    ///
    /// impl Handler for Stopwatch {
    ///     fn on_connect(&mut self, cx: &mut Context<'_>, conn: ConnId) {
    ///         self.made.insert(conn, cx.now());
    ///     }
    ///
    ///     fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
    ///         if let Some(made) = self.made.remove(conn) {
    ///             println!("{conn}: the handshake took {:?}", cx.now() - made);
    ///         }
    ///     }
    /// #   fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    /// }
    /// ```
    #[cfg(any(test, feature = "client"))]
    fn on_connect(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = (cx, conn);
    }

    /// A WebSocket is open. What is sent here leaves together with the 101.
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = (cx, conn);
    }

    /// A whole message came.
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>);

    /// A part of a message came, on a connection for which `Context::receive_parts` was called.
    fn on_part(&mut self, cx: &mut Context<'_>, conn: ConnId, part: Part<'_>) {
        let _ = (cx, conn, part);
    }

    /// The backlog of a connection, having been above `backlog_high`, has fallen to `backlog_low`.
    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = (cx, conn);
    }

    /// A connection ended. Comes exactly once for every `on_request` that did not end in a plain response (at once,
    /// later, or streamed to its end), and for every connection made with `Context::connect`; `conn` finds nothing any
    /// more.
    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: &Closed) {
        let _ = (cx, conn, why);
    }

    /// A timer set with `Context::set_timer` is due.
    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        let _ = (cx, tag);
    }
}
