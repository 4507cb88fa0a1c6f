//! Scripted clients: what they want, how fast they send and read, and how they go wrong.
//!
//! Refuses to know the loop. Invariant: a healthy peer keeps every rule of HTTP and RFC 6455, reads, and answers.

pub mod ear;
#[cfg(feature = "deflate")]
pub mod packer;
pub mod script;
pub mod veil;

use std::time::Duration;

use self::ear::{Ear, Expect};
use self::veil::Veil;
use super::faults::Fault;
use super::wire::{End, Line, Peer};
use crate::ground::rng::Rng;
use crate::wire::frame::Opcode;

/// What a peer is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Sends messages and wants them back.
    Echo,
    /// Subscribes and listens.
    Listener,
    /// Uses everything that the application offers.
    Chatter,
    /// Plain requests on one connection.
    Http,
    /// Breaks a rule.
    Misfit(Misfit),
}

/// How a peer breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Misfit {
    Garbage,
    SlowHandshake,
    SlowBody,
    TlsHello,
    BadRequest,
    BadBody,
    BadFrame,
    BadText,
    Oversize,
    ManyFragments,
    NoCloseAnswer,
    DeafToPings,
    DataAfterClose,
    HalfMessage,
}

/// All of them.
pub const MISFITS: [Misfit; 14] = [
    Misfit::Garbage,
    Misfit::SlowHandshake,
    Misfit::SlowBody,
    Misfit::TlsHello,
    Misfit::BadRequest,
    Misfit::BadBody,
    Misfit::BadFrame,
    Misfit::BadText,
    Misfit::Oversize,
    Misfit::ManyFragments,
    Misfit::NoCloseAnswer,
    Misfit::DeafToPings,
    Misfit::DataAfterClose,
    Misfit::HalfMessage,
];

/// How bytes are put on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As they come.
    Whole,
    /// In pieces of up to so many bytes.
    Pieces(u64),
    /// One at a time.
    Dribble,
}

/// How bytes are taken from the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// All, at once.
    Prompt,
    /// Up to so many bytes per interval.
    Slow(usize, Duration),
}

/// What happens to a peer when it has sent so many messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It resets the connection.
    Reset,
    /// It ends its half and goes on reading.
    HalfClose,
    /// It ends its stream and its reading, without a Close.
    Leave,
    /// It stops reading, until this long has passed or for ever.
    Stall(Option<Duration>),
    /// It is gone.
    Vanish,
}

/// Where a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Hello,
    Talk,
    /// All has been said; the server ends the connection.
    AwaitEnd,
    Done,
}

/// A scripted client.
#[derive(Debug)]
pub struct Client {
    pub nature: Nature,
    /// What the server's limits allow, as far as a peer must know.
    pub message_max: usize,
    /// Its pipes hold little, so that everything takes long.
    pub narrow: bool,
    pub pace: Pace,
    pub reading: Reading,
    pub trouble: Option<(u32, Trouble)>,
    /// Messages or requests still to be sent.
    pub left: u32,
    said: u32,
    pub rng: Rng,
    out: Vec<u8>,
    /// Its end of TLS, and what that made of `out`.
    pub veil: Option<Veil>,
    sealed: Vec<u8>,
    /// It speaks no TLS where that is spoken, and does not understand a word.
    pub raw: bool,
    sent: usize,
    stage: Stage,
    pause_until: Duration,
    stalled: Option<Duration>,
    close_sent: bool,
    pub ear: Ear,
    pub end: Option<End>,
}

/// Expectations that may be open at once.
const WINDOW: usize = 40;

impl Client {
    pub fn new(number: usize, nature: Nature, messages: u32, message_max: usize, seed: u64) -> Self {
        Client {
            nature,
            message_max,
            narrow: false,
            pace: Pace::Whole,
            reading: Reading::Prompt,
            trouble: None,
            left: messages,
            said: 0,
            rng: Rng::new(seed),
            out: Vec::new(),
            veil: None,
            sealed: Vec::new(),
            raw: false,
            sent: 0,
            stage: Stage::Hello,
            pause_until: Duration::ZERO,
            stalled: None,
            close_sent: false,
            ear: Ear::new(number),
            end: None,
        }
    }

