//! `Book`: counts, time spans and errors of one lane, a page per phase.
//!
//! Refuses to know what a phase is. Invariants: what belongs to a planned time is written on the page of the phase in
//! which that time lies, however late it happens; a page that was handed out starts empty again, so the sum of all
//! pages of a phase is that phase.

use std::collections::BTreeMap;

use crate::order::{Count, Metric, Page};
use crate::record::times::Bare;
use crate::record::{Seen, Times};

/// Kinds of errors that are told apart; further ones are counted under one name.
const KINDS_MAX: usize = 64;
/// Phases that are looked back at for late answers.
const PHASES_MAX: usize = 16;

/// See the module's text.
pub struct Book {
    /// Newest last; never empty.
    pages: Vec<OpenPage>,
    /// A phase that is to begin.
    next: Option<(u32, u64)>,
}

struct OpenPage {
    phase: u32,
    /// Monotonic nanoseconds at which the phase began.
    began: u64,
    counts: [u64; Count::ALL.len()],
    times: [Option<Box<Times>>; Metric::ALL.len()],
    errors: BTreeMap<String, Seen>,
    fates: BTreeMap<String, Seen>,
    cpu: u64,
    wall: u64,
    waited: u64,
    touched: bool,
}

impl OpenPage {
    fn new(phase: u32, began: u64) -> Self {
        OpenPage {
            phase,
            began,
            counts: [0; Count::ALL.len()],
            times: std::array::from_fn(|_| None),
            errors: BTreeMap::new(),
            fates: BTreeMap::new(),
            cpu: 0,
            wall: 0,
            waited: 0,
            touched: false,
        }
    }
}

impl Book {
    /// A book that begins with phase 0.
    pub fn new(now: u64) -> Self {
        Book { pages: vec![OpenPage::new(0, now)], next: None }
    }

    /// A phase begins at `at`.
    pub fn plan(&mut self, phase: u32, at: u64) {
        self.next = Some((phase, at));
    }

    /// When the planned phase begins.
    pub fn due(&self) -> Option<u64> {
        self.next.map(|(_, at)| at)
    }

    /// Turns the page if a planned phase has begun; true when it did.
    pub fn turn(&mut self, now: u64) -> bool {
        let Some((phase, at)) = self.next.filter(|(_, at)| *at <= now) else { return false };
        self.next = None;
        if self.pages.len() >= PHASES_MAX {
            // Answers this late belong to the oldest page that is left.
            self.pages.remove(0);
        }
        self.pages.push(OpenPage::new(phase, at));
        true
    }

    /// The phase in which this time lies.
    pub fn phase_at(&self, at: u64) -> u32 {
        self.pages.iter().rev().find(|page| page.began <= at).map_or(self.pages[0].phase, |page| page.phase)
    }

    fn now(&mut self) -> &mut OpenPage {
        let last = self.pages.len() - 1;
        let page = &mut self.pages[last];
        page.touched = true;
        page
    }

    /// The page of the phase in which `at` lies.
    fn at(&mut self, at: u64) -> &mut OpenPage {
        let place = self.pages.iter().rposition(|page| page.began <= at).unwrap_or(0);
        let page = &mut self.pages[place];
        page.touched = true;
        page
    }

    /// Counts what happens now.
    pub fn count(&mut self, what: Count, by: u64) {
        self.now().counts[what as usize] += by;
    }

    /// Counts what was planned for `at`.
    pub fn count_at(&mut self, at: u64, what: Count, by: u64) {
        let count = &mut self.at(at).counts[what as usize];
        // It may stand just below zero; see [`Book::uncount_at`].
        *count = count.wrapping_add(by);
    }

    /// Takes back what was counted for `at`.
    pub fn uncount_at(&mut self, at: u64, what: Count) {
        let count = &mut self.at(at).counts[what as usize];
        // It may have been reported already; a page's sum is what counts, so it may wrap in between.
        *count = count.wrapping_sub(1);
    }

