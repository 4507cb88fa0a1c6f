//! What the counting benches put on a loop: rounds that are all alike, each of so many messages or connections.
//!
//! Refuses to know how it is counted. Invariant: a round begins and ends with nothing under way.

// Each bench uses a part of this.
#![allow(dead_code)]

use tidegate::internals::frame::{self, Opcode};
use tidegate::internals::rig::Rig;
use tidegate::{ConnId, Context, Handler, Message};

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const TOPIC: &str = "all";
/// Connections that come and go together.
const ABREAST: usize = 50;
/// A prime: steps of it visit every connection of a crowd whose size is not a multiple of it.
const STRIDE: usize = 7_919;

/// What is done again and again.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Each connection sends so many messages of so many bytes at once, and gets them back.
    Echo { connections: usize, depth: usize, kind: Opcode, bytes: usize },
    /// Each connection sends a Ping and gets its Pong.
    Ping { connections: usize },
    /// One of so many subscribers sends a message, and all get it.
    Publish { subscribers: usize },
    /// Connections are made, upgraded and closed.
    Connect,
}

/// The loads by name, and what one of it is.
pub const LOADS: &[(&str, &str, Shape)] = &[
    ("echo", "message", Shape::Echo { connections: 50, depth: 1, kind: Opcode::Text, bytes: 20 }),
    ("echo-alone", "message", Shape::Echo { connections: 1, depth: 1, kind: Opcode::Text, bytes: 20 }),
    ("echo-deep", "message", Shape::Echo { connections: 100, depth: 16, kind: Opcode::Text, bytes: 20 }),
    ("echo-1k", "message", Shape::Echo { connections: 50, depth: 1, kind: Opcode::Binary, bytes: 1024 }),
    ("ping", "ping", Shape::Ping { connections: 50 }),
    ("publish", "delivery", Shape::Publish { subscribers: 1000 }),
    ("connect", "connection", Shape::Connect),
];

/// Echoes, or publishes to all.
#[derive(Debug)]
pub struct App {
    publishes: bool,
}

impl Handler for App {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if self.publishes {
            cx.subscribe(conn, TOPIC).ok();
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        if self.publishes {
            cx.publish(TOPIC, msg);
        } else {
            cx.send(conn, msg);
        }
    }
}

/// A loop under one load.
#[derive(Debug)]
pub struct Load {
    rig: Rig<App>,
    senders: usize,
    /// Connections that are answered, and with how many bytes each.
    answered: usize,
    answer: usize,
    /// What a sender sends.
    bytes: Vec<u8>,
    /// Of what is counted, in a round.
    pub per_round: usize,
    comes_and_goes: bool,
}

impl Load {
    /// Opens the connections.
    pub fn new(shape: Shape) -> Load {
        let (connections, senders, depth, kind, len) = match shape {
            Shape::Echo { connections, depth, kind, bytes } => (connections, connections, depth, kind, bytes),
            Shape::Ping { connections } => (connections, connections, 1, Opcode::Ping, 4),
            Shape::Publish { subscribers } => (subscribers, 1, 1, Opcode::Text, 20),
            Shape::Connect => (0, 0, 0, Opcode::Close, 0),
        };
        let mut bytes = Vec::new();
        let mut back = Vec::new();
        for _ in 0..depth {
            frame::append(&mut bytes, true, kind, &vec![b'x'; len], Some(KEY));
            frame::append(&mut back, true, kind, &vec![b'x'; len], None);
        }
        let comes_and_goes = matches!(shape, Shape::Connect);
        Load {
            rig: Rig::new(connections, App { publishes: matches!(shape, Shape::Publish { .. }) }),
            senders,
            answered: connections,
            answer: back.len(),
            bytes,
            per_round: if comes_and_goes { ABREAST } else { connections * depth },
            comes_and_goes,
        }
    }

    /// One round.
    pub fn round(&mut self) {
        if self.comes_and_goes {
            let first = self.rig.open(ABREAST);
            self.say_goodbye(first);
            return self.rig.leave(first, ABREAST);
        }
        for conn in 0..self.senders {
            assert_eq!(self.rig.deliver(conn, &self.bytes), self.bytes.len());
        }
        self.hear(0, self.answered, self.answer);
    }

    /// A closing handshake with each of those that have come.
    fn say_goodbye(&mut self, first: usize) {
        const CLOSE: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 3, 0xe8];
        (first..first + ABREAST).for_each(|conn| assert_eq!(self.rig.deliver(conn, CLOSE), CLOSE.len()));
        self.hear(first, ABREAST, 4);
    }

    /// Turns until each of the connections has been sent so many bytes.
    fn hear(&mut self, first: usize, count: usize, each: usize) {
        let mut heard = 0;
        while heard < count * each {
            self.rig.turn();
            heard += (first..first + count).map(|conn| self.rig.take_output(conn)).sum::<usize>();
        }
        assert_eq!(heard, count * each);
    }
}

/// Many connections, of which a few at a time say something.
#[derive(Debug)]
pub struct Crowd {
    rig: Rig<App>,
    frame: Vec<u8>,
    connections: usize,
    speakers: Vec<usize>,
    last: usize,
}

impl Crowd {
    /// Opens the connections.
    pub fn new(connections: usize) -> Crowd {
        let mut frame = Vec::new();
        frame::append(&mut frame, true, Opcode::Text, &[b'x'; 20], Some(KEY));
        let rig = Rig::new(connections, App { publishes: false });
        Crowd { rig, frame, connections, speakers: Vec::new(), last: 0 }
    }

    /// Chooses who speaks next, none of them twice, far from each other; returns how many.
    pub fn draw(&mut self, most: usize) -> usize {
        self.speakers.clear();
        for _ in 0..most.min(self.connections) {
            self.last = (self.last + STRIDE) % self.connections;
            self.speakers.push(self.last);
        }
        self.speakers.len()
    }

    /// Lets the drawn ones send a message of 20 bytes each.
    pub fn speak(&mut self) {
        let Crowd { rig, frame, speakers, .. } = self;
        speakers.iter().for_each(|&conn| assert_eq!(rig.deliver(conn, frame), frame.len()));
    }

    /// Turns until all that was sent has been answered.
    pub fn serve(&mut self) {
        let due = self.rig.stats().messages_out + self.speakers.len() as u64;
        while self.rig.stats().messages_out < due {
            self.rig.turn();
        }
    }

    /// Takes the answers off the lines.
    pub fn hear(&mut self) {
        let Crowd { rig, speakers, .. } = self;
        let heard: usize = speakers.iter().map(|&conn| rig.take_output(conn)).sum();
        assert_eq!(heard, speakers.len() * 22);
    }

    /// All of them go.
    pub fn leave(&mut self) {
        for first in (0..self.connections).step_by(ABREAST) {
            self.rig.leave(first, ABREAST.min(self.connections - first));
        }
    }
}
