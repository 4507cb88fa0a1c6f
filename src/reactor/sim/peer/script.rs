//! What the scripted clients send: handshakes, messages, requests, and every way to do it wrong.
//!
//! Refuses to know what becomes of it. Invariant: the first byte of a message says what the application shall do with
//! it; lower-case letters come from peers, upper-case ones from the application.

use super::ear::{Answer, Expect, digest};
use super::{Client, Misfit, Nature};
use crate::conn::message::Kind;
use crate::wire::frame::{self, Opcode};
use crate::wire::handshake::{Key, write_upgrade_request};

/// Topics of the application; see `app`.
pub const TOPICS: u64 = 6;

/// Letters of which texts are made, of one to four bytes.
const LETTERS: &str = "abc€xyz𝄞éß0123456789 the quick brown fox jumps over the lazy dog ";

/// `len` bytes of text, the same for the same length and start; the first byte is `first`.
pub fn text(first: u8, len: usize, start: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    if len > 0 {
        bytes.push(first);
    }
    let start = boundary(LETTERS, start % LETTERS.len());
    let mut letters = &LETTERS[start..];
    while bytes.len() < len {
        let step = boundary(letters, len - bytes.len());
        bytes.extend_from_slice(&letters.as_bytes()[..step]);
        if step < letters.len() {
            bytes.resize(len, b'z');
        }
        letters = LETTERS;
    }
    bytes
}

/// The last place where a character begins, or the text ends, that is not behind `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_default()
}

impl Client {
    /// Queues a frame.
    pub(super) fn frame(&mut self, fin: bool, opcode: Opcode, payload: &[u8]) {
        let key = (self.rng.next_u64() as u32).to_ne_bytes();
        frame::append(&mut self.out, fin, opcode, payload, Some(key));
    }

    /// Queues the first words of a connection.
    pub(super) fn hello(&mut self) {
        self.ear.eager = self.rng.chance(1, 4);
        let line = match self.nature {
            Nature::Http => return self.ear.expect_http(),
            Nature::Misfit(Misfit::Garbage) => {
                let mut noise = vec![0; 1 + self.rng.below(400) as usize];
                self.rng.fill(&mut noise);
                self.ear.expect_http();
                return self.out.extend_from_slice(&noise);
            }
            Nature::Misfit(Misfit::TlsHello) => b"\x16\x03\x01\x02\x00\x01".as_slice(),
            Nature::Misfit(Misfit::SlowHandshake) => b"GET /ws HTTP/1.1\r\nHost: sim\r\nUpgr",
            Nature::Misfit(Misfit::SlowBody) => {
                b"POST /sum HTTP/1.1\r\nHost: sim\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\nfew"
            }
            Nature::Misfit(Misfit::BadRequest) => match self.rng.below(4) {
                0 => b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".as_slice(),
                1 => b"GET /ws HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
                2 => b"G\x01T / HTTP/1.1\r\n\r\n",
                _ => b"GET /plain HTTP/3.0\r\nHost: sim\r\n\r\n",
            },
            Nature::Misfit(Misfit::BadBody) => match self.rng.below(2) {
                0 => b"POST /sum HTTP/1.1\r\nHost: sim\r\nContent-Length: 99999999999\r\n\r\n".as_slice(),
                _ => b"POST /sum HTTP/1.1\r\nHost: sim\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!!",
            },
            _ => {
                let mut nonce = [0; 16];
                self.rng.fill(&mut nonce);
                #[cfg(not(feature = "deflate"))]
                let offer = None::<String>;
                #[cfg(feature = "deflate")]
                let offer = self.ear.packer.as_ref().map(|packer| packer.terms.offer());
                let fields = [("X-Sim", "1")];
                let out = &mut self.out;
                let key = write_upgrade_request(out, "sim", "/ws", &nonce, &[], offer.as_deref(), fields);
                return self.ear.expect_upgrade(key.unwrap_or_else(|_| Key::from_bytes(&nonce)));
            }
        };
        self.ear.expect_http();
        self.left = 0;
        self.out.extend_from_slice(line);
    }

