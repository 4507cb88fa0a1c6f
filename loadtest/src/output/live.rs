//! The live view: how a run is getting on, on stderr.
//!
//! Refuses to know scenarios and to read a clock: time is what the levels say. Invariants: nothing goes to stdout; a
//! terminal is left as it was found; where there is none, lines are rare and plain.

use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use super::number::plain_number;
use crate::record::Unit;

/// How a run is getting on.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    /// Since the phase began.
    pub elapsed: Duration,
    /// Open connections, and how many there shall be.
    pub open: u64,
    pub goal: u64,
    /// Messages, or what the phase does.
    pub per_second: f64,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub errors: u64,
    /// Of one core.
    pub server_cpu: Option<f64>,
    /// In bytes.
    pub server_memory: Option<u64>,
}

/// The live view; see the module's text.
pub struct Live {
    view: View,
    phase: Phase,
}

enum View {
    Bar(ProgressBar),
    Lines(Box<dyn Write + Send>),
}

#[derive(Default)]
struct Phase {
    name: String,
    total: Option<Duration>,
    /// The next line is due when this much of the phase has passed.
    due: Duration,
}

impl Live {
    /// A bar that is drawn again and again, or plain lines where stderr is no terminal.
    pub fn new(terminal: bool) -> Self {
        if !terminal {
            return Live::lines(Box::new(std::io::stderr()));
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        // A run that ends early, by an error or a panic, leaves no half bar behind.
        Live::with(View::Bar(bar.with_finish(ProgressFinish::AndClear)))
    }

    fn lines(to: Box<dyn Write + Send>) -> Self {
        Live::with(View::Lines(to))
    }

    fn with(view: View) -> Self {
        Live { view, phase: Phase::default() }
    }

    /// A new phase: for so long, or up to so many connections, or until it is over.
    pub fn phase(&mut self, name: &str, total: Option<Duration>, goal: Option<u64>) {
        self.phase = Phase { name: name.to_string(), total, due: Duration::ZERO };
        if let View::Bar(bar) = &self.view {
            // First of all, because each of the others draws.
            bar.set_prefix(name.to_string());
            bar.set_style(style(total.is_some() || goal.is_some()));
            bar.set_length(total.map_or(goal.unwrap_or(0), |total| total.as_millis() as u64));
            bar.set_position(0);
            bar.set_message("");
        }
    }

    /// Shows the levels. Called as often as one likes: a bar is drawn at most twenty times a second, a line is written
    /// once a second, and every five seconds in a phase of more than a minute.
    pub fn tick(&mut self, levels: &Levels) {
        match &mut self.view {
            View::Bar(bar) => {
                let position =
                    if self.phase.total.is_some() { levels.elapsed.as_millis() as u64 } else { levels.open };
                bar.set_position(position.min(bar.length().unwrap_or(u64::MAX)));
                bar.set_prefix(format!("{} {}", self.phase.name, self.phase.so_far(levels)));
                bar.set_message(line(levels));
                bar.tick();
            }
            View::Lines(to) => {
                if levels.elapsed < self.phase.due {
                    return;
                }
                self.phase.due = levels.elapsed.saturating_add(self.phase.every());
                // Nobody may be reading stderr any more; the run goes on.
                let _ = writeln!(to, "{} {}: {}", self.phase.name, self.phase.so_far(levels), line(levels));
            }
        }
    }

    /// Takes the view off the terminal.
    pub fn finish(&mut self) {
        if let View::Bar(bar) = &self.view {
            bar.finish_and_clear();
        }
    }
}

impl Phase {
    fn every(&self) -> Duration {
        let long = self.total.is_some_and(|total| total > Duration::from_secs(60));
        Duration::from_secs(if long { 5 } else { 1 })
    }

