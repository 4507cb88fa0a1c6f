//! What `tidegate serve` is told: defaults, then the file of `--config`, then flags; the later wins.
//!
//! Refuses to know what a setting does: flags, help and file keys come from [`Config::fields`]. Invariant:
//! [`Settings`] hold a valid `Config`, and a refusal names where the value stood, the value and the rule.
//! A file that cannot be read ends with exit code 1, wrong content of it like a wrong flag with 2.

mod file;
pub mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Command};
use log::LevelFilter;
use tidegate::program::failure::Failure;
use tidegate::program::units;
use tidegate::{Config, ConfigError, Field, Unit, Value};

use crate::apps::App;

/// Everything that `tidegate serve` needs to start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server's limits and socket options, valid.
    pub config: Config,
    /// Addresses to listen on for plain connections; at least one of these and of those for TLS.
    pub binds: Vec<SocketAddr>,
    /// Addresses to listen on for TLS.
    pub tls_binds: Vec<SocketAddr>,
    /// Where certificates come from, if TLS is spoken anywhere.
    pub tls: Option<tls::Source>,
    /// The application for every path; `None` serves the page and all applications at their paths.
    pub app: Option<App>,
    /// What the log lets through to standard error.
    pub log: LevelFilter,
}

/// A value as it was written, before its setting gave it a meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Written {
    Text(String),
    Number(u64),
    Flag(bool),
    List(Vec<String>),
    /// What no setting takes, by name.
    Other(&'static str),
}

/// The flags of `tidegate serve`.
pub fn command() -> Command {
    let defaults = Config::default();
    let plain = |id: &'static str, name| Arg::new(id).long(id.replace('_', "-")).value_name(name);
    let repeated = |id: &'static str, name| plain(id, name).action(ArgAction::Append);
    let switch = |id: &'static str, help: &'static str| {
        plain(id, "true|false").num_args(0..=1).default_missing_value("true").help(help)
    };
    Command::new("serve")
        .about("Serve the page and the applications, or one application on every path")
        .after_help(
            "Sizes: 64KiB, 16MiB, 1GiB (1024) or 64k, 1M (1000). Times: 50us, 250ms, 25s, 5m.\n\
             A file given with --config takes every flag as a key, with _ for -: message_max = \"32MiB\".\n\
             Flags win over the file. SIGHUP reads certificates again. SIGTERM or Ctrl-C shuts down gracefully; a second one stops at once.",
        )
        .next_help_heading("Program")
        .arg(repeated("bind", "ADDR:PORT").help("Address to listen on, repeatable [default: 127.0.0.1:9001]"))
        .arg(plain("app", "NAME").help(format!(
            "Serve this application on every path: {} [default: all, each at its path]",
            App::names()
        )))
        .arg(plain("config", "FILE.toml").help("Read settings from this file"))
        .arg(repeated("origin", "ORIGIN").help(
            "Let only pages of this origin (https://example.org) open a WebSocket, repeatable [default: any]",
        ))
        .arg(
            plain("log", "LEVEL").help("Log to stderr: off, error, warn, info, debug, trace [default: warn]"),
        )
        .next_help_heading("TLS (https://, wss://)")
        .arg(repeated("tls_cert", "FILE").help(
            "Certificate and those that lead to its issuer, in PEM, repeatable (the one is shown whose name is asked \
             for); every --bind speaks TLS then, unless there is --tls-bind",
        ))
        .arg(repeated("tls_key", "FILE").help(
            "Its key, in PEM, repeatable in the same order [default: in the file of the certificate]",
        ))
        .arg(repeated("tls_bind", "ADDR:PORT").help(
            "Address to listen on for TLS, repeatable; --bind is for plain connections then, and has no default",
        ))
        .arg(plain("tls_client_ca", "FILE").help(
            "Ask clients for a certificate, and refuse one that no certificate in this file vouches for",
        ))
        .arg(switch("tls_client_required", "Refuse clients without a certificate"))
        .arg(switch("tls_self_signed", "Make a certificate for localhost at the start, to try it out"))
        .next_help_heading("Limits and socket options (-h: in short, --help: in full)")
        .args(Config::fields().map(|field| argument(field, &defaults)))
}