    /// A time span that ends now.
    pub fn time(&mut self, what: Metric, nanoseconds: u64) {
        self.now().times[what as usize].get_or_insert_default().record(nanoseconds);
    }

    /// A time span that began at the planned time `at`.
    pub fn time_at(&mut self, at: u64, what: Metric, nanoseconds: u64) {
        self.at(at).times[what as usize].get_or_insert_default().record(nanoseconds);
    }

    /// Something went wrong.
    pub fn error(&mut self, kind: &str, example: impl FnOnce() -> String) {
        tally(&mut self.now().errors, kind, example);
    }

    /// A connection ended as the run had wanted to see.
    pub fn fate(&mut self, kind: &str, example: impl FnOnce() -> String) {
        tally(&mut self.now().fates, kind, example);
    }

    /// The thread has used this much of the processor, of the time, and has waited this long for a processor.
    pub fn spent(&mut self, cpu: u64, wall: u64, waited: u64) {
        let page = self.now();
        page.cpu += cpu;
        page.wall += wall;
        page.waited += waited;
    }

    /// Everything since the last time, page by page.
    pub fn hand_out(&mut self) -> Vec<Page> {
        self.pages.iter_mut().filter(|page| page.touched).map(OpenPage::hand_out).collect()
    }
}

fn tally(kinds: &mut BTreeMap<String, Seen>, kind: &str, example: impl FnOnce() -> String) {
    if let Some(seen) = kinds.get_mut(kind) {
        seen.count += 1;
    } else {
        let kind = if kinds.len() < KINDS_MAX { kind } else { "other" };
        kinds.entry(kind.to_string()).or_default().add(1, &example());
    }
}

impl OpenPage {
    fn hand_out(&mut self) -> Page {
        let full = std::mem::replace(self, OpenPage::new(self.phase, self.began));
        let counts = Count::ALL.iter().zip(full.counts).filter(|(_, count)| *count != 0);
        let times = Metric::ALL.iter().zip(full.times);
        Page {
            phase: full.phase,
            counts: counts.map(|(what, count)| (*what, count)).collect(),
            times: times.filter_map(|(what, times)| Some((*what, Bare(*times?)))).collect(),
            errors: full.errors,
            fates: full.fates,
            cpu: full.cpu,
            wall: full.wall,
            waited: full.waited,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_planned_in_a_phase_stays_there() {
        let mut book = Book::new(100);
        book.count_at(150, Count::Sent, 1);
        book.plan(1, 200);
        assert!(!book.turn(199));
        assert!(book.turn(205));
        book.count_at(199, Count::Answered, 1);
        book.time_at(200, Metric::Latency, 5_000);
        book.time_at(50, Metric::Latency, 9_000);
        let pages = book.hand_out();
        assert_eq!(pages.iter().map(|page| page.phase).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(pages[0].counts, BTreeMap::from([(Count::Sent, 1), (Count::Answered, 1)]));
        assert_eq!(pages[0].times[&Metric::Latency].0.max(), 9.0);
        assert_eq!(pages[1].times[&Metric::Latency].0.max(), 5.0);
        assert_eq!((book.phase_at(199), book.phase_at(200)), (0, 1));
        assert!(book.hand_out().is_empty());
    }

    #[test]
    fn pages_add_up_and_kinds_are_bounded() {
        let mut book = Book::new(0);
        book.count(Count::Lost, 2);
        let first = book.hand_out();
        book.uncount_at(0, Count::Lost);
        let sum = first[0].counts[&Count::Lost].wrapping_add(book.hand_out()[0].counts[&Count::Lost]);
        assert_eq!(sum, 1);
        book.uncount_at(0, Count::Lost);
        book.count_at(0, Count::Lost, 3);
        assert_eq!(book.hand_out()[0].counts[&Count::Lost], 2);
        for kind in 0..100 {
            book.error(&format!("kind {kind}"), || "first".into());
        }
        let page = &book.hand_out()[0];
        assert_eq!(page.errors.len(), KINDS_MAX + 1);
        assert_eq!(page.errors["other"].count, 36);
    }
}
