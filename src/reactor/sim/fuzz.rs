//! Fuzz bodies: plain functions over bytes that panic when a rule of ours is broken. `cargo test` runs them on a corpus
//! and on random bytes; the targets in `fuzz/` wrap them.
//!
//! Refuses to know who makes the bytes. Invariant: the first bytes of an input say how the rest is cut.

use std::time::Duration;

use super::wire::Puppet;
use super::{SimIo, Terms};
use crate::conn::message::Message;
use crate::ground::id::{ConnId, ConnMap};
use crate::ground::input::Input;
#[cfg(feature = "deflate")]
use crate::ground::limits::DeflateMode;
use crate::ground::limits::Limits;
use crate::ground::rng::Rng;
use crate::hub::context::Context;
use crate::hub::exchange::{Reply, Request, Response};
use crate::hub::handler::Handler;
use crate::hub::{HEADERS_ROOM, Hub};
use crate::reactor::{Reactor, Turn};
use crate::wire::body::{BodyDecoder, BodyError, BodyEvent};
use crate::wire::close;
#[cfg(feature = "deflate")]
use crate::wire::deflate::Inflater;
#[cfg(feature = "deflate")]
use crate::wire::deflate::negotiation::{self, NAME, accept};
use crate::wire::frame::{FrameDecoder, FrameError, Header, Role};
#[cfg(feature = "deflate")]
use crate::wire::handshake::extensions;
#[cfg(feature = "deflate")]
use crate::wire::head::Fields;
use crate::wire::head::{BodyLength, HeadError, HeadLimits, HeadScanner, parse_request};
use crate::wire::utf8::Utf8Check;

/// A fuzz body.
pub type Body = fn(&[u8]);

/// All bodies by the names of their corpora.
pub const BODIES: &[(&str, Body)] = &[
    ("frames", frames),
    ("head", head),
    ("body", body),
    ("close", close_payload),
    ("utf8", utf8),
    ("server", server),
    #[cfg(feature = "deflate")]
    ("deflate", deflate),
];

const LIMITS: HeadLimits = HeadLimits { head_max: 1024, target_max: 256, headers_max: 16 };

/// Splits an input into a generator of cuts and the bytes to be cut.
fn cuts(data: &[u8]) -> (Rng, &[u8]) {
    let Some((seed, rest)) = data.split_first_chunk::<2>() else { return (Rng::new(0), data) };
    (Rng::new(u64::from(u16::from_le_bytes(*seed))), rest)
}

/// Calls `f` with consecutive pieces of `bytes`, mostly short ones.
fn each_piece(rng: &mut Rng, bytes: &[u8], mut f: impl FnMut(&[u8]) -> bool) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let most = [1, 3, 20, 1000][rng.below(4) as usize];
        let (piece, after) = rest.split_at(rest.len().min(1 + rng.below(most) as usize));
        rest = after;
        if !f(piece) {
            return;
        }
    }
}

/// All of these pieces.
fn pieces<'b>(rng: &mut Rng, bytes: &'b [u8]) -> Vec<&'b [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    each_piece(rng, bytes, |piece| {
        let (piece, after) = rest.split_at(piece.len());
        pieces.push(piece);
        rest = after;
        true
    });
    pieces
}

/// Frames as their decoder gives them, payloads joined.
type Frames = (Vec<(Header, Vec<u8>, bool)>, Option<FrameError>);

fn decode(decoder: &mut FrameDecoder, bytes: &[u8], role: Role, frames: &mut Frames) -> bool {
    let mut bytes = bytes.to_vec();
    let mut input = Input::new(&mut bytes);
    loop {
        match decoder.next_piece(&mut input, role) {
            Ok(Some(piece)) => {
                if piece.first {
                    frames.0.push((piece.header, Vec::new(), false));
                }
                let Some(frame) = frames.0.last_mut() else { panic!("a piece before its first") };
                // The key is turned from piece to piece.
                assert_eq!((frame.0.opcode, frame.0.len), (piece.header.opcode, piece.header.len));
                frame.1.extend_from_slice(piece.payload);
                frame.2 |= piece.last;
            }
            Ok(None) => {
                assert!(input.is_empty(), "more is needed, and some is left");
                return true;
            }
            Err(error) => {
                frames.1 = Some(error);
                return false;
            }
        }
    }
}

