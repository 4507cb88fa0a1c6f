//! `Config`: limits and socket options as one flat builder, checked before anything is opened.
//!
//! Refuses to know where the values come from (flags, file, code). Invariant: a `Config` that passed
//! [`Config::validate`] makes no later layer divide by zero, wait for ever or exceed its own limits.

use std::fmt;
use std::time::Duration;

#[cfg(feature = "tls")]
use crate::conn::tls::ServerTls;
use crate::ground::limits::{Bytes, Count, Flag, Length, Time};
pub use crate::ground::limits::{DeflateMode, Limits};
use crate::with_limits;

macro_rules! with_socket_options {
    ($callback:ident) => {
        $callback! {
            /// Connections that the kernel may hold ready for `accept` (`listen(2)`); the kernel caps it at `somaxconn`.
            listen_backlog: Count = 4_096;
            /// `TCP_NODELAY` on every connection, handed down by the listener.
            nodelay: Flag = true;
            /// `SO_REUSEPORT`: several servers (threads or processes) share one port and the kernel spreads connections.
            reuse_port: Flag = false;
            /// `SO_RCVBUF` of every connection, in bytes; zero leaves the kernel's own sizing on.
            recv_buffer: Bytes = 0;
            /// `SO_SNDBUF` of every connection, in bytes; zero leaves the kernel's own sizing on.
            send_buffer: Bytes = 0;
            /// Idle time before TCP keepalive probes; zero leaves them off.
            keepalive: Time = Duration::ZERO;
            /// `SO_BUSY_POLL` of every connection: time for which a read that finds nothing asks the network card itself.
            /// Linux only; wants `CAP_NET_ADMIN`. Zero leaves it to `net.core.busy_read`.
            busy_poll: Time = Duration::ZERO;
            /// `TCP_QUICKACK` on every connection: what is read is acknowledged at once, not together with a reply. Linux
            /// only; the kernel forgets it, so it is set again after each read: one more system call.
            quickack: Flag = false;
            /// `TCP_DEFER_ACCEPT`: time for which the kernel keeps a new connection to itself until its first bytes come,
            /// in whole seconds. Linux only, in builds with the feature `defer_accept`; zero leaves it off.
            defer_accept: Time = Duration::ZERO;
        }
    };
}

/// What a setting is measured in; tells a program how to read it from text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// A number of things.
    Count,
    /// A size in bytes.
    Bytes,
    /// A time span.
    Time,
    /// On or off.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// A value for [`Config::set`]. Counts and sizes are `Number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// For [`Unit::Count`] and [`Unit::Bytes`].
    Number(u64),
    /// For [`Unit::Time`].
    Time(Duration),
    /// For [`Unit::Flag`].
    Flag(bool),
    /// For [`Unit::Choice`].
    Choice(&'static str),
}

/// One setting by name, for programs that take settings from flags or files. See [`Config::fields`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Field {
    /// The name of the field and of the builder's method.
    pub name: &'static str,
    /// What it is measured in.
    pub unit: Unit,
    /// Its documentation, as plain text.
    pub doc: &'static str,
}

/// A setting that breaks a rule: which field, its value, and the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field.
    pub field: &'static str,
    /// The value that was refused, as text.
    pub value: String,
    /// The rule that it breaks, as the end of a sentence.
    pub rule: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}: {}", self.field, self.value, self.rule)
    }
}

impl std::error::Error for ConfigError {}

fn refused(field: &'static str, value: impl fmt::Debug, rule: impl Into<String>) -> ConfigError {
    ConfigError { field, value: format!("{value:?}"), rule: rule.into() }
}

