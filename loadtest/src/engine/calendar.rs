//! `Calendar`: whether there is load, and one lane's part of the times at which it is planned.
//!
//! Refuses to know what is planned, and the time. Invariant: what was planned is handed out once, in order, however late
//! it is asked for; without load nothing is planned.

use crate::order::Setup;
use crate::schedule::Schedule;

/// See the module's text.
pub struct Calendar {
    lane: u32,
    lanes: u32,
    seed: u64,
    on: bool,
    schedule: Option<Schedule>,
}

impl Calendar {
    /// Without load yet.
    pub fn new(setup: &Setup, lane: u32) -> Self {
        Calendar { lane, lanes: setup.lanes, seed: setup.seed, on: false, schedule: None }
    }

    /// Load begins, goes on or ends; true when it begins.
    pub fn turn(&mut self, on: bool) -> bool {
        if !on {
            self.schedule = None;
        }
        let before = std::mem::replace(&mut self.on, on);
        on && !before
    }

    /// There is load.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// From `at` on, so many per second over all lanes.
    pub fn plan(&mut self, poisson: bool, per_second: f64, at: u64) {
        // Rates are checked where they are read.
        self.schedule = Schedule::of_lane(poisson, per_second, self.lane, self.lanes, at, self.seed).ok();
    }

    /// Something is planned: the loop is an open one.
    pub fn is_planned(&self) -> bool {
        self.schedule.is_some()
    }

    /// When the next one is planned.
    pub fn due(&self) -> Option<u64> {
        self.schedule.as_ref().map(Schedule::next_due)
    }

    /// Takes the next one, if it was planned up to `until`.
    pub fn next(&mut self, until: u64) -> Option<u64> {
        let schedule = self.schedule.as_mut()?;
        let planned = schedule.next_due();
        (planned <= until).then(|| {
            schedule.advance();
            planned
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_begins_once_and_ends_with_what_was_planned() {
        let mut calendar = Calendar { lane: 1, lanes: 2, seed: 1, on: false, schedule: None };
        assert!(!calendar.turn(false) && calendar.turn(true) && !calendar.turn(true) && calendar.is_on());
        assert_eq!((calendar.due(), calendar.next(u64::MAX)), (None, None));
        calendar.plan(false, 1_000.0, 5_000_000);
        // The second of two lanes: between the first one's, which begin at once.
        assert_eq!(calendar.due(), Some(6_000_000));
        assert_eq!(calendar.next(5_999_999), None);
        assert_eq!((calendar.next(9_000_000), calendar.next(9_000_000)), (Some(6_000_000), Some(8_000_000)));
        assert_eq!(calendar.next(9_000_000), None);
        assert!(calendar.is_planned());
        assert!(!calendar.turn(false) && !calendar.is_planned() && !calendar.is_on());
    }
}
