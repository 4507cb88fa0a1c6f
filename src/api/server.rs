//! `Server`: a reactor over real sockets, with its configuration checked.
//!
//! Refuses to know the loop's insides. Invariant: a server that exists has a valid configuration.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
#[cfg(unix)]
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::config::{Config, ConfigError};
use crate::hub::Hub;
use crate::hub::context::Context;
use crate::hub::deadlines::Report;
use crate::hub::handler::Handler;
use crate::hub::stats::Stats;
use crate::reactor::inbox::Handle;
use crate::reactor::sys::{ListenOptions, MioIo};
use crate::reactor::{Reactor, Turn};

/// Why a server could not be made or could not go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A setting breaks a rule.
    Config(ConfigError),
    /// What was given names no address.
    Address(io::Error),
    /// An address could not be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The loop cannot be woken by a descriptor; see `Server::wake_on`.
    Wake(io::Error),
    /// The poller could not be made, or failed.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Config(error) => write!(f, "{error}"),
            Error::Address(error) => write!(f, "no address to listen on: {error}"),
            Error::Listen { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Error::Wake(error) => write!(f, "the loop cannot be woken by this descriptor: {error}"),
            Error::Io(error) => write!(f, "the event loop failed: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Config(error) => Some(error),
            Error::Listen { source, .. }
            | Error::Address(source)
            | Error::Wake(source)
            | Error::Io(source) => Some(source),
        }
    }
}