macro_rules! define_socket {
    ($($(#[$doc:meta])* $name:ident: $type:ident = $default:expr;)*) => {
        /// Socket options of a server.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct SocketOptions { $($(#[$doc])* pub $name: $type,)* }

        impl Default for SocketOptions {
            fn default() -> Self { SocketOptions { $($name: $default,)* } }
        }
    };
}
with_socket_options!(define_socket);

/// Settings of one server: every limit, every socket option, and the allowed origins. Build it from
/// [`Config::default`] by chaining the methods named like the fields of [`Limits`] and [`SocketOptions`].
///
/// ```
/// use std::time::Duration;
/// use tidegate::Config;
///
/// let config = Config::default().message_max(64 * 1024).idle_timeout(Duration::from_secs(60));
/// assert_eq!(config.limits.message_max, 64 * 1024);
/// assert!(config.validate().is_ok());
///
/// let wrong = config.backlog_low(1 << 30).validate().unwrap_err();
/// assert_eq!(wrong.to_string(), "backlog_low is 1073741824: must be below backlog_high (262144)");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Limits, budgets and deadlines.
    pub limits: Limits,
    /// Socket options.
    pub socket: SocketOptions,
    /// Origins that may open a WebSocket, such as `https://example.org`, compared without regard to letter case; when
    /// empty, every origin may, and requests without an `Origin` header always may. Over it: `403`.
    pub origins: Vec<String>,
    /// Certificates and keys, where listeners shall speak TLS.
    #[cfg(feature = "tls")]
    pub tls: Option<ServerTls>,
}

macro_rules! builder {
    ($part:ident: $($(#[$doc:meta])* $name:ident: $type:ident = $default:expr;)*) => {
        impl Config {
            $($(#[$doc])* #[must_use] pub fn $name(mut self, value: $type) -> Self {
                self.$part.$name = value;
                self
            })*
        }
    };
}
macro_rules! limits_builder { ($($table:tt)*) => { builder!(limits: $($table)*); }; }
macro_rules! socket_builder { ($($table:tt)*) => { builder!(socket: $($table)*); }; }
with_limits!(limits_builder);
with_socket_options!(socket_builder);

/// How a field of each type is read and written by name.
trait Settable {
    const UNIT: Unit;
    fn put(&mut self, value: Value) -> Result<(), &'static str>;
    fn take(&self) -> Value;
}

macro_rules! settable_number {
    ($type:ty) => {
        impl Settable for $type {
            const UNIT: Unit = Unit::Count;
            fn put(&mut self, value: Value) -> Result<(), &'static str> {
                let Value::Number(number) = value else { return Err("must be a number") };
                *self = <$type>::try_from(number).map_err(|_| "does not fit into this machine's word")?;
                Ok(())
            }
            fn take(&self) -> Value {
                Value::Number(*self as u64)
            }
        }
    };
}
settable_number!(usize);
settable_number!(u64);

impl Settable for Duration {
    const UNIT: Unit = Unit::Time;
    fn put(&mut self, value: Value) -> Result<(), &'static str> {
        let Value::Time(time) = value else { return Err("must be a time span") };
        *self = time;
        Ok(())
    }
    fn take(&self) -> Value {
        Value::Time(*self)
    }
}

impl Settable for bool {
    const UNIT: Unit = Unit::Flag;
    fn put(&mut self, value: Value) -> Result<(), &'static str> {
        let Value::Flag(flag) = value else { return Err("must be true or false") };
        *self = flag;
        Ok(())
    }
    fn take(&self) -> Value {
        Value::Flag(*self)
    }
}

const MODES: &[(&str, DeflateMode)] =
    &[("off", DeflateMode::Off), ("shared", DeflateMode::Shared), ("dedicated", DeflateMode::Dedicated)];

impl Settable for DeflateMode {
    const UNIT: Unit = Unit::Choice(&[MODES[0].0, MODES[1].0, MODES[2].0]);
    fn put(&mut self, value: Value) -> Result<(), &'static str> {
        let Value::Choice(word) = value else { return Err("must be a word") };
        let mode = MODES.iter().find(|(name, _)| *name == word).ok_or("must be off, shared or dedicated")?;
        *self = mode.1;
        Ok(())
    }
    fn take(&self) -> Value {
        Value::Choice(MODES.iter().find(|(_, mode)| mode == self).map_or("", |(name, _)| name))
    }
}

/// A field and the way to it.
struct Entry {
    field: Field,
    put: fn(&mut Config, Value) -> Result<(), &'static str>,
    take: fn(&Config) -> Value,
}

const fn unit_of<T: Settable>(type_name: &str) -> Unit {
    // `Bytes` and `Length` are numbers to the compiler; their names in the table tell them apart.
    match type_name.as_bytes() {
        b"Bytes" | b"Length" => Unit::Bytes,
        _ => T::UNIT,
    }
}

