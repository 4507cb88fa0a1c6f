//! The settings file: TOML text to keys, values and the places where they stand.
//!
//! Refuses to know which keys exist. Invariant: at most [`FILE_MAX`] bytes are read, and every entry knows
//! its file and line, so that a refusal can name them.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::Written;
use tidegate::program::failure::Failure;

/// Bytes of a settings file; a larger one is a mistake, such as a device.
const FILE_MAX: u64 = 1024 * 1024;
/// Characters of a value that a message repeats.
const SHOWN_MAX: usize = 60;

/// One `key = value` of the file.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: String,
    pub value: Written,
    /// File, line, key and value, as a message begins.
    pub place: String,
}

/// Reads a settings file.
///
/// # Errors
/// When the file cannot be read, or is no TOML.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>, Failure> {
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes)).map_err(|error| {
        Failure::refused(format!("cannot read {}: {error}; check --config", path.display()))
    })?;
    if bytes.len() as u64 > FILE_MAX {
        let text = format!("{}: is longer than 1MiB; is it the right file?", path.display());
        return Err(Failure::usage(text));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::usage(format!("{}: is not UTF-8 text; is it the right file?", path.display()))
    })?;
    entries(&path.display().to_string(), &text)
}

fn entries(path: &str, text: &str) -> Result<Vec<Entry>, Failure> {
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map(|span| format!(":{}", line(text, span.start))).unwrap_or_default();
        Failure::usage(format!("{path}{at}: is no TOML: {}", error.message()))
    })?;
    let mut entries: Vec<(usize, Entry)> = Vec::new();
    for (key, value) in table.get_ref() {
        let at = key.span().start;
        let place = match value.get_ref() {
            // The refused item of a list is named by the rule; the list itself may be long.
            DeValue::Array(_) | DeValue::Table(_) => format!("{path}:{}: {}", line(text, at), key.get_ref()),
            _ => format!("{path}:{}: {} = {}", line(text, at), key.get_ref(), excerpt(text, value.span())),
        };
        entries.push((at, Entry { key: key.get_ref().to_string(), value: written(value.get_ref()), place }));
    }
    // The map is in order of names; the first mistake of the file is the one to tell.
    entries.sort_unstable_by_key(|(at, _)| *at);
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

fn written(value: &DeValue<'_>) -> Written {
    match value {
        DeValue::String(text) => Written::Text(text.to_string()),
        DeValue::Boolean(flag) => Written::Flag(*flag),
        DeValue::Integer(number) => match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Written::Number(number),
            Err(_) => Written::Other("a negative or huge number"),
        },
        DeValue::Array(items) => {
            let texts: Option<Vec<String>> =
                items.iter().map(|item| item.get_ref().as_str().map(String::from)).collect();
            texts.map_or(Written::Other("a list of other things"), Written::List)
        }
        DeValue::Float(_) => Written::Other("a fraction"),
        DeValue::Datetime(_) => Written::Other("a date"),
        DeValue::Table(_) => Written::Other("a table"),
    }
}

fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

fn excerpt(text: &str, span: Range<usize>) -> String {
    let whole = text.get(span).unwrap_or_default();
    match whole.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &whole[..end]),
        None => whole.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_the_order_of_the_file_with_their_lines() {
        let text = "# a comment\nlog = \"info\"\n\nbind = [\"127.0.0.1:1\"] # two\nconnections_max = 1_000\n\
                    nodelay = false\n";
        let read: Vec<(String, Written)> =
            entries("t.toml", text).unwrap().into_iter().map(|entry| (entry.place, entry.value)).collect();
        let expected = [
            ("t.toml:2: log = \"info\"", Written::Text("info".into())),
            ("t.toml:4: bind", Written::List(vec!["127.0.0.1:1".into()])),
            ("t.toml:5: connections_max = 1_000", Written::Number(1_000)),
            ("t.toml:6: nodelay = false", Written::Flag(false)),
        ];
        assert_eq!(read, expected.map(|(place, value)| (place.to_string(), value)));
    }

    #[test]
    fn numbers_in_every_notation_of_toml() {
        let table: &[(&str, Option<u64>)] = &[
            ("a = 0x10", Some(16)),
            ("a = 0o17", Some(15)),
            ("a = 0b11", Some(3)),
            ("a = +7", Some(7)),
            ("a = -7", None),
            ("a = 18446744073709551616", None),
            ("a = 1.5", None),
        ];
        for (text, expected) in table {
            let value = &entries("t", text).unwrap()[0].value;
            assert_eq!(matches!(value, Written::Number(_)), expected.is_some(), "{text}: {value:?}");
            assert!(expected.is_none_or(|number| *value == Written::Number(number)), "{text}: {value:?}");
        }
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        for (text, start) in
            [("a = 1\nb = = 2\n", "t:2: is no TOML: "), ("a = 1\na = 2\n", "t:2: is no TOML: ")]
        {
            let error = entries("t", text).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        let text = format!("a = \"{}\"", "é".repeat(200));
        let place = entries("t", &text).unwrap().remove(0).place;
        assert_eq!(place.chars().count(), "t:1: a = ".len() + SHOWN_MAX + 1);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_the_machines_refusal() {
        let error = read(Path::new("/nonexistent/tide.toml")).unwrap_err();
        assert_eq!(error.code(), 1);
        assert!(error.to_string().starts_with("cannot read /nonexistent/tide.toml: "), "{error}");
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err().code(), 2);
    }
}
