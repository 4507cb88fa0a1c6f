//! One connection, to see whether a server is there that speaks what is asked for.
//!
//! Refuses to say why not. Invariant: it ends within the patience that it is given, and leaves nothing open.

use std::time::{Duration, Instant};

use tidegate::{Closed, Config, ConnId, Context, Handler, Message, Server, Turn};

use super::ways::Ways;
use crate::order::{Target, Veil};

/// Whether the one connection came to be open, once that is known.
struct Knock(Option<bool>);

impl Handler for Knock {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.0 = Some(true);
        cx.close(conn, 1000, "");
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, _: &Closed) {
        self.0.get_or_insert(false);
    }
}

/// True when a WebSocket can be opened there with TLS instead of without, or without instead of with.
pub fn is_other(target: &Target, patience: Duration) -> bool {
    let tls = match target.tls {
        Some(_) => None,
        // Whoever it is: nothing is said to it.
        None => Some(Veil { name: target.address.ip().to_string(), ca: None, version: None }),
    };
    opens(&Target { tls, ..target.clone() }, patience).unwrap_or(false)
}

/// `None` when it could not be tried.
fn opens(target: &Target, patience: Duration) -> Option<bool> {
    let mut ways = Ways::new(target, None).ok()?;
    let mut server = Server::new(Config::default().handshake_timeout(patience)).ok()?;
    let mut knock = Knock(None);
    server.context().connect(&ways.next(0)).ok()?;
    let deadline = Instant::now() + patience;
    while server.stats().connections > 0 || knock.0.is_none() {
        let left = deadline.checked_duration_since(Instant::now())?;
        if !matches!(server.turn(&mut knock, Some(left)), Ok(Turn::Running)) {
            break;
        }
    }
    knock.0
}