macro_rules! entries {
    ($part:ident: $($(#[doc = $doc:expr])* $name:ident: $type:ident = $default:expr;)*) => {
        &[$(Entry {
            field: Field {
                name: stringify!($name),
                unit: unit_of::<$type>(stringify!($type)),
                doc: concat!($($doc),*),
            },
            put: |config, value| config.$part.$name.put(value),
            take: |config| config.$part.$name.take(),
        }),*]
    };
}
macro_rules! limits_entries { ($($table:tt)*) => { entries!(limits: $($table)*) }; }
macro_rules! socket_entries { ($($table:tt)*) => { entries!(socket: $($table)*) }; }
const LIMITS: &[Entry] = with_limits!(limits_entries);
const SOCKET: &[Entry] = with_socket_options!(socket_entries);

impl Config {
    /// Adds an origin to the allow-list; see [`Config::origins`].
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// Certificates and keys for TLS: `Server::bind` speaks it then, and `Server::listen_tls` can. (Feature `tls`.)
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Every setting that [`Config::set`] takes, limits first, in the order of the documentation.
    pub fn fields() -> impl Iterator<Item = Field> {
        LIMITS.iter().chain(SOCKET).map(|entry| entry.field)
    }

    /// Sets a field by its name.
    ///
    /// # Errors
    /// When there is no such field, or the value is of another kind than the field.
    ///
    /// ```
    /// use tidegate::{Config, Value};
    /// let mut config = Config::default();
    /// config.set("message_max", Value::Number(4096)).unwrap();
    /// assert_eq!(config.limits.message_max, 4096);
    /// assert!(config.set("nodelay", Value::Number(1)).is_err());
    /// ```
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), ConfigError> {
        let Some(entry) = LIMITS.iter().chain(SOCKET).find(|entry| entry.field.name == name) else {
            return Err(ConfigError {
                field: "name of a setting",
                value: format!("{name:?}"),
                rule: "there is no such setting".into(),
            });
        };
        (entry.put)(self, value).map_err(|rule| refused(entry.field.name, value, rule))
    }

    /// Reads a field by its name; `None` when there is no such field.
    pub fn value(&self, name: &str) -> Option<Value> {
        LIMITS.iter().chain(SOCKET).find(|entry| entry.field.name == name).map(|entry| (entry.take)(self))
    }

    /// Checks every rule that the settings must obey, alone and together.
    ///
    /// # Errors
    /// The first rule broken, with field, value and rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let l = &self.limits;
        for entry in LIMITS {
            let (name, value) = (entry.field.name, (entry.take)(self));
            let may_be_zero = MAY_BE_ZERO.contains(&name);
            match value {
                Value::Number(0) if !may_be_zero => return Err(refused(name, 0, "must be at least 1")),
                Value::Time(Duration::ZERO) if !may_be_zero => {
                    return Err(refused(name, Duration::ZERO, "must be longer than zero"));
                }
                Value::Time(time) if time > MAX_TIME => {
                    return Err(refused(name, time, "must be at most 100 days"));
                }
                _ => {}
            }
        }
        let at_least = [
            ("scratch_bytes", l.scratch_bytes, 512),
            ("cork_bytes", l.cork_bytes, 512),
            ("head_max", l.head_max, 256),
            ("tls_handshake_max", l.tls_handshake_max, TLS_RECORD),
            // A control frame with its header must fit into a fragment's place (RFC 6455 §5.5).
            ("fragment_bytes", l.fragment_bytes, 125),
        ];
        for (name, value, least) in at_least {
            if value < least {
                return Err(refused(name, value, format!("must be at least {least}")));
            }
        }
        let below = [
            ("backlog_low", l.backlog_low, "backlog_high", l.backlog_high),
            ("backlog_high", l.backlog_high, "backlog_max", l.backlog_max),
        ];
        for (name, value, other, limit) in below {
            if value >= limit {
                return Err(refused(name, value, format!("must be below {other} ({limit})")));
            }
        }
        let at_most = [
            ("backlog_max", l.backlog_max, "memory_max", l.memory_max),
            ("message_max", l.message_max, "memory_max", l.memory_max),
            ("target_max", l.target_max, "head_max", l.head_max),
            ("headers_max", l.headers_max, "the parser's room", HEADERS_ROOM),
            ("connections_max", l.connections_max, "the index of a connection", CONNECTIONS_ROOM),
            ("timers_max", l.timers_max, "the index of a timer", CONNECTIONS_ROOM),
            ("scratch_bytes", l.scratch_bytes, "what is set aside at once", AT_ONCE),
            ("cork_bytes", l.cork_bytes, "what is set aside at once", AT_ONCE),
            ("events_max", l.events_max, "what is set aside at once", AT_ONCE),
        ];
        for (name, value, other, limit) in at_most {
            if value > limit {
                return Err(refused(name, value, format!("must be at most {other} ({limit})")));
            }
        }
        self.validate_deflate()?;
        self.validate_experiments()?;
        if l.frame_max > i64::MAX as u64 {
            return Err(refused("frame_max", l.frame_max, "must be below 2^63 (RFC 6455 §5.2)"));
        }
        self.validate_origins()
    }
}

