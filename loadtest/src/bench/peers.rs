//! The servers that are compared, as a file such as `loadtest/peers/peers.toml` lists them.
//!
//! Refuses to start any. Invariants: every row has a name of its own; a row whose program is not there is kept, with the
//! reason why it is left out; a command starts in the folder of its file, whatever folder `loadtest` is run in.

use std::path::Path;

use serde::Deserialize;
use tidegate::program::failure::Failure;

use super::document::{Kind, Row};

/// Rows, at most.
const ROWS_MAX: usize = 64;
/// Our own row.
pub const OWN: &str = "tidegate";

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    #[serde(default)]
    peer: Vec<Peer>,
}

/// One `[[peer]]` of it. Keys that are not known are left to others that read the file.
#[derive(Deserialize)]
struct Peer {
    name: String,
    kind: Kind,
    command: String,
    broadcast: Option<String>,
    version: Option<String>,
    language: Option<String>,
    #[serde(default)]
    bare: bool,
}

/// Our row and those of the file, in its order; of the others those that `only` names, if it names any.
///
/// # Errors
/// When the file cannot be read or understood, or `only` names a row that is not there.
pub fn rows(file: &Path, own: &str, only: &[String]) -> Result<Vec<Row>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(format!("--peers {}: {error}; name a file that lists servers", file.display()))
    })?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let told = |what: String| Failure::usage(format!("--peers {}: {what}", file.display()));
    let listed: Listed = toml::from_str(&text).map_err(|error| told(parse_error(&text, &error)))?;
    if listed.peer.len() >= ROWS_MAX {
        return Err(told(format!("{} servers; at most {}", listed.peer.len(), ROWS_MAX - 1)));
    }
    let mut rows = vec![Row {
        name: OWN.into(),
        kind: Kind::Own,
        command: own.into(),
        broadcast: own.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        language: "Rust".into(),
        bare: false,
        left_out: absent(own, Path::new(".")),
    }];
    for peer in listed.peer {
        if !is_name(&peer.name) {
            return Err(told(format!("name {:?}: write letters, digits, '-', '_' and '.'", peer.name)));
        }
        if rows.iter().any(|row| row.name == peer.name) {
            return Err(told(format!("two servers are called {}; give each a name of its own", peer.name)));
        }
        rows.push(peer.row(folder).map_err(told)?);
    }
    for name in only {
        if rows.iter().all(|row| row.name != *name) {
            let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
            return Err(Failure::usage(format!("--only {name}: there are {}", names.join(", "))));
        }
    }
    // What all are compared with stays.
    rows.retain(|row| only.is_empty() || row.kind == Kind::Own || only.contains(&row.name));
    Ok(rows)
}

/// One line of what may be several.
fn parse_error(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().map_or("", |span| text.get(..span.start).unwrap_or_default());
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.len() <= 40 && name.chars().all(plain)
}

impl Peer {
    fn row(self, folder: &Path) -> Result<Row, String> {
        if self.kind == Kind::Own {
            return Err(format!("{}: kind own is {OWN}'s alone; write raw or peer", self.name));
        }
        let broadcast = self.broadcast.as_ref().unwrap_or(&self.command);
        for command in [&self.command, broadcast] {
            if !command.contains("{port}") {
                return Err(format!(
                    "{}: the command `{command}` has no {{port}}; say where the port goes",
                    self.name
                ));
            }
        }
        let left_out = absent(&self.command, folder);
        Ok(Row {
            command: within(folder, &self.command),
            broadcast: within(folder, broadcast),
            name: self.name,
            kind: self.kind,
            version: self.version.unwrap_or_default(),
            language: self.language.unwrap_or_default(),
            bare: self.bare,
            left_out,
        })
    }
}

/// The same command, started in that folder and in no process besides. The folder stays as it was named, so that what is
/// published names no folder of this machine.
fn within(folder: &Path, command: &str) -> String {
    let folder = folder.to_string_lossy();
    let there = shlex::try_quote(&folder).unwrap_or(folder.as_ref().into());
    let script = format!("cd {there} && exec {command}");
    let quoted = shlex::try_quote(&script).map_or_else(|_| script.clone(), Into::into);
    format!("sh -c {quoted}")
}

