//! The scenarios: what each one does, in which phases, and which figures come of it.
//!
//! Refuses to know processes and outputs: a scenario drives a [`crate::run::Run`] and returns a
//! [`crate::record::Record`]. Invariant: a figure's name means the same in every scenario.

pub mod churn;
pub mod compare;
pub mod echo;
pub mod fanout;
pub mod hold;
pub mod idle;
pub mod plan;
pub mod search;
pub mod slow;
pub mod storm;
pub mod vanish;

use tidegate::program::failure::Failure;

use crate::cli::Scenario;
use crate::record::Record;

/// Measures what is asked for.
///
/// # Errors
/// When the run cannot be made.
pub fn run(scenario: &Scenario) -> Result<Record, Failure> {
    match scenario {
        Scenario::Idle(args) => idle::run(args),
        Scenario::Echo(args) => echo::run(args),
        Scenario::Fanout(args) => fanout::run(args),
        Scenario::Churn(args) => churn::run(args),
        Scenario::Hold(args) => hold::run(args),
        Scenario::Slow(args) => slow::run(args),
        Scenario::Storm(args) => storm::run(args),
        Scenario::Vanish(args) => vanish::run(args),
        Scenario::Search(args) => search::run(args),
        Scenario::Compare(args) => compare::run(args),
        Scenario::Plan(args) => plan::run(args),
        _ => Err(Failure::usage("this scenario measures nothing")),
    }
}
