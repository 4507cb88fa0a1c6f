//! Why a connection ended: who ended it, by which rule, with which code.
//!
//! Knows no state machine. Invariant: every way to end has one cause, and every cause one counter.

use std::fmt;
use std::io::ErrorKind;

use super::error::{ProtocolError, TlsError};
use crate::wire::body::BodyError;
use crate::wire::head::HeadError;

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The peer: by Close, by its end of stream, by a reset.
    Peer,
    /// The application, by `close`, `respond` or `end`.
    Application,
    /// The server: a rule or a limit.
    Server,
}

/// What ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// A closing handshake (RFC 6455 §7).
    Close,
    /// A plain HTTP exchange that came to its end.
    Answered,
    /// The peer's stream ended without a Close.
    EndOfStream,
    /// The stream of a TLS session ended without a `close_notify`: something may be missing at its end (RFC 8446 §6.1).
    Truncated,
    /// The connection failed: reset, refused, unreachable.
    Io(ErrorKind),
    /// TLS failed, in the handshake or later; no code, and the text as the reason.
    Tls(TlsError),
    /// The peer broke the WebSocket protocol.
    Protocol(ProtocolError),
    /// A request that cannot be one.
    BadHead(HeadError),
    /// A request's body that cannot be one.
    BadBody(BodyError),
    /// A request refused with this status, by a rule of the server.
    Refused(u16),
    /// The opening handshake or request took longer than `handshake_timeout`.
    HandshakeTimeout,
    /// The application did not answer or finish within `reply_timeout`.
    ReplyTimeout,
    /// Nothing came within `pong_timeout` of a Ping.
    PingTimeout,
    /// Nothing came for `idle_timeout`.
    Idle,
    /// The backlog passed `backlog_max`, or stayed above `backlog_high` for `backlog_grace`.
    SlowConsumer,
    /// The loop's memory passed `memory_max` and this was one of its largest debtors.
    Memory,
    /// The server is shutting down.
    Shutdown,
    /// The server answered our opening handshake with this status instead of 101; no code, and the text as the reason.
    Declined(u16),
    /// The answer to a client's opening handshake was not what RFC 6455 §4.1 demands.
    BadAnswer,
}

/// The end of a connection, as told to `on_close`.
///
/// ```
/// # use tidegate::{By, Closed, Context, ConnId, Handler, Message};
/// # struct App;
/// # impl Handler for App {
/// # fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
/// fn on_close(&mut self, _: &mut Context<'_>, conn: ConnId, why: &Closed) {
///     if why.by != By::Peer {
///         eprintln!("{conn}: {why}");
///     }
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// Who.
    pub by: By,
    /// Why.
    pub cause: Cause,
    /// The code of the Close frame that decided it: the peer's if it closed, else ours; `None` if there was none.
    pub code: Option<u16>,
    /// The reason in that Close frame; often empty.
    pub reason: Box<str>,
    /// True when both sides have sent their Close (RFC 6455 §7.1.4); false when one never came, in time or at all.
    pub clean: bool,
}

impl Closed {
    pub(crate) fn new(by: By, cause: Cause) -> Self {
        Closed { by, cause, code: None, reason: Box::default(), clean: false }
    }

    pub(crate) fn with(by: By, cause: Cause, code: Option<u16>, reason: &str) -> Self {
        Closed { by, cause, code, reason: reason.into(), clean: false }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            By::Peer => "peer",
            By::Application => "application",
            By::Server => "server",
        };
        write!(f, "ended by {by}: {}", self.cause)?;
        if let Some(code) = self.code {
            write!(f, ", code {code}")?;
        }
        if !self.reason.is_empty() {
            write!(f, ", reason {:?}", self.reason)?;
        }
        Ok(())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Close => "closed",
            Cause::Answered => "answered",
            Cause::EndOfStream => "stream ended without a Close",
            Cause::Truncated => "TLS stream ended without a close_notify",
            Cause::Io(kind) => return write!(f, "{kind}"),
            Cause::Tls(error) => return write!(f, "{error}"),
            Cause::Protocol(error) => return write!(f, "{error}"),
            Cause::BadHead(error) => return write!(f, "{error}"),
            Cause::BadBody(error) => return write!(f, "{error}"),
            Cause::Refused(status) => return write!(f, "refused with {status}"),
            Cause::Declined(status) => return write!(f, "declined with {status}"),
            Cause::HandshakeTimeout => "handshake took too long",
            Cause::ReplyTimeout => "answer took too long",
            Cause::PingTimeout => "no sign of life after a ping",
            Cause::Idle => "idle",
            Cause::SlowConsumer => "slow consumer",
            Cause::Memory => "largest debtor when memory ran out",
            Cause::Shutdown => "shutdown",
            Cause::BadAnswer => "wrong answer to the opening handshake",
        })
    }
}
