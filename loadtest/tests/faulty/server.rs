//! A server that misbehaves as it is told to, and counts what it did.
//!
//! A thread per connection, blocking, with another project's WebSocket code. Refuses to misbehave by chance: what is
//! done to a message follows from its number among all that came. Invariant: every fault is counted when it has been
//! done, so that what the tool finds can be compared with a number.

#![allow(dead_code, reason = "each test file is a crate of its own and uses its part of this")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket, accept};

/// A message that is held back to be answered behind the next one is answered when none comes for so long.
const SWAP_WAIT: Duration = Duration::from_millis(100);

/// What is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Echo,
    /// Answered so much later.
    After(Duration),
    /// No connection is served for so long.
    Freeze(Duration),
    /// Never answered.
    Swallow,
    Twice,
    /// Answered behind the next one.
    Swap,
    /// One byte of the answer is another one.
    Corrupt,
    /// This, of as many bytes as the message, is delivered besides.
    Forge(&'static str),
    /// The connection ends with this code instead.
    Close(u16),
    /// ... with a reset.
    Reset,
    /// ... without a Close.
    End,
}

/// How a connection is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    Accept,
    /// So much later.
    Late(Duration),
    /// This answer instead of an upgrade.
    Say(&'static str),
    /// No answer at all.
    Silence,
}

/// What to do with the message, or the connection, of this number; the first one is 1.
pub type Script<T> = Box<dyn Fn(u64) -> T + Send + Sync>;

/// What has been done.
#[derive(Default)]
pub struct Tally {
    pub connections: AtomicU64,
    pub received: AtomicU64,
    pub delivered: AtomicU64,
    acts: Mutex<Vec<Act>>,
    welcomes: Mutex<Vec<Welcome>>,
}

impl Tally {
    /// How often this was done.
    pub fn acts(&self, which: impl Fn(&Act) -> bool) -> u64 {
        self.acts.lock().unwrap().iter().filter(|act| which(act)).count() as u64
    }

    pub fn welcomes(&self, welcome: Welcome) -> u64 {
        self.welcomes.lock().unwrap().iter().filter(|done| **done == welcome).count() as u64
    }

    pub fn received(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }

    fn did(&self, act: Act) {
        if act != Act::Echo {
            self.acts.lock().unwrap().push(act);
        }
    }
}

/// See the module's text. It ends with the test.
pub struct Server {
    pub address: SocketAddr,
    pub tally: Arc<Tally>,
}

/// What all connections share.
struct Shared {
    tally: Arc<Tally>,
    act: Script<Act>,
    welcome: Script<Welcome>,
    /// Taken for writing by one that freezes all.
    gate: RwLock<()>,
    /// Where a broadcast goes; `None` for a server that echoes.
    all: Option<Mutex<Vec<TcpStream>>>,
}

impl Server {
    /// Echoes, and does this to messages.
    pub fn echo(act: impl Fn(u64) -> Act + Send + Sync + 'static) -> Self {
        Server::start(Box::new(act), Box::new(|_| Welcome::Accept), false)
    }

    /// Receives connections like this, and echoes.
    pub fn doorman(welcome: impl Fn(u64) -> Welcome + Send + Sync + 'static) -> Self {
        Server::start(Box::new(|_| Act::Echo), Box::new(welcome), false)
    }

    /// Spreads what one sends to all, and does this to deliveries to others than the sender.
    pub fn broadcast(act: impl Fn(u64) -> Act + Send + Sync + 'static) -> Self {
        Server::start(Box::new(act), Box::new(|_| Welcome::Accept), true)
    }

