//! `vanish`: peers that disappear without a word: how long until the server notices.
//!
//! Refuses to ask the server: the kernel's table of sockets tells, as neither end is ESTABLISHED any more once the
//! server has ended a connection. Invariants: only sockets of this run are counted, where addresses can tell them apart;
//! what was stopped or made here goes on or is gone at the end, however the run ends.

mod netns;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tidegate::program::failure::Failure;

use self::netns::Namespace;
use crate::cli::{self, Common, How};
use crate::order::{Role, Step};
use crate::output::number::plain_number;
use crate::record::{Combine, Figure, Line, Record, Scale, Times, Unit};
use crate::run::draft::Draft;
use crate::run::{Run, Wanted};
use crate::server::sockets::{Row, Sockets, State};
use crate::target::{PER_SOURCE, Words};

/// Time for the last handshakes to be over on the server's side too.
const REST: Duration = Duration::from_millis(500);
/// Points of the plot, at most; further looks leave none.
const POINTS_MAX: usize = 10_000;

/// Which sockets are those of this run.
struct Ours {
    server: SocketAddr,
    /// The peers' addresses; empty: any.
    peers: Vec<IpAddr>,
    /// The server's ends are looked at, for the peers' are in another namespace.
    far: bool,
}

/// What the looks at the table told.
struct Looks {
    before: u64,
    noticed: Times,
    left: u64,
    /// Seconds since they vanished, and how many ends were still established.
    points: Vec<(f64, f64)>,
    /// The longest time between two looks.
    widest: Duration,
}

/// Measures.
///
/// # Errors
/// When the run cannot be made.
pub fn run(args: &cli::Vanish) -> Result<Record, Failure> {
    let mut common = args.common.clone();
    let address = Words::of(&common).target(args.connections)?.address;
    match args.how {
        How::Stop => {
            let peers = own_sources(&mut common, address, args.connections);
            let ours = Ours { server: address, peers, far: false };
            let run = Run::start(&common, wanted(args))?;
            measure(run, args, &ours, &mut |run, gone| {
                let signal = if gone { Signal::STOP } else { Signal::CONT };
                run.crew.pids().into_iter().try_for_each(|pid| tell(pid, signal))
            })
        }
        How::Netns => {
            if !common.source.is_empty() {
                return Err(Failure::usage(
                    "--source: with --how netns the peers have the namespace's address",
                ));
            }
            // It outlives the run, as the workers are in it.
            let namespace = Namespace::make()?;
            common.url = netns::reach(namespace.near, &common.url)?;
            let server = SocketAddr::new(namespace.near.into(), address.port());
            let ours = Ours { server, peers: vec![namespace.far.into()], far: true };
            let run = Run::start_through(&common, wanted(args), &namespace.prefix())?;
            measure(run, args, &ours, &mut |_, gone| namespace.link(!gone))
        }
    }
}

fn wanted(args: &cli::Vanish) -> Wanted {
    Wanted::new("vanish", Role::Idle, args.connections)
}

/// Towards loopback, addresses that nobody else connects from: the other end of each connection is in the same table,
/// and so are those of other programs.
fn own_sources(common: &mut Common, address: SocketAddr, connections: u64) -> Vec<IpAddr> {
    let loopback = matches!(address.ip(), IpAddr::V4(v4) if v4.is_loopback());
    if common.source.is_empty() && loopback {
        // Two runs at once are told apart by their process's number.
        let own = (std::process::id() % 250) as u8 + 1;
        let wanted = connections.div_ceil(PER_SOURCE).clamp(1, 250) as u8;
        common.source = (1..=wanted).map(|last| IpAddr::V4(Ipv4Addr::new(127, 66, own, last))).collect();
    }
    common.source.clone()
}

fn tell(pid: u32, signal: Signal) -> Result<(), Failure> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else { return Err(Failure::refused("a worker has no process number")) };
    kill_process(pid, signal)
        .map_err(|error| Failure::refused(format!("cannot stop worker {}: {error}", pid.as_raw_nonzero())))
}

/// Connects, lets the peers vanish (`vanish` with true) and come back (with false), and looks meanwhile.
fn measure(
    mut run: Run,
    args: &cli::Vanish,
    ours: &Ours,
    vanish: &mut dyn FnMut(&mut Run, bool) -> Result<(), Failure>,
) -> Result<Record, Failure> {
    run.hold("connecting", args.connections, args.ramp)?;
    let settled = run.phase("settling", false, REST)?;
    run.last(REST)?;
    run.crew.say(&Step::Stall { listeners: args.connections, reads: true });
    let gone = run.phase("vanished", false, args.within)?;
    let before = ours.count(&mut Sockets::default())?;
    vanish(&mut run, true)?;
    let looks = look(&mut run, ours, args, before)?;
    vanish(&mut run, false)?;
    // What has come meanwhile is taken note of before all is closed.
    run.phase("back", false, REST)?;
    run.last(REST)?;
    let finished = run.finish()?;

    let mut draft = Draft::new(&finished, &[0, settled], title(args));
    told(&mut draft, &looks);
    draft.connections();
    draft.server(&[gone], None);
    draft.kernel();
    draft.generator();
    // Behind a link that was cut they find nothing: what the server sent is lost.
    let columns = ["end", "peers", "the first of them"];
    draft.kinds("What the peers found when they were back", columns, finished.ledger.all().fates);
    notes(&mut draft, args, ours, &looks);
    Ok(draft.record)
}

