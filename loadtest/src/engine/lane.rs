//! One lane: a thread, a loop, its connections, and the role they play.
//!
//! Refuses to know who tells it what to do. Invariants: a turn does whatever was planned up to now, then sleeps until
//! the next plan or event; how late it comes back is measured every [`BEAT`], whatever else happens; everything that
//! was measured is reported every [`REPORT`].

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use tidegate::{Closed, Config, ConnId, Context, Handler, Message, Server, Stats};

use super::alarm::Alarm;
use super::book::Book;
use super::churn::ChurnRole;
use super::echo::EchoRole;
use super::fanout::FanoutRole;
use super::hold::HoldRole;
use super::idle::IdleRole;
use super::peers::{Ended, Peers};
use crate::order::{Ask, Count, Metric, Publish, Report, Role, Setup, Step, Told};
use crate::server::cpu::{monotonic_ns, pin_this_thread, thread_cpu, thread_wait};

/// Nanoseconds between two looks at how late the loop is, and at what has waited too long.
pub const BEAT: u64 = 10_000_000;
/// Nanoseconds between two reports.
const REPORT: u64 = 500_000_000;
/// Nanoseconds for the connections to close at the end.
const FAREWELL: u64 = 3_000_000_000;
/// Bytes that may wait for a server that does not read.
const BACKLOG_MAX: usize = 64 << 20;
/// Bytes of a message from the server.
const MESSAGE_MAX: usize = 64 << 20;

/// A counter of the loop, and what it is reported as.
type Counter = (Count, fn(&Stats) -> u64);

/// Those that are reported as they are.
const COUNTERS: [Counter; 6] = [
    (Count::Pinged, |stats| stats.pings_in),
    (Count::DeflatedFrom, |stats| stats.deflated_from),
    (Count::DeflatedTo, |stats| stats.deflated_to),
    (Count::InflatedFrom, |stats| stats.inflated_from),
    (Count::InflatedTo, |stats| stats.inflated_to),
    (Count::Undeflated, |stats| stats.deflate_declined),
];

