//! A hierarchical timing wheel whose links live in the things that wait.
//!
//! Six levels of 64 buckets; a level's bucket spans 64 buckets of the level below (Varghese and Lauck, "Hashed and
//! hierarchical timing wheels", SOSP 1987, scheme 7). A bit per bucket says whether it holds anything, so the next
//! moment of interest is found in a few instructions and an idle server has no tick at all.
//!
//! Refuses to know the clock: time is a 32-bit tick given by the caller, and may wrap (deadlines lie less than 2^30
//! ticks ahead). Invariants: an entry sits in the bucket that its deadline and the wheel's `now` determine; nothing
//! fires before its deadline; arm and cancel are O(1) and allocate nothing.

/// A deadline's unit: the wheel's resolution.
pub const TICK: std::time::Duration = std::time::Duration::from_millis(10);

const LEVELS: usize = 6;
const LEVEL_BITS: u32 = 6;
const BUCKETS: usize = 64;
const NONE: u32 = u32::MAX;
/// Set in `prev` of a bucket's first entry; the low bits then name the bucket.
const IS_HEAD: u32 = 1 << 31;

/// The wheel's share of a thing that waits: 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    prev: u32,
    next: u32,
    deadline: u32,
}

impl Default for Link {
    fn default() -> Self {
        Link { prev: NONE, next: NONE, deadline: 0 }
    }
}

impl Link {
    /// The tick for which it is armed.
    pub fn deadline(&self) -> Option<u32> {
        (self.prev != NONE).then_some(self.deadline)
    }
}

/// Where the links are: usually a slab.
pub trait Links {
    /// The link of the thing at `index`, which the wheel knows to exist.
    fn link(&mut self, index: u32) -> &mut Link;
}

/// The buckets. See the module's text.
#[derive(Debug)]
pub struct Wheel {
    now: u32,
    armed: usize,
    occupied: [u64; LEVELS],
    heads: [[u32; BUCKETS]; LEVELS],
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel { now: 0, armed: 0, occupied: [0; LEVELS], heads: [[NONE; BUCKETS]; LEVELS] }
    }
}

/// True when tick `a` is at or after tick `b`, across a wrap.
pub fn reached(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) < 1 << 31
}

impl Wheel {
    /// Arms `index` for `deadline`, in place of what it was armed for. A deadline that has passed fires at the next tick.
    pub fn arm(&mut self, links: &mut impl Links, index: u32, deadline: u32) {
        self.cancel(links, index);
        // Never the current bucket: an entry armed while its bucket is being emptied must wait for the next tick.
        let deadline = if reached(self.now, deadline) { self.now.wrapping_add(1) } else { deadline };
        self.insert(links, index, deadline);
    }

    /// Disarms `index`; nothing happens if it was not armed.
    pub fn cancel(&mut self, links: &mut impl Links, index: u32) {
        let Link { prev, next, .. } = std::mem::take(links.link(index));
        if prev == NONE {
            return;
        }
        self.armed -= 1;
        if next != NONE {
            links.link(next).prev = prev;
        }
        if prev & IS_HEAD != 0 {
            let (level, bucket) = place(prev);
            self.heads[level][bucket] = next;
            if next == NONE {
                self.occupied[level] &= !(1 << bucket);
            }
        } else {
            links.link(prev).next = next;
        }
    }

    /// The tick at which [`Wheel::pop`] has something to do: never later than the earliest deadline.
    pub fn next(&self) -> Option<u32> {
        self.next_bucket().map(|(_, _, tick)| tick)
    }

    /// Takes out one entry whose deadline has been reached at tick `now`; call until it returns `None`.
    pub fn pop(&mut self, links: &mut impl Links, now: u32) -> Option<u32> {
        while let Some((level, bucket, tick)) = self.next_bucket() {
            if !reached(now, tick) {
                break;
            }
            self.now = tick;
            let mut index = self.heads[level][bucket];
            if level == 0 {
                self.cancel(links, index);
                return Some(index);
            }
            // The bucket's span has begun: spread it over the levels below. Each entry moves down at most five times.
            self.heads[level][bucket] = NONE;
            self.occupied[level] &= !(1 << bucket);
            while index != NONE {
                let Link { next, deadline, .. } = *links.link(index);
                self.armed -= 1;
                self.insert(links, index, deadline);
                index = next;
            }
        }
        self.now = now;
        None
    }

    /// Number of armed entries.
    pub fn armed(&self) -> usize {
        self.armed
    }

    fn insert(&mut self, links: &mut impl Links, index: u32, deadline: u32) {
        let differing = (deadline ^ self.now) | 1;
        let level = ((31 - differing.leading_zeros()) / LEVEL_BITS) as usize;
        let bucket = (deadline >> (LEVEL_BITS * level as u32)) as usize % BUCKETS;
        let head = self.heads[level][bucket];
        if head != NONE {
            links.link(head).prev = index;
        }
        *links.link(index) = Link { prev: IS_HEAD | (level * BUCKETS + bucket) as u32, next: head, deadline };
        self.heads[level][bucket] = index;
        self.occupied[level] |= 1 << bucket;
        self.armed += 1;
    }

