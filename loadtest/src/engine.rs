//! The load itself: lanes, each a thread with one event loop of tidegate's in the client's role.
//!
//! Refuses to know processes, scenarios and servers: told what to do by [`crate::order::Step`]s, it reports what
//! happened. Invariants: every time span is measured here, where it happens, on the clock that all processes of the
//! machine share; a planned time never moves because something before it was late.

pub mod alarm;
pub mod book;
pub mod calendar;
pub mod churn;
pub mod echo;
pub mod ends;
pub mod fanout;
pub mod hold;
pub mod idle;
pub mod knock;
pub mod lane;
pub mod payload;
pub mod peers;
pub mod ways;