/// What connections do once they are open. One per lane.
pub trait Play {
    /// Load begins or ends, as was planned for `at`.
    fn load(&mut self, desk: &mut Desk, cx: &mut Context<'_>, on: bool, at: u64);
    /// A connection is open.
    fn opened(&mut self, desk: &mut Desk, cx: &mut Context<'_>, conn: ConnId, now: u64);
    /// A message came.
    fn message(&mut self, desk: &mut Desk, cx: &mut Context<'_>, conn: ConnId, msg: &Message<'_>, now: u64);
    /// A connection has ended.
    fn ended(&mut self, desk: &mut Desk, cx: &mut Context<'_>, conn: ConnId, how: Ended, now: u64);
    /// When there is something to do that nothing announces.
    fn due(&self) -> Option<u64>;
    /// Does what was planned up to `until`, some of it at a time.
    fn work(&mut self, desk: &mut Desk, cx: &mut Context<'_>, until: u64);
    /// Every [`BEAT`]: looks for what has waited too long, some of it at a time.
    fn beat(&mut self, desk: &mut Desk, cx: &mut Context<'_>, now: u64);
    /// So many of all lanes' listening connections are set apart: they read, or stop reading.
    fn stall(&mut self, desk: &mut Desk, cx: &mut Context<'_>, listeners: u64, reads: bool, now: u64);
    /// The connections are asked for something.
    fn ask(&mut self, _: &mut Desk, _: &mut Context<'_>, _: Ask) {}
    /// All connections are gone.
    fn forget(&mut self);
    /// Messages that wait for their answers.
    fn outstanding(&self) -> u64;
}

/// What every role works with.
pub struct Desk {
    pub book: Book,
    pub peers: Peers,
    /// Publishes that are complete, to be told.
    pub publishes: Vec<Publish>,
    spent: Spent,
}

impl Desk {
    /// Begins the planned phase if it is time; what the thread has used up to now belongs to the one that ends.
    fn turn_page(&mut self, now: u64) {
        if self.book.due().is_some_and(|at| at <= now) {
            self.account(now);
            self.book.turn(now);
        }
    }

    /// Writes down what the thread has used since the last time.
    fn account(&mut self, now: u64) {
        let before = std::mem::replace(&mut self.spent, Spent::now(now));
        self.book.spent(
            self.spent.cpu.saturating_sub(before.cpu),
            self.spent.wall.saturating_sub(before.wall),
            self.spent.waited.saturating_sub(before.waited),
        );
    }
}

struct App {
    desk: Desk,
    play: Box<dyn Play>,
    /// Load that is to begin or end, and when.
    load: Option<(bool, u64)>,
}

impl App {
    /// Begins the planned phase and its load if it is time. Both at once, and before anything else that happens then: what
    /// is sent after a phase has begun belongs to it.
    fn turn(&mut self, cx: &mut Context<'_>, now: u64) {
        let App { desk, play, load } = self;
        if let Some((false, at)) = load.filter(|(_, at)| *at <= now) {
            // What was planned before the end of the load is sent, however late.
            while play.due().is_some_and(|due| due < at) {
                play.work(desk, cx, at - 1);
            }
        }
        desk.turn_page(now);
        if let Some((on, at)) = load.take_if(|(_, at)| *at <= now) {
            play.load(desk, cx, on, at);
        }
    }
}

impl Handler for App {
    fn on_connect(&mut self, _: &mut Context<'_>, conn: ConnId) {
        self.desk.peers.connected(&mut self.desk.book, conn, monotonic_ns());
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let now = monotonic_ns();
        self.turn(cx, now);
        let resumed = cx.tls(conn).map(|tls| tls.is_resumed());
        self.desk.peers.opened(&mut self.desk.book, conn, resumed, now);
        self.play.opened(&mut self.desk, cx, conn, now);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        let now = monotonic_ns();
        // A phase may begin in the middle of a turn of the loop; what comes from here on belongs to it.
        self.turn(cx, now);
        self.play.message(&mut self.desk, cx, conn, &msg, now);
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: &Closed) {
        let now = monotonic_ns();
        self.turn(cx, now);
        if let Some(how) = self.desk.peers.ended(&mut self.desk.book, conn, why, now) {
            self.play.ended(&mut self.desk, cx, conn, how, now);
        }
    }
}

/// See the module's text.
pub struct Lane<'a> {
    lane: u32,
    setup: &'a Setup,
    server: Server,
    alarm: Alarm,
    app: App,
    steps: Receiver<Step>,
    tell: &'a dyn Fn(Told),
    next_beat: u64,
    next_report: u64,
    /// Steps heard, and how many had been when it was last told that all is done.
    steps_heard: u64,
    steps_done: u64,
    /// What of the loop's own counters is in the book.
    told: [u64; COUNTERS.len()],
    finish_at: Option<u64>,
}

/// What the thread had used when it was last looked at.
#[derive(Clone, Copy)]
struct Spent {
    cpu: u64,
    wall: u64,
    waited: u64,
}

impl Spent {
    fn now(now: u64) -> Self {
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Spent { cpu: nanos(thread_cpu()), wall: now, waited: thread_wait().map_or(0, nanos) }
    }
}

impl<'a> Lane<'a> {
    /// A lane of the worker that `setup` describes; `steps` tell it what to do, and it tells what happens.
    ///
    /// # Errors
    /// When the loop cannot be made, as text.
    pub fn new(
        setup: &'a Setup,
        lane: u32,
        steps: Receiver<Step>,
        tell: &'a dyn Fn(Told),
    ) -> Result<Self, String> {
        if !setup.cpus.is_empty() {
            pin_this_thread(setup.cpus[lane as usize % setup.cpus.len()])?;
        }
        let (server, alarm) = fresh_loop(setup)?;
        let now = monotonic_ns();
        let play: Box<dyn Play> = match &setup.role {
            Role::Idle => Box::new(IdleRole),
            Role::Echo(echo) => Box::new(EchoRole::new(setup, echo, lane)),
            Role::Fanout(fanout) => Box::new(FanoutRole::new(setup, fanout, lane)),
            Role::Churn(churn) => Box::new(ChurnRole::new(setup, churn, lane)),
            Role::Hold => Box::new(HoldRole::new(setup, lane)),
        };
        let desk = Desk {
            book: Book::new(now),
            peers: Peers::new(setup, lane)?,
            publishes: Vec::new(),
            spent: Spent::now(now),
        };
        Ok(Lane {
            lane,
            setup,
            server,
            alarm,
            app: App { desk, play, load: None },
            steps,
            tell,
            next_beat: now + BEAT,
            next_report: now + REPORT,
            steps_heard: 0,
            steps_done: 0,
            told: [0; COUNTERS.len()],
            finish_at: None,
        })
    }

    /// Runs until it is told to finish, or nobody is there to tell it.
    ///
    /// # Errors
    /// When the loop breaks, as text.
    pub fn run(mut self) -> Result<(), String> {
        loop {
            if !self.obey()? {
                break;
            }
            let now = monotonic_ns();
            self.work(now);
            let due = self.due();
            let wait = if due <= monotonic_ns() {
                Some(Duration::ZERO)
            } else {
                self.alarm.set(due)?;
                None
            };
            self.server.turn(&mut self.app, wait).map_err(|error| error.to_string())?;
        }
        self.report(monotonic_ns());
        (self.tell)(Told::Done { lane: self.lane });
        Ok(())
    }

    fn due(&self) -> u64 {
        let desk = &self.app.desk;
        let others = [
            desk.book.due(),
            self.app.load.map(|(_, at)| at),
            desk.peers.due(),
            self.app.play.due(),
            self.finish_at,
        ];
        others.into_iter().flatten().fold(self.next_beat.min(self.next_report), u64::min)
    }

    /// Everything that is due now.
    fn work(&mut self, now: u64) {
        let mut cx = self.server.context();
        self.app.turn(&mut cx, now);
        let App { desk, play, .. } = &mut self.app;
        if play.due().is_some_and(|at| at <= now) {
            play.work(desk, &mut cx, now);
        }
        desk.peers.work(&mut desk.book, &mut cx, now);
        if now >= self.next_beat {
            // Each one that was missed was late too: a loop that stands still must not be asked less often for it.
            while self.next_beat <= now {
                desk.book.time(Metric::Lag, now - self.next_beat);
                self.next_beat += BEAT;
            }
            play.beat(desk, &mut cx, now);
        }
        // A run waits to be told that what it asked for is done.
        let done = self.steps_done != self.steps_heard && self.has_done();
        if done {
            self.steps_done = self.steps_heard;
        }
        if done || now >= self.next_report {
            self.next_report = now + REPORT;
            self.report(now);
        }
    }

    /// True when what the last step asked for is done. Of several lanes none knows what another has sent to its listeners.
    fn has_done(&self) -> bool {
        let App { desk, play, load } = &self.app;
        !(self.setup.lanes > 1 && matches!(self.setup.role, Role::Fanout(_)))
            && load.is_none()
            && desk.peers.dialing() == 0
            && desk.peers.to_dial() == 0
            && play.outstanding() == 0
    }

    /// Hears what is to be done; false when it is over.
    fn obey(&mut self) -> Result<bool, String> {
        if let Some(at) = self.finish_at {
            let gone = self.app.desk.peers.open().is_empty() && self.server.stats().connections == 0;
            return Ok(!gone && monotonic_ns() < at);
        }
        loop {
            let now = monotonic_ns();
            let App { desk, play, load: planned } = &mut self.app;
            let step = self.steps.try_recv();
            self.steps_heard += u64::from(step.is_ok());
            match step {
                Ok(Step::Phase { phase, at, load }) => {
                    // Heard too late, it begins now: what was sent meanwhile stands with the phase before already.
                    let at = at.max(now);
                    desk.book.plan(phase, at);
                    *planned = Some((load, at));
                }
                Ok(Step::Hold { connections, per_second }) => desk.peers.hold(now, connections, per_second),
                Ok(Step::Stall { listeners, reads }) => {
                    play.stall(desk, &mut self.server.context(), listeners, reads, now);
                }
                Ok(Step::Resume { share }) => {
                    let alive = u64::from(self.setup.dialing_max);
                    desk.peers.resume(share, alive)?;
                }
                Ok(Step::Ask(ask)) => play.ask(desk, &mut self.server.context(), ask),
                Ok(Step::Drop) => {
                    self.told = [0; COUNTERS.len()];
                    (self.server, self.alarm) = fresh_loop(self.setup)?;
                    // Closing a hundred thousand sockets takes its time; return counts from when it is done.
                    let gone = monotonic_ns();
                    desk.peers.forget(gone);
                    play.forget();
                    // It was our wish, and nobody waited for us meanwhile.
                    self.next_beat = gone + BEAT;
                }
                Ok(Step::Finish) | Err(TryRecvError::Disconnected) => {
                    self.say_goodbye(now);
                    return Ok(true);
                }
                Err(TryRecvError::Empty) => return Ok(true),
            }
        }
    }

    fn say_goodbye(&mut self, now: u64) {
        let App { desk, play, .. } = &mut self.app;
        let mut cx = self.server.context();
        play.load(desk, &mut cx, false, now);
        play.stall(desk, &mut cx, 0, true, now);
        desk.peers.cease();
        for conn in desk.peers.open().to_vec() {
            desk.peers.leave(conn, now);
            cx.close(conn, 1000, "");
        }
        self.finish_at = Some(now + FAREWELL);
    }

    fn report(&mut self, now: u64) {
        let App { desk, play, .. } = &mut self.app;
        desk.account(now);
        let stats = self.server.stats();
        for ((count, of), told) in COUNTERS.iter().zip(&mut self.told) {
            let now = of(&stats);
            if now > *told {
                desk.book.count(*count, now - *told);
                *told = now;
            }
        }
        for publish in desk.publishes.drain(..) {
            (self.tell)(Told::Publish(Box::new(publish)));
        }
        (self.tell)(Told::Report(Box::new(Report {
            lane: self.lane,
            at: now,
            open: desk.peers.open().len() as u64,
            dialing: u64::from(desk.peers.dialing()),
            outstanding: play.outstanding(),
            to_dial: desk.peers.to_dial(),
            steps: self.steps_heard,
            pages: desk.book.hand_out(),
        })));
    }
}

/// A loop in the client's role: its own limits are so wide that only the server's are met.
fn fresh_loop(setup: &Setup) -> Result<(Server, Alarm), String> {
    let ping = Duration::from_secs_f64(setup.ping_interval);
    let config = Config::default()
        .connections_max(1 << 24)
        .handshake_timeout(Duration::from_secs_f64(setup.connect_timeout))
        .ping_interval(ping)
        .idle_timeout(Duration::ZERO)
        .message_max(MESSAGE_MAX)
        // A message is one frame, as clients send it: where it is cut would favour one server's buffer.
        .fragment_bytes(MESSAGE_MAX)
        .backlog_high(BACKLOG_MAX / 2)
        .backlog_low(BACKLOG_MAX / 4)
        .backlog_max(BACKLOG_MAX)
        .backlog_grace(Duration::from_secs(3_600))
        .memory_max(8 << 30)
        .deflate_budget(8 << 30)
        .inflate_budget(MESSAGE_MAX)
        .inflate_ratio_max(2_000)
        .nodelay(true);
    let mut server = Server::new(config).map_err(|error| error.to_string())?;
    let alarm = Alarm::new(&mut server)?;
    Ok((server, alarm))
}