/// A WebSocket server: one event loop on one thread. It is not `Send`: make it on the thread that runs it, and reach it
/// from others through [`Server::handle`]. For more cores run one per thread, with `reuse_port` on.
///
/// ```no_run
/// use tidegate::{Config, ConnId, Context, Handler, Message, Server};
///
/// struct Echo;
/// impl Handler for Echo {
///     fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
///         cx.send(conn, msg);
///     }
/// }
///
/// Server::bind("127.0.0.1:9001", Config::default())?.run(&mut Echo)?;
/// # Ok::<(), tidegate::Error>(())
/// ```
pub struct Server {
    reactor: Reactor<MioIo>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Server {
    /// A server that does not listen yet: add listeners, or use it for connections to others only.
    ///
    /// # Errors
    /// When the configuration is not valid or the system has no poller to give.
    pub fn new(config: Config) -> Result<Self, Error> {
        config.validate().map_err(Error::Config)?;
        let socket = &config.socket;
        let options = ListenOptions {
            backlog: socket.listen_backlog,
            nodelay: socket.nodelay,
            reuse_port: socket.reuse_port,
            recv_buffer: socket.recv_buffer,
            send_buffer: socket.send_buffer,
            keepalive: socket.keepalive,
            busy_poll: socket.busy_poll,
            quickack: socket.quickack,
            defer_accept: socket.defer_accept,
        };
        let io = MioIo::new(config.limits.events_max, options).map_err(Error::Io)?;
        // The standard library seeds its hash maps from the system's entropy; that is all the entropy we need.
        let seed = RandomState::new().build_hasher().finish();
        #[cfg_attr(
            not(feature = "tls"),
            expect(unused_mut, reason = "sessions are begun with what it is told")
        )]
        let mut hub = Hub::new(config.limits, config.origins, seed);
        #[cfg(feature = "tls")]
        if let Some(tls) = config.tls {
            hub.set_tls(tls);
        }
        Ok(Server { reactor: Reactor::new(io, hub) })
    }

    /// A server that listens on the first of `addresses` that can be listened on; see [`Server::listen`] for more
    /// listeners. With `Config::tls` it speaks TLS there.
    ///
    /// # Errors
    /// When the configuration is not valid or no address can be listened on.
    pub fn bind(addresses: impl ToSocketAddrs, config: Config) -> Result<Self, Error> {
        let mut server = Server::new(config)?;
        let mut failure = Error::Address(io::ErrorKind::NotFound.into());
        for address in addresses.to_socket_addrs().map_err(Error::Address)? {
            match server.listen_as_configured(address) {
                Ok(_) => return Ok(server),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Adds a listener for plain connections, whatever `Config::tls` says; returns its address, with the port that the
    /// system chose if it was 0. At most 63.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn listen(&mut self, address: SocketAddr) -> Result<SocketAddr, Error> {
        self.reactor.io().listen(address).map_err(|source| Error::Listen { address, source })
    }

    /// Adds a listener whose peers speak TLS (`https://`, `wss://`); returns its address. It counts among the 63.
    /// (Feature `tls`.)
    ///
    /// # Errors
    /// When there is no `Config::tls` to begin sessions with, or the address cannot be listened on.
    #[cfg(feature = "tls")]
    pub fn listen_tls(&mut self, address: SocketAddr) -> Result<SocketAddr, Error> {
        if !self.reactor.hub().has_tls() {
            let missing = "there is no certificate to show; give one with Config::tls";
            let source = io::Error::new(io::ErrorKind::InvalidInput, missing);
            return Err(Error::Listen { address, source });
        }
        let listener = crate::reactor::io::Io::listeners(self.reactor.io());
        let local = self.listen(address)?;
        self.reactor.listen_tls(listener);
        Ok(local)
    }

    #[cfg(feature = "tls")]
    fn listen_as_configured(&mut self, address: SocketAddr) -> Result<SocketAddr, Error> {
        if self.reactor.hub().has_tls() { self.listen_tls(address) } else { self.listen(address) }
    }

    #[cfg(not(feature = "tls"))]
    fn listen_as_configured(&mut self, address: SocketAddr) -> Result<SocketAddr, Error> {
        self.listen(address)
    }

    /// The address of the first listener.
    pub fn local_addr(&mut self) -> Option<SocketAddr> {
        self.reactor.io().local_addr()
    }

    /// Reaches this server's loop from other threads.
    pub fn handle(&self) -> Handle {
        self.reactor.handle()
    }

    /// Runs the loop until a shutdown is complete.
    ///
    /// # Errors
    /// When the poller fails.
    pub fn run(&mut self, app: &mut dyn Handler) -> Result<Report, Error> {
        self.reactor.run(app).map_err(Error::Io)
    }

    /// Runs the loop until it is woken, by a [`Handle`] or a descriptor of `Server::wake_on`, or a shutdown is complete. For
    /// programs that have something of their own to do then, on the loop's thread; it costs nothing while nobody wakes it.
    ///
    /// # Errors
    /// When the poller fails.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::os::fd::AsFd;
    /// use tidegate::{Config, Server, Turn};
    /// # use tidegate::{ConnId, Context, Handler, Message};
    /// # struct App;
    /// # impl Handler for App {
    /// #     fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    /// # }
    /// let mut server = Server::new(Config::default())?;
    /// let (mut bell, mut button) = std::io::pipe().unwrap();
    /// server.wake_on(bell.as_fd())?;
    /// button.write_all(b"!").unwrap();
    /// while let Turn::Running = server.run_until_woken(&mut App)? {
    ///     bell.read_exact(&mut [0]).unwrap();
    ///     server.context().shutdown();
    /// }
    /// # Ok::<(), tidegate::Error>(())
    /// ```
    pub fn run_until_woken(&mut self, app: &mut dyn Handler) -> Result<Turn, Error> {
        self.reactor.run_until_woken(app).map_err(Error::Io)
    }

    /// One turn of the loop: waits for something to do, at most `max_wait` (without one: until there is something, or
    /// something of the loop's own is due), and does it, within the budgets. For programs that have a loop of their own.
    ///
    /// # Errors
    /// When the poller fails.
    pub fn turn(&mut self, app: &mut dyn Handler, max_wait: Option<Duration>) -> Result<Turn, Error> {
        self.reactor.turn(app, max_wait).map_err(Error::Io)
    }

    /// The loop, lent to the program between two turns, for programs that call [`Server::turn`] themselves; its time is
    /// set to now first. What is sent, dialled or closed through it happens in the next turn, which does not wait then.
    ///
    /// `on_start` has not been called before the first turn. Where the application is a `Router`, timers and
    /// connections that are begun here belong to none of its handlers.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidegate::{Config, ConnId, Context, Handler, Message, Server};
    /// # struct App;
    /// # impl Handler for App {
    /// #     fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    /// # }
    /// let mut server = Server::bind("127.0.0.1:0", Config::default())?;
    /// for round in 0..3 {
    ///     server.context().publish("rounds", format!("round {round}"));
    ///     server.turn(&mut App, Some(Duration::from_millis(1)))?;
    /// }
    /// # Ok::<(), tidegate::Error>(())
    /// ```
    pub fn context(&mut self) -> Context<'_> {
        self.reactor.context()
    }

    /// Ends a waiting turn when this descriptor becomes readable: a timerfd, which is finer than the milliseconds that
    /// a poller waits in, or an eventfd, a pipe, a socket of the program's own. At most 16 of them in a server's life.
    /// (Unix only.)
    ///
    /// Nothing is read from it, which is the program's to do. It is reported once each time that it becomes readable
    /// (edge-triggered), also when it was readable before it was handed over. It must stay open as long as it is to
    /// wake; closing it, and every duplicate of it, ends that.
    ///
    /// # Errors
    /// [`Error::Wake`] when there are 16 already, or the system has no readiness for such a descriptor (a file).
    ///
    /// ```
    /// use std::io::Write;
    /// use std::os::fd::AsFd;
    /// # use tidegate::{Config, ConnId, Context, Handler, Message, Server};
    /// # struct App;
    /// # impl Handler for App {
    /// #     fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    /// # }
    /// let mut server = Server::new(Config::default())?;
    /// let (bell, mut button) = std::io::pipe().unwrap();
    /// server.wake_on(bell.as_fd())?;
    /// button.write_all(b"!").unwrap();
    /// server.turn(&mut App, None)?; // does not sleep for ever
    /// # Ok::<(), tidegate::Error>(())
    /// ```
    #[cfg(unix)]
    pub fn wake_on(&mut self, fd: BorrowedFd<'_>) -> Result<(), Error> {
        self.reactor.io().wake_on(fd).map_err(Error::Wake)
    }

    /// The counters.
    pub fn stats(&mut self) -> Stats {
        self.reactor.hub().stats()
    }
}
