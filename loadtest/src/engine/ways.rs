//! `Ways`: how the connections of one lane ask to be let in: from which address, and as which client of TLS.
//!
//! Refuses to connect. Invariants: addresses take turns; a connection that is not to resume is of a client that keeps no
//! tickets; those that are to are of clients that take turns, so that each has its tickets when it comes back.

use std::borrow::Cow;
use std::net::SocketAddr;

use tidegate::{ClientTls, Connect, DeflateMode};

use crate::order::{Deflate, Target};
use crate::target::veil;

/// Clients that keep tickets, at most; each has a table of its own.
const CLIENTS_MAX: u64 = 1_024;

/// See the module's text.
pub struct Ways {
    /// One per source address, or the only one.
    connects: Vec<Connect>,
    /// One that keeps no tickets, if TLS is spoken.
    stranger: Option<ClientTls>,
    /// Those that keep tickets.
    clients: Vec<ClientTls>,
    share: f64,
    /// Parts of a connection that are owed to the share; a whole one resumes.
    owed: f64,
    turn: usize,
}

impl Ways {
    /// Without tickets yet.
    ///
    /// # Errors
    /// When TLS cannot be spoken as it is ordered, as text.
    pub fn new(target: &Target, deflate: Option<Deflate>) -> Result<Self, String> {
        let mut one = Connect::new(target.address, &target.host, &target.path);
        for protocol in &target.protocols {
            one = one.protocol(protocol);
        }
        for (name, value) in &target.headers {
            one = one.header(name, value);
        }
        if target.raw {
            one = one.unchecked();
        }
        one = one.deflate(match deflate {
            None => DeflateMode::Off,
            Some(Deflate::Shared) => DeflateMode::Shared,
            Some(Deflate::Dedicated) => DeflateMode::Dedicated,
        });
        let stranger = target.tls.as_ref().map(veil::client).transpose()?;
        if let Some(stranger) = &stranger {
            one = one.tls(stranger.clone());
        }
        let connects = if target.sources.is_empty() {
            vec![one]
        } else {
            target.sources.iter().map(|address| one.clone().source(SocketAddr::new(*address, 0))).collect()
        };
        Ok(Ways { connects, stranger, clients: Vec::new(), share: 0.0, owed: 0.0, turn: 0 })
    }

    /// From here on this share of the connections is of so many clients that keep tickets.
    ///
    /// # Errors
    /// When TLS cannot be spoken as it is ordered, as text.
    pub fn resume(&mut self, share: f64, clients: u64) -> Result<(), String> {
        let Some(stranger) = &self.stranger else { return Ok(()) };
        (self.share, self.owed) = (share, 0.0);
        let wanted = if share > 0.0 { clients.clamp(1, CLIENTS_MAX) } else { 0 };
        let keeping = (0..wanted).map(|_| stranger.clone().resumption(true));
        self.clients = keeping.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        Ok(())
    }

    /// How the connection is made that is begun with this number.
    pub fn next(&mut self, number: u64) -> Cow<'_, Connect> {
        let connect = &self.connects[(number % self.connects.len() as u64) as usize];
        if self.clients.is_empty() {
            return Cow::Borrowed(connect);
        }
        self.owed += self.share;
        if self.owed < 1.0 {
            return Cow::Borrowed(connect);
        }
        self.owed -= 1.0;
        self.turn = (self.turn + 1) % self.clients.len();
        Cow::Owned(connect.clone().tls(self.clients[self.turn].clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::Veil;

    fn target(tls: bool) -> Target {
        Target {
            address: ([127, 0, 0, 1], 1).into(),
            host: "localhost".into(),
            tls: tls.then(|| Veil { name: "localhost".into(), ca: None, version: None }),
            path: "/".into(),
            protocols: Vec::new(),
            headers: Vec::new(),
            raw: false,
            sources: Vec::new(),
        }
    }

    #[test]
    fn the_share_is_kept_and_clients_take_turns() {
        for (share, resuming) in [(0.0, 0), (0.25, 25), (0.5, 50), (1.0, 100)] {
            let mut ways = Ways::new(&target(true), None).unwrap();
            let blank = ways.next(0).into_owned();
            ways.resume(share, 4).unwrap();
            let begun: Vec<Connect> = (0..100).map(|number| ways.next(number).into_owned()).collect();
            let of_clients: Vec<&Connect> = begun.iter().filter(|connect| **connect != blank).collect();
            assert_eq!(of_clients.len(), resuming, "{share}");
            for (at, connect) in of_clients.iter().enumerate().skip(4) {
                assert_eq!(of_clients[at - 4], *connect);
                assert_ne!(of_clients[at - 1], *connect);
            }
        }
    }

    #[test]
    fn without_tls_nothing_is_resumed() {
        let mut ways = Ways::new(&target(false), None).unwrap();
        ways.resume(1.0, 4).unwrap();
        assert!(matches!(ways.next(0), Cow::Borrowed(_)));
    }
}