impl Config {
    fn validate_origins(&self) -> Result<(), ConfigError> {
        for origin in &self.origins {
            let scheme_and_host = origin.split_once("://").is_some_and(|(scheme, host)| {
                !scheme.is_empty() && !host.is_empty() && !host.contains(['/', ' '])
            });
            if !scheme_and_host && origin != "null" {
                return Err(refused("origin", origin, "must look like https://example.org, without a path"));
            }
        }
        Ok(())
    }

    /// The rules of compression.
    fn validate_deflate(&self) -> Result<(), ConfigError> {
        let l = &self.limits;
        // A window of 8 bits is known to RFC 7692 §7.1.2 but not to be had from the compressor.
        let ranges = [
            ("deflate_level", l.deflate_level, 1, 9),
            ("deflate_memory_level", l.deflate_memory_level, 1, 9),
            ("deflate_window_bits", l.deflate_window_bits, 9, 15),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(refused(name, value, format!("must be from {least} to {most}")));
            }
        }
        if l.deflate == DeflateMode::Off {
            return Ok(());
        }
        if !cfg!(feature = "deflate") {
            let rule = "needs a build with the feature deflate";
            return Err(ConfigError { field: "deflate", value: "on".into(), rule: rule.into() });
        }
        let most = l.memory_max.saturating_sub(INFLATER_ROOM);
        if l.message_max > most {
            let rule = format!("must be at most memory_max less an inflater ({most})");
            return Err(refused("message_max", l.message_max, rule));
        }
        Ok(())
    }

    /// The rules of settings that the kernel or the build must be able to follow.
    fn validate_experiments(&self) -> Result<(), ConfigError> {
        let SocketOptions { busy_poll, defer_accept, .. } = self.socket;
        if !busy_poll.is_zero() && !(BUSY_POLL_LEAST..=BUSY_POLL_MOST).contains(&busy_poll) {
            return Err(refused("busy_poll", busy_poll, "must be between 1 µs and 1 s, or zero"));
        }
        if defer_accept > DEFER_MOST {
            return Err(refused("defer_accept", defer_accept, "must be at most 1 hour"));
        }
        if !defer_accept.is_zero() && !cfg!(feature = "defer_accept") {
            return Err(refused("defer_accept", defer_accept, "needs a build with the feature defer_accept"));
        }
        if self.limits.short_read_rule && cfg!(mio_unsupported_force_poll_poll) {
            return Err(refused("short_read_rule", true, "must be off in a build for poll(2)"));
        }
        Ok(())
    }
}

