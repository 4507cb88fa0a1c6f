//! `Ledger`: what all lanes have told, added up by phase and over time.
//!
//! Refuses to know processes. Invariants: sums do not depend on the order of reports; the series over time has at most
//! [`POINTS_MAX`] points, whatever the length of the run; publishes that wait for other lanes' parts are bounded.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;

use crate::order::{Count, Metric, Page, Publish, Report};
use crate::record::{Seen, Times};

/// Points of the series; when there are more, each two become one.
const POINTS_MAX: usize = 600;
/// Nanoseconds of a point at first.
const POINT: u64 = 500_000_000;
/// Publishes whose parts are gathered at once.
const PUBLISHES_MAX: usize = 4_096;
/// Troubles that are kept.
const TROUBLES_MAX: usize = 32;

/// See the module's text.
pub struct Ledger {
    lanes: Vec<Level>,
    phases: BTreeMap<u32, Sum>,
    pub series: Series,
    publishes: HashMap<(u32, u32), (u32, u32, Times)>,
    order: VecDeque<(u32, u32)>,
    /// Lines that every lane has been told.
    pub said: u64,
    /// Workers that died and the like, as sentences.
    pub troubles: Vec<String>,
    pub troubles_count: u64,
}

/// What one lane has now.
#[derive(Clone, Copy, Default)]
struct Level {
    open: u64,
    dialing: u64,
    outstanding: u64,
    to_dial: u64,
    heard: bool,
    gone: bool,
}

/// One phase over all lanes.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    counts: BTreeMap<Count, u64>,
    times: BTreeMap<Metric, Times>,
    pub errors: BTreeMap<String, Seen>,
    /// Ends that the run itself provoked, by kind.
    pub fates: BTreeMap<String, Seen>,
    /// Processor, total and waiting nanoseconds of each lane.
    pub spent: BTreeMap<u32, (u64, u64, u64)>,
}

impl Sum {
    /// How often this happened.
    pub fn count(&self, what: Count) -> u64 {
        self.counts.get(&what).copied().unwrap_or(0)
    }

    /// These time spans; empty when there were none.
    pub fn times(&self, what: Metric) -> Times {
        self.times.get(&what).cloned().unwrap_or_default()
    }

    /// The processor time of the busiest lane's thread, as a share of the time.
    pub fn busiest(&self) -> f64 {
        self.most(|(cpu, _, _)| cpu)
    }

    /// The largest share of the time that a lane's thread was ready and had no processor.
    pub fn most_waiting(&self) -> f64 {
        self.most(|(_, _, waited)| waited)
    }

    fn most(&self, of: fn((u64, u64, u64)) -> u64) -> f64 {
        let shares = self.spent.values().map(|spent| of(*spent) as f64 / spent.1.max(1) as f64);
        shares.fold(0.0, f64::max)
    }

    fn spend(&mut self, lane: u32, (cpu, wall, waited): (u64, u64, u64)) {
        let spent = self.spent.entry(lane).or_default();
        *spent = (spent.0 + cpu, spent.1 + wall, spent.2 + waited);
    }

    fn add(&mut self, lane: u32, page: Page) {
        for (what, count) in page.counts {
            let sum = self.counts.entry(what).or_default();
            // A count that is taken back comes as a number just below zero.
            *sum = sum.wrapping_add(count);
        }
        for (what, times) in page.times {
            self.times.entry(what).or_default().add(&times.0);
        }
        for (kind, seen) in page.errors {
            self.errors.entry(kind).or_default().add(seen.count, &seen.example);
        }
        for (kind, seen) in page.fates {
            self.fates.entry(kind).or_default().add(seen.count, &seen.example);
        }
        self.spend(lane, (page.cpu, page.wall, page.waited));
    }

    /// Adds another phase to this one.
    pub fn merge(&mut self, other: &Sum) {
        for (lane, spent) in &other.spent {
            self.spend(*lane, *spent);
        }
        for (what, count) in &other.counts {
            let sum = self.counts.entry(*what).or_default();
            *sum = sum.wrapping_add(*count);
        }
        for (what, times) in &other.times {
            self.times.entry(*what).or_default().add(times);
        }
        for (kind, seen) in &other.errors {
            self.errors.entry(kind.clone()).or_default().add(seen.count, &seen.example);
        }
        for (kind, seen) in &other.fates {
            self.fates.entry(kind.clone()).or_default().add(seen.count, &seen.example);
        }
    }
}

/// What happened over time.
#[derive(Default)]
pub struct Series {
    start: u64,
    width: u64,
    points: Vec<Point>,
}

/// A stretch of time.
#[derive(Clone, Default)]
pub struct Point {
    /// Highest number of open connections.
    pub open: u64,
    pub received: u64,
    pub opened: u64,
    pub closed: u64,
    pub errors: u64,
    /// Latencies, or deliveries, that came in it.
    pub latency: Times,
}

