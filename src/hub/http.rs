//! Requests judged and answered: the opening handshake and small HTTP (RFC 6455 §4.2, RFC 9112).
//!
//! Refuses to know sockets. Invariants: every request gets exactly one answer; nothing is read past a request until it
//! is answered; after an error the connection ends, because where the next request would start is then unknown.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::context::Context;
use super::exchange::{Reply, Request, Response, Upgrade};
use super::handler::Handler;
use super::outgoing::Sent;
use super::{HEADERS_ROOM, Hub, Marks};
use crate::conn::closed::{By, Cause, Closed};
use crate::conn::phase::{Phase, Trigger};
#[cfg(feature = "tls")]
use crate::conn::tls::TlsSession;
use crate::conn::{Flags, head_limits};
use crate::ground::id::ConnId;
use crate::wire::body::{BodyDecoder, write_chunk, write_last_chunk};
use crate::wire::handshake::{self, HandshakeError, Key};
use crate::wire::head::{
    BodyLength, Framing, HeadError, Persist, RequestHead, Version, parse_request, write_response_head,
};

/// An HTTP exchange.
#[derive(Debug)]
pub(super) struct Http {
    /// The peer's address.
    peer: SocketAddr,
    /// Requests so far.
    requests: usize,
    /// The connection is kept after the answer.
    keep: bool,
    /// The answer must not have a body (it answers HEAD).
    bodiless: bool,
    /// How a streamed answer to the current request would be framed.
    stream: Stream,
    /// The answer is a stream under way.
    stream_begun: bool,
}

impl Http {
    /// One of which no request has come yet.
    pub(super) fn new(peer: SocketAddr) -> Self {
        let stream = Stream::Chunked;
        Http { peer, requests: 0, keep: true, bodiless: false, stream, stream_begun: false }
    }
}

/// How a streamed answer is framed (RFC 9112 §6.3, §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Until the connection ends, for an HTTP/1.0 client.
    UntilEnd,
}

impl Hub {
    /// A head has arrived: finds out whether a body follows.
    pub(super) fn judge(&mut self, index: u32, head: Cow<'_, [u8]>, app: &mut dyn Handler) {
        #[cfg(any(test, feature = "client"))]
        if self.slots.0[index as usize].conn.flags.has(Flags::CLIENT) {
            return self.answered(index, &head, app);
        }
        let mut room = [httparse::EMPTY_HEADER; HEADERS_ROOM];
        let parsed = match parse_request(&head, &mut room, &head_limits(&self.limits)) {
            Ok(parsed) => parsed,
            Err(error) => return self.bad_head(index, error),
        };
        match parsed.body_length() {
            Ok(BodyLength::None | BodyLength::Length(0)) => self.request(index, parsed, &[], app),
            Ok(length) => {
                let decoder = match BodyDecoder::new(length, self.limits.body_max as u64) {
                    Ok(decoder) => decoder,
                    Err(error) => {
                        return self.reject(
                            index,
                            error.status(),
                            error.to_string().into(),
                            Cause::BadBody(error),
                        );
                    }
                };
                let goes_on = parsed.expects_continue();
                let head = head.into_owned();
                self.with(index, |conn, loan| {
                    conn.expect_body(head, decoder, loan);
                    if goes_on {
                        // RFC 9110 §10.1.1
                        let line = b"HTTP/1.1 100 Continue\r\n\r\n";
                        conn.write(loan, line.len(), |out| out.extend_from_slice(line));
                    }
                });
                self.settle(index);
            }
            Err(error) => self.bad_head(index, error),
        }
    }

    /// A request with its body has arrived.
    pub(super) fn judge_whole(&mut self, index: u32, head: &[u8], body: &[u8], app: &mut dyn Handler) {
        let mut room = [httparse::EMPTY_HEADER; HEADERS_ROOM];
        match parse_request(head, &mut room, &head_limits(&self.limits)) {
            Ok(parsed) => self.request(index, parsed, body, app),
            Err(error) => self.bad_head(index, error),
        }
    }

    fn bad_head(&mut self, index: u32, error: HeadError) {
        self.reject(index, error.status(), error.to_string().into(), Cause::BadHead(error));
    }