/// Limits that may be zero.
const MAY_BE_ZERO: &[&str] = &[
    "ping_interval",
    "idle_timeout",
    "refusals_max",
    "body_max",
    "spin",
    "deflate_min",
    "deflate_budget",
    "spare_bytes",
];
/// What a compressed message holds besides its bytes while it arrives.
#[cfg(feature = "deflate")]
const INFLATER_ROOM: usize = crate::wire::deflate::Inflater::COST;
#[cfg(not(feature = "deflate"))]
const INFLATER_ROOM: usize = 0;
/// The kernel counts it in microseconds; longer than this it would be a processor given away.
const BUSY_POLL_LEAST: Duration = Duration::from_micros(1);
const BUSY_POLL_MOST: Duration = Duration::from_secs(1);
/// The kernel turns it into a number of repeated SYN-ACKs, 255 at the most.
const DEFER_MOST: Duration = Duration::from_secs(3600);
/// The longest TLS record with its header (RFC 5246 §6.2.3): less could not be kept of an unfinished one.
const TLS_RECORD: usize = 5 + 16 * 1024 + 2048;
/// Longest deadline: the timing wheel counts in 32-bit ticks.
const MAX_TIME: Duration = Duration::from_secs(100 * 24 * 3600);
/// Header fields for which the parser has room on the stack.
const HEADERS_ROOM: usize = crate::hub::HEADERS_ROOM;
/// What is allocated when the loop is made, in bytes or entries.
const AT_ONCE: usize = 1 << 24;
/// Connections and timers are numbered with 31 bits.
const CONNECTIONS_ROOM: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        Config::default().validate().unwrap();
    }

    #[test]
    fn every_field_is_read_and_set_by_name() {
        let mut config = Config::default();
        for field in Config::fields() {
            let value = config.value(field.name).unwrap();
            config.set(field.name, value).unwrap();
            assert!(!field.doc.trim().is_empty(), "{} has no documentation", field.name);
        }
        assert_eq!(config, Config::default());
    }

    #[test]
    fn an_error_names_field_value_and_rule() {
        let cases: &[(Config, &str)] = &[
            (Config::default().accept_budget(0), "accept_budget is 0: must be at least 1"),
            (
                Config::default().backlog_low(300_000),
                "backlog_low is 300000: must be below backlog_high (262144)",
            ),
            (Config::default().cork_bytes(100), "cork_bytes is 100: must be at least 512"),
            (Config::default().tls_handshake_max(9), "tls_handshake_max is 9: must be at least 18437"),
            (Config::default().deflate_window_bits(8), "deflate_window_bits is 8: must be from 9 to 15"),
            (Config::default().deflate_level(10), "deflate_level is 10: must be from 1 to 9"),
            (Config::default().deflate_memory_level(10), "deflate_memory_level is 10: must be from 1 to 9"),
            (
                Config::default().headers_max(1000),
                "headers_max is 1000: must be at most the parser's room (128)",
            ),
            (
                Config::default().busy_poll(Duration::from_secs(2)),
                "busy_poll is 2s: must be between 1 µs and 1 s, or zero",
            ),
            (
                Config::default().busy_poll(Duration::from_nanos(1)),
                "busy_poll is 1ns: must be between 1 µs and 1 s, or zero",
            ),
            (
                Config::default().defer_accept(Duration::from_secs(3601)),
                "defer_accept is 3601s: must be at most 1 hour",
            ),
            (Config::default().spin(MAX_TIME * 2), "spin is 17280000s: must be at most 100 days"),
            (Config::default().pong_timeout(Duration::ZERO), "pong_timeout is 0ns: must be longer than zero"),
            (
                Config::default().origin("example.org"),
                "origin is \"example.org\": must look like https://example.org, without a path",
            ),
        ];
        for (config, text) in cases {
            assert_eq!(config.validate().unwrap_err().to_string(), *text);
        }
    }

    #[test]
    fn a_mode_is_set_by_its_word() {
        let mut config = Config::default();
        for (word, mode) in MODES {
            config.set("deflate", Value::Choice(word)).unwrap();
            assert_eq!((config.limits.deflate, config.value("deflate")), (*mode, Some(Value::Choice(word))));
        }
        for wrong in [Value::Choice("on"), Value::Flag(true), Value::Number(1)] {
            assert!(config.set("deflate", wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_setting_that_this_build_cannot_follow_is_refused() {
        let refused = |config: Config| config.validate().err().map(|error| error.to_string());
        let deferred = refused(Config::default().defer_accept(Duration::from_secs(5)));
        let text = "defer_accept is 5s: needs a build with the feature defer_accept";
        assert_eq!(deferred.as_deref(), (!cfg!(feature = "defer_accept")).then_some(text));
        let deflated = refused(Config::default().deflate(DeflateMode::Shared));
        let text = "deflate is on: needs a build with the feature deflate";
        assert_eq!(deflated.as_deref(), (!cfg!(feature = "deflate")).then_some(text));
        let ruled = refused(Config::default().short_read_rule(true));
        assert_eq!(ruled.is_some(), cfg!(mio_unsupported_force_poll_poll), "{ruled:?}");
    }
}