/// Why a command cannot be started, if its program is not there.
fn absent(command: &str, folder: &Path) -> Option<String> {
    let Some(program) = shlex::split(command).and_then(|words| words.into_iter().next()) else {
        return Some(format!("`{command}` is no command"));
    };
    let there = if program.contains('/') {
        folder.join(&program).is_file()
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(&program).is_file())
    };
    (!there).then(|| format!("there is no {program}: build it first"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A folder of this test's own with a file of this text, gone with its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, text: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("bench-peers-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("peers.toml"), text).unwrap();
            Scratch(folder)
        }

        fn rows(&self, only: &[&str]) -> Result<Vec<Row>, String> {
            let only: Vec<String> = only.iter().map(ToString::to_string).collect();
            rows(&self.0.join("peers.toml"), "sh -c {port}", &only).map_err(|error| error.to_string())
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const TWO: &str = "[[peer]]\nname = \"r\"\nkind = \"raw\"\ncommand = \"bin/raw --port {port}\"\nbare = true\n\
        [[peer]]\nname = \"p\"\nkind = \"peer\"\ncommand = \"sh {port}\"\nbroadcast = \"sh -b {port}\"\nversion = \"1\"\n\
        language = \"C\"\nbuild = \"make\"\n";

    #[test]
    fn rows_are_ours_and_those_of_the_file() {
        let scratch = Scratch::new("two", TWO);
        let rows = scratch.rows(&[]).unwrap();
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, [OWN, "r", "p"]);
        assert_eq!(rows[1].left_out.as_deref(), Some("there is no bin/raw: build it first"));
        assert_eq!((rows[0].left_out.as_ref(), rows[2].left_out.as_ref()), (None, None));
        assert!(rows[1].bare && !rows[2].bare);
        assert_eq!((rows[2].version.as_str(), rows[2].language.as_str()), ("1", "C"));
        let words = shlex::split(&rows[2].broadcast).unwrap();
        assert_eq!(words[..2], ["sh", "-c"]);
        assert!(words[2].starts_with("cd /") && words[2].ends_with(" && exec sh -b {port}"), "{words:?}");
        let only: Vec<String> = scratch.rows(&["p"]).unwrap().into_iter().map(|row| row.name).collect();
        assert_eq!(only, [OWN, "p"]);
    }

    #[test]
    fn what_cannot_be_used_is_told_in_one_line() {
        for (number, (text, expected)) in [
            ("[[peer]]\nname = \"a\"\nkind = \"rwa\"\n", "line 3: unknown variant `rwa`"),
            ("[[peer]]\nname = \"a\"\nkind = \"raw\"\n", "missing field `command`"),
            ("[[peers]]\n", "unknown field `peers`"),
            ("hello", "line 1: "),
            (
                "[[peer]]\nname = \"a b\"\nkind = \"raw\"\ncommand = \"a {port}\"\n",
                "name \"a b\": write letters",
            ),
            (
                "[[peer]]\nname = \"tidegate\"\nkind = \"raw\"\ncommand = \"a {port}\"\n",
                "two servers are called",
            ),
            ("[[peer]]\nname = \"a\"\nkind = \"own\"\ncommand = \"a {port}\"\n", "a: kind own is tidegate's"),
            ("[[peer]]\nname = \"a\"\nkind = \"peer\"\ncommand = \"a\"\n", "the command `a` has no {port}"),
        ]
        .into_iter()
        .enumerate()
        {
            let error = Scratch::new(&format!("bad{number}"), text).rows(&[]).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(error.starts_with("--peers ") && !error.contains('\n'), "{error}");
        }
        let error = Scratch::new("only", TWO).rows(&["q"]).unwrap_err();
        assert_eq!(error, "--only q: there are tidegate, r, p");
        let error = rows(Path::new("/nonexistent/peers.toml"), "a", &[]).unwrap_err().to_string();
        assert!(error.starts_with("--peers /nonexistent/peers.toml: No such file"), "{error}");
    }
}
