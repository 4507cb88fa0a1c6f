//! The sides of a comparison: each a name, and a scenario with everything put in.
//!
//! Refuses to measure in turns. Invariant: two sides have two names, and differ in nothing but what the command line
//! says that they differ in.

use std::path::Path;

use clap::Parser;
use tidegate::program::failure::Failure;

use crate::cli::{self, Cli, Common, Scenario};
use crate::record::Record;
use crate::scenario;

/// Sides, at most.
const SIDES_MAX: usize = 16;
/// What is said before `--`, if at all.
const OURS: &[(&str, &str)] = &[
    ("--server", "give it to compare, before --"),
    ("--server-cpu", "give it to compare, before --"),
    ("--server-pid", "compare starts the servers itself: give --server before --"),
    ("--json", "give it to compare, before --"),
    ("--csv", "give it to compare, before --"),
    ("--html", "give it to compare, before --"),
    ("--title", "give it to compare, before --"),
    ("--fail-if", "give it to compare, before --"),
    ("--baseline", "the first server is what the others are compared with"),
];

/// One of what is compared.
#[derive(Debug)]
pub struct Side {
    pub name: String,
    server: String,
    scenario: Scenario,
    /// Options of a variant.
    more: Option<String>,
}

/// The sides that the command line names.
///
/// # Errors
/// When there are too few, or what is behind `--` cannot be compared.
pub fn of(args: &cli::Compare) -> Result<Vec<Side>, Failure> {
    let variants = !args.variants.is_empty();
    let (named, least) = match (variants, args.servers.as_slice()) {
        (true, [_]) => (&args.variants, "--variant: give two or more, or several servers"),
        (true, _) => {
            return Err(Failure::usage("--variant: give one --server, which all variants are measured with"));
        }
        _ => (&args.servers, "--server: give two or more, or one with two or more --variant"),
    };
    if named.len() < 2 {
        return Err(Failure::usage(least));
    }
    if named.len() > SIDES_MAX {
        return Err(Failure::usage(format!("{} to compare: at most {SIDES_MAX}", named.len())));
    }
    let mut sides: Vec<Side> = Vec::new();
    for text in named {
        let (name, rest) = parts(text);
        let (server, more) = if variants { (parts(&args.servers[0]).1, Some(rest)) } else { (rest, None) };
        let name = match (name, variants) {
            (Some(name), _) => name.to_string(),
            (None, true) => format!("variant-{}", sides.len() + 1),
            (None, false) => program(server),
        };
        let taken = |name: &str| sides.iter().any(|side| side.name == name);
        let name = match taken(&name) {
            false => name,
            true => (2..).map(|n| format!("{name}-{n}")).find(|name| !taken(name)).unwrap_or(name),
        };
        let scenario = parse(&args.scenario, more, server, &args.server_cpu)?;
        sides.push(Side { name, server: server.to_string(), scenario, more: more.map(str::to_string) });
    }
    Ok(sides)
}

/// `NAME=REST`; without a name all of it is the rest.
fn parts(text: &str) -> (Option<&str>, &str) {
    let plain = |name: &str| {
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
            && !name.starts_with('-')
    };
    match text.split_once('=') {
        Some((name, rest)) if plain(name) => (Some(name), rest.trim()),
        _ => (None, text.trim()),
    }
}

/// The name of the program that a command starts, in letters that a condition can name.
fn program(command: &str) -> String {
    let word = command.split_whitespace().next().unwrap_or("server");
    let name = Path::new(word).file_name().map_or_else(|| word.into(), |name| name.to_string_lossy());
    let clean = name.chars().map(|c| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '_' });
    clean.take(40).collect()
}

fn parse(
    words: &[String],
    more: Option<&str>,
    server: &str,
    server_cpu: &[usize],
) -> Result<Scenario, Failure> {
    let more = match more {
        None => Vec::new(),
        Some(text) => shlex::split(text).ok_or_else(|| {
            Failure::usage(format!("--variant {text}: a quote or backslash without its end"))
        })?,
    };
    let words: Vec<&str> = words.iter().chain(&more).map(String::as_str).collect();
    for word in &words {
        let option = word.split('=').next().unwrap_or_default();
        if let Some((name, what)) = OURS.iter().find(|(name, _)| *name == option) {
            return Err(Failure::usage(format!("{name} behind --: {what}")));
        }
    }
    let cli = Cli::try_parse_from(std::iter::once("loadtest").chain(words.iter().copied()));
    let mut scenario =
        cli.map_err(|error| Failure::command_line("loadtest", &format!("behind --: {error}")))?.scenario;
    let Some(common) = common(&mut scenario) else {
        let what = words.first().copied().unwrap_or_default();
        return Err(Failure::usage(format!(
            "{what} behind --: it is nothing that can be compared; give a scenario such as echo or idle"
        )));
    };
    common.server = Some(server.to_string());
    common.server_cpu = server_cpu.to_vec();
    Ok(scenario)
}

