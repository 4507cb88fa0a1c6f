//! L2: one TCP peer as a state machine. Bytes, times and commands go in; events and bytes to write come out.
//!
//! Refuses to know sockets, the clock, other connections and the application. Invariants: the same history gives the
//! same result, however the bytes are cut; an idle open connection owns no heap memory; Ping and Close are answered
//! here, so that no application can forget to (RFC 6455 §5.5).

pub mod closed;
pub mod cork;
#[cfg(feature = "deflate")]
pub mod deflate;
pub mod error;
mod flags;
pub mod incoming;
pub mod message;
pub mod outbox;
pub mod phase;
pub mod spares;
#[cfg(feature = "tls")]
pub mod tls;

use std::borrow::Cow;

use self::cork::Cork;
use self::error::ProtocolError;
pub use self::flags::Flags;
use self::incoming::{Arrival, Incoming, Rules};
use self::message::{Kind, Message, Part, opcode};
use self::outbox::{Outbox, SharedFrame};
use self::phase::{Phase, Trigger};
use self::spares::Ledger;
use crate::ground::input::Input;
use crate::ground::limits::Limits;
use crate::ground::rng::Rng;
use crate::ground::table::{Place, Table};
use crate::wire::body::{BodyDecoder, BodyError, BodyEvent};
use crate::wire::close;
#[cfg(feature = "deflate")]
use crate::wire::deflate::negotiation;
use crate::wire::frame::{self, Header, Opcode, Role};
use crate::wire::head::{HeadError, HeadLimits, HeadScanner};
use crate::wire::{mask, utf8};

/// A message is read to where it stays once this part of the read buffer's size has come of it, and as much is to come.
const PLACE_SHARE: usize = 4;

/// What the loop lends a connection for one call.
#[derive(Debug)]
pub struct Loan<'a> {
    /// The limits in force.
    pub limits: &'a Limits,
    /// The loop's write buffer, while this connection is the one being read.
    pub cork: Option<&'a mut Cork>,
    /// For masking keys.
    pub rng: &'a mut Rng,
    /// What the loop's queues hold.
    pub memory: &'a Ledger,
    /// Where incomplete input is.
    pub unfinished: &'a mut Unfinished,
    /// What the loop compresses and inflates with.
    #[cfg(feature = "deflate")]
    pub codecs: &'a mut deflate::Codecs,
}