    /// `12 of 30 s`.
    fn so_far(&self, levels: &Levels) -> String {
        let elapsed = levels.elapsed.as_secs();
        match self.total {
            Some(total) => format!("{elapsed} of {}", plain_number(Unit::Seconds, total.as_secs_f64())),
            None => format!("{elapsed} s"),
        }
    }
}

/// With a bar, when the end is known. The message is cut to the terminal's width.
fn style(bar: bool) -> ProgressStyle {
    let template = if bar {
        "{prefix:.bold} {wide_bar:.cyan/dim} {percent:>3} %\n{wide_msg}"
    } else {
        "{prefix:.bold} {spinner:.cyan}\n{wide_msg}"
    };
    // The templates are constants; were one broken, the plain bar would still do.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━╸─")
}

/// All levels in one line; those that are not known are left out. What matters most stands first, because a narrow
/// terminal cuts the end.
fn line(levels: &Levels) -> String {
    let count = |value: u64| plain_number(Unit::Count, value as f64);
    let open = if levels.open == levels.goal || levels.goal == 0 {
        format!("{} open", count(levels.open))
    } else {
        format!("{}/{} open", count(levels.open), count(levels.goal))
    };
    let mut parts = vec![open, plain_number(Unit::PerSecond, levels.per_second)];
    let times = [("p50", levels.p50_us), ("p99", levels.p99_us)];
    parts.extend(times.iter().filter_map(|&(name, time)| {
        time.map(|time| format!("{name} {}", plain_number(Unit::Microseconds, time)))
    }));
    parts.push(if levels.errors == 1 {
        "1 error".to_string()
    } else {
        format!("{} errors", count(levels.errors))
    });
    let cpu = levels.server_cpu.map(|share| format!("cpu {}", plain_number(Unit::Share, share)));
    let memory = levels.server_memory.map(|bytes| plain_number(Unit::Bytes, bytes as f64));
    let server: Vec<String> = cpu.into_iter().chain(memory).collect();
    if !server.is_empty() {
        parts.push(format!("server {}", server.join(" ")));
    }
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Sends on what is written.
    struct Heard(mpsc::Sender<Vec<u8>>);

    impl Write for Heard {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn levels(millis: u64) -> Levels {
        Levels {
            elapsed: Duration::from_millis(millis),
            open: 5,
            goal: 5,
            per_second: 100.0,
            ..Levels::default()
        }
    }

    fn lines_of(total: Option<u64>, ticks: &[u64]) -> Vec<String> {
        let (sender, heard) = mpsc::channel();
        let mut live = Live::lines(Box::new(Heard(sender)));
        live.phase("hold", total.map(Duration::from_secs), None);
        ticks.iter().for_each(|&millis| live.tick(&levels(millis)));
        live.finish();
        drop(live);
        let text: Vec<u8> = heard.iter().flatten().collect();
        String::from_utf8(text).unwrap().lines().map(String::from).collect()
    }

    #[test]
    fn lines_are_rare() {
        let lines = lines_of(Some(30), &[0, 100, 999, 1_000, 1_500, 2_300, 3_200, 3_300]);
        assert_eq!(lines[0], "hold 0 of 30 s: 5 open  100 /s  0 errors");
        assert_eq!(lines.len(), 4, "{lines:?}");
        let lines = lines_of(Some(61), &[0, 1_000, 4_999, 5_000, 9_999, 10_000]);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines_of(None, &[2_000]), ["hold 2 s: 5 open  100 /s  0 errors"]);
    }

    #[test]
    fn a_new_phase_begins_with_a_line() {
        let (sender, heard) = mpsc::channel();
        let mut live = Live::lines(Box::new(Heard(sender)));
        live.phase("open", None, Some(5));
        live.tick(&levels(90_000));
        live.phase("hold", None, None);
        live.tick(&levels(0));
        drop(live);
        let text: Vec<u8> = heard.iter().flatten().collect();
        assert_eq!(String::from_utf8(text).unwrap().lines().count(), 2);
    }

    #[test]
    fn the_line_holds_what_is_known() {
        let all = Levels {
            elapsed: Duration::ZERO,
            open: 9_500,
            goal: 10_000,
            per_second: 49_800.4,
            p50_us: Some(180.0),
            p99_us: Some(2_310.0),
            errors: 1,
            server_cpu: Some(1.84),
            server_memory: Some(88 << 20),
        };
        let expected =
            "9,500/10,000 open  49,800 /s  p50 180 µs  p99 2.31 ms  1 error  server cpu 184 % 88.0 MiB";
        assert_eq!(line(&all), expected);
    }

    #[test]
    fn a_bar_takes_any_levels() {
        let mut live = Live::with(View::Bar(ProgressBar::hidden()));
        live.tick(&levels(7));
        live.phase("open", None, Some(0));
        live.tick(&levels(u64::MAX));
        live.phase("hold", Some(Duration::MAX), None);
        live.tick(&Levels { per_second: f64::NAN, ..levels(3) });
        live.finish();
        live.finish();
    }
}