    /// True when the server owes this peer everything.
    pub fn is_healthy(&self) -> bool {
        self.trouble.is_none() && !matches!(self.nature, Nature::Misfit(_))
    }

    /// True when the peer will do nothing more.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// True when everything that was promised has been received and the connection has ended in order.
    pub fn is_content(&self) -> bool {
        let said_all = self.left == 0 && self.ear.expected.is_empty() && self.ear.answers.is_empty();
        let closed = self.nature == Nature::Http || (self.close_sent && self.ear.closed.is_some());
        // An end without `close_notify` might be anybody's doing.
        let over = self.veil.as_ref().is_none_or(Veil::is_over);
        self.end == Some(End::Clean) && said_all && closed && over && self.ear.is_whole()
    }

    fn listen(&mut self, line: &mut Line<'_>) -> Option<Duration> {
        if let Some(until) = self.stalled {
            if until > line.now() {
                return (until < Duration::MAX).then_some(until);
            }
            self.stalled = None;
        }
        let (most, next) = match self.reading {
            Reading::Prompt => (usize::MAX, None),
            Reading::Slow(bytes, interval) => (bytes, Some(line.now() + interval)),
        };
        self.receive(line, most);
        next.filter(|_| line.has_bytes())
    }

    fn receive(&mut self, line: &mut Line<'_>, most: usize) {
        if self.raw || self.veil.is_some() {
            let mut bytes = Vec::new();
            line.receive(&mut bytes, most);
            if let Some(veil) = &mut self.veil {
                let opened = veil.open(&mut bytes, &mut self.ear.buffer);
                assert!(
                    opened || matches!(self.nature, Nature::Misfit(_)),
                    "the server has broken TLS: {self}"
                );
            }
        } else {
            line.receive(&mut self.ear.buffer, most);
        }
        self.ear.hear();
    }

    /// Bytes to be put on the line, through TLS where that is spoken.
    fn unsent(&mut self) -> &[u8] {
        if let Some(veil) = &mut self.veil {
            let at = self.sealed.len();
            veil.seal(&mut self.out, &mut self.sealed);
            let spoils = self.nature == Nature::Misfit(Misfit::BadText) && self.left == 0;
            if spoils
                && veil.is_open()
                && self.sealed.len() > at
                && let Some(last) = self.sealed.last_mut()
            {
                *last ^= 1;
            }
            return &self.sealed[self.sent..];
        }
        &self.out[self.sent..]
    }

