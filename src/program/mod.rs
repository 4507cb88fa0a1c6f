//! What the programs of this project share: units, failures, the descriptor limit, and the doctor.
//!
//! Refuses to know the server: it stands beside the layers, knows none of them, and none knows it.
//! Invariant: nothing here depends on a parser of command lines; text comes in, text and numbers go out.

pub mod descriptors;
pub mod doctor;
pub mod failure;
pub mod units;