/// The frame decoder gives the same for any cut, and no more than was there.
pub fn frames(data: &[u8]) {
    let (mut rng, bytes) = cuts(data);
    for role in [Role::Server, Role::Client] {
        let (mut whole, mut pieces) = (Frames::default(), Frames::default());
        decode(&mut FrameDecoder::default(), bytes, role, &mut whole);
        let mut decoder = FrameDecoder::default();
        each_piece(&mut rng, bytes, |piece| decode(&mut decoder, piece, role, &mut pieces));
        assert_eq!(whole, pieces);
        for (header, payload, last) in &whole.0 {
            assert_eq!(*last, payload.len() as u64 == header.len);
        }
        // What is written is read back.
        for (header, _, _) in &whole.0 {
            let (encoded, len) = header.encode();
            assert_eq!(Header::parse(&encoded[..len], role), Ok(Some((*header, len))));
        }
    }
}

/// The head scanner finds the same end, or the same fault, for any cut; what it finds can be parsed without a panic.
pub fn head(data: &[u8]) {
    let (mut rng, bytes) = cuts(data);
    let whole = HeadScanner::default().scan(bytes, &LIMITS);
    let mut scanner = HeadScanner::default();
    let (mut seen, mut result) = (Vec::new(), Ok(None));
    each_piece(&mut rng, bytes, |piece| {
        seen.extend_from_slice(piece);
        result = scanner.scan(&seen, &LIMITS);
        result == Ok(None)
    });
    assert_eq!(whole, result);
    if result.is_err() {
        assert_eq!(scanner.scan(&seen, &LIMITS), result, "an error stays");
    }
    let Ok(Some(len)) = whole else { return };
    assert!(len <= LIMITS.head_max && bytes[..len].ends_with(b"\n"));
    let mut room = [httparse::EMPTY_HEADER; HEADERS_ROOM];
    let parsed: Result<_, HeadError> = parse_request(&bytes[..len], &mut room, &LIMITS);
    if let Ok(parsed) = parsed {
        assert!(parsed.target.len() <= LIMITS.target_max && parsed.headers.len() <= LIMITS.headers_max);
        let _ = (parsed.path(), parsed.query(), parsed.body_length(), parsed.keeps_alive());
        let _ = (parsed.host(), parsed.expects_continue());
        let _ = crate::wire::handshake::check_upgrade(&parsed);
    }
}

/// What became of a body: its bytes, what followed it, and how it ended.
type Decoded = (Vec<u8>, usize, Result<bool, BodyError>);

fn decode_body<'b>(length: BodyLength, pieces: impl IntoIterator<Item = &'b [u8]>) -> Decoded {
    let mut decoder = match BodyDecoder::new(length, 500) {
        Ok(decoder) => decoder,
        Err(error) => return (Vec::new(), 0, Err(error)),
    };
    let (mut body, mut taken) = (Vec::new(), 0);
    for piece in pieces {
        let mut rest = piece;
        loop {
            let event = decoder.decode(&mut rest);
            match event {
                Ok(BodyEvent::Piece(bytes)) => body.extend_from_slice(bytes),
                Ok(BodyEvent::NeedMore) => break,
                Ok(BodyEvent::End) => return (body, taken + piece.len() - rest.len(), Ok(true)),
                Err(error) => return (body, 0, Err(error)),
            }
        }
        taken += piece.len();
    }
    (body, taken, Ok(false))
}