    /// Queues the next message or request.
    pub(super) fn message(&mut self) {
        match self.nature {
            Nature::Http => self.request(),
            Nature::Echo => {
                if self.rng.chance(1, 4) {
                    self.command("q");
                }
                self.echo();
            }
            Nature::Listener => self.listener_message(),
            Nature::Chatter => self.chatter_message(),
            Nature::Misfit(misfit) if self.left == 0 => self.misbehave(misfit),
            Nature::Misfit(_) => self.echo(),
        }
    }

    /// The lengths at which headers change come up often, long ones rarely.
    fn length(&mut self) -> usize {
        let len = match self.rng.below(40) {
            0 => 0,
            1 => 1,
            2 => 125,
            3 => 126,
            4 => 127,
            5 | 8 => self.rng.below(16_000),
            6 if self.rng.chance(1, 4) => 65_535 + self.rng.below(2),
            7 if self.rng.chance(1, 8) => self.rng.below(200_000),
            _ => self.rng.below(300),
        };
        (len as usize).min(self.message_max)
    }

    fn echo(&mut self) {
        let (len, start) = (self.length(), self.rng.below(60) as usize);
        let payload = text(b'e', len, start);
        let kind = if self.rng.chance(1, 2) { Kind::Text } else { Kind::Binary };
        self.fragments(kind, &payload);
        self.expect(Expect::Echo(kind, payload));
    }

    /// Queues a message, one time in four in fragments with Pings between them.
    fn fragments(&mut self, kind: Kind, payload: &[u8]) {
        let mut opcode = crate::conn::message::opcode(kind);
        let mut rest = payload;
        let begin = self.out.len();
        #[cfg(feature = "deflate")]
        let packed = self.ear.packer.as_mut().and_then(|packer| packer.pack(payload));
        #[cfg(not(feature = "deflate"))]
        let packed = None::<Vec<u8>>;
        if let Some(packed) = &packed {
            rest = packed;
        }
        if self.rng.chance(1, 4) {
            for _ in 0..self.rng.below(5) {
                let (piece, after) = rest.split_at(self.rng.below(rest.len() as u64 + 1) as usize);
                self.frame(false, opcode, piece);
                opcode = Opcode::Continuation;
                rest = after;
                if self.rng.chance(1, 2) {
                    let ping = self.ear.next_ping();
                    self.frame(true, Opcode::Ping, &ping);
                }
            }
        }
        self.frame(true, opcode, rest);
        if packed.is_some() {
            // RSV1, on the first frame (RFC 7692 §6.1).
            self.out[begin] |= 0x40;
        }
        if self.rng.chance(1, 16) {
            let ping = self.ear.next_ping();
            self.frame(true, Opcode::Ping, &ping);
        }
    }

    fn command(&mut self, text: &str) {
        self.fragments(Kind::Text, text.as_bytes());
    }

    fn listener_message(&mut self) {
        let topic = self.ear.number as u64 % TOPICS;
        match self.left {
            0 => self.command(&format!("u{topic}")),
            left if left % 4 == 3 => self.command(&format!("s{topic}")),
            _ => self.echo(),
        }
    }

    fn chatter_message(&mut self) {
        let topic = self.rng.below(TOPICS);
        match self.rng.below(16) {
            0 => self.command(&format!("s{topic}")),
            1 => self.command(&format!("u{topic}")),
            2 | 3 => self.command(&format!("b{topic}")),
            4 => self.command("l"),
            5 => self.command("p"),
            6 => self.command("t"),
            7 => self.command("x"),
            8 if self.rng.chance(1, 8) => self.command("c"),
            9 => {
                self.command("r");
                let (len, start) = (self.length(), self.rng.below(60) as usize);
                let payload = text(b'd', len, start);
                self.fragments(Kind::Text, &payload);
                self.expect(Expect::Digest(len, digest(&payload)));
            }
            _ => self.echo(),
        }
    }

