//! A server on a thread of its own, an application made of closures, and a peer that speaks raw bytes.
//!
//! Knows the public interface only. Invariant: nothing here waits without a deadline, and a server that panicked
//! fails the test that started it.

#![allow(dead_code, reason = "each test file is a crate of its own and uses its part of this")]

pub mod child;
pub mod peer;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tidegate::{
    Closed, Config, ConnId, Context, Handle, Handler, Message, Part, Reply, Report, Request, Server, Stats,
    Turn,
};

/// How long any condition may take: long enough for a busy machine, and never reached when all is well.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Milliseconds.
pub fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Waits until `condition` gives a value.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        thread::sleep(ms(1));
    }
}

/// What the application was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// `on_connect`.
    Connected(ConnId),
    /// `on_open`.
    Opened(ConnId),
    /// `on_drain`.
    Drained(ConnId),
    /// `on_close`.
    Closed(ConnId, Closed),
}

type OnRequest = Box<dyn FnMut(&mut Context<'_>, ConnId, &Request<'_>) -> Reply>;
type OnConn = Box<dyn FnMut(&mut Context<'_>, ConnId)>;
type OnMessage = Box<dyn FnMut(&mut Context<'_>, ConnId, Message<'_>)>;
type OnPart = Box<dyn FnMut(&mut Context<'_>, ConnId, Part<'_>)>;
type OnClose = Box<dyn FnMut(&mut Context<'_>, ConnId, &Closed)>;
type OnTimer = Box<dyn FnMut(&mut Context<'_>, u64)>;
type OnStart = Box<dyn FnMut(&mut Context<'_>)>;

/// An application made of closures; what is not given behaves as in [`Handler`], and messages are dropped.
#[derive(Default)]
pub struct Script {
    start: Option<OnStart>,
    request: Option<OnRequest>,
    connect: Option<OnConn>,
    open: Option<OnConn>,
    message: Option<OnMessage>,
    part: Option<OnPart>,
    drain: Option<OnConn>,
    close: Option<OnClose>,
    timer: Option<OnTimer>,
}

macro_rules! script {
    ($($name:ident: ($($arg:ty),*) $(-> $out:ty)?;)*) => {
        impl Script {
            $(pub fn $name(mut self, f: impl FnMut(&mut Context<'_>, $($arg),*) $(-> $out)? + 'static) -> Self {
                self.$name = Some(Box::new(f));
                self
            })*
        }
    };
}
script! {
    start: ();
    request: (ConnId, &Request<'_>) -> Reply;
    connect: (ConnId);
    open: (ConnId);
    message: (ConnId, Message<'_>);
    part: (ConnId, Part<'_>);
    drain: (ConnId);
    close: (ConnId, &Closed);
    timer: (u64);
}

impl Script {
    /// An application that does nothing.
    pub fn new() -> Self {
        Script::default()
    }

    /// An application that sends every message back.
    pub fn echo() -> Self {
        Script::new().message(|cx, conn, msg| {
            cx.send(conn, msg);
        })
    }
}

impl Handler for Script {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        if let Some(start) = &mut self.start {
            start(cx);
        }
    }

    fn on_request(&mut self, cx: &mut Context<'_>, conn: ConnId, req: &Request<'_>) -> Reply {
        self.request.as_mut().map_or_else(Reply::upgrade, |request| request(cx, conn, req))
    }

    #[cfg(feature = "client")]
    fn on_connect(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if let Some(connect) = &mut self.connect {
            connect(cx, conn);
        }
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if let Some(open) = &mut self.open {
            open(cx, conn);
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        if let Some(message) = &mut self.message {
            message(cx, conn, msg);
        }
    }

    fn on_part(&mut self, cx: &mut Context<'_>, conn: ConnId, part: Part<'_>) {
        if let Some(on_part) = &mut self.part {
            on_part(cx, conn, part);
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if let Some(drain) = &mut self.drain {
            drain(cx, conn);
        }
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: &Closed) {
        if let Some(close) = &mut self.close {
            close(cx, conn, why);
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        if let Some(timer) = &mut self.timer {
            timer(cx, tag);
        }
    }
}

/// Passes everything on and takes notes.
struct Watched<H> {
    app: H,
    notes: Arc<Mutex<Vec<Note>>>,
}

impl<H> Watched<H> {
    fn note(&self, note: Note) {
        lock(&self.notes).push(note);
    }
}

impl<H: Handler> Handler for Watched<H> {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.app.on_start(cx);
    }

    fn on_request(&mut self, cx: &mut Context<'_>, conn: ConnId, req: &Request<'_>) -> Reply {
        self.app.on_request(cx, conn, req)
    }

    #[cfg(feature = "client")]
    fn on_connect(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.note(Note::Connected(conn));
        self.app.on_connect(cx, conn);
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.note(Note::Opened(conn));
        self.app.on_open(cx, conn);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        self.app.on_message(cx, conn, msg);
    }

    fn on_part(&mut self, cx: &mut Context<'_>, conn: ConnId, part: Part<'_>) {
        self.app.on_part(cx, conn, part);
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.note(Note::Drained(conn));
        self.app.on_drain(cx, conn);
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: &Closed) {
        self.note(Note::Closed(conn, why.clone()));
        self.app.on_close(cx, conn, why);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        self.app.on_timer(cx, tag);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server that runs on a thread of its own until it is stopped or dropped.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// The way into its loop.
    pub handle: Handle,
    stats: Arc<Mutex<Stats>>,
    notes: Arc<Mutex<Vec<Note>>>,
    thread: Option<JoinHandle<Report>>,
}

/// Starts a server on a free port; `app` makes its application on the loop's thread.
pub fn start<H: Handler + 'static>(config: Config, app: impl FnOnce() -> H + Send + 'static) -> Running {
    let (stats, notes) = (Arc::<Mutex<Stats>>::default(), Arc::<Mutex<Vec<Note>>>::default());
    let (tell, told) = mpsc::channel();
    let thread = {
        let (stats, notes) = (Arc::clone(&stats), Arc::clone(&notes));
        thread::spawn(move || {
            let mut server = Server::bind("127.0.0.1:0", config).expect("a free port");
            tell.send((server.local_addr().unwrap(), server.handle())).unwrap();
            let mut app = Watched { app: app(), notes };
            loop {
                let turn = server.turn(&mut app, None).unwrap();
                *lock(&stats) = server.stats();
                if let Turn::Stopped(report) = turn {
                    return report;
                }
            }
        })
    };
    let (address, handle) = told.recv_timeout(PATIENCE).expect("a server that listens");
    Running { address, handle, stats, notes, thread: Some(thread) }
}

/// Starts a server that sends every message back.
pub fn start_echo(config: Config) -> Running {
    start(config, Script::echo)
}

impl Running {
    /// The counters as of the end of the last turn.
    pub fn stats(&self) -> Stats {
        *lock(&self.stats)
    }

    /// Waits until the counters are as wanted, and returns them.
    pub fn stats_when(&self, what: &str, wanted: impl Fn(&Stats) -> bool) -> Stats {
        let began = Instant::now();
        loop {
            let stats = self.stats();
            if wanted(&stats) {
                return stats;
            }
            let finished = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            assert!(!finished, "the server has ended, in vain waited: {what}; {stats:#?}");
            assert!(began.elapsed() < PATIENCE, "in vain: {what}; {stats:#?}");
            thread::sleep(ms(1));
        }
    }

    /// What the application has been told so far.
    pub fn notes(&self) -> Vec<Note> {
        lock(&self.notes).clone()
    }

    /// Waits for the `n`th end (from zero) that the application is told of.
    pub fn closed(&self, n: usize) -> Closed {
        until("a connection's end", || self.ends().into_iter().nth(n)).1
    }

    /// All ends so far.
    pub fn ends(&self) -> Vec<(ConnId, Closed)> {
        let of = |note| if let Note::Closed(conn, why) = note { Some((conn, why)) } else { None };
        self.notes().into_iter().filter_map(of).collect()
    }

    /// The id of the `n`th WebSocket that was opened.
    pub fn opened(&self, n: usize) -> ConnId {
        let of = |note| if let Note::Opened(conn) = note { Some(conn) } else { None };
        until("an opened WebSocket", || self.notes().into_iter().filter_map(of).nth(n))
    }

    /// Shuts down and returns the report and the last counters.
    pub fn stop(mut self) -> (Report, Stats) {
        // A loop that was told before may have stopped already.
        assert_ne!(self.handle.shutdown(), Err(tidegate::HandleError::Full));
        let report = self.join();
        (report, self.stats())
    }

    fn join(&mut self) -> Report {
        let thread = self.thread.take().expect("joined once");
        until("the end of the loop", || thread.is_finished().then_some(()));
        thread.join().expect("a loop without panic")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.thread.is_some() && !thread::panicking() {
            let _ = self.handle.shutdown();
            self.join();
        }
    }
}
