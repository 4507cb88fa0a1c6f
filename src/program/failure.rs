//! Why the program ends without having done its work: one line for standard error, and an exit code.
//!
//! Knows no cause itself. Invariant: the text is a single line that names what was wrong, the value
//! and what to do; the code is 1 (this machine refused) or 2 (the user asked for something impossible).

use std::fmt;
use std::io::{self, Write};

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

    /// The exit code, 1 or 2.
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

/// Writes to standard output. A reader that went away (`tidegate doctor | head -1`) is no error.
///
/// # Errors
/// When the output cannot be written for another reason, such as a full disk.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
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
    }
}