    /// Answers what arrives by itself: Pings, and the server's Close.
    fn react(&mut self) {
        let deaf = self.nature == Nature::Misfit(Misfit::DeafToPings);
        for ping in std::mem::take(&mut self.ear.pings) {
            if !deaf && !self.close_sent {
                self.frame(true, Opcode::Pong, &ping);
            }
        }
        let mute = self.nature == Nature::Misfit(Misfit::NoCloseAnswer);
        if let Some(code) = self.ear.closed
            && !self.close_sent
            && !mute
        {
            // RFC 6455 §5.5.1: an endpoint may finish the message it is sending, nothing more.
            let payload = code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec());
            self.frame(true, Opcode::Close, &payload);
            self.close_sent = true;
            self.stage = Stage::AwaitEnd;
        }
    }

    fn speak(&mut self, line: &mut Line<'_>) -> Option<Duration> {
        loop {
            loop {
                let len = self.unsent().len();
                if len == 0 {
                    break;
                }
                let most = match self.pace {
                    Pace::Whole => len,
                    Pace::Pieces(most) => 1 + self.rng.below(most) as usize,
                    // Long messages would take hours.
                    Pace::Dribble => {
                        if self.sent < 150 {
                            1
                        } else {
                            900
                        }
                    }
                };
                let len = line.send(&self.unsent()[..most.min(len)]);
                self.sent += len;
                if len == 0 {
                    return None; // The server's reading wakes us.
                }
                if self.pace != Pace::Whole && !self.unsent().is_empty() {
                    return Some(line.now() + Duration::from_micros(self.rng.below(3_000)));
                }
            }
            // Plaintext that waits for the handshake stays.
            if self.veil.is_some() {
                self.sealed.clear()
            } else {
                self.out.clear()
            }
            self.sent = 0;
            if self.pause_until > line.now() {
                return Some(self.pause_until);
            }
            if !self.say_next(line) {
                return None;
            }
        }
    }

    /// Queues what comes next; false when there is nothing (now).
    fn say_next(&mut self, line: &mut Line<'_>) -> bool {
        if let Some((at, trouble)) = self.trouble
            && self.said >= at
        {
            self.trouble = Some((u32::MAX, trouble));
            if self.come_to_harm(trouble, line) {
                return false;
            }
        }
        match self.stage {
            Stage::Hello => {
                self.hello();
                self.stage = Stage::Talk;
                true
            }
            Stage::Talk => self.talk(line.now()),
            Stage::AwaitEnd | Stage::Done => false,
        }
    }

    fn talk(&mut self, now: Duration) -> bool {
        if self.ear.expected.len() + self.ear.answers.len() >= WINDOW || self.ear.closed.is_some() {
            return false;
        }
        // Most wait for the 101; some trust the server and send at once.
        let patient = self.said == 0 && !self.ear.is_open() && !self.ear.eager;
        if self.nature != Nature::Http && patient {
            return false;
        }
        if self.left == 0 {
            return self.take_leave();
        }
        self.left -= 1;
        self.said += 1;
        self.message();
        if self.rng.chance(1, 3) {
            let pause = match self.rng.below(20) {
                0 => 2_000_000,
                1 if self.nature == Nature::Listener => 7_000_000,
                _ => 50_000,
            };
            self.pause_until = now + Duration::from_micros(self.rng.below(pause));
        }
        true
    }

    fn take_leave(&mut self) -> bool {
        if self.nature == Nature::Http {
            self.stage = Stage::AwaitEnd;
            return false;
        }
        // Some wait for the answers, some say their Close right behind the last message.
        if !self.ear.eager && !self.ear.expected.is_empty() {
            return false;
        }
        self.close_frame();
        self.close_sent = true;
        self.stage = Stage::AwaitEnd;
        true
    }

    /// True when nothing more can be said after it.
    fn come_to_harm(&mut self, trouble: Trouble, line: &mut Line<'_>) -> bool {
        match trouble {
            Trouble::Reset => line.reset(),
            Trouble::Vanish => line.vanish(),
            Trouble::Leave => line.leave(),
            Trouble::HalfClose => {
                line.note(Fault::HalfClose);
                // With a goodbye or without.
                if let Some(veil) = &mut self.veil
                    && self.rng.chance(1, 2)
                {
                    line.send(&veil.close());
                }
                line.finish();
                self.stage = Stage::AwaitEnd;
                return true;
            }
            Trouble::Stall(span) => {
                line.note(Fault::Stall);
                self.stalled = Some(span.map_or(Duration::MAX, |span| line.now() + span));
                return false;
            }
        }
        self.stage = Stage::Done;
        true
    }

    /// Remembers what the server owes for a message.
    fn expect(&mut self, expect: Expect) {
        self.ear.expected.push_back(expect);
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Client { nature, narrow, pace, reading, trouble, left, said, stage, end, ear, .. } = self;
        let unsent = (self.out.len() + self.sealed.len()).saturating_sub(self.sent);
        write!(
            f,
            "{nature:?}, narrow {narrow}, {pace:?}, {reading:?}, {trouble:?}, said {said}, left {left}, "
        )?;
        write!(f, "veil {:?}, raw {}, ", self.veil, self.raw)?;
        write!(f, "{stage:?}, unsent {unsent}, close sent {}, end {end:?}; {ear}", self.close_sent)
    }
}

impl Peer for Client {
    fn act(&mut self, line: &mut Line<'_>) -> Option<Duration> {
        if self.stage == Stage::Done {
            return None;
        }
        let read_next = self.listen(line);
        self.react();
        if let Some(end) = line.ended() {
            self.ear.finish();
            self.end = Some(end);
            self.stage = Stage::Done;
            line.leave();
            return None;
        }
        let say_next = self.speak(line);
        [read_next, say_next].into_iter().flatten().min()
    }
}
