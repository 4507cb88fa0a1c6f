//! Names for the ways in which connections end that should not have ended.
//!
//! Refuses to count. Invariant: a kind is a few words that stay the same from run to run, so that it can be compared;
//! the particulars are in the example.

use std::io::ErrorKind;

use tidegate::{By, Cause, Closed};

/// The kind of an end, for counting; `opened` tells whether the opening handshake had been completed.
pub fn kind(why: &Closed, opened: bool) -> String {
    match why.cause {
        Cause::Io(ErrorKind::ConnectionRefused) => "refused".into(),
        Cause::Io(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) if opened => "reset".into(),
        Cause::Io(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => "reset before open".into(),
        Cause::Io(ErrorKind::TimedOut) => "timed out".into(),
        Cause::Io(ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse) => "no local port".into(),
        Cause::Io(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => "unreachable".into(),
        Cause::Io(kind) => format!("i/o: {kind}"),
        Cause::Declined(status) => format!("status {status}"),
        Cause::BadAnswer | Cause::BadHead(_) => "not a websocket".into(),
        Cause::HandshakeTimeout => "connect timeout".into(),
        Cause::EndOfStream if opened => "ended without close".into(),
        Cause::EndOfStream => "ended before open".into(),
        Cause::Close if why.by == By::Peer => format!("closed with {}", why.code.unwrap_or(1005)),
        Cause::Protocol(_) => "protocol error".into(),
        Cause::PingTimeout => "no pong".into(),
        Cause::SlowConsumer | Cause::Memory => "server does not read".into(),
        _ => "other end".into(),
    }
}