    /// The first bucket in time that holds anything, and the tick at which its span begins. Whatever a lower level
    /// holds comes before everything of the levels above it.
    fn next_bucket(&self) -> Option<(usize, usize, u32)> {
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        let shift = LEVEL_BITS * level as u32;
        let here = self.now >> shift;
        let distance = self.occupied[level].rotate_right(here % BUCKETS as u32).trailing_zeros();
        // The top level is cut short by the width of a tick, so its four buckets come round modulo four.
        let ahead = here.wrapping_add(distance);
        let bucket = ahead as usize % BUCKETS;
        Some((level, bucket, if level == LEVELS - 1 { self.top_tick(bucket) } else { ahead << shift }))
    }

    fn top_tick(&self, bucket: usize) -> u32 {
        (bucket as u32) << (LEVEL_BITS * (LEVELS as u32 - 1))
    }
}

fn place(prev: u32) -> (usize, usize) {
    let flat = (prev & !IS_HEAD) as usize;
    (flat / BUCKETS, flat % BUCKETS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::rng::Rng;

    impl Links for Vec<Link> {
        fn link(&mut self, index: u32) -> &mut Link {
            &mut self[index as usize]
        }
    }

    fn fired(wheel: &mut Wheel, links: &mut Vec<Link>, now: u32) -> Vec<u32> {
        let mut all: Vec<u32> = std::iter::from_fn(|| wheel.pop(links, now)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn fires_at_the_tick_and_not_before() {
        for deadline in [1, 2, 63, 64, 65, 127, 4095, 4096, 4097, 262_143, 262_144, 16_777_216, 1 << 29] {
            let (mut wheel, mut links) = (Wheel::default(), vec![Link::default(); 1]);
            wheel.arm(&mut links, 0, deadline);
            assert_eq!(links[0].deadline(), Some(deadline));
            let mut wakes = 0;
            while let Some(next) = wheel.next().filter(|&next| next < deadline) {
                assert_eq!(fired(&mut wheel, &mut links, next), [0; 0], "early for {deadline}");
                wakes += 1;
            }
            assert!(wakes < LEVELS, "{wakes} wakes on the way to {deadline}");
            assert_eq!(fired(&mut wheel, &mut links, deadline - 1), [0; 0]);
            assert_eq!(fired(&mut wheel, &mut links, deadline), [0]);
            assert_eq!((wheel.armed(), wheel.next()), (0, None));
        }
    }

    #[test]
    fn a_passed_deadline_fires_at_the_next_tick() {
        let (mut wheel, mut links) = (Wheel::default(), vec![Link::default(); 1]);
        assert_eq!(fired(&mut wheel, &mut links, 1000), [0; 0]);
        wheel.arm(&mut links, 0, 5);
        assert_eq!(fired(&mut wheel, &mut links, 1000), [0; 0]);
        assert_eq!(fired(&mut wheel, &mut links, 1001), [0]);
    }

    /// The wheel against a sorted list, over random operations that also cross the wrap of the tick counter.
    #[test]
    fn behaves_like_a_sorted_list() {
        const THINGS: u64 = 40;
        for seed in 0..60 {
            let mut rng = Rng::new(seed);
            let start = if seed % 2 == 0 { 0 } else { u32::MAX - rng.below(100_000) as u32 };
            let (mut wheel, mut links) = (Wheel::default(), vec![Link::default(); THINGS as usize]);
            let mut model: Vec<Option<u64>> = vec![None; THINGS as usize];
            let mut now = u64::from(start);
            assert_eq!(wheel.pop(&mut links, now as u32), None);
            for _ in 0..2_000 {
                let index = rng.below(THINGS);
                match rng.below(5) {
                    0 => {
                        wheel.cancel(&mut links, index as u32);
                        model[index as usize] = None;
                    }
                    1 | 2 => {
                        let span = 1 << rng.below(29);
                        let deadline = now + 1 + rng.below(span);
                        wheel.arm(&mut links, index as u32, deadline as u32);
                        model[index as usize] = Some(deadline);
                    }
                    3 => now += rng.below(200),
                    _ => {
                        let earliest = model.iter().flatten().min();
                        let next = wheel.next();
                        assert_eq!(earliest.is_some(), next.is_some());
                        if let (Some(&earliest), Some(next)) = (earliest, next) {
                            assert!(reached(earliest as u32, next), "seed {seed}: would sleep too long");
                            now = now.max(earliest.min(now + (1 << 29)));
                        }
                    }
                }
                let due: Vec<u32> = (0..THINGS as u32)
                    .filter(|&i| model[i as usize].is_some_and(|deadline| deadline <= now))
                    .collect();
                due.iter().for_each(|&i| model[i as usize] = None);
                assert_eq!(fired(&mut wheel, &mut links, now as u32), due, "seed {seed} at {now}");
                assert_eq!(wheel.armed(), model.iter().flatten().count());
            }
        }
    }
}