    pub(super) fn close_frame(&mut self) {
        let payload: &[u8] = match self.rng.below(3) {
            0 => b"",
            1 => b"\x03\xe8",
            _ => b"\x0f\xa0done here",
        };
        self.frame(true, Opcode::Close, payload);
    }

    fn misbehave(&mut self, misfit: Misfit) {
        match misfit {
            Misfit::BadFrame => {
                let bytes: &[u8] = match self.rng.below(6) {
                    0 => b"\x81\x05plain",
                    1 => b"\xa1\x80\0\0\0\0",
                    2 => b"\x83\x80\0\0\0\0",
                    3 => b"\x09\x80\0\0\0\0",
                    4 => b"\x80\x80\0\0\0\0",
                    _ => b"\x88\x81\0\0\0\0x",
                };
                self.out.extend_from_slice(bytes);
            }
            Misfit::BadText => self.frame(true, Opcode::Text, b"good \xff bad"),
            Misfit::Oversize => {
                let len = self.message_max as u64 + 1;
                let header =
                    frame::Header { fin: true, opcode: Opcode::Binary, key: Some([0; 4]), len }.encode();
                self.out.extend_from_slice(&header.0[..header.1]);
            }
            Misfit::ManyFragments => {
                self.frame(false, Opcode::Binary, b"x");
                (0..300).for_each(|_| self.frame(false, Opcode::Continuation, b""));
            }
            Misfit::DataAfterClose => {
                self.close_frame();
                self.frame(true, Opcode::Binary, &[b'e'; 3_000]);
            }
            Misfit::NoCloseAnswer => {
                self.command("c");
                self.stage = super::Stage::AwaitEnd;
            }
            Misfit::HalfMessage => {
                self.frame(false, Opcode::Text, &[b'e'; 2_000]);
                self.stage = super::Stage::AwaitEnd;
            }
            // Deaf ones stay and say nothing, as do those whose first words were bad already.
            _ => self.stage = super::Stage::AwaitEnd,
        }
    }

    fn request(&mut self) {
        let n = self.rng.next_u64() >> 40;
        let last = if self.left == 0 { "Connection: close\r\n" } else { "" };
        let mut method = "GET";
        let (target, body, answer) = match self.rng.below(10) {
            0 => {
                let delay = self.rng.below(200);
                (format!("/later/{n}/{delay}"), String::new(), format!("later {n}").into_bytes())
            }
            1 | 2 => {
                let pieces = 1 + self.rng.below(8) as usize;
                let body = (0..pieces).flat_map(|i| piece(n, i)).collect();
                (format!("/stream/{n}/{pieces}"), String::new(), body)
            }
            3 | 4 => {
                method = "POST";
                let len = self.rng.below(3_000) as usize;
                let body = String::from_utf8(text(b'q', len, n as usize)).unwrap_or_default();
                ("/sum".into(), body.clone(), format!("{len} {:x}", digest(body.as_bytes())).into_bytes())
            }
            at => {
                method = if at == 5 { "HEAD" } else { "GET" };
                let len = self.length();
                (format!("/plain/{n}/{len}"), String::new(), text(b'P', len, n as usize))
            }
        };
        let head = format!("{method} {target} HTTP/1.1\r\nHost: sim\r\n{last}");
        self.out.extend_from_slice(head.as_bytes());
        if method == "POST" && self.rng.chance(1, 2) {
            self.out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.as_bytes().chunks(700) {
                crate::wire::body::write_chunk(&mut self.out, chunk);
            }
            crate::wire::body::write_last_chunk(&mut self.out);
        } else {
            let length =
                if method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
            self.out.extend_from_slice(format!("{length}\r\n{body}").as_bytes());
        }
        self.ear.answers.push_back(Answer { body: answer, bodiless: method == "HEAD" });
    }
}

/// A piece of a streamed answer.
pub fn piece(n: u64, i: usize) -> Vec<u8> {
    text(b'S', 1 + (n as usize * 31 + i * 977) % 3_000, n as usize + i)
}
