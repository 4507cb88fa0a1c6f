//! `MioIo`: the real `Io`, on mio (epoll, kqueue) and socket2. The only file that makes system calls.
//!
//! Refuses to know what the bytes mean. Invariants: a key's socket is registered for reading for life, for writing only
//! while that was asked for; one descriptor is held in reserve, to be spent on refusing a peer when there is no other.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
#[cfg(unix)]
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::io::{Io, Readiness, Source, Wake};

/// Tokens below this one are the listeners' and the waker's.
const FIRST_PEER: usize = 64;
const WAKER: Token = Token(FIRST_PEER - 1);
/// Most listeners of one loop.
pub const LISTENERS_MAX: usize = FIRST_PEER - 1;
/// Most descriptors of the program that wake one loop.
#[cfg(unix)]
const WAKE_FDS_MAX: usize = 16;

/// Options that a listener hands down to its connections.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// See `listen(2)`.
    pub backlog: usize,
    /// `TCP_NODELAY`.
    pub nodelay: bool,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
    /// `SO_RCVBUF`, unless zero.
    pub recv_buffer: usize,
    /// `SO_SNDBUF`, unless zero.
    pub send_buffer: usize,
    /// Idle time before keepalive probes, unless zero.
    pub keepalive: Duration,
    /// `SO_BUSY_POLL`, unless zero.
    pub busy_poll: Duration,
    /// `TCP_QUICKACK`, after each read.
    pub quickack: bool,
    /// `TCP_DEFER_ACCEPT`, unless zero.
    pub defer_accept: Duration,
}

/// Real sockets. See the module's text.
#[derive(Debug)]
pub struct MioIo {
    poll: Poll,
    events: Events,
    started: Instant,
    listeners: Vec<TcpListener>,
    /// By key; four bytes a place.
    sockets: Vec<Option<TcpStream>>,
    reserve: Option<File>,
    waker: Arc<MioWaker>,
    /// Descriptors of the program that wake the loop.
    #[cfg(unix)]
    wake_fds: Vec<RawFd>,
    options: ListenOptions,
}

#[derive(Debug)]
struct MioWaker(Waker);

impl Wake for MioWaker {
    fn wake(&self) {
        // It fails only when the loop's descriptors are gone, and then there is nobody to wake.
        let _ = self.0.wake();
    }
}

