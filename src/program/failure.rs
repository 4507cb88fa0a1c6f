//! Why a program ends without having done its work: one line for standard error, and an exit code.
//!
//! Knows no cause itself. Invariant: the text is a single line that names what was wrong, the value
//! and what to do; the code is 1 (this machine refused), 2 (the user asked for something impossible) or 3
//! (there is a measurement, and it must not be believed).

use std::fmt;
use std::io::{self, IsTerminal, Write};

/// An ending with an exit code other than 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// The machine, a file or the network refused: exit code 1.
    pub fn refused(text: impl Into<String>) -> Self {
        Failure { code: 1, text: one_line(&text.into()) }
    }

    /// Flags or the configuration are wrong: exit code 2.
    pub fn usage(text: impl Into<String>) -> Self {
        Failure { code: 2, text: one_line(&text.into()) }
    }

    /// A measurement must not be believed: exit code 3.
    pub fn invalid(text: impl Into<String>) -> Self {
        Failure { code: 3, text: one_line(&text.into()) }
    }

    /// A parser refused the command line of `program` with this message of several lines: exit code 2. What was
    /// wrong and what was probably meant stays, the usage text that follows it goes.
    pub fn command_line(program: &str, message: &str) -> Self {
        let mut parts: Vec<&str> = message
            .lines()
            .map(str::trim)
            .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
            .map(|line| line.strip_prefix("error: ").unwrap_or(line))
            .filter(|line| !line.is_empty())
            .collect();
        let help = format!("see `{program} --help`");
        parts.push(&help);
        Failure::usage(parts.join("; "))
    }

    /// The exit code, 1 to 3.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Values come from the user and may hold anything; no control character of theirs reaches the terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Writes a line to standard error as `program: ...`. A closed standard error is nobody's loss.
pub fn complain(program: &str, text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{program}: {text}");
}

/// Writes to standard output. A reader that went away (`doctor | head -1`) is no error.
///
/// # Errors
/// When the output cannot be written for another reason, such as a full disk.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Whether standard output wants colours: it is a terminal, and the user has not turned them off.
pub fn colours() -> bool {
    // https://no-color.org: set and not empty turns colours off.
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !unwanted
}

/// How writing to standard output went, for those that write themselves.
///
/// # Errors
/// As [`print`].
pub fn printed(outcome: io::Result<()>) -> Result<(), Failure> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::refused(format!(
            "cannot write to standard output: {error}; redirect it somewhere that can be written"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_whatever_the_user_typed() {
        let failure = Failure::usage("--bind a\nb\u{1b}[31m: no");
        assert_eq!(failure.to_string(), "--bind a b [31m: no");
        assert_eq!(failure.code(), 2);
        assert_eq!(Failure::refused("x").code(), 1);
        assert_eq!(Failure::invalid("x").code(), 3);
    }

    #[test]
    fn a_message_of_a_parser_becomes_one_line() {
        let table = [
            ("error: unexpected argument '-x'\n\nUsage: p [OPTIONS]\n", "unexpected argument '-x'; "),
            ("error: a\n\n  tip: b\n\nFor more information, try '--help'.\n", "a; tip: b; "),
            ("no prefix", "no prefix; "),
            ("\nUsage: p", ""),
            ("", ""),
        ];
        for (message, start) in table {
            let failure = Failure::command_line("p", message);
            assert_eq!(failure.to_string(), format!("{start}see `p --help`"), "{message:?}");
            assert_eq!(failure.code(), 2);
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        assert_eq!(printed(Ok(())), Ok(()));
        assert_eq!(printed(Err(io::ErrorKind::BrokenPipe.into())), Ok(()));
        let failure = printed(Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(failure.code(), 1);
    }
}
