//! Named faults and their odds, which are themselves drawn from the seed: each seed tries another mixture, so that
//! rare combinations come up (Groce et al., "Swarm testing", ISSTA 2012).
//!
//! Knows no network. Invariant: the same seed and the same questions give the same answers.

use crate::ground::rng::Rng;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What can go wrong in a network and a kernel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault { $($(#[$doc])* $name,)* }

        /// All of them.
        pub const FAULTS: &[Fault] = &[$(Fault::$name,)*];
    };
}

faults! {
    /// A read gives fewer bytes than there are.
    ShortRead,
    /// A write takes fewer bytes than there is room for.
    ShortWrite,
    /// An event says what is not so.
    Spurious,
    /// An event comes late.
    Late,
    /// A wait ends without cause, as after a signal.
    EmptyWait,
    /// A read or write is interrupted by a signal.
    Interrupted,
    /// The peer's end resets the connection.
    Reset,
    /// The peer ends its half and goes on reading.
    HalfClose,
    /// The end of a stream is reported while bytes before it are unread.
    EarlyEnd,
    /// No descriptor is left, for a while.
    NoDescriptor,
    /// Not even the reserved descriptor helps.
    NoReserve,
    /// A connection dies before it is accepted (`ECONNABORTED`).
    AcceptError,
    /// The poller does not take an accepted socket.
    AdoptError,
    /// The poller does not change what it reports of a socket.
    InterestError,
    /// The clock jumps forward, up to hours.
    ClockJump,
    /// The peer stops reading, for a while or for ever.
    Stall,
    /// The peer vanishes without a word.
    Vanish,
}

/// Draws faults by their odds and counts them.
#[derive(Clone, Debug)]
pub struct Faults {
    rng: Rng,
    /// Of 65,536 chances of each fault, so many come true.
    odds: [u64; FAULTS.len()],
    hits: [u64; FAULTS.len()],
}

impl Faults {
    /// No fault ever.
    pub fn none() -> Self {
        Faults { rng: Rng::new(0), odds: [0; FAULTS.len()], hits: [0; FAULTS.len()] }
    }

    /// About half of the faults, each with odds of its own.
    pub fn draw(seed: u64) -> Self {
        let mut faults = Faults { rng: Rng::new(seed), ..Faults::none() };
        for &fault in FAULTS {
            // Where one stroke spoils much, the odds stay low, or nothing else would ever happen.
            let (shift, least) = match fault {
                Fault::ClockJump => (6, 3),
                Fault::AdoptError | Fault::InterestError | Fault::AcceptError | Fault::NoDescriptor => (6, 6),
                Fault::Reset | Fault::Vanish | Fault::HalfClose | Fault::Stall => (5, 9),
                Fault::NoReserve => (4, 12),
                _ => (7, 8),
            };
            if faults.rng.chance(1, 2) {
                faults.odds[fault as usize] = 1 << (least + faults.rng.below(shift));
            }
        }
        faults
    }

    /// No further fault.
    pub fn calm(&mut self) {
        self.odds = [0; FAULTS.len()];
    }

    /// True when `fault` can come.
    pub fn possible(&self, fault: Fault) -> bool {
        self.odds[fault as usize] > 0
    }

    /// True when `fault` comes now; counted.
    pub fn strikes(&mut self, fault: Fault) -> bool {
        let odds = self.odds[fault as usize];
        let strikes = odds > 0 && self.rng.chance(odds, 1 << 16);
        self.hits[fault as usize] += u64::from(strikes);
        strikes
    }

    /// Counts a fault that came about by itself.
    pub fn note(&mut self, fault: Fault) {
        self.hits[fault as usize] += 1;
    }

    /// How often each fault has come, in the order of [`FAULTS`].
    pub fn hits(&self) -> &[u64] {
        &self.hits
    }

    /// A number below `bound`, for the extent of a fault.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }
}
