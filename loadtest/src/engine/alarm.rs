//! `Alarm`: wakes a loop at a planned time, to the microsecond.
//!
//! The poller waits in whole milliseconds, rounded up (epoll_wait(2)), which is too coarse for a schedule that is to
//! slip by less than one; a timer descriptor (timerfd_create(2)) in the same poller is not. Invariant: setting the time
//! that is set already costs nothing.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tidegate::Server;

/// An alarm clock of one loop.
pub struct Alarm {
    timer: OwnedFd,
    set: u64,
}

impl Alarm {
    /// An alarm that wakes this loop.
    ///
    /// # Errors
    /// When the kernel has no timer to give, as text.
    pub fn new(server: &mut Server) -> Result<Self, String> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)
            .map_err(|error| format!("no timer: {error}"))?;
        server.wake_on(timer.as_fd()).map_err(|error| error.to_string())?;
        Ok(Alarm { timer, set: 0 })
    }

    /// Wakes the loop at this time (monotonic nanoseconds) instead of any earlier one that was set.
    ///
    /// # Errors
    /// When the kernel refuses, as text.
    pub fn set(&mut self, at: u64) -> Result<(), String> {
        if self.set == at {
            return Ok(());
        }
        self.set = at;
        let once = Itimerspec { it_interval: timespec(0), it_value: timespec(at.max(1)) };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)
            .map_err(|error| format!("timer refused: {error}"))?;
        Ok(())
    }
}

fn timespec(nanoseconds: u64) -> Timespec {
    let span = Duration::from_nanos(nanoseconds);
    Timespec {
        tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(span.subsec_nanos()),
    }
}
