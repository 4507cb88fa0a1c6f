//! A peer over a plain socket: requests, responses and frames byte for byte (RFC 9112, RFC 6455 §5.2).
//!
//! Refuses to be correct by itself: it sends what a test says, right or wrong. Invariant: a read that takes longer
//! than the harness's patience fails.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::PATIENCE;

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The fields of a good opening handshake besides `Host`.
pub const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A good opening handshake for `path`.
pub fn handshake(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n")
}

/// A frame as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The payload as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("text")
    }

    /// Code and reason of a Close frame.
    pub fn close(&self) -> (u16, &str) {
        assert_eq!(self.opcode, CLOSE, "{self:?}");
        assert!(self.payload.len() >= 2, "a Close without a code");
        (
            u16::from_be_bytes([self.payload[0], self.payload[1]]),
            std::str::from_utf8(&self.payload[2..]).unwrap(),
        )
    }
}

/// A response as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

/// The header of a masked frame that announces `len` bytes. The mask is zero, so payloads go as they are.
pub fn header(fin: bool, opcode: u8, len: u64) -> Vec<u8> {
    let mut bytes = vec![u8::from(fin) << 7 | opcode];
    match len {
        0..=125 => bytes.push(0x80 | len as u8),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&len.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes
}

/// A whole masked frame.
pub fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(fin, opcode, payload.len() as u64);
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let start = bytes.len();
    bytes[start - 4..].copy_from_slice(&key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The payload of a Close frame.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// One connection to a server.
#[derive(Debug)]
pub struct Peer {
    pub socket: TcpStream,
    /// Bytes read and not yet taken.
    ahead: Vec<u8>,
}

impl Peer {
    /// Connects, and says nothing.
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("a connection"))
    }

    /// Speaks over a socket that is connected.
    pub fn over(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Peer { socket, ahead: Vec::new() }
    }

    /// Connects and opens a WebSocket at `/`.
    pub fn open(address: SocketAddr) -> Self {
        Self::open_at(address, "/")
    }

    /// Connects and opens a WebSocket at `path`.
    pub fn open_at(address: SocketAddr, path: &str) -> Self {
        let mut peer = Self::connect(address);
        peer.upgrade(path);
        peer
    }

    /// Opens a WebSocket on a connection that exists.
    pub fn upgrade(&mut self, path: &str) {
        self.write(handshake(path));
        let answer = self.answer();
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).expect("bytes taken");
    }

    /// Writes one whole frame.
    pub fn send(&mut self, opcode: u8, payload: impl AsRef<[u8]>) {
        self.write(frame(true, opcode, payload.as_ref()));
    }

    /// Writes one frame, `fin` or not.
    pub fn send_fragment(&mut self, fin: bool, opcode: u8, payload: impl AsRef<[u8]>) {
        self.write(frame(fin, opcode, payload.as_ref()));
    }

    /// Writes a Close frame.
    pub fn close(&mut self, code: u16, reason: &str) {
        self.send(CLOSE, close_payload(code, reason));
    }

    /// Ends our half of the stream.
    pub fn shut(&mut self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut room = vec![0; 64 * 1024];
        let len = self.socket.read(&mut room)?;
        self.ahead.extend_from_slice(&room[..len]);
        Ok(len)
    }

    fn need(&mut self, len: usize) {
        while self.ahead.len() < len {
            assert_ne!(self.fill().expect("bytes"), 0, "the stream ended within {:?}", self.ahead);
        }
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Vec<u8> {
        self.need(len);
        self.ahead.drain(..len).collect()
    }

    /// The next response; its body by `Content-Length`, by chunks, or empty.
    pub fn answer(&mut self) -> Answer {
        let answer = self.answer_to_head();
        if answer.header("transfer-encoding") == Some("chunked") {
            let body = self.chunks();
            return Answer { body, ..answer };
        }
        let len = answer.header("content-length").map_or(0, |len| len.parse().unwrap());
        let body = self.take(len);
        Answer { body, ..answer }
    }

    /// The next response without its body.
    pub fn answer_to_head(&mut self) -> Answer {
        let end = loop {
            if let Some(at) = self.ahead.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            self.need(self.ahead.len() + 1);
        };
        let head = String::from_utf8(self.take(end)).unwrap();
        let status =
            head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).expect(&head).parse().unwrap();
        Answer { status, head, body: Vec::new() }
    }

    /// One chunk of a streamed body; empty at its end (RFC 9112 §7.1).
    pub fn chunk(&mut self) -> Vec<u8> {
        let end = loop {
            if let Some(at) = self.ahead.windows(2).position(|bytes| bytes == b"\r\n") {
                break at;
            }
            self.need(self.ahead.len() + 1);
        };
        let line = self.take(end + 2);
        let len =
            usize::from_str_radix(std::str::from_utf8(&line[..end]).unwrap(), 16).expect("a chunk's size");
        let chunk = self.take(len);
        assert_eq!(self.take(2), b"\r\n");
        chunk
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk();
            if chunk.is_empty() {
                return body;
            }
            body.extend(chunk);
        }
    }

    /// The next frame, which must not be masked (RFC 6455 §5.1).
    pub fn frame(&mut self) -> Frame {
        let head = self.take(2);
        assert_eq!(head[1] & 0x80, 0, "a server's frame is masked");
        let len = match head[1] {
            126 => u16::from_be_bytes(self.take(2).try_into().unwrap()).into(),
            127 => u64::from_be_bytes(self.take(8).try_into().unwrap()),
            short => u64::from(short),
        };
        assert_eq!(head[0] & 0x70, 0, "reserved bits");
        let payload = self.take(len as usize);
        Frame { fin: head[0] & 0x80 != 0, opcode: head[0] & 15, payload }
    }

    /// The next message, its fragments put together; control frames in between are dropped.
    pub fn message(&mut self) -> Frame {
        let mut whole: Option<Frame> = None;
        loop {
            let frame = self.frame();
            match (frame.opcode, &mut whole) {
                (PING | PONG, _) => continue,
                (CONTINUATION, Some(whole)) => {
                    whole.payload.extend(frame.payload);
                    whole.fin = frame.fin;
                }
                (TEXT | BINARY, None) => whole = Some(frame),
                _ => panic!("out of order: {frame:?}"),
            }
            if let Some(whole) = whole.take_if(|whole| whole.fin) {
                return whole;
            }
        }
    }

    /// Everything up to the end of the stream.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.ahead))
    }

    /// The stream must end here, cleanly.
    pub fn expect_end(&mut self) {
        assert_eq!(self.rest().expect("a clean end, not a reset"), b"", "bytes before the end");
    }

    /// The stream must be reset; what came before is dropped.
    pub fn expect_reset(&mut self) {
        let error = self.rest().map(|rest| rest.len()).expect_err("a reset, not a clean end");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
