//! What a scripted client hears, held against what it is owed: frames in the server's form, echoes in their order,
//! sequence numbers without gaps, one answer per request.
//!
//! Refuses to know the line. Invariant: what is not owed is a defect of the server, and panics.

use std::collections::VecDeque;

#[cfg(feature = "deflate")]
use super::packer::Packer;
use super::script::TOPICS;
use crate::conn::message::Kind;
use crate::wire::body::{BodyDecoder, BodyEvent};
use crate::wire::close;
#[cfg(feature = "deflate")]
use crate::wire::frame::RSV1;
use crate::wire::frame::{HEADER_MAX, Header, Opcode, Role};
#[cfg(feature = "deflate")]
use crate::wire::handshake::check_deflate;
use crate::wire::handshake::{Key, check_accept};
use crate::wire::head::{BodyLength, HeadLimits, parse_response};

/// What the server owes for a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Expect {
    /// The message.
    Echo(Kind, Vec<u8>),
    /// Its length and digest, as it was taken in parts.
    Digest(usize, u64),
}

/// What the server owes for a request.
#[derive(Debug)]
pub struct Answer {
    pub body: Vec<u8>,
    pub bodiless: bool,
}

/// A sum over bytes that knows their order (FNV-1a).
pub fn digest(bytes: &[u8]) -> u64 {
    digest_on(0xcbf2_9ce4_8422_2325, bytes)
}