/// The body decoder gives the same for any cut, and never more than `body_max`.
pub fn body(data: &[u8]) {
    let (mut rng, bytes) = cuts(data);
    let length = match rng.below(4) {
        0 => BodyLength::Length(rng.below(600)),
        _ => BodyLength::Chunked,
    };
    let whole = decode_body(length, [bytes]);
    let mut pieces = pieces(&mut rng, bytes);
    if pieces.is_empty() {
        pieces.push(bytes);
    }
    let cut = decode_body(length, pieces);
    // What was handed out before a fault depends on the cut; all else does not.
    assert_eq!((whole.1, whole.2), (cut.1, cut.2));
    assert!(whole.2.is_err() || whole.0 == cut.0);
    assert!(whole.0.len() <= 500 && cut.0.len() <= 500);
}

/// A Close payload that is accepted may be sent.
pub fn close_payload(data: &[u8]) {
    if let Ok((Some(code), reason)) = close::parse(data) {
        assert!(close::is_legal(code));
        let (bytes, len) = close::payload(code, reason);
        if data.len() <= bytes.len() {
            assert_eq!(&bytes[..len], data);
        }
    }
    let text = String::from_utf8_lossy(data);
    let code = data.first_chunk::<2>().map_or(0, |code| u16::from_be_bytes(*code));
    let (bytes, len) = close::payload(code, &text);
    assert!(close::parse(&bytes[..len]).is_ok());
}

/// The check of text agrees with the standard library's, for any cut.
pub fn utf8(data: &[u8]) {
    let (mut rng, bytes) = cuts(data);
    let mut check = Utf8Check::default();
    let mut good = true;
    each_piece(&mut rng, bytes, |piece| {
        good = check.piece(piece).is_ok();
        good
    });
    assert_eq!(good && check.is_complete(), std::str::from_utf8(bytes).is_ok());
}

/// Offers agree to nothing that they did not say, and an inflater gives the same however it is cut and however much room
/// there is for it.
#[cfg(feature = "deflate")]
pub fn deflate(data: &[u8]) {
    let (mut rng, bytes) = cuts(data);
    let field = httparse::Header { name: "Sec-WebSocket-Extensions", value: bytes };
    let offers = || extensions(Fields(std::slice::from_ref(&field))).map_while(Result::ok);
    let terms = negotiation::Terms { takeover: rng.chance(1, 2), window_bits: 9 + rng.below(7) as u8 };
    if let Some(agreed) = accept(offers(), terms) {
        assert!(offers().any(|offer| offer.name == NAME));
        assert!(agreed.ours(Role::Server).1 <= terms.window_bits);
        assert!(terms.takeover || !(agreed.ours(Role::Server).0 || agreed.theirs(Role::Server)));
    }
    // A megabyte tells all that a hundred would.
    let inflate = |pieces: &[&[u8]], room: usize| {
        let (mut inflater, mut out, mut room) = (Inflater::default(), Vec::new(), vec![0; room]);
        for piece in pieces {
            let mut rest = *piece;
            while out.len() < 1 << 20 {
                let made = inflater.step(&mut rest, &mut room).ok()?;
                out.extend_from_slice(&room[..made]);
                if made < room.len() {
                    assert!(rest.is_empty(), "room and input left");
                    break;
                }
            }
        }
        out.truncate(1 << 20);
        Some((out, inflater.has_ended(), inflater.is_whole()))
    };
    let whole = inflate(&[bytes], 64 * 1024);
    let pieces = pieces(&mut rng, bytes);
    let cut = inflate(&pieces, 1 + rng.below(3_000) as usize);
    if whole.as_ref().is_none_or(|(out, ..)| out.len() < 1 << 20) {
        assert_eq!(whole, cut);
    }
}

/// Answers everything somehow, and counts beginnings against ends.
#[derive(Debug, Default)]
struct Witness {
    living: ConnMap<()>,
}