impl Series {
    /// Seconds since the beginning, and what happened in the stretch that begins there.
    pub fn points(&self) -> impl Iterator<Item = (f64, &Point)> {
        self.points.iter().enumerate().map(|(at, point)| (at as f64 * self.width as f64 / 1e9, point))
    }

    /// What happened in the last stretch.
    pub fn last(&self) -> Option<&Point> {
        self.points.last()
    }

    /// Seconds of one stretch.
    pub fn width(&self) -> f64 {
        self.width as f64 / 1e9
    }

    fn point(&mut self, at: u64) -> &mut Point {
        if self.width == 0 {
            (self.start, self.width) = (at, POINT);
        }
        let mut place = (at.saturating_sub(self.start) / self.width) as usize;
        while place >= POINTS_MAX {
            self.halve();
            place /= 2;
        }
        if place >= self.points.len() {
            self.points.resize_with(place + 1, Point::default);
        }
        &mut self.points[place]
    }

    fn halve(&mut self) {
        self.width *= 2;
        let pairs = self.points.chunks(2).map(|pair| {
            let mut sum = pair[0].clone();
            if let Some(second) = pair.get(1) {
                sum.open = sum.open.max(second.open);
                sum.received += second.received;
                sum.opened += second.opened;
                sum.closed += second.closed;
                sum.errors += second.errors;
                sum.latency.add(&second.latency);
            }
            sum
        });
        self.points = pairs.collect();
    }
}

impl Ledger {
    /// For this many lanes.
    pub fn new(lanes: u32) -> Self {
        Ledger {
            lanes: vec![Level::default(); lanes as usize],
            phases: BTreeMap::new(),
            series: Series::default(),
            publishes: HashMap::new(),
            order: VecDeque::new(),
            said: 0,
            troubles: Vec::new(),
            troubles_count: 0,
        }
    }

    /// A phase as far as it has been told.
    pub fn phase(&self, phase: u32) -> Sum {
        self.phases.get(&phase).cloned().unwrap_or_default()
    }

    /// The sum of all phases.
    pub fn all(&self) -> Sum {
        let mut all = Sum::default();
        self.phases.values().for_each(|phase| all.merge(phase));
        all
    }

    /// This count over all phases.
    pub fn count(&self, what: Count) -> u64 {
        self.phases.values().fold(0, |sum, phase| sum.wrapping_add(phase.count(what)))
    }

    /// This count in one phase.
    pub fn count_in(&self, phase: u32, what: Count) -> u64 {
        self.phases.get(&phase).map_or(0, |phase| phase.count(what))
    }

    /// Errors over all phases.
    pub fn errors(&self) -> u64 {
        self.phases.values().flat_map(|phase| phase.errors.values()).map(|seen| seen.count).sum()
    }

    /// Open connections of all lanes, as of their last reports.
    pub fn open(&self) -> u64 {
        self.living().map(|level| level.open).sum()
    }

    /// Messages that wait for their answers.
    pub fn outstanding(&self) -> u64 {
        self.living().map(|level| level.outstanding).sum()
    }

    /// True when all lanes have reported and no connection is on the way or still to be made.
    pub fn settled(&self) -> bool {
        self.living().all(|level| level.heard && level.dialing == 0 && level.to_dial == 0)
    }

    /// What was known of the lanes before does not count for [`Ledger::settled`]: they have been told something new.
    /// Neither does a report that was on its way when they were.
    pub fn expect(&mut self) {
        self.lanes.iter_mut().for_each(|level| level.heard = false);
    }

    fn living(&self) -> impl Iterator<Item = &Level> {
        self.lanes.iter().filter(|level| !level.gone)
    }

    /// These lanes are no more; returns what they had open.
    pub fn lost_lanes(&mut self, lanes: Range<u32>) -> u64 {
        let mut held = 0;
        for lane in lanes {
            if let Some(level) = self.lanes.get_mut(lane as usize) {
                level.gone = true;
                held += level.open;
            }
        }
        held
    }

    /// No lane is left.
    pub fn deserted(&self) -> bool {
        self.living().next().is_none()
    }

    /// Something that must not have happened.
    pub fn trouble(&mut self, what: String) {
        self.troubles_count += 1;
        if self.troubles.len() < TROUBLES_MAX {
            self.troubles.push(what);
        }
    }

    /// A lane's report.
    pub fn report(&mut self, report: Report) {
        if let Some(level) = self.lanes.get_mut(report.lane as usize) {
            let Report { open, dialing, outstanding, to_dial, .. } = report;
            let heard = report.steps >= self.said;
            *level = Level { open, dialing, outstanding, to_dial, heard, gone: false };
        }
        let open = self.open();
        let point = self.series.point(report.at);
        point.open = point.open.max(open);
        for page in report.pages {
            let count = |what| page.counts.get(&what).copied().unwrap_or(0);
            point.received += count(Count::Received);
            point.opened += count(Count::Opened);
            point.closed += count(Count::Closed);
            point.errors += page.errors.values().map(|seen| seen.count).sum::<u64>();
            for metric in [Metric::Latency, Metric::Delivery] {
                page.times.get(&metric).into_iter().for_each(|times| point.latency.add(&times.0));
            }
            self.phases.entry(page.phase).or_default().add(report.lane, page);
        }
    }

