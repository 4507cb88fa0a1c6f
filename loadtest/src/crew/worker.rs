//! A worker process: as many lanes as it was asked for, between standard input and standard output.
//!
//! Refuses to know scenarios. Invariants: it ends when its parent has ended, as its input then does; what its lanes
//! tell is written in whole lines.

use std::io::{self, BufRead, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::order::{Setup, Step, Told};
use crate::engine::lane::Lane;

/// Runs as a worker until the parent says that it is over, or is gone.
///
/// # Errors
/// When the parent says something that is no order, as text.
pub fn run() -> Result<(), String> {
    let mut lines = io::stdin().lock().lines();
    let first = lines.next().ok_or("a worker is started by loadtest itself; it was told nothing")?;
    let first = first.map_err(|error| format!("standard input: {error}"))?;
    let setup: Setup = serde_json::from_str(&first).map_err(|error| format!("unknown order: {error}"))?;
    let out = Mutex::new(io::stdout());
    let tell = |told: Told| {
        let Ok(mut line) = serde_json::to_string(&told) else { return };
        line.push('\n');
        let mut out = out.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Without a parent there is nobody to tell; the end of the input ends us.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    };
    thread::scope(|scope| {
        let mut lanes: Vec<Sender<Step>> = Vec::new();
        for lane in setup.first_lane..setup.first_lane + setup.own_lanes {
            let (sender, steps) = channel();
            lanes.push(sender);
            let (setup, tell) = (&setup, &tell);
            scope.spawn(move || {
                let done = Lane::new(setup, lane, steps, tell).and_then(Lane::run);
                if let Err(why) = done {
                    tell(Told::Failed { lane, why });
                }
            });
        }
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