impl MioIo {
    /// A poller without listeners that takes up to `events_max` events at once.
    pub fn new(events_max: usize, options: ListenOptions) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(MioWaker(Waker::new(poll.registry(), WAKER)?));
        Ok(MioIo {
            events: Events::with_capacity(events_max),
            started: Instant::now(),
            listeners: Vec::new(),
            sockets: Vec::new(),
            reserve: reserve(),
            waker,
            #[cfg(unix)]
            wake_fds: Vec::new(),
            options,
            poll,
        })
    }

    /// Adds a listener; returns its address, with the port that the kernel chose if it was 0.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        if self.listeners.len() >= LISTENERS_MAX {
            return Err(io::Error::new(ErrorKind::InvalidInput, "a loop has at most 63 listeners"));
        }
        let options = &self.options;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restarted server must not wait for the TIME_WAIT of its old connections.
        socket.set_reuse_address(true)?;
        if options.reuse_port {
            #[cfg(unix)]
            socket.set_reuse_port(true)?;
        }
        self.tune(&socket)?;
        if !options.defer_accept.is_zero() {
            defer_accept(&socket, options.defer_accept)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        let mut listener = TcpListener::from_std(socket.into());
        let local = listener.local_addr()?;
        self.poll.registry().register(&mut listener, Token(self.listeners.len()), Interest::READABLE)?;
        self.listeners.push(listener);
        Ok(local)
    }

    /// Ends waits when `fd` becomes readable. Nobody asks who of them woke, so all share the waker's token.
    #[cfg(unix)]
    pub fn wake_on(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.wake_fds.len() >= WAKE_FDS_MAX {
            return Err(io::Error::new(ErrorKind::InvalidInput, "at most 16 wake one loop"));
        }
        let fd = fd.as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&fd), WAKER, Interest::READABLE)?;
        self.wake_fds.push(fd);
        Ok(())
    }

    /// mio over `poll(2)` reports a descriptor once, until it is armed again.
    #[cfg(unix)]
    fn rearm(&self) {
        for fd in &self.wake_fds {
            // One that has been closed wakes no more.
            let _ = self.poll.registry().reregister(&mut SourceFd(fd), WAKER, Interest::READABLE);
        }
    }

    /// The address of the first listener.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listeners.first().and_then(|listener| listener.local_addr().ok())
    }

    fn tune(&self, socket: &Socket) -> io::Result<()> {
        let options = &self.options;
        socket.set_tcp_nodelay(options.nodelay)?;
        if options.recv_buffer > 0 {
            socket.set_recv_buffer_size(options.recv_buffer)?;
        }
        if options.send_buffer > 0 {
            socket.set_send_buffer_size(options.send_buffer)?;
        }
        if !options.keepalive.is_zero() {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(options.keepalive))?;
        }
        if !options.busy_poll.is_zero() {
            busy_poll(socket, options.busy_poll)?;
        }
        Ok(())
    }

    fn socket(&mut self, key: u32) -> io::Result<&mut TcpStream> {
        self.sockets
            .get_mut(key as usize)
            .and_then(Option::as_mut)
            .ok_or_else(|| ErrorKind::NotConnected.into())
    }

    fn register(&mut self, mut socket: TcpStream, key: u32, interest: Interest) -> io::Result<()> {
        let place = key as usize;
        self.poll.registry().register(&mut socket, Token(FIRST_PEER + place), interest)?;
        if place >= self.sockets.len() {
            self.sockets.resize_with(place + 1, || None);
        }
        self.sockets[place] = Some(socket);
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn busy_poll(socket: &Socket, time: Duration) -> io::Result<()> {
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    socket.set_busy_poll(micros).map_err(|error| {
        let advice = "SO_BUSY_POLL is refused (busy_poll); it wants CAP_NET_ADMIN";
        io::Error::new(error.kind(), format!("{advice}: {error}"))
    })
}

#[cfg(not(target_os = "linux"))]
fn busy_poll(_: &Socket, _: Duration) -> io::Result<()> {
    Err(io::Error::new(ErrorKind::Unsupported, "SO_BUSY_POLL (busy_poll) is there on Linux only"))
}

#[cfg(all(target_os = "linux", feature = "defer_accept"))]
fn defer_accept(socket: &Socket, time: Duration) -> io::Result<()> {
    let seconds = i32::try_from(time.as_nanos().div_ceil(1_000_000_000)).unwrap_or(i32::MAX);
    uapi::setsockopt(socket.as_raw_fd(), uapi::c::IPPROTO_TCP, uapi::c::TCP_DEFER_ACCEPT, &seconds)?;
    Ok(())
}

#[cfg(not(all(target_os = "linux", feature = "defer_accept")))]
fn defer_accept(_: &Socket, _: Duration) -> io::Result<()> {
    let what =
        "TCP_DEFER_ACCEPT (defer_accept) is there on Linux only, in builds with the feature defer_accept";
    Err(io::Error::new(ErrorKind::Unsupported, what))
}

/// Asks for acknowledgements at once; the kernel goes back to waiting for a reply that could carry them.
#[cfg(target_os = "linux")]
fn quickack(socket: &TcpStream) {
    // It fails for a connection that has failed, which reading and writing will tell.
    let _ = SockRef::from(socket).set_tcp_quickack(true);
}

#[cfg(not(target_os = "linux"))]
fn quickack(_: &TcpStream) {}

/// A descriptor that is worth nothing but its number.
fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

impl Io for MioIo {
    type Socket = TcpStream;

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Readiness>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        #[cfg(unix)]
        if cfg!(mio_unsupported_force_poll_poll) && self.events.iter().any(|event| event.token() == WAKER) {
            self.rearm();
        }
        for event in &self.events {
            let source = match event.token() {
                WAKER => Source::Waker,
                Token(place) if place < FIRST_PEER => Source::Listener(place),
                Token(place) => Source::Peer((place - FIRST_PEER) as u32),
            };
            events.push(Readiness {
                source,
                readable: event.is_readable(),
                writable: event.is_writable(),
                read_closed: event.is_read_closed(),
                failed: event.is_error() || event.is_write_closed(),
            });
        }
        Ok(())
    }

    fn now(&mut self) -> Duration {
        self.started.elapsed()
    }

    fn accept(&mut self, listener: usize) -> io::Result<(TcpStream, SocketAddr)> {
        let listener = self.listeners.get(listener).ok_or(ErrorKind::WouldBlock)?;
        listener.accept()
    }

    fn refuse(&mut self, listener: usize, answer: &[u8]) -> io::Result<()> {
        self.reserve = None;
        let result = self.accept(listener).map(|(mut socket, _)| {
            // What of this fails, fails towards a peer that is being sent away. Reading what it has sent keeps the
            // close from becoming a reset that could overtake the answer.
            let _ = socket.write(answer);
            let _ = socket.shutdown(Shutdown::Write);
            let _ = socket.read(&mut [0; 4096]);
        });
        self.reserve = reserve();
        result
    }

    fn listeners(&self) -> usize {
        self.listeners.len()
    }

    fn stop_listening(&mut self) {
        self.listeners.clear();
    }

    fn adopt(&mut self, socket: TcpStream, key: u32, writable: bool) -> io::Result<()> {
        // Linux hands a listener's options down to its connections; elsewhere that is not sure.
        #[cfg(not(target_os = "linux"))]
        self.tune(&SockRef::from(&socket))?;
        self.register(socket, key, interest(writable))
    }

    #[cfg(any(test, feature = "client"))]
    fn connect(&mut self, key: u32, address: SocketAddr, source: Option<SocketAddr>) -> io::Result<()> {
        let kind = Type::STREAM;
        // Two system calls less than asking for it afterwards.
        #[cfg(target_os = "linux")]
        let kind = kind.nonblocking();
        let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        #[cfg(not(target_os = "linux"))]
        socket.set_nonblocking(true)?;
        self.tune(&socket)?;
        if let Some(source) = source {
            socket.bind(&source.into())?;
        }
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if in_progress(&error) => {}
            Err(error) => return Err(error),
        }
        let stream = TcpStream::from_std(socket.into());
        self.register(stream, key, Interest::READABLE | Interest::WRITABLE)
    }

    fn read(&mut self, key: u32, bytes: &mut [u8]) -> io::Result<usize> {
        let quick = self.options.quickack;
        let socket = self.socket(key)?;
        let len = socket.read(bytes)?;
        if quick {
            quickack(socket);
        }
        Ok(len)
    }

    fn write(&mut self, key: u32, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let socket = self.socket(key)?;
        match slices {
            [one] => socket.write(one),
            many => socket.write_vectored(many),
        }
    }

    fn want_write(&mut self, key: u32, on: bool) -> io::Result<()> {
        let socket =
            self.sockets.get_mut(key as usize).and_then(Option::as_mut).ok_or(ErrorKind::NotConnected)?;
        self.poll.registry().reregister(socket, Token(FIRST_PEER + key as usize), interest(on))
    }

    fn shut(&mut self, key: u32) {
        if let Ok(socket) = self.socket(key) {
            // It fails when the peer is gone already, which reading will tell.
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    fn close(&mut self, key: u32, reset: bool) {
        let Some(socket) = self.sockets.get_mut(key as usize).and_then(Option::take) else { return };
        if reset {
            // Closing with a linger time of zero resets; if it cannot be set, an ordinary close must do.
            let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        }
        // Closing the descriptor takes it out of the poller too (epoll(7)): one system call less.
        drop(socket);
        while self.sockets.pop_if(|place| place.is_none()).is_some() {}
        if self.sockets.capacity() > 4 * self.sockets.len().max(64) {
            self.sockets.shrink_to(2 * self.sockets.len());
        }
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker) as Arc<dyn Wake>
    }
}

fn interest(writable: bool) -> Interest {
    if writable { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE }
}

#[cfg(any(test, feature = "client"))]
fn in_progress(error: &io::Error) -> bool {
    // EINPROGRESS has no stable `ErrorKind` yet.
    const IN_PROGRESS: i32 = if cfg!(target_os = "linux") { 115 } else { 36 };
    error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(IN_PROGRESS)
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