fn argument(field: Field, defaults: &Config) -> Arg {
    let doc = field.doc.trim();
    let brief = doc.split_inclusive(". ").next().unwrap_or(doc).trim().trim_end_matches('.');
    let default = match field.name {
        "streamed_message_max" => "message_max".into(),
        name => defaults.value(name).map(|value| shown(field.unit, value)).unwrap_or_default(),
    };
    let arg = Arg::new(field.name)
        .long(field.name.replace('_', "-"))
        .help(format!("{brief} [default: {default}]"))
        .long_help(format!("{doc} [default: {default}]"))
        .allow_negative_numbers(true);
    let arg = match field.unit {
        Unit::Flag => arg.value_name("true|false").num_args(0..=1).default_missing_value("true"),
        Unit::Bytes => arg.value_name("SIZE"),
        Unit::Time => arg.value_name("TIME"),
        Unit::Choice(words) => arg.value_name(words.join("|")),
        _ => arg.value_name("N"),
    };
    if field.name == "connections_max" { arg.visible_alias("max-connections") } else { arg }
}

/// A value as its flag would take it.
fn shown(unit: Unit, value: Value) -> String {
    match (unit, value) {
        (Unit::Bytes, Value::Number(bytes)) => units::size(bytes),
        (_, Value::Number(number)) => units::count(number),
        (_, Value::Time(span)) => units::time(span),
        (_, Value::Flag(flag)) => flag.to_string(),
        (_, Value::Choice(word)) => word.into(),
        _ => String::new(),
    }
}

/// Puts defaults, file and flags together and checks the result.
///
/// # Errors
/// The first value that is refused, or the file when it cannot be read.
pub fn gather(matches: &ArgMatches) -> Result<Settings, Failure> {
    let mut draft = Draft::new();
    if let Some(path) = matches.get_one::<String>("config") {
        for entry in file::read(Path::new(path))? {
            draft.put(&entry.key, &entry.value, &entry.place)?;
        }
    }
    for name in ["bind", "origin", "tls_cert", "tls_key", "tls_bind"] {
        if let Some(items) = matches.get_many::<String>(name) {
            let place = format!("--{}", name.replace('_', "-"));
            draft.put(name, &Written::List(items.cloned().collect()), &place)?;
        }
    }
    let words = ["app", "log", "tls_client_ca", "tls_client_required", "tls_self_signed"];
    for name in words.into_iter().chain(Config::fields().map(|field| field.name)) {
        if let Some(text) = matches.get_one::<String>(name) {
            draft.put(name, &Written::Text(text.clone()), &format!("--{} {text}", name.replace('_', "-")))?;
        }
    }
    draft.finish()
}

/// Settings in the making, and where each value was written.
struct Draft {
    settings: Settings,
    tls: tls::Wish,
    places: BTreeMap<String, String>,
}

impl Draft {
    fn new() -> Self {
        let settings = Settings {
            config: Config::default(),
            binds: vec![SocketAddr::from(([127, 0, 0, 1], 9001))],
            tls_binds: Vec::new(),
            tls: None,
            app: None,
            log: LevelFilter::Warn,
        };
        Draft { settings, tls: tls::Wish::default(), places: BTreeMap::new() }
    }

    /// Takes one value; `place` says where it stood, and for all but lists it shows the value too.
    fn put(&mut self, name: &str, written: &Written, place: &str) -> Result<(), Failure> {
        let settings = &mut self.settings;
        let done = match name {
            "bind" => addresses(written).map(|binds| settings.binds = binds),
            "origin" => list(written).map(|origins| settings.config.origins = origins),
            "app" => word(written).and_then(|text| {
                let app = App::named(text).ok_or_else(|| format!("must be one of {}", App::names()))?;
                settings.app = Some(app);
                Ok(())
            }),
            "log" => word(written).and_then(|text| {
                let rule = "must be one of off, error, warn, info, debug, trace";
                settings.log = text.parse().map_err(|_| rule.to_string())?;
                Ok(())
            }),
            _ if tls::NAMES.contains(&name) => self.tls.put(name, written),
            _ => match Config::fields().find(|field| field.name == name) {
                Some(field) => value(field.unit, written)
                    .and_then(|value| settings.config.set(field.name, value).map_err(|error| error.rule)),
                None => Err(unknown(name, written)),
            },
        };
        done.map_err(|rule| Failure::usage(format!("{place}: {rule}")))?;
        self.places.insert(name.into(), place.into());
        Ok(())
    }