/// What came of the bytes.
#[derive(Debug)]
pub enum Event<'b> {
    /// A whole head: a request's, or to a client the answer's. The hub judges it.
    Head(Cow<'b, [u8]>),
    /// A request whose body is complete.
    Request {
        /// The head.
        head: Vec<u8>,
        /// The body.
        body: Vec<u8>,
    },
    /// A head that cannot be one.
    BadHead(HeadError),
    /// A body that cannot be one.
    BadBody(BodyError),
    /// A message.
    Message(Message<'b>),
    /// A part of a message.
    Part(Part<'b>),
    /// A part of a compressed message: kind, bytes, first, last.
    #[cfg(feature = "deflate")]
    Inflated(Kind, Vec<u8>, bool, bool),
    /// A Ping; it has been answered.
    Ping,
    /// A Pong.
    Pong,
    /// The peer's Close, with code and reason; it has been answered.
    Close(Option<u16>, String),
    /// The peer broke the protocol; it has been told with a Close frame.
    Violation(ProtocolError),
}

/// Input that is incomplete.
#[derive(Debug)]
pub enum Received {
    /// The beginning of a head.
    Head(HeadScanner, Vec<u8>),
    /// A head and the beginning of its body.
    Body(Vec<u8>, BodyDecoder, Vec<u8>),
    /// Bytes that came while a request was with the application, the backlog was high, or reading was paused.
    Kept(Vec<u8>),
    /// The beginning of a frame or message.
    Frames(Incoming),
}

impl Received {
    /// Memory held, in bytes.
    fn charge(&self) -> usize {
        match self {
            Received::Head(_, bytes) | Received::Kept(bytes) => bytes.capacity(),
            Received::Body(head, _, body) => head.capacity() + body.capacity(),
            Received::Frames(incoming) => incoming.charge(),
        }
    }
}

/// The incomplete input of all connections of a loop.
pub type Unfinished = Table<Received>;

/// What few connections have.
#[derive(Debug, Default)]
pub struct Extra {
    /// The topics subscribed to: topic, and place in the topic's list.
    pub topics: Vec<(u32, u32)>,
    /// What a client asked for and must find in the answer.
    #[cfg(any(test, feature = "client"))]
    pub asked: Option<Asked>,
    /// What was agreed about compression, until the WebSocket is open.
    #[cfg(feature = "deflate")]
    pub agreed: Option<negotiation::Agreement>,
    /// Compression that remembers.
    #[cfg(feature = "deflate")]
    pub deflate: Option<Box<deflate::Dedicated>>,
}

/// A client's opening handshake (RFC 6455 §4.1).
#[cfg(any(test, feature = "client"))]
#[derive(Debug)]
pub struct Asked {
    /// The nonce sent.
    pub key: [u8; 16],
    /// The subprotocols offered.
    pub protocols: Vec<String>,
    /// The compression offered.
    #[cfg(feature = "deflate")]
    pub deflate: Option<negotiation::Terms>,
}

/// One peer. See the module's text.
#[derive(Debug)]
pub struct Connection {
    /// Input that is incomplete; absent when idle.
    pub received: Option<Place>,
    /// What waits to be written; absent when idle.
    pub outbox: Option<Box<Outbox>>,
    /// What few connections have.
    pub extra: Option<Box<Extra>>,
    /// The tick at which bytes last came.
    pub last_seen: u32,
    /// Facts.
    pub flags: Flags,
    /// Where it is in its life.
    pub phase: Phase,
}

impl Connection {
    /// A connection that has just come about.
    pub fn new(role: Role, now: u32) -> Self {
        let mut flags = Flags::default();
        flags.set(Flags::CLIENT, role == Role::Client);
        Connection { received: None, outbox: None, extra: None, last_seen: now, flags, phase: Phase::Head }
    }

    /// The part of the connection's state that few have, made when first needed.
    pub fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// The queue of what waits to be written, made when first needed.
    pub fn outbox(&mut self) -> &mut Outbox {
        self.outbox.get_or_insert_with(|| Box::new(Outbox::new(self.flags.take(Flags::SENDS_PARTS))))
    }

    /// True when a frame of a new message may go out at once.
    pub fn nothing_waits(&self) -> bool {
        self.outbox.is_none() && !self.flags.has(Flags::SENDS_PARTS)
    }

    /// Whose frames are written.
    pub fn role(&self) -> Role {
        if self.flags.has(Flags::CLIENT) { Role::Client } else { Role::Server }
    }

    /// Whose frames are read: a client that gets its own frames back reads them as the server would have.
    fn reading(&self) -> Role {
        let plain = self.flags.0 & (Flags::CLIENT | Flags::UNCHECKED) == Flags::CLIENT;
        if plain { Role::Client } else { Role::Server }
    }

    /// Unsent bytes in the backlog.
    pub fn backlog(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.len())
    }

    /// Unsent bytes that may be sent now.
    pub fn sendable(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.sendable())
    }

    /// Memory held by backlog and incomplete input, shared frames not counted.
    pub fn charge(&self, unfinished: &Unfinished) -> usize {
        unfinished.get(&self.received).map_or(0, Received::charge)
            + self.outbox.as_ref().map_or(0, |outbox| outbox.charge())
    }

    /// Moves on; the only place that changes the phase. Called from a dozen places, and not once for a message.
    #[inline(never)]
    pub fn trigger(&mut self, trigger: Trigger, loan: &mut Loan<'_>) {
        let phase = self.phase.after(trigger);
        if phase == self.phase {
            return;
        }
        self.phase = phase;
        match phase {
            Phase::Closing => {
                if let Some(Received::Frames(incoming)) = loan.unfinished.get_mut(&self.received) {
                    incoming.drop_assembly();
                }
            }
            Phase::Ending => drop(loan.unfinished.take(&mut self.received)),
            Phase::Closed => {
                loan.unfinished.take(&mut self.received);
                self.outbox = None;
            }
            _ => {}
        }
    }

    /// The next event in `input`; `None` when everything has been taken.
    pub fn next_event<'b>(&mut self, input: &mut Input<'b>, loan: &mut Loan<'_>) -> Option<Event<'b>> {
        // A peer whose replies pile up is not read, and what has been read of it already waits as well: else one
        // bufferful of small requests could ask for more than the backlog may hold. Likewise where the application
        // has paused it.
        if self.flags.has(Flags::HIGH | Flags::PAUSED)
            && self.received.is_none()
            && matches!(self.phase, Phase::Head | Phase::Open)
        {
            self.keep(input, loan);
            return None;
        }
        match self.phase {
            Phase::Head => self.next_head(input, loan),
            Phase::Body => self.next_body(input, loan),
            Phase::Reply => {
                self.keep(input, loan);
                None
            }
            Phase::Open | Phase::Closing => self.next_arrival(input, loan),
            Phase::Ending | Phase::Closed => {
                input.take(usize::MAX);
                None
            }
        }
    }

    fn next_head<'b>(&mut self, input: &mut Input<'b>, loan: &mut Loan<'_>) -> Option<Event<'b>> {
        if input.is_empty() {
            return None;
        }
        let bounds = head_limits(loan.limits);
        match loan.unfinished.take(&mut self.received) {
            Some(Received::Head(mut scanner, mut bytes)) => {
                let before = bytes.len();
                bytes.extend_from_slice(input.rest());
                match scanner.scan(&bytes, &bounds) {
                    Ok(Some(len)) => {
                        input.take(len - before);
                        bytes.truncate(len);
                        Some(Event::Head(Cow::Owned(bytes)))
                    }
                    Ok(None) => {
                        input.take(usize::MAX);
                        loan.unfinished.put(&mut self.received, Received::Head(scanner, bytes));
                        None
                    }
                    Err(error) => Some(Event::BadHead(error)),
                }
            }
            _ => {
                let mut scanner = self.scanner();
                match scanner.scan(input.rest(), &bounds) {
                    Ok(Some(len)) => Some(Event::Head(Cow::Borrowed(input.take(len)))),
                    Ok(None) => {
                        let bytes = input.take(usize::MAX).to_vec();
                        loan.unfinished.put(&mut self.received, Received::Head(scanner, bytes));
                        None
                    }
                    Err(error) => Some(Event::BadHead(error)),
                }
            }
        }
    }

    fn scanner(&self) -> HeadScanner {
        #[cfg(any(test, feature = "client"))]
        if self.role() == Role::Client {
            return HeadScanner::response();
        }
        HeadScanner::default()
    }

    /// Waits for the body that `head` announced.
    pub fn expect_body(&mut self, head: Vec<u8>, decoder: BodyDecoder, loan: &mut Loan<'_>) {
        loan.unfinished.put(&mut self.received, Received::Body(head, decoder, Vec::new()));
        self.trigger(Trigger::BodyAhead, loan);
    }

    fn next_body<'b>(&mut self, input: &mut Input<'b>, loan: &mut Loan<'_>) -> Option<Event<'b>> {
        let received = loan.unfinished.get_mut(&self.received);
        let Some(Received::Body(_, decoder, body)) = received else { return None };
        let rest = input.rest();
        let mut cursor = rest;
        let result = loop {
            match decoder.decode(&mut cursor) {
                Ok(BodyEvent::Piece(piece)) => body.extend_from_slice(piece),
                Ok(BodyEvent::NeedMore) => break Ok(false),
                Ok(BodyEvent::End) => break Ok(true),
                Err(error) => break Err(error),
            }
        };
        let taken = rest.len() - cursor.len();
        input.take(taken);
        match result {
            Ok(false) => None,
            Err(error) => Some(Event::BadBody(error)),
            Ok(true) => match loan.unfinished.take(&mut self.received) {
                Some(Received::Body(head, _, body)) => Some(Event::Request { head, body }),
                _ => None,
            },
        }
    }

    /// Keeps what comes while it cannot be looked at.
    fn keep(&mut self, input: &mut Input<'_>, loan: &mut Loan<'_>) {
        let bytes = input.take(usize::MAX);
        if bytes.is_empty() {
            return;
        }
        match loan.unfinished.get_mut(&self.received) {
            Some(Received::Kept(kept)) => kept.extend_from_slice(bytes),
            _ => loan.unfinished.put(&mut self.received, Received::Kept(bytes.to_vec())),
        }
    }

    /// Bytes kept while a request was with the application, the backlog was high, or reading was paused.
    pub fn kept(&self, unfinished: &Unfinished) -> usize {
        match unfinished.get(&self.received) {
            Some(Received::Kept(kept)) => kept.len(),
            #[cfg(feature = "deflate")]
            Some(Received::Frames(_)) => self.put_off(unfinished),
            _ => 0,
        }
    }

    /// Takes out what [`Connection::kept`] counts, to read it now.
    pub fn take_kept(&mut self, unfinished: &mut Unfinished) -> Option<Vec<u8>> {
        let kept = match unfinished.get_mut(&self.received)? {
            Received::Kept(kept) => std::mem::take(kept),
            #[cfg(feature = "deflate")]
            Received::Frames(incoming) => {
                let unread = incoming.take_unread();
                if !incoming.is_idle() {
                    return Some(unread);
                }
                unread
            }
            _ => return None,
        };
        unfinished.take(&mut self.received);
        Some(kept)
    }

    /// True for an open WebSocket of which nothing incomplete is kept: without more input nothing comes of it.
    #[inline]
    pub fn is_between_messages(&self) -> bool {
        self.phase == Phase::Open && self.received.is_none()
    }

    /// Kind and bytes of the next message of `input`, where it lies there whole and nothing stands in its way. So do most:
    /// nothing is kept, nothing allocated, and no sum changes. `None`, and nothing taken, for everything else, good or bad.
    /// `short_fit`: no limit keeps a message of up to 125 bytes from coming whole.
    #[inline]
    pub fn next_whole<'b>(
        &self,
        input: &mut Input<'b>,
        limits: &Limits,
        short_fit: bool,
    ) -> Option<Result<(Kind, &'b [u8]), ProtocolError>> {
        if !self.is_between_messages() {
            return None;
        }
        let server = short_fit && !self.flags.has(Flags::HIGH | Flags::PAUSED | Flags::CLIENT);
        let short = if server { frame::take_short(input) } else { None };
        let (opcode, payload, ascii) = match short {
            Some(short) => short,
            None => self.next_less_short(input, limits)?,
        };
        let kind = if opcode == Opcode::Text { Kind::Text } else { Kind::Binary };
        let good = kind == Kind::Binary || ascii || utf8::is_text(payload);
        Some(if good { Ok((kind, payload)) } else { Err(ProtocolError::BadText) })
    }

    #[inline(never)]
    fn next_less_short<'b>(
        &self,
        input: &mut Input<'b>,
        limits: &Limits,
    ) -> Option<(Opcode, &'b mut [u8], bool)> {
        if self.flags.has(Flags::HIGH | Flags::PAUSED) {
            return None;
        }
        let parts = self.flags.has(Flags::PARTS);
        let most = if parts { limits.streamed_message_max } else { limits.message_max as u64 };
        let (opcode, payload) = frame::take_whole(input, self.reading(), limits.frame_max.min(most))?;
        Some((opcode, payload, false))
    }

    fn next_arrival<'b>(&mut self, input: &mut Input<'b>, loan: &mut Loan<'_>) -> Option<Event<'b>> {
        if input.is_empty() {
            return None;
        }
        let rules = self.rules(loan.limits);
        // What is complete is looked at where it lies; only what is not gets a place of its own.
        let mut fresh = Incoming::default();
        let incoming = match loan.unfinished.get_mut(&self.received) {
            None => &mut fresh,
            Some(Received::Frames(incoming)) => incoming,
            Some(_) => return None,
        };
        #[cfg(not(feature = "deflate"))]
        let arrival = incoming.next(input, &rules, loan.memory);
        #[cfg(feature = "deflate")]
        let arrival = if self.flags.has(Flags::DEFLATE) {
            self.next_inflated(incoming, input, &rules, loan.codecs)
        } else {
            incoming.next(input, &rules, loan.memory)
        };
        match (incoming.is_idle(), self.received.is_some()) {
            (true, true) => drop(loan.unfinished.take(&mut self.received)),
            (false, false) => loan.unfinished.put(&mut self.received, Received::Frames(fresh)),
            _ => {}
        }
        self.event(arrival, loan)
    }

    /// How long a place the bytes that come next may have, if they belong to a long message as they are.
    pub fn place_len(&self, room: usize, unfinished: &Unfinished, limits: &Limits) -> Option<usize> {
        let Some(Received::Frames(incoming)) = unfinished.get(&self.received) else { return None };
        let len = incoming.place_len(room, limits.scratch_bytes / PLACE_SHARE);
        len.filter(|_| self.phase == Phase::Open)
    }

    /// Makes that place, in which nothing has come yet.
    pub fn make_place(&mut self, len: usize, loan: &mut Loan<'_>) {
        let Some(Received::Frames(incoming)) = loan.unfinished.get_mut(&self.received) else { return };
        incoming.make_place(len, loan.memory);
    }

    /// How much is still to come of a long data frame, where another frame of its message follows.
    pub fn fragment_left(&self, unfinished: &Unfinished, limits: &Limits) -> Option<usize> {
        let Some(Received::Frames(incoming)) = unfinished.get(&self.received) else { return None };
        Some(incoming.fragment_left()).filter(|&left| left >= limits.scratch_bytes / PLACE_SHARE)
    }

    /// The place of so many bytes that has just been made.
    pub fn place<'u>(&self, len: usize, unfinished: &'u mut Unfinished) -> &'u mut [u8] {
        let Some(Received::Frames(incoming)) = unfinished.get_mut(&self.received) else { return &mut [] };
        incoming.place(len)
    }

    /// What comes of `len` bytes in the place.
    pub fn arrived_in_place(&mut self, len: usize, loan: &mut Loan<'_>) -> Option<Event<'static>> {
        let received = loan.unfinished.get_mut(&self.received);
        let Some(Received::Frames(incoming)) = received else { return None };
        let arrival = incoming.arrived_in_place(len);
        if incoming.is_idle() {
            loan.unfinished.take(&mut self.received);
        }
        self.event(arrival, loan)
    }

    /// What follows from an arrival: control frames are answered here.
    fn event<'b>(
        &mut self,
        arrival: Result<Option<Arrival<'b>>, ProtocolError>,
        loan: &mut Loan<'_>,
    ) -> Option<Event<'b>> {
        match arrival {
            Ok(None) => None,
            Ok(Some(Arrival::Message(message))) => Some(Event::Message(message)),
            Ok(Some(Arrival::Part(part))) => Some(Event::Part(part)),
            #[cfg(feature = "deflate")]
            Ok(Some(Arrival::Inflated { kind, bytes, first, last })) => {
                Some(Event::Inflated(kind, bytes, first, last))
            }
            Ok(Some(Arrival::Pong)) => Some(Event::Pong),
            Ok(Some(Arrival::Ping(payload))) => {
                // RFC 6455 §5.5.2: answer, unless a Close has been received; after our own Close we send nothing.
                if self.phase == Phase::Open {
                    self.control(Opcode::Pong, &payload, loan);
                }
                Some(Event::Ping)
            }
            Ok(Some(Arrival::Close(code, reason))) => {
                self.flags.set(Flags::CLOSE_RECEIVED, true);
                if !self.flags.has(Flags::CLOSE_SENT) {
                    // RFC 6455 §5.5.1: "the endpoint typically echos the status code it received".
                    self.write_close(code, "", loan);
                }
                self.trigger(Trigger::CloseReceived, loan);
                Some(Event::Close(code, reason))
            }
            Err(error) => Some(self.violate(error, loan)),
        }
    }

    fn rules(&self, limits: &Limits) -> Rules {
        Rules {
            role: self.reading(),
            message_max: limits.message_max as u64,
            streamed_message_max: limits.streamed_message_max,
            frame_max: limits.frame_max,
            fragments_max: limits.fragments_max,
            parts: self.flags.has(Flags::PARTS),
            discard: self.phase != Phase::Open,
            #[cfg(feature = "deflate")]
            inflate_ratio_max: limits.inflate_ratio_max as u64,
        }
    }

    /// RFC 6455 §7.1.7: tell the peer why, then fail the connection.
    pub fn violate<'b>(&mut self, error: ProtocolError, loan: &mut Loan<'_>) -> Event<'b> {
        if !self.flags.has(Flags::CLOSE_SENT) {
            self.write_close(Some(error.close_code()), error.text(), loan);
        }
        self.trigger(Trigger::Last, loan);
        Event::Violation(error)
    }

    /// Begins the closing handshake (RFC 6455 §7.1.2) behind everything queued; false when the WebSocket is not open.
    pub fn close(&mut self, code: u16, reason: &str, loan: &mut Loan<'_>) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        self.write_close(Some(code), reason, loan);
        self.trigger(Trigger::CloseSent, loan);
        true
    }

    fn write_close(&mut self, code: Option<u16>, reason: &str, loan: &mut Loan<'_>) {
        let (bytes, len) = code.map_or(([0; frame::CONTROL_MAX], 0), |code| close::payload(code, reason));
        self.flags.set(Flags::CLOSE_SENT, true);
        self.flags.set(Flags::SENDS_PARTS, false);
        if let Some(outbox) = &mut self.outbox {
            outbox.abandon_parts();
        }
        let key = self.key(loan.rng);
        self.write(loan, len, |out| frame::append(out, true, Opcode::Close, &bytes[..len], key));
    }

    /// A masking key where we are the client (RFC 6455 §5.3).
    fn key(&self, rng: &mut Rng) -> Option<[u8; 4]> {
        (self.role() == Role::Client).then(|| (rng.next_u64() as u32).to_ne_bytes())
    }

    /// Queues what `append` appends, about `len` bytes: in the loop's write buffer if that is lent and has room,
    /// else behind the backlog.
    pub fn write(&mut self, loan: &mut Loan<'_>, len: usize, append: impl FnOnce(&mut Vec<u8>)) {
        match &mut loan.cork {
            Some(cork) if self.nothing_waits() && cork.has_room(len, loan.limits) => {
                cork.append(append);
            }
            _ => self.outbox().append(append),
        }
    }

    /// Queues a Ping or Pong before all data that has not been begun; of Pongs only the latest waits
    /// (RFC 6455 §5.5.3).
    pub fn control(&mut self, opcode: Opcode, payload: &[u8], loan: &mut Loan<'_>) {
        let key = self.key(loan.rng);
        match &mut loan.cork {
            Some(cork) if self.outbox.is_none() && cork.has_room(payload.len(), loan.limits) => {
                cork.append(|out| frame::append(out, true, opcode, payload, key));
            }
            // Also where the loop's write buffer is full: as ordinary data it would come behind a later one.
            _ => {
                let mut bytes = Vec::new();
                frame::append(&mut bytes, true, opcode, payload, key);
                self.outbox().urgent(&bytes, opcode == Opcode::Pong);
            }
        }
    }

    /// Queues a message, in fragments if it is long; true when there are several.
    pub fn send(&mut self, message: Message<'_>, loan: &mut Loan<'_>) -> bool {
        let opcode = opcode(message.kind);
        #[cfg(feature = "deflate")]
        if let Some(packed) = self.pack(&message, loan) {
            return self.send_packed(opcode, packed, loan);
        }
        let long = message.len() > loan.limits.fragment_bytes;
        match message.payload {
            Cow::Owned(payload) if long || payload.len() > loan.limits.cork_bytes / 2 => {
                self.send_long(opcode, payload, 0, loan)
            }
            payload if long => self.send_long(opcode, payload.into_owned(), 0, loan),
            payload => {
                let key = self.key(loan.rng);
                self.write(loan, payload.len(), |out| frame::append(out, true, opcode, &payload, key));
                false
            }
        }
    }

    /// Queues a long message where it lies, with the headers of its fragments between: nothing is copied. The first of them
    /// gets these reserved bits.
    fn send_long(&mut self, opcode: Opcode, mut payload: Vec<u8>, reserved: u8, loan: &mut Loan<'_>) -> bool {
        // Room that the application left over would count as ours.
        payload.shrink_to_fit();
        let chunks = payload.chunks_mut(loan.limits.fragment_bytes).map(|chunk| {
            let key = self.key(loan.rng);
            if let Some(key) = key {
                mask::apply(key, chunk);
            }
            (chunk.len(), key)
        });
        let chunks: Vec<_> = chunks.collect();
        let payload = SharedFrame::new(payload, loan.memory);
        let outbox = self.outbox();
        let mut start = 0;
        for (i, &(len, key)) in chunks.iter().enumerate() {
            let (fin, opcode) = (i + 1 == chunks.len(), if i == 0 { opcode } else { Opcode::Continuation });
            let (mut header, size) = Header { fin, opcode, key, len: len as u64 }.encode();
            header[0] |= if i == 0 { reserved } else { 0 };
            outbox.append_lying(&header[..size], &payload, start..start + len);
            start += len;
        }
        chunks.len() > 1
    }

    /// Queues one fragment of a message; other messages wait until its last.
    pub fn send_part(&mut self, kind: Kind, bytes: &[u8], last: bool, loan: &mut Loan<'_>) {
        let key = self.key(loan.rng);
        let outbox = self.outbox();
        let opcode = if outbox.in_parts() { Opcode::Continuation } else { opcode(kind) };
        outbox.append_part(last, |out| frame::append(out, last, opcode, bytes, key));
    }

    /// Queues frames that others get too; a client's copy is masked and its own.
    pub fn send_shared(
        &mut self,
        frames: &[SharedFrame],
        message: &Message<'_>,
        tag: u32,
        loan: &mut Loan<'_>,
    ) {
        if self.role() == Role::Client {
            self.send(message.borrowed(), loan);
            return;
        }
        let outbox = self.outbox();
        // A message in several frames must stay together, so it is never replaced; nor may a later one go before it.
        let tag = if frames.len() == 1 {
            tag
        } else {
            outbox.settle_tag(tag);
            0
        };
        for frame in frames {
            outbox.append_shared(frame, tag);
        }
    }
}

/// The head's share of the limits.
pub fn head_limits(limits: &Limits) -> HeadLimits {
    HeadLimits { head_max: limits.head_max, target_max: limits.target_max, headers_max: limits.headers_max }
}
