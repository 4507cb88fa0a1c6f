//! `Schedule`: when each message is due, in nanoseconds, whether or not it could be sent by then.
//!
//! Refuses to know the time and whether anything is late: a schedule that waited for the server would hide what the
//! server makes others wait for (coordinated omission). Invariants: due times never go back; a constant rate does not
//! drift, however many are sent; the end of a `u64` is the last due time, and is never passed.

/// The most per second: one each nanosecond.
const MOST: f64 = 1e9;

/// The fewest per second: one in 11 days.
const FEWEST: f64 = 1e-6;

/// How arrivals are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Evenly; the first is due at the start.
    Constant,
    /// As from many independent users: exponential gaps; the first is due one gap after the start.
    Poisson,
}

/// Planned send times; see the module's text.
#[derive(Clone, Debug)]
pub struct Schedule {
    next: u64,
    gaps: Gaps,
}

#[derive(Clone, Debug)]
enum Gaps {
    Even {
        start: u64,
        index: u64,
        rate: Rate,
    },
    Exponential {
        mean: f64,
        /// The part of the next due time that is less than a nanosecond.
        fraction: f64,
        rng: fastrand::Rng,
    },
}

/// Nanoseconds per arrival as a fraction of whole numbers, which every `f64` is: no rounding, hence no drift.
#[derive(Clone, Copy, Debug)]
struct Rate {
    over: u128,
    under: u128,
}

impl Schedule {
    /// One lane's part of so many per second over all lanes. Even gaps of different lanes fall between each other, so
    /// that together they are even; random ones differ by their seed.
    ///
    /// # Errors
    /// As [`Schedule::new`].
    pub fn of_lane(
        poisson: bool,
        per_second: f64,
        lane: u32,
        lanes: u32,
        start_ns: u64,
        seed: u64,
    ) -> Result<Self, String> {
        let own = per_second / f64::from(lanes.max(1));
        let kind = if poisson { Kind::Poisson } else { Kind::Constant };
        let offset = (1e9 / per_second * f64::from(lane)) as u64;
        Schedule::new(kind, own, start_ns.saturating_add(offset), seed ^ u64::from(lane) << 32)
    }

    /// So many per second from `start_ns` on. The seed is for Poisson; the same seed gives the same times.
    ///
    /// # Errors
    /// When the rate is not a number between 0.000001 and 1,000,000,000.
    pub fn new(kind: Kind, per_second: f64, start_ns: u64, seed: u64) -> Result<Self, String> {
        // Also false for NaN.
        if !(FEWEST..=MOST).contains(&per_second) {
            return Err(format!("rate {per_second} per second: give a number between {FEWEST} and {MOST}"));
        }
        let (next, gaps) = match kind {
            Kind::Constant => {
                (start_ns, Gaps::Even { start: start_ns, index: 0, rate: Rate::of(per_second) })
            }
            Kind::Poisson => {
                let rng = fastrand::Rng::with_seed(seed);
                (start_ns, Gaps::Exponential { mean: 1e9 / per_second, fraction: 0.0, rng })
            }
        };
        let mut schedule = Schedule { next, gaps };
        if kind == Kind::Poisson {
            schedule.advance();
        }
        Ok(schedule)
    }

    /// When the next one is due.
    pub fn next_due(&self) -> u64 {
        self.next
    }

    /// Goes on to the one after it.
    pub fn advance(&mut self) {
        match &mut self.gaps {
            Gaps::Even { start, index, rate } => {
                *index = index.saturating_add(1);
                self.next = start.saturating_add(rate.nanoseconds(*index));
            }
            Gaps::Exponential { mean, fraction, rng } => {
                // 1 - [0, 1) is never 0, so the logarithm is finite.
                let gap = -(1.0 - rng.f64()).ln() * *mean + *fraction;
                // Whole nanoseconds are kept as such: an f64 cannot tell them apart after 104 days.
                *fraction = gap.fract();
                self.next = self.next.saturating_add(gap as u64);
            }
        }
    }
}

impl Rate {
    /// Of a rate between [`FEWEST`] and [`MOST`], whose exponent is therefore between -72 and -23.
    fn of(per_second: f64) -> Self {
        let bits = per_second.to_bits();
        let mantissa = (bits & ((1 << 52) - 1)) | (1 << 52);
        let exponent = ((bits >> 52) & 0x7ff) as i32 - 1_075;
        Rate { over: 1_000_000_000 << exponent.unsigned_abs(), under: u128::from(mantissa) }
    }