    fn finish(mut self) -> Result<Settings, Failure> {
        let settings = &mut self.settings;
        // What is taken in parts here is what others take whole: one limit is for both, unless there are to be two.
        if !self.places.contains_key("streamed_message_max") {
            settings.config.limits.streamed_message_max = settings.config.limits.message_max as u64;
        }
        settings.tls = self.tls.settle().map_err(|(name, rule)| {
            let place = self.places.get(name).map_or(name, String::as_str);
            Failure::usage(format!("{place}: {rule}"))
        })?;
        if settings.tls.is_some() {
            settings.tls_binds = self.tls.binds.clone();
            if settings.tls_binds.is_empty() {
                settings.tls_binds = std::mem::take(&mut settings.binds);
            } else if !self.places.contains_key("bind") {
                settings.binds.clear();
            }
        }
        self.settings.config.validate().map_err(|error| self.explain(&error))?;
        Ok(self.settings)
    }

    /// A broken rule, told in terms of what the user wrote.
    fn explain(&self, error: &ConfigError) -> Failure {
        let ConfigError { field, value, rule } = error;
        Failure::usage(match self.places.get(*field) {
            Some(place) if *field == "origin" => format!("{place}: {value} {rule}"),
            Some(place) => format!("{place}: {rule}"),
            None => {
                format!("{field} is {value}, its default: {rule}; set --{} too", field.replace('_', "-"))
            }
        })
    }
}

fn value(unit: Unit, written: &Written) -> Result<Value, String> {
    let text = |read: fn(&str) -> Result<u64, String>| match written {
        Written::Text(text) => read(text).map(Value::Number),
        Written::Number(number) => Ok(Value::Number(*number)),
        other => Err(format!("must be a number or a text with a unit, not {}", other.name())),
    };
    match unit {
        Unit::Bytes => text(units::parse_size),
        Unit::Count => text(units::parse_count),
        Unit::Time => match written {
            Written::Text(text) => units::parse_span(text).map(Value::Time),
            // `idle_timeout = 0` is clear; `idle_timeout = 25` would be anyone's guess.
            Written::Number(number) => units::parse_span(&number.to_string()).map(Value::Time),
            other => Err(format!("must be a text such as \"25s\", not {}", other.name())),
        },
        Unit::Flag => match written {
            Written::Flag(flag) => Ok(Value::Flag(*flag)),
            Written::Text(text) => units::parse_flag(text).map(Value::Flag),
            other => Err(format!("must be true or false, not {}", other.name())),
        },
        Unit::Choice(words) => {
            let known = |text: &str| words.iter().copied().find(|word| *word == text);
            let chosen = word(written).ok().and_then(known);
            chosen.map(Value::Choice).ok_or_else(|| format!("must be one of {}", words.join(", ")))
        }
        _ => Err("cannot be set by this program".into()),
    }
}

fn word(written: &Written) -> Result<&str, String> {
    match written {
        Written::Text(text) => Ok(text),
        other => Err(format!("must be a text, not {}", other.name())),
    }
}

fn list(written: &Written) -> Result<Vec<String>, String> {
    match written {
        Written::List(items) if items.is_empty() => Err("must name at least one, or be left out".into()),
        Written::List(items) => Ok(items.clone()),
        Written::Text(item) => Ok(vec![item.clone()]),
        other => Err(format!("must be a list of texts, not {}", other.name())),
    }
}

fn addresses(written: &Written) -> Result<Vec<SocketAddr>, String> {
    list(written).and_then(|items| items.iter().map(|item| address(item)).collect())
}

fn switch(written: &Written) -> Result<bool, String> {
    match value(Unit::Flag, written)? {
        Value::Flag(on) => Ok(on),
        _ => Err("must be true or false".into()),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "{text:?} is no IP address with a port; write it like 127.0.0.1:9001, 0.0.0.0:9001 or [::1]:9001"
        )
    })
}

/// The rule that an unknown key breaks, with the setting that was probably meant.
fn unknown(name: &str, written: &Written) -> String {
    if let Written::Other("a table") = written {
        return "there are no sections; write every setting at the top level".into();
    }
    let words = |text: &str| {
        let mut words: Vec<String> = text.to_lowercase().split(['_', '-']).map(String::from).collect();
        words.sort_unstable();
        words
    };
    let meant = ["bind", "app", "origin", "log"]
        .into_iter()
        .chain(tls::NAMES)
        .chain(Config::fields().map(|field| field.name))
        .find(|known| words(known) == words(name) || *known == name.trim_end_matches('s'));
    match meant {
        Some(known) => format!("there is no such setting; did you mean {known}?"),
        None => "there is no such setting; `tidegate serve --help` lists them all".into(),
    }
}

impl Written {
    fn name(&self) -> &'static str {
        match self {
            Written::Text(_) => "a text",
            Written::Number(_) => "a number",
            Written::Flag(_) => "true or false",
            Written::List(_) => "a list",
            Written::Other(name) => name,
        }
    }
}

#[cfg(test)]
mod tests;
