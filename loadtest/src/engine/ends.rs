//! Names for the ways in which connections end that should not have ended.
//!
//! Refuses to count. Invariant: a kind is a few words that stay the same from run to run, so that it can be compared;
//! the particulars are in the example.

use std::io::ErrorKind;

use tidegate::{By, Cause, Closed, TlsError};

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
        Cause::Tls(error) => format!("TLS: {error}"),
        Cause::Truncated => "cut off without close_notify".into(),
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

/// What is to be done where connections fail to be opened in this way.
pub fn advice(kind: &str) -> &'static str {
    match kind.strip_prefix("TLS: ") {
        None => "is a WebSocket server there, and is the path right?",
        Some(rule) if rule == TlsError::CertificateIssuer.text() => {
            "give the certificate of its issuer with --ca, or trust anyone with --insecure"
        }
        Some(rule) if rule == TlsError::CertificateName.text() => {
            "use a name of its certificate in the URL (--resolve says where that is), or trust anyone with --insecure"
        }
        Some(rule) if rule == TlsError::CertificateExpired.text() => {
            "renew it, or trust anyone with --insecure"
        }
        Some(rule) if rule == TlsError::CertificateNotYetValid.text() => {
            "set the clock of this machine, or trust anyone with --insecure"
        }
        Some(rule) if rule == TlsError::Certificate.text() => {
            "where it is an authority's own, make one that is not (basicConstraints=CA:FALSE), or trust anyone with --insecure"
        }
        Some(_) => "does the port speak TLS, in a version that was offered?",
    }
}

/// Whether a server of the other kind could be there, TLS instead of none or none instead of TLS.
pub fn may_be_other(kind: &str) -> bool {
    ["not a websocket", "status 400", "ended before open", "reset before open", "connect timeout"]
        .contains(&kind)
        || kind.strip_prefix("TLS: ") == Some(TlsError::Protocol.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_advice() {
        let tls = |error: TlsError| format!("TLS: {error}");
        for (kind, part, other) in [
            (tls(TlsError::CertificateIssuer), "--ca", false),
            (tls(TlsError::CertificateName), "--resolve", false),
            (tls(TlsError::CertificateExpired), "renew", false),
            (tls(TlsError::CertificateNotYetValid), "clock", false),
            (tls(TlsError::Certificate), "CA:FALSE", false),
            (tls(TlsError::Protocol), "speak TLS", true),
            (tls(TlsError::Alert(70)), "version", false),
            ("status 404".into(), "path", false),
            ("status 400".into(), "path", true),
        ] {
            assert!(advice(&kind).contains(part), "{kind}: {}", advice(&kind));
            assert_eq!(may_be_other(&kind), other, "{kind}");
        }
    }
}