    fn request(&mut self, index: u32, head: RequestHead<'_, '_>, body: &[u8], app: &mut dyn Handler) {
        self.with(index, |conn, loan| conn.trigger(Trigger::Request, loan));
        let requests_max = self.limits.requests_max;
        let Some(http) = self.http(index) else { return };
        http.requests += 1;
        http.keep = head.keeps_alive() && http.requests < requests_max;
        http.bodiless = head.method == "HEAD";
        http.stream = if head.version == Version::Http11 { Stream::Chunked } else { Stream::UntilEnd };
        let peer = http.peer;
        self.first_request_done(index);
        let key = match handshake::wants_upgrade(&head).then(|| handshake::check_upgrade(&head)).transpose() {
            Ok(key) => key,
            Err(error) => return self.bad_handshake(index, error),
        };
        let origin = head.header_lines("origin").next();
        if key.is_some() && !handshake::origin_allowed(origin, &self.origins) {
            return self.reject(index, 403, "origin not allowed".into(), Cause::Refused(403));
        }
        self.stats.requests += 1;
        self.scope = 0;
        let id = self.id(index);
        #[cfg(feature = "tls")]
        let tls = self.lend_tls(index);
        let request = Request {
            head,
            body,
            peer,
            websocket: key.is_some(),
            #[cfg(feature = "tls")]
            tls: tls.as_deref().map(TlsSession),
        };
        let reply = app.on_request(&mut Context::new(self), id, &request);
        #[cfg(feature = "tls")]
        if let Some(tls) = tls {
            self.give_tls(index, tls);
        }
        self.slots.0[index as usize].scope = self.scope;
        // The application may have answered or closed already, by way of the context.
        if self.slots.0[index as usize].conn.phase != Phase::Reply {
            return;
        }
        match (reply, key) {
            (Reply::Upgrade(upgrade), Some(key)) => self.upgrade(index, &head, &key, &upgrade, app),
            (Reply::Upgrade(_), None) => {
                self.reject(index, 426, "this is a WebSocket endpoint".into(), Cause::Refused(426));
            }
            (Reply::Respond(response), _) => self.answer(index, &response),
            (Reply::Stream(response), _) => self.begin_stream(index, &response),
            (Reply::Later, _) => {
                self.slots.0[index as usize].conn.flags.set(Flags::ANNOUNCED, true);
                self.enter(index, self.limits.reply_timeout);
            }
        }
    }

    fn first_request_done(&mut self, index: u32) {
        if self.slots.0[index as usize].marks.set(Marks::HALF_OPEN, false) {
            self.stats.half_open -= 1;
        }
    }

    fn bad_handshake(&mut self, index: u32, error: HandshakeError) {
        let status = error.status();
        self.reject(index, status, error.to_string().into(), Cause::Refused(status));
    }

    fn upgrade(
        &mut self,
        index: u32,
        head: &RequestHead<'_, '_>,
        key: &Key,
        upgrade: &Upgrade,
        app: &mut dyn Handler,
    ) {
        let protocol = upgrade.protocol.as_deref();
        if protocol.is_some_and(|chosen| !handshake::protocols(head).any(|offered| offered == chosen)) {
            let text = "the application chose a subprotocol that was not offered";
            return self.reject(index, 500, text.into(), Cause::Refused(500));
        }
        #[cfg(not(feature = "deflate"))]
        let extensions = None::<String>;
        #[cfg(feature = "deflate")]
        let extensions = self.accept_deflate(index, head);
        self.with(index, |conn, loan| {
            let fields = upgrade.headers.iter().map(|(name, value)| (&**name, &**value));
            let extensions = extensions.as_deref();
            conn.write(loan, 256, |out| handshake::write_accept(out, key, protocol, extensions, fields));
        });
        self.opened(index, app);
    }

    /// The opening handshake is complete.
    pub(super) fn opened(&mut self, index: u32, app: &mut dyn Handler) {
        self.with(index, |conn, loan| conn.trigger(Trigger::Upgraded, loan));
        let slot = &mut self.slots.0[index as usize];
        self.passing.take(&mut slot.passing);
        let extra = slot.conn.extra.take();
        if let Some(outbox) = &mut slot.conn.outbox {
            outbox.fence();
        }
        slot.conn.flags.set(Flags::ANNOUNCED, true);
        slot.marks.set(Marks::OPEN, true);
        let scope = slot.scope;
        self.stats.open += 1;
        self.stats.opened += 1;
        #[cfg(not(feature = "deflate"))]
        drop(extra);
        #[cfg(feature = "deflate")]
        self.begin_deflate(index, extra);
        self.enter_ping(index, self.limits.ping_interval);
        self.settle(index);
        self.scope = scope;
        let id = self.id(index);
        app.on_open(&mut Context::new(self), id);
    }