    pub fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    fn start(act: Script<Act>, welcome: Script<Welcome>, broadcast: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let tally = Arc::new(Tally::default());
        let all = broadcast.then(|| Mutex::new(Vec::new()));
        let shared = Shared { tally: Arc::clone(&tally), act, welcome, gate: RwLock::new(()), all };
        let shared = Arc::new(shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                // A connection that breaks is the tool's to tell.
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Server { address, tally }
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> Result<(), Box<dyn std::error::Error>> {
        stream.set_nodelay(true)?;
        let number = self.tally.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let welcome = (self.welcome)(number);
        self.tally.welcomes.lock().unwrap().push(welcome);
        match welcome {
            Welcome::Accept => {}
            Welcome::Late(time) => thread::sleep(time),
            Welcome::Silence => {
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest)?;
                return Ok(());
            }
            Welcome::Say(answer) => {
                read_head(&mut stream)?;
                stream.write_all(answer.as_bytes())?;
                return Ok(());
            }
        }
        let mut socket = accept(stream.try_clone()?).map_err(|error| error.to_string())?;
        if let Some(all) = &self.all {
            all.lock().unwrap().push(stream.try_clone()?);
            return self.spread(&mut socket, all, stream.peer_addr()?);
        }
        let mut held: Option<Message> = None;
        loop {
            stream.set_read_timeout(held.as_ref().map(|_| SWAP_WAIT))?;
            let message = match socket.read() {
                Ok(message) => message,
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    held.take().map_or(Ok(()), |message| socket.send(message))?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if !(message.is_text() || message.is_binary()) {
                continue;
            }
            if !self.answer(&mut socket, &stream, message, &mut held)? {
                return Ok(());
            }
        }
    }

    /// Does to a message what the script says; false when the connection has ended by it.
    fn answer(
        &self,
        socket: &mut WebSocket<TcpStream>,
        stream: &TcpStream,
        message: Message,
        held: &mut Option<Message>,
    ) -> Result<bool, Box<dyn std::error::Error>> {
        let number = self.tally.received.fetch_add(1, Ordering::SeqCst) + 1;
        let act = (self.act)(number);
        if let Act::Freeze(time) = act {
            let closed = self.gate.write().unwrap();
            thread::sleep(time);
            drop(closed);
        }
        let _open = self.gate.read().unwrap();
        if let Some(first) = held.take() {
            // The one that is held goes behind this one, which gets nothing else done to it.
            socket.send(message)?;
            socket.send(first)?;
            self.tally.did(Act::Swap);
            return Ok(true);
        }
        match act {
            Act::Swap => {
                *held = Some(message);
                return Ok(true);
            }
            Act::Echo | Act::Freeze(_) | Act::Forge(_) => socket.send(message)?,
            Act::After(time) => {
                thread::sleep(time);
                socket.send(message)?;
            }
            Act::Swallow => {}
            Act::Twice => {
                socket.send(message.clone())?;
                socket.send(message)?;
            }
            Act::Corrupt => socket.send(corrupted(&message, number))?,
            Act::Close(_) | Act::Reset | Act::End => {
                self.tally.did(act);
                end(socket, stream, act)?;
                return Ok(false);
            }
        }
        self.tally.did(act);
        Ok(true)
    }

    fn spread(
        &self,
        socket: &mut WebSocket<TcpStream>,
        all: &Mutex<Vec<TcpStream>>,
        own: SocketAddr,
    ) -> Result<(), Box<dyn std::error::Error>> {
        loop {
            let message = socket.read()?;
            if !(message.is_text() || message.is_binary()) {
                continue;
            }
            self.tally.received.fetch_add(1, Ordering::SeqCst);
            let frame = frame(&message);
            for mut stream in all.lock().unwrap().iter() {
                let mut act = Act::Echo;
                if stream.peer_addr()? != own {
                    act = (self.act)(self.tally.delivered.fetch_add(1, Ordering::SeqCst) + 1);
                }
                let times = match act {
                    Act::Swallow => 0,
                    Act::Twice => 2,
                    _ => 1,
                };
                match act {
                    Act::After(time) => thread::sleep(time),
                    Act::Forge(start) => {
                        let forged = format!("{start:.<width$}", width = message.len());
                        stream.write_all(&self::frame(&Message::text(forged)))?;
                    }
                    _ => {}
                }
                (0..times).try_for_each(|_| stream.write_all(&frame))?;
                self.tally.did(act);
            }
        }
    }
}

/// A request up to its empty line.
fn read_head(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    Ok(())
}

/// A short message as a server's frame (RFC 6455, 5.2).
fn frame(message: &Message) -> Vec<u8> {
    let payload = message.clone().into_data();
    assert!(payload.len() < 65_536, "short messages only");
    let mut frame = vec![if message.is_text() { 0x81 } else { 0x82 }];
    if payload.len() < 126 {
        frame.push(payload.len() as u8);
    } else {
        frame.push(126);
        frame.extend((payload.len() as u16).to_be_bytes());
    }
    frame.extend(payload);
    frame
}

/// Another byte at a place that the number chooses; ASCII stays ASCII.
fn corrupted(message: &Message, number: u64) -> Message {
    let mut bytes = message.clone().into_data().to_vec();
    let place = number as usize % bytes.len();
    bytes[place] ^= 1;
    if message.is_text() { Message::text(String::from_utf8(bytes).unwrap()) } else { Message::binary(bytes) }
}

fn end(socket: &mut WebSocket<TcpStream>, stream: &TcpStream, act: Act) -> Result<(), Error> {
    match act {
        Act::Close(code) => {
            let code = CloseCode::from(code);
            socket.close(Some(CloseFrame { code, reason: "told to".into() }))?;
            while socket.read().is_ok() {}
        }
        // A socket that is closed while it lingers for no time sends a reset (socket(7), SO_LINGER).
        Act::Reset => set_socket_linger(stream, Some(Duration::ZERO)).map_err(std::io::Error::from)?,
        _ => stream.shutdown(Shutdown::Write)?,
    }
    Ok(())
}
