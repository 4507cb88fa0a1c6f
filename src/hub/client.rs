//! The client's side of the loop: connections made to other servers (RFC 6455 §4.1).
//!
//! Refuses to know sockets: a dial is a wish that the reactor fulfils. Invariant: a connection that was asked for ends
//! in exactly one `on_close`, whether it came to be open or not.

use std::net::SocketAddr;

use super::context::Context;
use super::handler::Handler;
use super::{Hub, Marks, NOBODY};
use crate::conn::closed::{By, Cause, Closed};
use crate::conn::error::TlsError;
use crate::conn::phase::Phase;
#[cfg(feature = "tls")]
use crate::conn::tls::ClientTls;
use crate::conn::{Asked, Flags, head_limits};
use crate::ground::id::ConnId;
#[cfg(feature = "deflate")]
use crate::ground::limits::DeflateMode;
use crate::wire::frame::Role;
#[cfg(feature = "deflate")]
use crate::wire::handshake::check_deflate;
use crate::wire::handshake::{AcceptError, Key, check_accept, write_upgrade_request};
use crate::wire::head::{ResponseHead, parse_response};

pub use crate::wire::handshake::InvalidRequest;

/// A connection to be made: where to, and what to ask for.
///
/// ```
/// use tidegate::Connect;
/// let connect = Connect::new("127.0.0.1:9001".parse().unwrap(), "localhost:9001", "/chat").protocol("chat.v2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    address: SocketAddr,
    source: Option<SocketAddr>,
    host: String,
    target: String,
    protocols: Vec<String>,
    headers: Vec<(String, String)>,
    unchecked: bool,
    #[cfg(feature = "tls")]
    tls: Option<ClientTls>,
    #[cfg(feature = "deflate")]
    deflate: DeflateMode,
}

impl Connect {
    /// A WebSocket at `address`, asked for with this `Host` (name, and port unless it is 80) and request target.
    pub fn new(address: SocketAddr, host: impl Into<String>, target: impl Into<String>) -> Self {
        Connect {
            address,
            source: None,
            host: host.into(),
            target: target.into(),
            protocols: Vec::new(),
            headers: Vec::new(),
            unchecked: false,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "deflate")]
            deflate: DeflateMode::Off,
        }
    }

    /// Binds our end to this address; port 0 lets the kernel choose. More than one source address lets more than one
    /// port range's worth of connections reach one server.
    #[must_use]
    pub fn source(mut self, source: SocketAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Offers a subprotocol; the first one offered is the preferred one.
    #[must_use]
    pub fn protocol(mut self, name: impl Into<String>) -> Self {
        self.protocols.push(name.into());
        self
    }

    /// Adds a header field, `Origin` or `Authorization` for instance; malformed ones and the handshake's own are left
    /// out.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Speaks TLS with the server, as `wss://` does. The host without its port is the name that is asked for and must be in
    /// the certificate; `Host` wants the port unless it is 443. (Feature `tls`.)
    ///
    /// `on_connect` comes before the TLS handshake, `on_open` after both, and then `Context::tls` says what came of it. One
    /// that fails ends with `Cause::Tls`, and the reason says why.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Offers compression (permessage-deflate): `Shared` asks both sides not to refer to earlier messages, `Dedicated` lets
    /// both, as long as `deflate_budget` lasts. `deflate_window_bits` and the other limits are those of the loop; a server
    /// that does not want it opens the connection without it. (Feature `deflate`.)
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(mut self, mode: DeflateMode) -> Self {
        self.deflate = mode;
        self
    }

    /// For measuring servers that know no WebSocket: they answer with a 101 that is always the same, and send back the
    /// very bytes that they got. So the answer's `Sec-WebSocket-Accept` must be there but is not verified, frames must
    /// come masked, as they were sent, and when our own Close has come back we end the stream, as such a server does not
    /// know that it should. Not for servers that speak WebSocket: their frames are a protocol error here.
    #[must_use]
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }
}

/// A connection that the reactor has still to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Its slot.
    pub index: u32,
    generation: u32,
    /// The server.
    pub address: SocketAddr,
    /// Our end.
    pub source: Option<SocketAddr>,
}

/// Why a connection was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// Host, target or a subprotocol would not make a valid request.
    Invalid(InvalidRequest),
    /// `connections_max` connections are held.
    TooManyConnections,
    /// No TLS session could be begun: the host is no name that a certificate could have.
    Tls(TlsError),
    /// The loop is shutting down.
    ShuttingDown,
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConnectError::Invalid(error) => write!(f, "{error}"),
            ConnectError::TooManyConnections => f.write_str("connections_max connections are held"),
            ConnectError::Tls(error) => write!(f, "{error}"),
            ConnectError::ShuttingDown => f.write_str("the loop is shutting down"),
        }
    }
}

impl std::error::Error for ConnectError {}

impl Context<'_> {
    /// Connects to another server through the same loop. `on_connect` follows when the TCP connection is made,
    /// `on_open` when the handshake is complete, `on_close` in any case. (Feature `client`.)
    ///
    /// Nothing is done at once: each turn begins at most `dial_budget` connections, in the order of the calls, and
    /// `handshake_timeout` runs from here on. Of the limits for peers that come in, only `connections_max` applies.
    ///
    /// # Errors
    /// When the request would be invalid, `connections_max` is reached, or the loop is shutting down.
    pub fn connect(&mut self, connect: &Connect) -> Result<ConnId, ConnectError> {
        self.hub.dial(connect)
    }
}