    /// Answers whole.
    fn answer(&mut self, index: u32, response: &Response) {
        let Some((keep, bodiless, version)) =
            self.http(index).map(|http| (http.keep, http.bodiless, http.stream))
        else {
            return;
        };
        let Some(len) = self.admit_answer(index, response) else { return };
        let body = if bodiless || has_no_body(response.status) { &[][..] } else { &response.body };
        let persist = persist(keep, version);
        self.with(index, |conn, loan| {
            conn.write(loan, body.len() + HEAD_ROOM, |out| {
                out.reserve(len);
                let framing = Framing::Length(response.body.len() as u64);
                write_response_head(out, response.status, framing, persist, response.fields());
                out.extend_from_slice(body);
            });
        });
        self.after_answer(index, keep);
    }

    /// Makes room for an answer; one that alone exceeds `backlog_max` is refused like such a message, with 500.
    fn admit_answer(&mut self, index: u32, response: &Response) -> Option<usize> {
        let fields: usize = response.fields().map(|(name, value)| name.len() + value.len() + 4).sum();
        let len = response.body.len() + fields + HEAD_ROOM;
        if len > self.limits.backlog_max {
            self.stats.refused_messages += 1;
            let text = "the application's response is larger than backlog_max";
            self.reject(index, 500, text.into(), Cause::Refused(500));
            return None;
        }
        self.reserve(index, len).then_some(len)
    }

    /// The answer is queued whole: wait for another request, or end.
    fn after_answer(&mut self, index: u32, keep: bool) {
        self.slots.0[index as usize].conn.flags.set(Flags::ANNOUNCED, false);
        if !keep {
            return self.ending(index, Closed::new(By::Application, Cause::Answered));
        }
        if let Some(http) = self.http(index) {
            http.bodiless = false;
        }
        self.with(index, |conn, loan| conn.trigger(Trigger::Answered, loan));
        self.enter(index, self.limits.handshake_timeout);
        self.settle(index);
        self.resume(index);
    }

    fn begin_stream(&mut self, index: u32, response: &Response) {
        if self.admit_answer(index, response).is_none() {
            return;
        }
        let Some(http) = self.http(index) else { return };
        let bodiless = http.bodiless || has_no_body(response.status);
        // Without chunks the end of the connection is the end of the body (RFC 9112 §6.3).
        http.keep &= bodiless || http.stream == Stream::Chunked;
        let (keep, persist) = (http.keep, persist(http.keep, http.stream));
        let framing = match http.stream {
            Stream::Chunked => Framing::Chunked,
            Stream::UntilEnd => Framing::UntilClose,
        };
        http.stream_begun = !bodiless;
        self.with(index, |conn, loan| {
            conn.write(loan, 256, |out| {
                write_response_head(out, response.status, framing, persist, response.fields());
            });
        });
        if bodiless {
            return self.after_answer(index, keep);
        }
        self.slots.0[index as usize].conn.flags.set(Flags::ANNOUNCED, true);
        self.enter(index, self.limits.reply_timeout);
        if !response.body.is_empty() {
            self.stream(self.id(index), &response.body);
        }
        self.settle(index);
    }

    fn http(&mut self, index: u32) -> Option<&mut Http> {
        self.passing.get_mut(&self.slots.0[index as usize].passing)?.http.as_mut()
    }

    pub(super) fn respond(&mut self, id: ConnId, response: &Response) -> bool {
        let Some(index) = self.find_in(id, Phase::Reply) else { return false };
        if self.http(index).is_none_or(|http| http.stream_begun) {
            return false;
        }
        self.answer(index, response);
        true
    }