impl Handler for Witness {
    fn on_request(&mut self, _: &mut Context<'_>, conn: ConnId, req: &Request<'_>) -> Reply {
        if req.is_websocket() {
            return Reply::upgrade();
        }
        match req.target().len() % 3 {
            0 => Reply::Respond(Response::text(200, "fine")),
            1 => {
                self.living.insert(conn, ());
                Reply::Later
            }
            _ => Reply::Respond(Response::new(204)),
        }
    }

    fn on_open(&mut self, _: &mut Context<'_>, conn: ConnId) {
        self.living.insert(conn, ());
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        assert!(self.living.get(conn).is_some(), "a message of a stranger");
        cx.send(conn, msg);
    }

    fn on_close(&mut self, _: &mut Context<'_>, conn: ConnId, _: &crate::conn::closed::Closed) {
        assert!(self.living.remove(conn).is_some(), "an end without a beginning");
    }
}

/// A whole server, fed these bytes on one connection in any cuts, after an opening handshake or without one. It must
/// not panic, must keep its invariants, and must end the connection and itself.
pub fn server(data: &[u8]) {
    let (mut rng, bytes) = cuts(data);
    let seed = rng.next_u64();
    let limits = Limits {
        flush_per_turn: seed & 1 != 0,
        short_read_rule: seed & 2 != 0,
        write_interest: seed & 4 != 0,
        scratch_bytes: 512,
        cork_bytes: 512,
        message_max: 4_000,
        backlog_max: 10_000,
        backlog_high: 5_000,
        backlog_low: 1_000,
        // With room for an inflater, where there may be one.
        memory_max: if cfg!(feature = "deflate") { 80_000 } else { 20_000 },
        read_budget: 700,
        #[cfg(feature = "deflate")]
        deflate: [DeflateMode::Shared, DeflateMode::Dedicated][(seed >> 3) as usize % 2],
        #[cfg(feature = "deflate")]
        inflate_budget: 600,
        deflate_min: 20,
        ..Limits::default()
    };
    let mut io = SimIo::new(Terms::gentle(seed));
    let peer = io.add(Duration::ZERO, 1 << 20, 1 << 20, Puppet);
    let mut reactor = Reactor::new(io, Hub::new(limits, Vec::new(), 1));
    let mut app = Witness::default();
    let mut turn = |reactor: &mut Reactor<SimIo<Puppet>>, wait| {
        let turn = reactor.turn(&mut app, Some(wait));
        reactor.check();
        turn.is_ok_and(|turn| turn != Turn::Running)
    };
    turn(&mut reactor, Duration::ZERO);
    if rng.chance(3, 4) {
        let hello = b"GET / HTTP/1.1\r\nHost: f\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        let offers = seed & 16 != 0;
        reactor.io().on_line(peer, |line| {
            line.send(&hello[..hello.len() - if offers { 2 } else { 0 }]);
            line.send(if offers { offer } else { b"" });
        });
    }
    let mut heard = Vec::new();
    each_piece(&mut rng, bytes, |piece| {
        reactor.io().on_line(peer, |line| line.send(piece));
        turn(&mut reactor, Duration::ZERO);
        reactor.io().on_line(peer, |line| line.receive(&mut heard, usize::MAX));
        true
    });
    reactor.io().on_line(peer, |line| line.finish());
    let handle = reactor.handle();
    let ordered = (0..1_000).any(|i| {
        turn(&mut reactor, Duration::from_millis(5));
        reactor.io().on_line(peer, |line| line.receive(&mut heard, usize::MAX));
        // Time for the peer's end to be seen; then the rest is told to go.
        i >= 4 && handle.shutdown().is_ok() && turn(&mut reactor, Duration::from_secs(1))
    });
    assert!(ordered, "the server did not end");
    let stats = reactor.hub().stats();
    assert_eq!((stats.connections, stats.memory_bytes, stats.queued_bytes), (0, 0, 0));
    assert_eq!(app.living.len(), 0, "a beginning without an end");
    reactor.io().check_all_closed();
}

#[cfg(test)]
mod tests;