/// The digest of what was digested to `sum`, and `bytes`.
pub fn digest_on(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// What a peer knows of a topic.
#[derive(Clone, Copy, Debug, Default)]
struct Hearing {
    subscribed: bool,
    last: u64,
}

#[derive(Debug)]
enum Mode {
    Http,
    Upgrade(Key),
    Frames,
}

/// The receiving half of a client.
#[derive(Debug)]
pub struct Ear {
    pub number: usize,
    pub buffer: Vec<u8>,
    mode: Mode,
    /// Does not wait for answers.
    pub eager: bool,
    pub expected: VecDeque<Expect>,
    pub answers: VecDeque<Answer>,
    /// The status that refused us, if one did.
    pub refused: Option<u16>,
    /// An answer said that the connection ends after it.
    pub let_go: bool,
    /// Messages that the application sent by itself.
    pub direct: u64,
    pub published: u64,
    topics: [Hearing; TOPICS as usize],
    message: Option<(Kind, Vec<u8>)>,
    /// That message is compressed.
    #[cfg(feature = "deflate")]
    packed: bool,
    /// What was offered for compression.
    #[cfg(feature = "deflate")]
    pub packer: Option<Packer>,
    /// Pings to be answered.
    pub pings: Vec<Vec<u8>>,
    pings_sent: u64,
    last_pong: Option<u64>,
    /// The server's Close has come, with this code.
    pub closed: Option<Option<u16>>,
}

impl Ear {
    pub fn new(number: usize) -> Self {
        Ear {
            number,
            buffer: Vec::new(),
            mode: Mode::Http,
            eager: false,
            expected: VecDeque::new(),
            answers: VecDeque::new(),
            refused: None,
            let_go: false,
            direct: 0,
            published: 0,
            topics: [Hearing::default(); TOPICS as usize],
            message: None,
            #[cfg(feature = "deflate")]
            packed: false,
            #[cfg(feature = "deflate")]
            packer: None,
            pings: Vec::new(),
            pings_sent: 0,
            last_pong: None,
            closed: None,
        }
    }

    pub fn expect_http(&mut self) {
        self.mode = Mode::Http;
    }

    pub fn expect_upgrade(&mut self, key: Key) {
        self.mode = Mode::Upgrade(key);
    }

    pub fn is_open(&self) -> bool {
        matches!(self.mode, Mode::Frames)
    }

    /// True when nothing was cut off in the middle.
    pub fn is_whole(&self) -> bool {
        self.buffer.is_empty() && self.message.is_none()
    }

    /// The payload of a new Ping.
    pub fn next_ping(&mut self) -> Vec<u8> {
        self.pings_sent += 1;
        self.pings_sent.to_string().into_bytes()
    }

    /// Takes in what has arrived.
    pub fn hear(&mut self) {
        let bytes = std::mem::take(&mut self.buffer);
        let mut rest = &bytes[..];
        loop {
            let before = rest.len();
            match &self.mode {
                Mode::Frames => self.hear_frame(&mut rest),
                Mode::Http | Mode::Upgrade(_) => self.hear_answer(&mut rest),
            }
            if rest.len() == before {
                break;
            }
        }
        self.buffer = rest.to_vec();
    }

    /// The stream has ended. What is left then was cut off.
    pub fn finish(&mut self) {
        if let Mode::Frames = self.mode
            && self.closed.is_some()
        {
            assert!(self.buffer.is_empty(), "{}: bytes behind the server's Close", self.number);
        }
    }

    fn hear_answer(&mut self, rest: &mut &[u8]) {
        let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else {
            assert!(rest.len() < 16_384, "{}: an endless head", self.number);
            return;
        };
        let (head, after) = rest.split_at(end);
        let mut room = [httparse::EMPTY_HEADER; 32];
        let limits = HeadLimits { head_max: 16_384, target_max: 16_384, headers_max: 32 };
        let response = parse_response(head, &mut room, &limits).unwrap_or_else(|error| {
            panic!("{}: {error}: {:?}", self.number, head.escape_ascii().to_string())
        });
        if response.status == 100 {
            *rest = after;
            return;
        }
        if response.status == 101 {
            let Mode::Upgrade(key) = &self.mode else { panic!("{}: 101 unasked for", self.number) };
            #[cfg(feature = "deflate")]
            if let Some(packer) = &mut self.packer {
                let agreed = check_deflate(&response, key, &[], packer.terms);
                packer.agree(agreed.unwrap_or_else(|error| panic!("{}: {error}", self.number)));
                self.mode = Mode::Frames;
                *rest = after;
                return;
            }
            check_accept(&response, key, &[]).unwrap_or_else(|error| panic!("{}: {error}", self.number));
            self.mode = Mode::Frames;
            *rest = after;
            return;
        }
        let fields = response.fields();
        let length = fields.single("content-length").ok().flatten();
        let ends = fields.has_token("connection", "close");
        // A HEAD has no body in answer, whatever became of it. Who is refused before his request is known is told why in one.
        let answered = matches!(response.status, 200 | 429 | 500);
        let bodiless = answered && self.answers.front().is_some_and(|answer| answer.bodiless);
        let length = match length {
            _ if bodiless => BodyLength::None,
            Some(text) => BodyLength::Length(String::from_utf8_lossy(text).parse().unwrap_or(u64::MAX)),
            None => BodyLength::Chunked,
        };
        let Some((body, len)) = whole_body(after, length) else { return };
        self.judge(response.status, &body);
        self.let_go |= ends;
        *rest = &after[len..];
    }

    fn judge(&mut self, status: u16, body: &[u8]) {
        if status == 429 {
            // The application had no timer left; the connection goes on.
            assert!(self.answers.pop_front().is_some(), "{}: nothing to put off", self.number);
            return;
        }
        if status != 200 {
            assert!(
                self.refused.is_none(),
                "{}: refused twice: {:?} then {status} {:?}",
                self.number,
                self.refused,
                String::from_utf8_lossy(body)
            );
            self.refused = Some(status);
            return;
        }
        let Some(answer) = self.answers.pop_front() else {
            panic!("{}: an answer without a request", self.number)
        };
        let expected = if answer.bodiless { &[][..] } else { &answer.body };
        assert!(
            expected.starts_with(body),
            "{}: wrong body, {} bytes: {:?} for {:?}",
            self.number,
            body.len(),
            String::from_utf8_lossy(body),
            String::from_utf8_lossy(expected)
        );
        if body.len() < expected.len() {
            // A stream that was ended by a limit.
            self.refused = Some(200);
        }
    }

    fn hear_frame(&mut self, rest: &mut &[u8]) {
        let mut start = [0; HEADER_MAX];
        let known = rest.len().min(HEADER_MAX);
        start[..known].copy_from_slice(&rest[..known]);
        #[cfg(feature = "deflate")]
        if self.packer.is_some() && matches!(start[0] & 0x7f, 0x41 | 0x42) {
            start[0] &= !RSV1;
        }
        let header = Header::parse(&start[..known], Role::Client).unwrap_or_else(|error| {
            panic!("{}: {error:?} in {:02x?}", self.number, &rest[..rest.len().min(40)])
        });
        let Some((header, start)) = header else { return };
        let end = start + header.len as usize;
        if rest.len() < end {
            return;
        }
        assert!(self.closed.is_none(), "{}: {:?} behind the server's Close", self.number, header.opcode);
        #[cfg(feature = "deflate")]
        if matches!(header.opcode, Opcode::Text | Opcode::Binary) {
            self.packed = rest[0] & RSV1 != 0;
        }
        let payload = &rest[start..end];
        *rest = &rest[end..];
        match header.opcode {
            Opcode::Ping => self.pings.push(payload.to_vec()),
            Opcode::Pong => self.hear_pong(payload),
            Opcode::Close => {
                let (code, _) = close::parse(payload).unwrap_or_else(|e| panic!("{}: {e:?}", self.number));
                self.closed = Some(code);
            }
            opcode => self.hear_data(opcode, header.fin, payload),
        }
    }

    fn hear_pong(&mut self, payload: &[u8]) {
        let number: u64 = String::from_utf8_lossy(payload).parse().unwrap_or(u64::MAX);
        // RFC 6455 §5.5.3: of several Pings, only the latest need be answered.
        let newer = self.last_pong.is_none_or(|last| last < number) && number <= self.pings_sent;
        assert!(newer, "{}: Pong {number} after {:?}", self.number, self.last_pong);
        self.last_pong = Some(number);
    }

    fn hear_data(&mut self, opcode: Opcode, fin: bool, payload: &[u8]) {
        let (kind, mut message) = match (opcode, self.message.take()) {
            (Opcode::Continuation, Some(begun)) => begun,
            (Opcode::Text, None) => (Kind::Text, Vec::new()),
            (Opcode::Binary, None) => (Kind::Binary, Vec::new()),
            (opcode, begun) => panic!("{}: {opcode:?} with {begun:?} begun", self.number),
        };
        message.extend_from_slice(payload);
        if !fin {
            self.message = Some((kind, message));
            return;
        }
        #[cfg(feature = "deflate")]
        if let Some(packer) = &mut self.packer
            && self.packed
        {
            message = packer.unpack(&message);
        }
        assert!(kind == Kind::Binary || std::str::from_utf8(&message).is_ok(), "{}: bad text", self.number);
        match message.first() {
            Some(b'B') => self.hear_published(&message),
            Some(b'N') => {}
            Some(b'A'..=b'Z') => self.hear_direct(&message),
            _ => {
                let expected = self.expected.pop_front();
                let matches = matches!(&expected, Some(Expect::Echo(k, p)) if *k == kind && *p == message);
                assert!(
                    matches,
                    "{}: an echo of {} bytes that is not the next\nhas   {:?}\nafter {:?}",
                    self.number,
                    message.len(),
                    (kind, String::from_utf8_lossy(&message)),
                    (expected, self.expected.iter().take(3).collect::<Vec<_>>())
                );
            }
        }
    }

    /// `B<topic>:<number>:…`
    fn hear_published(&mut self, message: &[u8]) {
        self.published += 1;
        let [topic, number] = numbers(message);
        let hearing = &mut self.topics[topic as usize];
        if is_lossless(topic) {
            assert!(hearing.subscribed, "{}: topic {topic} without a subscription", self.number);
            assert_eq!(number, hearing.last + 1, "{}: a gap in topic {topic}", self.number);
        } else {
            assert!(number > hearing.last, "{}: topic {topic} runs backwards", self.number);
        }
        hearing.last = number;
    }

    /// `<letter><number>:…`, numbered for this connection.
    fn hear_direct(&mut self, message: &[u8]) {
        let [number, a, b] = numbers(message);
        self.direct += 1;
        assert_eq!(number, self.direct, "{}: a gap in what the application sent", self.number);
        match message[0] {
            b'S' => {
                self.topics[a as usize] =
                    Hearing { subscribed: true, last: self.topics[a as usize].last.max(b) }
            }
            b'U' => {
                let hearing = &mut self.topics[a as usize];
                let all = !is_lossless(a) || hearing.last == b;
                assert!(all, "{}: unsubscribed at {b} but heard {}", self.number, hearing.last);
                hearing.subscribed = false;
            }
            b'H' => {
                let expected = self.expected.pop_front();
                assert_eq!(expected, Some(Expect::Digest(a as usize, b)), "{}: parts", self.number);
            }
            b'R' => assert!(self.expected.pop_front().is_some(), "{}: nothing to refuse", self.number),
            _ => {}
        }
    }
}

impl std::fmt::Display for Ear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ear { buffer, eager, refused, let_go, direct, closed, .. } = self;
        write!(f, "unparsed {}, eager {eager}, refused {refused:?}, let go {let_go}, ", buffer.len())?;
        write!(f, "direct {direct}, Close {closed:?}, open {}, ", self.is_open())?;
        write!(f, "owed {} messages and {} answers", self.expected.len(), self.answers.len())
    }
}

/// Topics whose publications are dropped or replaced for slow subscribers come last.
pub fn is_lossless(topic: u64) -> bool {
    topic < TOPICS - 2
}

/// The numbers behind the first byte, between colons.
fn numbers<const N: usize>(message: &[u8]) -> [u64; N] {
    let mut fields = message[1..].split(|&byte| byte == b':');
    [(); N].map(|()| {
        fields.next().and_then(|field| std::str::from_utf8(field).ok()?.parse().ok()).unwrap_or_default()
    })
}

/// A body that lies whole at the beginning of `bytes`, and the bytes it takes there.
fn whole_body(bytes: &[u8], length: BodyLength) -> Option<(Vec<u8>, usize)> {
    let mut decoder = BodyDecoder::new(length, u64::MAX).ok()?;
    let (mut rest, mut body) = (bytes, Vec::new());
    loop {
        match decoder.decode(&mut rest).unwrap_or_else(|error| panic!("{error} in an answer")) {
            BodyEvent::Piece(piece) => body.extend_from_slice(piece),
            BodyEvent::NeedMore => return None,
            BodyEvent::End => return Some((body, bytes.len() - rest.len())),
        }
    }
}
