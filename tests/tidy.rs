//! The house rules that a machine can read: layers, names, lengths, and documents that agree with the code.
//!
//! Refuses to know what the code does. Invariant: every checker is a function from text to complaints, and each of
//! them is shown a bad sample besides the project, so that a checker that has gone blind fails too.

#[path = "tidy/rust_text.rs"]
mod rust_text;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tidegate::{Config, Stats, Unit, Value};

use rust_text::{code, identifier, is_word, line_of, words};

const LAYERS: &[&str] = &["ground", "wire", "conn", "hub", "reactor", "api"];
const REACTOR: usize = 4;
/// What the programs share: in the library, beside the layers.
const BESIDE: &str = "program";
const LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;

/// A file by its path from the root, with `/`.
struct Source {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folders` whose name ends in `ending`; a folder that does not exist has none.
fn sources(folders: &[&str], ending: &str) -> Vec<Source> {
    let mut files = Vec::new();
    for folder in folders {
        walk(&root().join(folder), ending, &mut files);
    }
    files.sort();
    let read = |path: PathBuf| {
        let relative = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        Source { path: relative, text: fs::read_to_string(&path).unwrap() }
    };
    files.into_iter().map(read).collect()
}

fn walk(folder: &Path, ending: &str, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", "node_modules", "corpus"].contains(&name.as_str()) && !name.starts_with('.') {
                walk(&path, ending, files);
            }
        } else if name.ends_with(ending) {
            files.push(path);
        }
    }
}

fn rust() -> Vec<Source> {
    sources(&["src", "tests", "benches", "examples", "fuzz", "loadtest"], ".rs")
}

/// The documents in the root and in the folders that have some.
fn documents() -> Vec<Source> {
    let here = fs::read_dir(root()).unwrap().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        here.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect();
    files.sort();
    let read = |path: PathBuf| Source {
        path: path.file_name().unwrap().to_string_lossy().into_owned(),
        text: fs::read_to_string(&path).unwrap(),
    };
    let below = sources(&["docs", "tests", "examples", "benches", "fuzz", "loadtest"], ".md");
    files.into_iter().map(read).chain(below).collect()
}

fn document(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[track_caller]
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

// --- Layers ----------------------------------------------------------------------------------------------------------

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| *layer == name)
}

/// The layer of a file; `None` for the crate's root, the programs, what they share and everything outside `src/`.
fn layer_of(path: &str) -> Option<usize> {
    layer(path.strip_prefix("src/")?.split(['/', '.']).next()?)
}

/// What a path into the crate names first: one word, or several of a group in braces.
fn heads(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else { return vec![identifier(rest)] };
    let (mut depth, mut names, mut fresh) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && is_word(Some(c)) => {
                names.push(identifier(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

/// Places in the code where a path starts at the crate's root: behind `crate::`, and behind as many `super::` as lead
/// out of the file's layer.
fn rooted(path: &str, code: &str) -> Vec<usize> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let climb = "super::".repeat(inner.split('/').count());
    words(code, "crate::")
        .map(|at| at + "crate::".len())
        .chain(words(code, &climb).map(|at| at + climb.len()))
        .collect()
}

fn layer_complaints(source: &Source) -> Vec<String> {
    let code = code(&source.text);
    let mut complaints = Vec::new();
    let Some(own) = layer_of(&source.path) else { return beside_complaints(source, &code) };
    for at in rooted(&source.path, &code) {
        for name in heads(&code[at..]) {
            let place = format!("{}:{}", source.path, line_of(&code, at));
            match layer(name) {
                Some(other) if other > own => {
                    complaints.push(format!("{place}: {} must not know {name}", LAYERS[own]));
                }
                Some(_) => {}
                // The table of limits is a macro, and macros are exported at the root.
                None if name == "with_limits" => {}
                None if name == BESIDE || code[..at].ends_with("crate::") => {
                    complaints.push(format!("{place}: crate::{name} is not in a layer"));
                }
                None => {}
            }
        }
    }
    let sockets = ["mio", "socket2"];
    let outside = ["Instant", "SystemTime", "std::thread", "std::env", "TcpStream"];
    let banned = sockets.iter().filter(|_| source.path != "src/reactor/sys.rs");
    for word in banned.chain(outside.iter().filter(|_| own < REACTOR)) {
        for at in words(&code, word) {
            complaints.push(format!("{}:{}: {word} has no place here", source.path, line_of(&code, at)));
        }
    }
    complaints
}

/// What the programs share must not know a layer; a program, outside the library, cannot.
fn beside_complaints(source: &Source, code: &str) -> Vec<String> {
    if source.path.strip_prefix("src/").and_then(|path| path.split('/').next()) != Some(BESIDE) {
        return Vec::new();
    }
    let named = rooted(&source.path, code).into_iter().flat_map(|at| heads(&code[at..]));
    let known = named.filter(|name| *name != BESIDE);
    known.map(|name| format!("{}: {BESIDE} must not know {name}", source.path)).collect()
}

/// The modules of the load generator, each of which knows only those before it and itself.
const LOADTEST: &[&str] = &[
    "record",
    "interrupt",
    "fit",
    "schedule",
    "amount",
    "server",
    "mix",
    "gate",
    "bootstrap",
    "output",
    "order",
    "cli",
    "target",
    "engine",
    "crew",
    "run",
    "scenario",
    "conclude",
    "bench",
];

fn loadtest_complaints(source: &Source) -> Vec<String> {
    let place = |name: &str| LOADTEST.iter().position(|module| *module == name);
    let Some(own) = source.path.strip_prefix("loadtest/src/").and_then(|path| path.split(['/', '.']).next())
    else {
        return Vec::new();
    };
    if own == "main" {
        return Vec::new();
    }
    let code = code(&source.text);
    let Some(rank) = place(own) else {
        return vec![format!("{}: {own} has no place among the modules", source.path)];
    };
    let named = words(&code, "crate::").flat_map(|at| heads(&code[at + "crate::".len()..]));
    let upward = named.filter(|name| place(name).is_none_or(|other| other > rank));
    upward.map(|name| format!("{}: {own} must not know {name}", source.path)).collect()
}

#[test]
fn dependencies_point_down() {
    none(rust().iter().flat_map(layer_complaints).collect());
    none(rust().iter().flat_map(loadtest_complaints).collect());
}

#[test]
fn an_upward_dependency_is_seen() {
    let table = [
        ("src/wire/frame.rs", "use crate::ground::input::Input;", 0),
        ("src/wire/frame.rs", "use crate::conn::Connection;", 1),
        ("src/wire/frame.rs", "// use crate::conn::Connection;", 0),
        ("src/conn/mod.rs", "use crate::{ground::{id, rng}, hub::{Hub, Marks}, api};", 2),
        ("src/hub/mod.rs", "fn f() { crate::reactor::io::now() }", 1),
        ("src/hub/mod.rs", "use super::api::config;", 1),
        ("src/hub/topics.rs", "use super::super::reactor::Turn; use super::Hub;", 1),
        ("src/wire/head.rs", "mod tests { use super::*; use super::super::frame; }", 0),
        ("src/hub/mod.rs", "use crate::Config;", 1),
        ("src/hub/mod.rs", "use std::time::Instant; use std::net::TcpStream;", 2),
        ("src/ground/rng.rs", "let t = std::thread::current(); std::env::var(\"A\");", 2),
        ("src/reactor/mod.rs", "use mio::Poll; use std::time::Instant;", 1),
        ("src/reactor/sys.rs", "use mio::Poll; use socket2::Socket; use crate::hub::Hub;", 0),
        ("src/api/server.rs", "use socket2::Socket;", 1),
        ("src/api/server.rs", "use crate::program::units;", 1),
        ("src/hub/topics.rs", "use super::super::program::failure; use crate::{program, ground};", 2),
        ("src/program/doctor.rs", "use crate::program::units; use super::failure;", 0),
        ("src/program/doctor/rules.rs", "use crate::{program::units, hub::Hub}; use super::Row;", 1),
        ("src/bin/tidegate/main.rs", "use tidegate::program::units; use crate::settings;", 0),
        ("src/lib.rs", "pub use api::config::Config; use mio::Poll;", 0),
    ];
    for (path, text, expected) in table {
        let found = layer_complaints(&Source { path: path.into(), text: text.into() });
        assert_eq!(found.len(), expected, "{path}: {text}: {found:?}");
    }
}

#[test]
fn an_upward_dependency_of_the_load_generator_is_seen() {
    let table = [
        ("loadtest/src/engine/lane.rs", "use crate::order::Step; use crate::{record::Times, server};", 0),
        ("loadtest/src/engine/lane.rs", "use crate::crew::Crew;", 1),
        ("loadtest/src/record.rs", "use crate::{amount, output::text};", 2),
        ("loadtest/src/news.rs", "", 1),
        ("loadtest/src/main.rs", "use crate::conclude;", 0),
    ];
    for (path, text, expected) in table {
        let found = loadtest_complaints(&Source { path: path.into(), text: text.into() });
        assert_eq!(found.len(), expected, "{path}: {text}: {found:?}");
    }
}

// --- Form ------------------------------------------------------------------------------------------------------------

/// Names and lengths in lines of all functions that have a body.
fn functions(code: &str) -> Vec<(&str, usize, usize)> {
    let mut found = Vec::new();
    for at in words(code, "fn") {
        let name = identifier(&code[at + 2..]);
        // A type of functions has no name, a method without a default ends before a brace opens.
        if name.is_empty() {
            continue;
        }
        let (mut depth, mut braces) = (0, 0);
        for (offset, c) in code[at..].char_indices() {
            match c {
                '(' | '[' => depth += 1,
                ')' | ']' => depth -= 1,
                ';' if depth == 0 && braces == 0 => break,
                '{' => braces += 1,
                '}' => {
                    braces -= 1;
                    if braces <= 0 {
                        let lines = code[at..at + offset].matches('\n').count() + 1;
                        found.push((name, line_of(code, at), lines));
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    found
}

fn form_complaints(Source { path, text }: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    // Attributes of the crate may stand before its text.
    let opening = text.lines().find(|line| !line.starts_with("#!["));
    if !opening.is_some_and(|line| line.starts_with("//!")) {
        complaints.push(format!("{path}: does not open with //!"));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        complaints.push(format!("{path}: {lines} lines, {LINES_MAX} are allowed"));
    }
    for (name, line, lines) in functions(&code(text)) {
        if lines > FUNCTION_LINES_MAX {
            complaints.push(format!(
                "{path}:{line}: fn {name} has {lines} lines, {FUNCTION_LINES_MAX} are allowed"
            ));
        }
    }
    complaints
}

#[test]
fn files_open_with_their_purpose_and_stay_short() {
    none(rust().iter().flat_map(form_complaints).collect());
}

#[test]
fn a_long_or_silent_file_is_seen() {
    let complaints = |text: String| form_complaints(&Source { path: "x.rs".into(), text });
    let function =
        |lines: usize| format!("//! X.\nfn f(a: [u8; 2]) {{\n{}}}\n", "    a;\n".repeat(lines - 2));
    assert_eq!(complaints(function(70)), [""; 0]);
    let generic = function(71).replace("fn f(", "fn f<A, B>(f: fn(A, B), ").replace(") {", ") where A: B, {");
    assert_eq!(complaints(generic).len(), 1);
    assert_eq!(complaints(function(71)), ["x.rs:2: fn f has 71 lines, 70 are allowed"]);
    assert_eq!(
        complaints(format!("trait T {{ fn g(); }} {}", function(3))),
        ["x.rs: does not open with //!"]
    );
    assert_eq!(complaints(format!("//! X.\n{}", "\n".repeat(700))).len(), 1);
    assert_eq!(complaints("#![forbid(unsafe_code)]\n//! X.\n".into()), [""; 0]);
    assert_eq!(complaints(String::new()).len(), 1);
}

/// Words are put together here, so that this file can be checked like any other.
fn word_complaints(Source { path, text }: &Source) -> Vec<String> {
    let code = code(text);
    let mut found: Vec<(usize, String)> = Vec::new();
    for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")] {
        found.extend(words(text, word).map(|at| (line_of(text, at), word.to_owned())));
    }
    for word in ["dbg!", "todo!", "unimplemented!", "unsafe"] {
        found.extend(words(&code, word).map(|at| (line_of(&code, at), word.to_owned())));
    }
    for keyword in ["struct", "enum", "union", "trait", "type", "mod", "fn"] {
        for at in words(&code, keyword) {
            let name = identifier(&code[at + keyword.len()..]);
            let bad = match keyword {
                "mod" => vague(name),
                // `get_mut` is what the standard library calls it.
                "fn" => name.starts_with("get_") && name != "get_mut",
                _ => ["Manager", "Info", "Data"].iter().any(|end| name.ends_with(end)),
            };
            if bad {
                found.push((line_of(&code, at), format!("{keyword} {name}")));
            }
        }
    }
    if path.split('/').any(|part| vague(part.trim_end_matches(".rs"))) {
        found.push((1, "the file's name".into()));
    }
    found.into_iter().map(|(line, what)| format!("{path}:{line}: {what}")).collect()
}

fn vague(module: &str) -> bool {
    ["util", "utils", "helper", "helpers", "common", "misc"].contains(&module)
}

#[test]
fn banned_words_are_absent() {
    none(rust().iter().flat_map(word_complaints).collect());
}

#[test]
fn banned_words_are_seen() {
    let todo = concat!("// TO", "DO: more");
    let table = [
        (todo, 1),
        ("let hacks = TODOS;", 0),
        ("dbg!(x); todo!(); unimplemented!()", 3),
        ("\"dbg!(x)\"; // unsafe", 0),
        ("unsafe { f() }", 1),
        ("#![forbid(unsafe_code)]", 0),
        ("struct ConnManager; enum PeerInfo {} pub trait Data {} type FrameData = u8;", 4),
        ("struct Database; struct Informed;", 0),
        ("mod utils; mod common { }", 2),
        ("fn get_len() {} fn budget_left() {} fn get_mut() {}", 1),
    ];
    for (text, expected) in table {
        let found = word_complaints(&Source { path: "src/x.rs".into(), text: text.into() });
        assert_eq!(found.len(), expected, "{text}: {found:?}");
    }
    assert_eq!(word_complaints(&Source { path: "tests/common/x.rs".into(), text: String::new() }).len(), 1);
}

// --- Documents -------------------------------------------------------------------------------------------------------

/// The rows of every table whose first column has this heading, as cells; the heading's row comes first.
fn tables<'t>(text: &'t str, first: &str) -> Vec<Vec<Vec<&'t str>>> {
    let mut found: Vec<Vec<Vec<&str>>> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let Some(row) = line.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            inside = false;
            continue;
        };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if inside {
            let ruler = cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| "-: ".contains(c)));
            if !ruler {
                found.last_mut().unwrap().push(cells);
            }
        } else if cells[0] == first {
            found.push(vec![cells]);
            inside = true;
        }
    }
    found
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The one name that a cell quotes.
fn name(cell: &str) -> &str {
    quoted(cell).next().unwrap_or(cell)
}

/// A setting's value as the documents write it.
fn shown(value: Value, unit: Unit) -> String {
    match value {
        Value::Number(bytes) if unit == Unit::Bytes => {
            let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
            let fitting = units.iter().find(|(_, size)| bytes >= *size && bytes % size == 0);
            fitting.map_or(format!("{bytes} B"), |(unit, size)| format!("{} {unit}", bytes / size))
        }
        Value::Number(count) => grouped(count),
        Value::Time(time) if time.is_zero() => "off".into(),
        Value::Time(time) if time.subsec_nanos() == 0 => format!("{} s", time.as_secs()),
        Value::Time(time) => format!("{} ms", time.as_millis()),
        Value::Flag(on) => if on { "on" } else { "off" }.into(),
        Value::Choice(word) => word.into(),
        other => format!("{other:?}"),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let starts = (0..digits.len()).filter(|at| (digits.len() - at).is_multiple_of(3) || *at == 0);
    let starts: Vec<usize> = starts.chain([digits.len()]).collect();
    starts.windows(2).map(|pair| &digits[pair[0]..pair[1]]).collect::<Vec<_>>().join(",")
}

/// Complaints about rows of name and default against the settings themselves.
fn default_complaints(rows: &[(&str, &str)], settings: &[(String, String)]) -> Vec<String> {
    let rows_by_name: BTreeMap<&str, &str> = rows.iter().copied().collect();
    let settings: BTreeMap<&str, &str> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
    let mut complaints = Vec::new();
    if rows_by_name.len() != rows.len() {
        complaints.push("a name stands twice".into());
    }
    for (name, value) in &settings {
        match rows_by_name.get(name) {
            None => complaints.push(format!("{name} is missing")),
            Some(written) if written != value => {
                complaints.push(format!("{name} is {value}, the document says {written}"));
            }
            Some(_) => {}
        }
    }
    let unknown = rows_by_name.keys().filter(|name| !settings.contains_key(*name));
    complaints.extend(unknown.map(|name| format!("{name} does not exist")));
    complaints
}

#[test]
fn limits_are_documented_with_their_defaults() {
    let text = document("docs/LIMITS.md");
    let config = Config::default();
    let settings: Vec<(String, String)> = Config::fields()
        .map(|field| (field.name.into(), shown(config.value(field.name).unwrap(), field.unit)))
        .collect();
    let rows: Vec<(&str, &str)> = ["Limit", "Option"]
        .iter()
        .flat_map(|first| tables(&text, first))
        .flat_map(|table| table.into_iter().skip(1).map(|row| (name(row[0]), row[1])))
        .collect();
    none(default_complaints(&rows, &settings));
}

#[test]
fn a_wrong_table_of_defaults_is_seen() {
    let settings = [("a_max".to_owned(), "1 MiB".to_owned()), ("b_max".to_owned(), "10 s".to_owned())];
    let text = "| Limit | Default |\n|---|---|\n| `a_max` | 1 MiB |\n| `b_max` | 10 s |\n\n| No | x |\n|-|-|\n| y | z |";
    let table = tables(text, "Limit").remove(0);
    let rows: Vec<(&str, &str)> = table.iter().skip(1).map(|row| (name(row[0]), row[1])).collect();
    assert_eq!(rows, [("a_max", "1 MiB"), ("b_max", "10 s")]);
    assert_eq!(default_complaints(&rows, &settings), [""; 0]);
    assert_eq!(default_complaints(&rows[..1], &settings), ["b_max is missing"]);
    let wrong = [("a_max", "1 MB"), ("b_max", "10 s"), ("c_max", "3")];
    assert_eq!(default_complaints(&wrong, &settings).len(), 2);
    let values =
        [(4096, Unit::Bytes, "4 KiB"), (1000, Unit::Bytes, "1000 B"), (1_000_000, Unit::Count, "1,000,000")];
    for (number, unit, text) in values {
        assert_eq!(shown(Value::Number(number), unit), text);
    }
    assert_eq!((grouped(7), grouped(100), grouped(131_072)), ("7".into(), "100".into(), "131,072".into()));
}

/// The names of all functions in the sources and tests.
fn function_names() -> BTreeSet<String> {
    let texts = rust();
    let names = texts.iter().flat_map(|source| {
        let code = code(&source.text);
        let found: Vec<String> =
            words(&code, "fn").map(|at| identifier(&code[at + 2..]).to_owned()).collect();
        found
    });
    names.collect()
}

/// Complaints about the quoted names in the column under `heading`: unknown ones, and rows without any.
fn column_complaints(
    table: &[Vec<&str>],
    heading: &str,
    must: bool,
    known: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let Some(column) = table[0].iter().position(|cell| *cell == heading) else { return Vec::new() };
    let mut complaints = Vec::new();
    for row in &table[1..] {
        let cell = row.get(column).copied().unwrap_or_default();
        let unknown = quoted(cell).filter(|name| !known(name));
        complaints.extend(unknown.map(|name| format!("{}: {name} does not exist", row[0])));
        if must && quoted(cell).next().is_none() {
            complaints.push(format!("{}: names nothing under {heading}", row[0]));
        }
    }
    complaints
}

#[test]
fn limits_name_tests_that_exist() {
    let (text, names) = (document("docs/LIMITS.md"), function_names());
    let known = |name: &str| names.contains(name);
    // An option of the kernel's may have none: it is the kernel's.
    for (first, must) in [("Limit", true), ("Constant", true), ("Option", false)] {
        let tables = tables(&text, first);
        none(tables.iter().flat_map(|table| column_complaints(table, "Test", must, &known)).collect());
    }
}

#[test]
fn limits_name_counters_that_exist() {
    let text = document("docs/LIMITS.md");
    let counters: BTreeSet<&str> = Stats::default().entries().map(|(name, _)| name).collect();
    let known = |name: &str| counters.contains(name);
    none(
        tables(&text, "Limit")
            .iter()
            .flat_map(|table| column_complaints(table, "Counter", false, &known))
            .collect(),
    );
}

#[test]
fn rules_name_tests_that_exist() {
    let (text, names) = (document("docs/PROTOCOL.md"), function_names());
    let tables = tables(&text, "Rule");
    assert!(tables.len() > 5, "the tables of rules are gone");
    let known = |name: &str| names.contains(name);
    none(tables.iter().flat_map(|table| column_complaints(table, "Test", false, &known)).collect());
    let silent = tables.iter().flat_map(|table| &table[1..]).filter(|row| row.last() == Some(&"—"));
    none(silent.map(|row| format!("{}: no test", row[0])).collect());
}

#[test]
fn an_unknown_name_is_seen() {
    let text = "| Rule | Test |\n|---|---|\n| a | `one`, `two` |\n| b | Autobahn 7 |";
    let table = tables(text, "Rule").remove(0);
    let known = |name: &str| name == "one";
    assert_eq!(column_complaints(&table, "Test", false, &known), ["a: two does not exist"]);
    assert_eq!(column_complaints(&table, "Test", true, &known).len(), 2);
    assert!(function_names().contains("an_unknown_name_is_seen"));
}

/// The constants of a file with their values as they are written.
fn constants(source: &Source) -> Vec<(String, String)> {
    let code = code(&source.text);
    let mut found = Vec::new();
    for at in words(&code, "const") {
        let name = identifier(&code[at + "const".len()..]);
        let value = code[at..].split_once('=').and_then(|(_, rest)| rest.split_once(';'));
        if let Some((value, _)) = value.filter(|_| name.len() > 1) {
            found.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    found
}

#[test]
fn fixed_bounds_are_documented() {
    let text = document("docs/LIMITS.md");
    let mut written: Vec<(String, String)> = tables(&text, "Constant")
        .iter()
        .flat_map(|table| table[1..].iter().map(|row| (name(row[0]).into(), name(row[1]).into())))
        .collect();
    let library = sources(&["src"], ".rs");
    let library = library.iter().filter(|source| layer_of(&source.path).is_some());
    let library =
        library.filter(|source| !source.path.ends_with("/tests.rs") && !source.path.contains("/sim/"));
    let mut actual: Vec<(String, String)> = library.flat_map(constants).collect();
    // A constant that only names another one is that other one.
    let named: BTreeSet<String> = written.iter().map(|(name, _)| name.clone()).collect();
    actual.retain(|(name, value)| (name.ends_with("_MAX") || named.contains(name)) && !value.contains("::"));
    written.sort();
    actual.sort();
    assert_eq!(written, actual);
}

#[test]
fn a_constant_is_seen() {
    let text =
        "pub const LINE_MAX: u16 = 4 * 64; const _: () = f(); const fn f() {} // const A: u8 = 1;".into();
    let found = constants(&Source { path: "x".into(), text });
    assert_eq!(found, [("LINE_MAX".to_owned(), "4 * 64".to_owned())]);
}

/// Files that a document points to: relative links, and paths into the sources between backticks.
fn link_complaints(Source { path, text }: &Source, exists: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let links = links.filter(|link| !link.contains("://") && !link.starts_with(['#', '<']));
    let links = links.map(|link| folder.join(link.split('#').next().unwrap_or_default()));
    let paths = quoted(text).filter(|word| word.starts_with("src/") && !word.contains(['*', ' ', '…']));
    let broken = links.chain(paths.map(PathBuf::from)).filter(|target| !exists(target));
    broken.map(|target| format!("{path}: {} does not exist", target.display())).collect()
}

#[test]
fn links_lead_to_files() {
    let exists = |target: &Path| root().join(target).exists();
    none(documents().iter().flat_map(|document| link_complaints(document, &exists)).collect());
}

#[test]
fn a_broken_link_is_seen() {
    let text = "[a](A.md#part) [b](https://x.org/) [c](../gone.md) [d](#here) `src/a.rs` `src/gone.rs`";
    let exists = |target: &Path| ["docs/A.md", "src/a.rs"].contains(&target.to_str().unwrap());
    let found = link_complaints(&Source { path: "docs/B.md".into(), text: text.into() }, &exists);
    assert_eq!(found, ["docs/B.md: docs/../gone.md does not exist", "docs/B.md: src/gone.rs does not exist"]);
}

#[test]
fn the_readme_names_the_toolchain() {
    let manifest = document("Cargo.toml");
    let version = manifest.split("rust-version = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let readme = document("README.md");
    assert_eq!(readme.matches(&format!("{version} or newer")).count(), readme.matches(" or newer").count());
    assert!(readme.contains(&format!("{version} or newer")), "README.md does not name Rust {version}");
}
