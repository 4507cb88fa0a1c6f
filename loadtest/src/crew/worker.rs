//! A worker process: as many lanes as it was asked for, between standard input and standard output.
//!
//! Refuses to know scenarios. Invariants: it ends when its parent has ended, as its input then does; what its lanes
//! tell is written in whole lines.

use std::io::{self, BufRead, Write};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;

use tidegate::program::descriptors;

use crate::engine::lane::Lane;
use crate::order::{Setup, Step, Told};

/// Reports that wait to be written; a lane that finds no room waits, which its lag shows.
const REPORTS_MAX: usize = 1_024;

/// Runs as a worker until the parent says that it is over, or is gone.
///
/// # Errors
/// When the parent says something that is no order, as text.
pub fn run() -> Result<(), String> {
    let mut lines = io::stdin().lock().lines();
    let first = lines.next().ok_or("a worker is started by loadtest itself; it was told nothing")?;
    let first = first.map_err(|error| format!("standard input: {error}"))?;
    let setup: Setup = serde_json::from_str(&first).map_err(|error| format!("unknown order: {error}"))?;
    // Were it refused, the table would grow as it is filled, and the lag would show it.
    let _ = descriptors::make_room(setup.descriptors);
    let (reports, told) = sync_channel(REPORTS_MAX);
    thread::scope(|scope| {
        scope.spawn(move || tell(&told));
        let mut lanes: Vec<Sender<Step>> = Vec::new();
        for lane in setup.first_lane..setup.first_lane + setup.own_lanes {
            let (sender, steps) = channel();
            lanes.push(sender);
            let (setup, reports) = (&setup, reports.clone());
            scope.spawn(move || {
                // Without a parent there is nobody to tell; the end of the input ends us.
                let tell = |told| drop(reports.send(told));
                let done = Lane::new(setup, lane, steps, &tell).and_then(Lane::run);
                if let Err(why) = done {
                    tell(Told::Failed { lane, why });
                }
            });
        }
        drop(reports);
        for line in lines.map_while(Result::ok) {
            let step: Step =
                serde_json::from_str(&line).map_err(|error| format!("unknown order: {error}"))?;
            let last = step == Step::Finish;
            for lane in &lanes {
                // A lane that failed has said so.
                let _ = lane.send(step.clone());
            }
            if last {
                break;
            }
        }
        Ok(())
    })
}

/// Writes what the lanes tell, on a thread of its own: turning histograms into text must not make a lane late.
fn tell(told: &Receiver<Told>) {
    // On Linux this is the thread's own: where a lane has no processor to spare, its reports wait.
    let _ = rustix::process::nice(10);
    let mut out = io::stdout().lock();
    for told in told {
        let Ok(mut line) = serde_json::to_string(&told) else { continue };
        line.push('\n');
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}