impl Hub {
    fn dial(&mut self, connect: &Connect) -> Result<ConnId, ConnectError> {
        if self.is_shutting_down() {
            return Err(ConnectError::ShuttingDown);
        }
        // Peers that are being refused come on top of the limit, here as at the door.
        if self.slots.0.len() - self.stats.refusing as usize >= self.limits.connections_max {
            self.stats.refused_connections += 1;
            return Err(ConnectError::TooManyConnections);
        }
        let mut key = [0; 16];
        self.rng.fill(&mut key);
        let protocols: Vec<&str> = connect.protocols.iter().map(String::as_str).collect();
        let fields = connect.headers.iter().map(|(name, value)| (&**name, &**value));
        let mut request = Vec::new();
        #[cfg(not(feature = "deflate"))]
        let extensions = None::<String>;
        #[cfg(feature = "deflate")]
        let deflate = self.deflate_terms(connect.deflate);
        #[cfg(feature = "deflate")]
        let extensions = deflate.map(|terms| terms.offer());
        let Connect { host, target, .. } = connect;
        write_upgrade_request(&mut request, host, target, &key, &protocols, extensions.as_deref(), fields)
            .map_err(ConnectError::Invalid)?;
        #[cfg(feature = "tls")]
        let session = match connect.tls.as_ref().map(|tls| tls.connect(&connect.host)).transpose() {
            Ok(session) => session,
            Err(error) => return Err(ConnectError::Tls(error)),
        };
        let index = self.insert(Role::Client, NOBODY);
        self.reserve(index, request.capacity());
        let slot = &mut self.slots.0[index as usize];
        slot.scope = self.scope;
        // The request waits until the kernel says that the connection is made.
        slot.marks.set(Marks::BLOCKED | Marks::WRITE_INTEREST | Marks::DIALLED, true);
        slot.conn.flags.set(Flags::ANNOUNCED, true);
        slot.conn.flags.set(Flags::UNCHECKED, connect.unchecked);
        slot.conn.extra().asked = Some(Asked {
            key,
            protocols: connect.protocols.clone(),
            #[cfg(feature = "deflate")]
            deflate,
        });
        #[cfg(feature = "deflate")]
        if let Some(terms) = deflate {
            self.offer_deflate(index, terms);
        }
        self.stats.connected += 1;
        self.enter(index, self.limits.handshake_timeout);
        self.with(index, |conn, _| conn.outbox().append(|out| *out = request));
        #[cfg(feature = "tls")]
        if let Some(session) = session {
            self.veil(index, session);
        }
        let id = self.id(index);
        let Connect { address, source, .. } = *connect;
        self.dials.push_back(Dial { index, generation: id.generation, address, source });
        Ok(id)
    }

    /// The next connection to make; those that have ended meanwhile are left out.
    pub fn next_dial(&mut self) -> Option<Dial> {
        while let Some(dial) = self.dials.pop_front() {
            if self.find(ConnId { index: dial.index, generation: dial.generation }).is_some() {
                return Some(dial);
            }
        }
        None
    }

    /// True when connections are still to be made.
    pub fn has_dials(&self) -> bool {
        !self.dials.is_empty()
    }

    /// The kernel says that a connection may be written to: it is made, if that was still open.
    pub fn made(&mut self, index: u32, app: &mut dyn Handler) {
        let slot = &mut self.slots.0[index as usize];
        if slot.marks.set(Marks::DIALLED, false) && slot.conn.phase != Phase::Closed {
            self.scope = slot.scope;
            let id = self.id(index);
            app.on_connect(&mut Context::new(self), id);
        }
    }

    /// The answer to our opening handshake has come.
    pub(super) fn answered(&mut self, index: u32, head: &[u8], app: &mut dyn Handler) {
        let conn = &mut self.slots.0[index as usize].conn;
        let unchecked = conn.flags.has(Flags::UNCHECKED);
        let Some(asked) = conn.extra().asked.take() else { return };
        let mut room = [httparse::EMPTY_HEADER; super::HEADERS_ROOM];
        let offered: Vec<&str> = asked.protocols.iter().map(String::as_str).collect();
        let (cause, text) = match parse_response(head, &mut room, &head_limits(&self.limits)) {
            Err(error) => (Cause::BadAnswer, error.to_string()),
            Ok(response) => match self.judge_answer(index, &asked, &response, &offered) {
                Ok(()) => return self.opened(index, app),
                Err(AcceptError::WrongAccept) if unchecked => return self.opened(index, app),
                Err(error @ AcceptError::Status(status)) => (Cause::Declined(status), error.to_string()),
                Err(error) => (Cause::BadAnswer, error.to_string()),
            },
        };
        self.doom(index, Closed::with(By::Peer, cause, None, &text), true);
    }

    fn judge_answer(
        &mut self,
        index: u32,
        asked: &Asked,
        response: &ResponseHead<'_, '_>,
        offered: &[&str],
    ) -> Result<(), AcceptError> {
        let key = Key::from_bytes(&asked.key);
        #[cfg(feature = "deflate")]
        if let Some(terms) = asked.deflate {
            let agreed = check_deflate(response, &key, offered, terms)?;
            self.stats.deflate_declined += u64::from(agreed.is_none());
            self.slots.0[index as usize].conn.extra().agreed = agreed;
            return Ok(());
        }
        #[cfg(not(feature = "deflate"))]
        let _ = index;
        check_accept(response, &key, offered).map(drop)
    }
}
