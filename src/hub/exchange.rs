//! Requests and answers as the application sees them.
//!
//! Refuses to know connections and time. Invariant: what an application puts into an answer cannot break its framing:
//! malformed header fields, and those that frame the answer, are left out when it is written.

use std::borrow::Cow;
use std::net::SocketAddr;

#[cfg(feature = "tls")]
use crate::conn::tls::TlsSession;
use crate::wire::handshake::{self, Extension};
use crate::wire::head::RequestHead;

/// A request, lent for the time of `on_request`. Its head has passed every rule of RFC 9112 that the server checks.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub(crate) head: RequestHead<'a, 'a>,
    pub(crate) body: &'a [u8],
    pub(crate) peer: SocketAddr,
    pub(crate) websocket: bool,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<TlsSession<'a>>,
}

impl<'a> Request<'a> {
    /// The method, such as `GET`; case counts (RFC 9110 §9.1).
    pub fn method(&self) -> &'a str {
        self.head.method
    }

    /// The target as sent, such as `/chat?room=1`.
    pub fn target(&self) -> &'a str {
        self.head.target
    }

    /// The target's path, not decoded.
    pub fn path(&self) -> &'a str {
        self.head.path()
    }

    /// What follows the `?` of the target, not decoded.
    pub fn query(&self) -> Option<&'a str> {
        self.head.query()
    }

    /// The first header field of this name, in any letter case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.head.header_lines(name).next()
    }

    /// All header fields in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.head.headers.iter().map(|header| (header.name, header.value))
    }

    /// True for a well-formed opening handshake of a WebSocket (RFC 6455 §4.2.1), which [`Reply::Upgrade`] accepts.
    pub fn is_websocket(&self) -> bool {
        self.websocket
    }

    /// The subprotocols offered, the preferred one first (RFC 6455 §4.1).
    pub fn protocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        handshake::protocols(&self.head)
    }

    /// The extensions offered, each with its parameters, in the order of the header lines (RFC 6455 §9.1). The server
    /// accepts none by itself.
    pub fn extensions(&self) -> impl Iterator<Item = Extension<'a>> + use<'a> {
        // The handshake's check has refused requests whose list is malformed; of a plain request the good part is shown.
        handshake::extensions(self.head.fields()).map_while(Result::ok)
    }

    /// The host asked for: the target's if it names one, else the `Host` header's (RFC 9112 §3.2.2).
    pub fn host(&self) -> Option<&'a [u8]> {
        self.head.host()
    }

    /// The body; empty without one.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The peer's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The TLS session that the request came by: version, name asked for, certificates of the client; `None` on a plain
    /// connection. (Feature `tls`.)
    #[cfg(feature = "tls")]
    pub fn tls(&self) -> Option<TlsSession<'a>> {
        self.tls
    }
}

/// An HTTP response: a status, header fields, and a body that is held in memory.
///
/// ```
/// use tidegate::Response;
/// let page = Response::new(200).content_type("text/html; charset=utf-8").body("<!doctype html>…");
/// let busy = Response::text(503, "come back later").header("Retry-After", "5");
/// assert_eq!((page.status(), busy.status()), (200, 503));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    pub(crate) body: Cow<'static, [u8]>,
}

impl Response {
    /// An empty response. A status outside 200 to 599 becomes 500: it could not end an exchange (RFC 9110 §15).
    pub fn new(status: u16) -> Self {
        let status = if (200..=599).contains(&status) { status } else { 500 };
        Response { status, headers: Vec::new(), body: Cow::Borrowed(&[]) }
    }

    /// A response in plain text.
    pub fn text(status: u16, body: impl Into<Cow<'static, str>>) -> Self {
        Response::new(status).content_type("text/plain; charset=utf-8").body(body)
    }

    /// Sets `Content-Type`.
    #[must_use]
    pub fn content_type(self, value: impl Into<Cow<'static, str>>) -> Self {
        self.header("Content-Type", value)
    }

    /// Adds a header field. Fields that are malformed (a line break in the value, say) or that frame the response
    /// (`Content-Length`, `Transfer-Encoding`, `Connection`) are left out when it is written.
    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Cow<'static, str>>) -> Self {
        self.body = match body.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        self
    }

    /// Sets a body that is not text.
    #[must_use]
    pub fn body_bytes(mut self, body: impl Into<Cow<'static, [u8]>>) -> Self {
        self.body = body.into();
        self
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// How an opening handshake is accepted.
///
/// ```
/// use tidegate::{Reply, Upgrade};
/// let reply = Reply::Upgrade(Upgrade::default().protocol("chat.v2").header("Set-Cookie", "seen=1"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upgrade {
    pub(crate) protocol: Option<Cow<'static, str>>,
    pub(crate) headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
}

impl Upgrade {
    /// Chooses a subprotocol. It must be one that the client offered (RFC 6455 §4.2.2); one that it did not offer
    /// turns the answer into 500, because every client would have to fail the connection.
    #[must_use]
    pub fn protocol(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.protocol = Some(name.into());
        self
    }

    /// Adds a header field to the 101; malformed ones and the handshake's own are left out.
    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// The application's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Accept the opening handshake. A request that is none gets 426.
    Upgrade(Upgrade),
    /// Answer; the connection is kept for the next request if the client wants that.
    Respond(Response),
    /// Answer with this head and go on with `Context::stream` until `Context::end`.
    Stream(Response),
    /// Answer later with `Context::respond` (long polling).
    Later,
}

impl Reply {
    /// Accepts without a subprotocol.
    pub fn upgrade() -> Self {
        Reply::Upgrade(Upgrade::default())
    }
}