/// What is common to all scenarios that measure once; `None` for the others.
fn common(scenario: &mut Scenario) -> Option<&mut Common> {
    match scenario {
        Scenario::Idle(args) => Some(&mut args.common),
        Scenario::Echo(args) => Some(&mut args.common),
        Scenario::Fanout(args) => Some(&mut args.common),
        Scenario::Churn(args) => Some(&mut args.common),
        Scenario::Hold(args) => Some(&mut args.common),
        Scenario::Slow(args) => Some(&mut args.common),
        Scenario::Storm(args) => Some(&mut args.common),
        Scenario::Vanish(args) => Some(&mut args.common),
        Scenario::Search(_) | Scenario::Compare(_) | Scenario::Plan(_) | Scenario::BenchPeers(_) => None,
        Scenario::Report(_) | Scenario::Merge(_) | Scenario::Worker => None,
    }
}

impl Side {
    /// Measures it once, with workers and a server of its own.
    ///
    /// # Errors
    /// When the run cannot be made.
    pub fn measure(&self) -> Result<Record, Failure> {
        scenario::run(&self.scenario).map_err(|failure| {
            let text = format!("{}: {failure}", self.name);
            if failure.code() == 2 { Failure::usage(text) } else { Failure::refused(text) }
        })
    }

    /// What it is, for people.
    pub fn told(&self) -> String {
        match &self.more {
            None => self.server.clone(),
            Some(more) => format!("{} with {more}", self.server),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(words: &str) -> Result<Vec<String>, String> {
        let words = shlex::split(&format!("loadtest compare {words}")).unwrap();
        let Scenario::Compare(args) = Cli::try_parse_from(words).unwrap().scenario else { unreachable!() };
        let told = |side: Side| format!("{}: {}", side.name, side.told());
        of(&args).map(|sides| sides.into_iter().map(told).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn sides_have_names_of_their_own() {
        let url = "-- echo ws://127.0.0.1:1/";
        for (words, expected) in [
            ("--server old='./a --x=1' --server new=b", ["old: ./a --x=1", "new: b"]),
            ("--server '/bin/a --x=1' --server /bin/a", ["a: /bin/a --x=1", "a-2: /bin/a"]),
            ("--server a=b --server a=c", ["a: b", "a-2: c"]),
            (
                "--server s=a --variant 'big=--size 1KiB' --variant='--binary'",
                ["big: a with --size 1KiB", "variant-2: a with --binary"],
            ),
        ] {
            assert_eq!(sides(&format!("{words} {url}")).unwrap(), expected, "{words}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_told() {
        let two = "--server a --server b";
        let url = "ws://127.0.0.1:1/";
        for (words, expected) in [
            (format!("--server a -- echo {url}"), "--server: give two or more"),
            (
                format!("{two} --variant x=--binary --variant y= -- echo {url}"),
                "--variant: give one --server",
            ),
            (format!("--server a --variant x=--binary -- echo {url}"), "--variant: give two or more"),
            (format!("--server a --variant \"x='\" --variant y= -- echo {url}"), "a quote or backslash"),
            (format!("{two} -- echo {url} --server c"), "--server behind --: give it to compare, before --"),
            (format!("{two} -- echo {url} --server-cpu=0"), "--server-cpu behind --: give it to compare"),
            (format!("{two} -- echo {url} --server-pid 1"), "--server-pid behind --: compare starts"),
            (format!("{two} -- echo {url} --json a"), "--json behind --: give it to compare, before --"),
            (format!("{two} -- plan {url}"), "plan behind --: it is nothing that can be compared"),
            (format!("{two} -- search {url} --until p99<1ms"), "search behind --: it is nothing"),
            (format!("{two} -- merge a b"), "merge behind --: it is nothing"),
            (format!("{two} -- echo {url} --szie 5"), "behind --: "),
        ] {
            let error = sides(&words).unwrap_err();
            assert!(error.contains(expected), "{words}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