    /// How long this many take, rounded down.
    fn nanoseconds(self, count: u64) -> u64 {
        // A product too large for u128, divided by at most 2^53, is too large for u64 as well.
        let exact = self.over.checked_mul(u128::from(count)).map(|product| product / self.under);
        exact.and_then(|time| u64::try_from(time).ok()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nth(schedule: &mut Schedule, steps: u64) -> u64 {
        (0..steps).for_each(|_| schedule.advance());
        schedule.next_due()
    }

    #[test]
    fn a_constant_rate_is_exact_after_a_million() {
        for (rate, step, expected) in [
            (1_000.0, 1, 1_000_000),
            (3.0, 1, 333_333_333),
            (3.0, 3, 1_000_000_000),
            (3.0, 1_000_000, 333_333_333_333_333),
            (7_000.0, 7_000, 1_000_000_000),
            (1e9, 1_000_000, 1_000_000),
            (0.5, 1_000_000, 2_000_000_000_000_000),
        ] {
            let mut schedule = Schedule::new(Kind::Constant, rate, 5, 0).unwrap();
            assert_eq!(schedule.next_due(), 5);
            assert_eq!(nth(&mut schedule, step), 5 + expected, "{rate} {step}");
        }
    }

    #[test]
    fn a_constant_rate_does_not_drift_in_a_million_million() {
        for (rate, index, expected) in [
            (3.0, 1_000_000_000, 333_333_333_333_333_333),
            (30_000.0, 1_000_000_000, 33_333_333_333_333),
            (300_000.0, 1_000_000_000_000, 3_333_333_333_333_333),
            (999_999_999.0, 999_999_999_000, 1_000_000_000_000),
            (1e9, 1_000_000_000_000, 1_000_000_000_000),
            (0.5, 1_000_000_000, 2_000_000_000_000_000_000),
            // Longer than u64 holds.
            (1.0, 1_000_000_000_000, u64::MAX),
            (1e-6, u64::MAX, u64::MAX),
        ] {
            assert_eq!(Rate::of(rate).nanoseconds(index), expected, "{rate} {index}");
        }
        let mut late = Schedule::new(Kind::Constant, 1e-6, u64::MAX - 1, 0).unwrap();
        assert_eq!(nth(&mut late, 3), u64::MAX);
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        // Of n exponential gaps the mean has a standard error of 1/sqrt(n), the variance of sqrt(8/n); five of them.
        let (count, rate) = (200_000, 3e6);
        let mut schedule = Schedule::new(Kind::Poisson, rate, 1_000, 7).unwrap();
        let mut before = 1_000;
        let gaps: Vec<f64> = (0..count)
            .map(|_| {
                let gap = schedule.next_due() - before;
                before = schedule.next_due();
                schedule.advance();
                gap as f64
            })
            .collect();
        let mean = gaps.iter().sum::<f64>() / f64::from(count);
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / f64::from(count);
        let expected = 1e9 / rate;
        assert!((mean / expected - 1.0).abs() < 5.0 / f64::from(count).sqrt(), "{mean}");
        assert!(
            (variance / expected.powi(2) - 1.0).abs() < 5.0 * (8.0 / f64::from(count)).sqrt(),
            "{variance}"
        );
        let longer = gaps.iter().filter(|gap| **gap > expected).count() as f64 / f64::from(count);
        assert!((longer - (-1.0_f64).exp()).abs() < 0.006, "{longer}");
    }

    #[test]
    fn a_seed_gives_the_same_times_and_another_seed_others() {
        let times = |seed| {
            let mut schedule = Schedule::new(Kind::Poisson, 1_000.0, 0, seed).unwrap();
            (0..50).map(|_| nth(&mut schedule, 1)).collect::<Vec<_>>()
        };
        assert_eq!(times(1), times(1));
        assert_ne!(times(1), times(2));
    }

    #[test]
    fn a_late_poisson_schedule_ends_at_the_last_nanosecond() {
        let mut schedule = Schedule::new(Kind::Poisson, 1e-6, u64::MAX - 10, 1).unwrap();
        assert_eq!(nth(&mut schedule, 3), u64::MAX);
    }

    #[test]
    fn a_rate_that_is_none_is_refused() {
        for rate in
            [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-7, f64::MIN_POSITIVE, 1.1e9]
        {
            for kind in [Kind::Constant, Kind::Poisson] {
                let error = Schedule::new(kind, rate, 0, 0).unwrap_err();
                assert!(error.starts_with(&format!("rate {rate} per second: ")), "{error}");
            }
        }
    }
}
