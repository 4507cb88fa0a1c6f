//! The program `tidegate`: serves the applications that come with it, and tells what a machine can hold.
//!
//! Only takes the command line apart and turns outcomes into exit codes: 0 done, 1 this machine refused,
//! 2 the command line or the settings are wrong. Invariant: every failure is one line on standard error.

mod apps;
mod serve;
mod settings;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use tidegate::program::failure::{self, Failure};
use tidegate::program::{doctor, units};

/// What the program is called, before each of its complaints too.
const NAME: &str = "tidegate";

/// The version, and the poller where it is not the usual one: two measurements that differ in it are not of the same
/// program.
const VERSION: &str = if cfg!(mio_unsupported_force_poll_poll) {
    concat!(env!("CARGO_PKG_VERSION"), " (poll(2))")
} else {
    env!("CARGO_PKG_VERSION")
};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(failure) => {
            failure::complain(NAME, &failure);
            ExitCode::from(failure.code())
        }
    }
}

fn run() -> Result<ExitCode, Failure> {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return not_run(&error),
    };
    match matches.subcommand() {
        Some(("serve", matches)) => serve::serve(settings::gather(matches)?).map(|()| ExitCode::SUCCESS),
        Some(("doctor", matches)) => examine(matches),
        _ => Err(Failure::usage("no command given; see `tidegate --help`")),
    }
}

fn command() -> Command {
    Command::new(NAME)
        .version(VERSION)
        .about(
            "An event-loop WebSocket server: one thread, 72 bytes per idle connection, a limit on everything",
        )
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(settings::command())
        .subcommand(
            Command::new("doctor")
                .about("Tell what on this machine stops N connections, and the commands that raise it")
                .after_help("Exit code 0 when nothing stops them, 1 when something does.")
                .arg(
                    Arg::new("connections")
                        .long("connections")
                        .value_name("N")
                        .default_value("10000")
                        .help("Connections that the machine should hold"),
                )
                .arg(
                    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON, not a table"),
                ),
        )
}

/// Help and version go to standard output; a wrong command line becomes one line.
fn not_run(error: &clap::Error) -> Result<ExitCode, Failure> {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return failure::printed(error.print()).map(|()| ExitCode::SUCCESS);
    }
    Err(Failure::command_line(NAME, &error.to_string()))
}

fn examine(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let text = matches.get_one::<String>("connections").map_or("10000", String::as_str);
    let wrong = |rule: &str| Failure::usage(format!("--connections {text}: {rule}"));
    let connections = match units::parse_count(text) {
        Ok(0) => return Err(wrong("must be at least 1")),
        Ok(connections) => connections,
        Err(rule) => return Err(wrong(&rule)),
    };
    let need = doctor::Need { server: connections, ..doctor::Need::default() };
    let diagnosis = doctor::Diagnosis::of(&doctor::Readings::of_this_machine(), &need);
    if matches.get_flag("json") {
        failure::print(&diagnosis.json())?;
    } else {
        failure::print(&diagnosis.table(failure::colours()))?;
    }
    Ok(if diagnosis.enough { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_wrong_command_line_is_told_in_one_line() {
        let cases: &[(&[&str], &str)] = &[
            (
                &["serve", "--max-conections", "5"],
                "unexpected argument '--max-conections' found; tip: a similar argument exists: \
                 '--max-connections'",
            ),
            (&["serve", "--bind"], "a value is required for '--bind <ADDR:PORT>' but none was supplied"),
            (&["serve", "extra"], "unexpected argument 'extra' found"),
            (&["sevre"], "unrecognized subcommand 'sevre'; tip: a similar subcommand exists: 'serve'"),
            (&[], "'tidegate' requires a subcommand but one was not provided"),
        ];
        for (words, start) in cases {
            let words = std::iter::once("tidegate").chain(words.iter().copied());
            let failure = not_run(&command().try_get_matches_from(words).unwrap_err()).unwrap_err();
            assert!(failure.to_string().starts_with(start), "{failure}");
            assert!(failure.to_string().ends_with("; see `tidegate --help`"), "{failure}");
            assert_eq!(failure.code(), 2);
        }
    }
}