impl Ours {
    fn has(&self, row: &Row) -> bool {
        let (server, peer) = if self.far { (row.local, row.remote) } else { (row.remote, row.local) };
        server == self.server && (self.peers.is_empty() || self.peers.contains(&peer.ip()))
    }

    fn count(&self, sockets: &mut Sockets) -> Result<u64, Failure> {
        let counts = sockets.count(|row| row.state == State::Established && self.has(row));
        counts.map(|counts| counts.of(State::Established)).ok_or_else(|| {
            Failure::refused(
                "/proc/net/tcp cannot be read: only it tells what the server has noticed; this needs Linux",
            )
        })
    }
}

/// Looks at the table of sockets until no end is established any more, or the time is over.
fn look(run: &mut Run, ours: &Ours, args: &cli::Vanish, before: u64) -> Result<Looks, Failure> {
    let mut sockets = Sockets::default();
    let began = Instant::now();
    let mut looks = Looks {
        before,
        noticed: Times::default(),
        left: before,
        points: vec![(0.0, before as f64)],
        widest: Duration::ZERO,
    };
    let mut last = Duration::ZERO;
    while looks.left > 0 && began.elapsed() < args.within {
        run.last(args.look.min(args.within.saturating_sub(began.elapsed())))?;
        let open = ours.count(&mut sockets)?;
        let at = began.elapsed();
        looks.widest = looks.widest.max(at.saturating_sub(last));
        last = at;
        let micros = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        (open..looks.left).for_each(|_| looks.noticed.record_micros(micros));
        // A row may be missed while the table changes; one that comes back had not gone.
        looks.left = looks.left.min(open);
        if looks.points.len() < POINTS_MAX {
            looks.points.push((at.as_secs_f64(), looks.left as f64));
        }
    }
    Ok(looks)
}

/// What the looks told, as figures.
fn told(draft: &mut Draft<'_>, looks: &Looks) {
    draft.sum("vanished", looks.before as f64, Unit::Count);
    draft.sum("noticed", looks.noticed.count() as f64, Unit::Count);
    draft
        .put(Figure::new("unnoticed", looks.left as f64, Unit::Count).combine(Combine::Sum).less_is_better());
    draft.times("noticed", "noticed_", &looks.noticed);
    let line = Line { name: "still held by the server".into(), points: looks.points.clone(), dots: false };
    draft.plot("Connections to peers that vanished", "connections", Unit::Count, Scale::Linear, vec![line]);
}

fn notes(draft: &mut Draft<'_>, args: &cli::Vanish, ours: &Ours, looks: &Looks) {
    draft.note(match args.how {
        How::Stop => {
            "The worker processes were stopped (SIGSTOP): the kernel went on acknowledging what the server sent, and \
             nothing answered its pings. A connection counts as noticed when the peer's end was not ESTABLISHED any \
             more: the server had closed or reset it."
        }
        How::Netns => {
            "The peers' link was cut in a network namespace: nothing was acknowledged any more. A connection counts as \
             noticed when the server's end was not ESTABLISHED any more. A server that never sends cannot notice; one \
             that does may also be told by TCP itself, after about a quarter of an hour (tcp_retries2)."
        }
    });
    if args.how == How::Netns {
        draft.note(format!(
            "The server was reached at {} instead of the URL's address: the host's side of the namespace's link.",
            ours.server
        ));
    }
    draft.note(format!(
        "Times are as fine as the looks at the kernel's table: every {:?} as asked for, {} apart at most. The verdict \
         judges the generator before the peers vanished; afterwards it had nothing to do but to be silent.",
        args.look,
        plain_number(Unit::Seconds, looks.widest.as_secs_f64())
    ));
    if looks.left > 0 {
        draft.note(format!(
            "{} connections were still held after {:?}; quantiles are of those that were noticed. A server notices by \
             pings, by an idle timeout, or by sending (with --how netns only).",
            looks.left, args.within
        ));
    }
    let held = draft.finished.facts.connections;
    if looks.before != held {
        draft.note(format!(
            "{held} connections were asked for, {} were established when they vanished{}.",
            looks.before,
            if ours.peers.is_empty() {
                ", those of other programs to the same address included (see --source)"
            } else {
                ""
            }
        ));
    } else if ours.peers.is_empty() {
        draft.note(
            "Connections of others to the same address would be counted too; --source tells them apart.",
        );
    }
}

fn title(args: &cli::Vanish) -> String {
    let how = match args.how {
        How::Stop => "as their process is stopped",
        How::Netns => "as their link is cut",
    };
    format!("{} connections vanish, {how}", args.connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ends_of_this_run_count() {
        let row = |local: &str, remote: &str| Row {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            state: State::Established,
        };
        let server: SocketAddr = "127.0.0.1:9001".parse().unwrap();
        let near = Ours { server, peers: vec!["127.66.1.1".parse().unwrap()], far: false };
        let far = Ours { server, peers: near.peers.clone(), far: true };
        let any = Ours { server, peers: Vec::new(), far: false };
        for (local, remote, expected) in [
            ("127.66.1.1:5000", "127.0.0.1:9001", [true, false, true]),
            ("127.0.0.1:9001", "127.66.1.1:5000", [false, true, false]),
            ("127.66.1.2:5000", "127.0.0.1:9001", [false, false, true]),
            ("127.66.1.1:5000", "127.0.0.1:9002", [false, false, false]),
        ] {
            let row = row(local, remote);
            assert_eq!([&near, &far, &any].map(|ours| ours.has(&row)), expected, "{local} {remote}");
        }
    }
}