    pub(super) fn stream(&mut self, id: ConnId, bytes: &[u8]) -> Sent {
        let Some(index) = self.find_in(id, Phase::Reply) else { return Sent::Gone };
        if self.http(index).is_none_or(|http| !http.stream_begun) {
            return Sent::Gone;
        }
        if bytes.len() + 32 > self.limits.backlog_max {
            self.stats.refused_messages += 1;
            return Sent::Refused;
        }
        if bytes.is_empty() {
            // An empty chunk would end the stream (RFC 9112 §7.1).
            return Sent::Ok;
        }
        let chunked = self.http(index).is_some_and(|http| http.stream == Stream::Chunked);
        if !self.reserve(index, bytes.len() + 32) {
            return Sent::Gone;
        }
        self.with(index, |conn, loan| {
            conn.write(loan, bytes.len() + 32, |out| {
                // At once: growing for the last two bytes alone would double what is held.
                out.reserve(bytes.len() + 32);
                if chunked { write_chunk(out, bytes) } else { out.extend_from_slice(bytes) }
            });
        });
        self.settle(index)
    }

    pub(super) fn end_stream(&mut self, id: ConnId) -> bool {
        let Some(index) = self.find_in(id, Phase::Reply) else { return false };
        if self.http(index).is_none_or(|http| !http.stream_begun) {
            return false;
        }
        self.end_chunks(index);
        let keep = self.http(index).is_some_and(|http| http.keep);
        self.after_answer(index, keep);
        true
    }

    fn end_chunks(&mut self, index: u32) {
        let Some(http) = self.http(index) else { return };
        http.stream_begun = false;
        if http.stream == Stream::Chunked {
            self.with(index, |conn, loan| conn.write(loan, 8, write_last_chunk));
        }
    }

    /// Ends an exchange without an answer.
    pub(super) fn abandon(&mut self, index: u32) {
        self.slots.0[index as usize].conn.flags.set(Flags::ANNOUNCED, true);
        self.ending(index, Closed::new(By::Application, Cause::Close));
    }

    /// The application has not answered in time. A stream is ended in order, but with the connection, so that the
    /// application hears of it.
    pub(super) fn reply_due(&mut self, index: u32) {
        if self.http(index).is_some_and(|http| http.stream_begun) {
            self.end_chunks(index);
            return self.ending(index, Closed::new(By::Server, Cause::ReplyTimeout));
        }
        self.reject(index, 503, "no answer in time".into(), Cause::ReplyTimeout);
    }

    /// Answers with an error and ends the connection. To a client's own connection there is nobody to answer.
    pub(super) fn reject(&mut self, index: u32, status: u16, text: Cow<'static, str>, cause: Cause) {
        let closed = Closed::new(By::Server, cause);
        if self.slots.0[index as usize].conn.flags.has(Flags::CLIENT) {
            return self.doom(index, closed, true);
        }
        // Before the session is established the peer could not read an answer either.
        #[cfg(feature = "tls")]
        if self.is_shaking(index) {
            return self.doom(index, closed, true);
        }
        let begun = self.http(index).is_some_and(|http| http.stream_begun);
        if !begun {
            let mut response = Response::text(status, format!("{text}\n"));
            match status {
                // RFC 9110 §15.5.6: a 405 must list what is allowed.
                405 => response = response.header("Allow", "GET"),
                503 => response = response.header("Retry-After", "1"),
                _ => {}
            }
            let bodiless = self.http(index).is_some_and(|http| http.bodiless);
            self.with(index, |conn, loan| {
                conn.write(loan, response.body.len() + 256, |out| {
                    let framing = Framing::Length(response.body.len() as u64);
                    write_response_head(out, status, framing, Persist::Close, response.fields());
                    if !bodiless {
                        out.extend_from_slice(&response.body);
                    }
                });
            });
        }
        self.ending(index, closed);
    }
}

/// Room for the lines of an answer's head that are not the application's.
const HEAD_ROOM: usize = 256;

/// RFC 9110 §15.3.5, §15.4.5: no body follows the head of these, whatever the application put there.
fn has_no_body(status: u16) -> bool {
    matches!(status, 204 | 304)
}

fn persist(keep: bool, version: Stream) -> Persist {
    match (keep, version) {
        (false, _) => Persist::Close,
        (true, Stream::UntilEnd) => Persist::KeepAlive,
        (true, Stream::Chunked) => Persist::Default,
    }
}