    /// One lane's part of a publish.
    pub fn publish(&mut self, publish: Publish) {
        let key = (publish.publisher, publish.number);
        if !self.publishes.contains_key(&key) {
            if self.publishes.len() == PUBLISHES_MAX {
                self.judge_oldest();
            }
            self.order.push_back(key);
        }
        let (_, parts, times) =
            self.publishes.entry(key).or_insert_with(|| (publish.phase, 0, Times::default()));
        *parts += 1;
        times.add(&publish.delivered.0);
        if *parts as usize == self.lanes.len() {
            self.judge(key);
        }
        // Those that are judged leave their places at once, or these would grow with the run.
        while self.order.front().is_some_and(|oldest| !self.publishes.contains_key(oldest)) {
            self.order.pop_front();
        }
    }

    /// No more reports will come.
    pub fn close(&mut self) {
        while !self.publishes.is_empty() {
            self.judge_oldest();
        }
    }

    fn judge_oldest(&mut self) {
        while let Some(key) = self.order.pop_front() {
            if self.publishes.contains_key(&key) {
                return self.judge(key);
            }
        }
    }

    /// All parts of a publish are there.
    fn judge(&mut self, key: (u32, u32)) {
        let Some((phase, _, times)) = self.publishes.remove(&key) else { return };
        let sum = self.phases.entry(phase).or_default();
        for (metric, micros) in
            [(Metric::First, times.min()), (Metric::Median, times.quantile(0.5)), (Metric::Last, times.max())]
        {
            sum.times.entry(metric).or_default().record_micros(micros as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::times::Bare;

    fn report(lane: u32, at: u64, received: u64) -> Report {
        let counts = BTreeMap::from([(Count::Received, received), (Count::Lost, 1)]);
        let page = Page { phase: 1, counts, cpu: 10, wall: 20, waited: 5, ..Page::default() };
        Report { lane, at, open: 3, pages: vec![page], ..Report::default() }
    }

    #[test]
    fn reports_add_up_by_phase_and_lane() {
        let mut ledger = Ledger::new(2);
        assert!(!ledger.settled());
        ledger.report(report(0, 0, 5));
        ledger.report(report(1, 0, 7));
        let mut late = report(1, 1, 0);
        late.pages[0].counts.insert(Count::Lost, u64::MAX);
        ledger.report(late);
        assert!(ledger.settled());
        assert_eq!((ledger.open(), ledger.count(Count::Received), ledger.count(Count::Lost)), (6, 12, 1));
        assert_eq!(ledger.phase(1).spent, BTreeMap::from([(0, (10, 20, 5)), (1, (20, 40, 10))]));
        assert_eq!((ledger.count_in(1, Count::Received), ledger.count_in(2, Count::Received)), (12, 0));
        assert_eq!(ledger.lost_lanes(1..2), 3);
        assert_eq!(ledger.open(), 3);
    }

    #[test]
    fn a_report_from_before_an_order_settles_nothing() {
        let mut ledger = Ledger::new(1);
        ledger.said = 2;
        ledger.expect();
        ledger.report(Report { steps: 1, ..report(0, 0, 0) });
        assert!(!ledger.settled());
        ledger.report(Report { steps: 2, ..report(0, 0, 0) });
        assert!(ledger.settled());
    }

    #[test]
    fn a_long_series_keeps_its_sum() {
        let mut ledger = Ledger::new(1);
        for second in 0..2_000 {
            ledger.report(report(0, second * 1_000_000_000, 1));
        }
        let points: Vec<_> = ledger.series.points().map(|(at, point)| (at, point.received)).collect();
        assert!(points.len() <= POINTS_MAX);
        assert_eq!(points.iter().map(|(_, received)| received).sum::<u64>(), 2_000);
        assert_eq!(ledger.series.width(), 4.0);
    }

    #[test]
    fn a_publish_is_judged_when_all_lanes_have_their_part() {
        let mut ledger = Ledger::new(2);
        let part = |micros: &[u64]| {
            let mut delivered = Times::default();
            micros.iter().for_each(|&time| delivered.record_micros(time));
            Publish { phase: 4, publisher: 0, number: 0, delivered: Bare(delivered) }
        };
        ledger.publish(part(&[10, 20]));
        assert!(ledger.phase(4).times(Metric::Last).is_empty());
        ledger.publish(part(&[5, 90]));
        let phase = ledger.phase(4);
        assert_eq!(phase.times(Metric::First).max(), 5.0);
        assert_eq!(phase.times(Metric::Median).max(), 10.0);
        assert_eq!(phase.times(Metric::Last).max(), 90.0);
        assert!(ledger.order.is_empty());
        ledger.publish(part(&[1]));
        ledger.close();
        assert_eq!(ledger.phase(4).times(Metric::Last).count(), 2);
    }
}
