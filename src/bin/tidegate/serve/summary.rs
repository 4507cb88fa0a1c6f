//! What `tidegate serve` says at start: where it listens, what it serves, and which limits are in force.
//!
//! Pure text from settings; asks nothing of the machine. Invariant: one aligned `name  value` line each,
//! and the limit that stops connections first is the one that is named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tidegate::DeflateMode;
use tidegate::program::descriptors::Raised;
use tidegate::program::doctor::DESCRIPTOR_RESERVE;
use tidegate::program::units::{count, grouped, size, time};

use crate::VERSION;
use crate::apps::{App, PATHS};
use crate::settings::Settings;

/// Largest header of a frame that a server sends, with room for the largest one there is (RFC 6455 §5.2).
const HEADER_MAX: u64 = 14;

/// The lines that are printed once the listeners are open.
pub fn text(
    settings: &Settings,
    addresses: &[(&str, SocketAddr)],
    certificates: &[String],
    raised: Raised,
) -> String {
    let limits = &settings.config.limits;
    let mut lines: Vec<(&str, String)> = Vec::new();
    for (at, (scheme, address)) in addresses.iter().enumerate() {
        lines.push((if at == 0 { "listening" } else { "" }, link(scheme, *address)));
    }
    for (at, certificate) in certificates.iter().enumerate() {
        lines.push((if at == 0 { "certificate" } else { "" }, certificate.clone()));
    }
    match settings.app {
        Some(app) => lines.push(("application", format!("{} on every path", app.name()))),
        None => {
            lines.push(("page", "/  (chat, echo, live counters)".into()));
            lines.push(("applications", PATHS.join(" ")));
        }
    }
    lines.push(("descriptors", descriptors(raised)));
    lines.push(("connections", connections(settings, raised)));
    lines.push((
        "messages",
        format!(
            "up to {} in up to {} frames",
            size(limits.message_max as u64),
            grouped(limits.fragments_max as u64)
        ),
    ));
    lines.push((
        "backlog",
        format!(
            "up to {} per connection, {} for {} at most; {} in all",
            size(limits.backlog_max as u64),
            size(limits.backlog_high as u64),
            time(limits.backlog_grace),
            size(limits.memory_max as u64)
        ),
    ));
    lines.push((
        "timeouts",
        format!(
            "handshake {}, ping {}, idle {}, close {}",
            time(limits.handshake_timeout),
            time(limits.ping_interval),
            time(limits.idle_timeout),
            time(limits.close_timeout)
        ),
    ));
    let origins = &settings.config.origins;
    lines.push(("origins", if origins.is_empty() { "any".into() } else { origins.join(" ") }));
    let body: String = lines.iter().map(|(name, value)| format!("  {name:<12}  {value}\n")).collect();
    format!("tidegate {}\n{body}", VERSION)
}

/// What the settings will do that a user may not expect.
pub fn warnings(settings: &Settings) -> Vec<String> {
    let limits = &settings.config.limits;
    let echoes = matches!(settings.app, None | Some(App::Echo));
    // Where compression may be agreed they are sent back whole, else in the parts in which they are read.
    let whole = if limits.deflate == DeflateMode::Off { limits.scratch_bytes } else { usize::MAX };
    let (backlog, message) = (limits.backlog_max as u64, limits.message_max.min(whole) as u64);
    let mut warnings = Vec::new();
    if echoes && backlog < message.saturating_add(HEADER_MAX) {
        warnings.push(format!(
            "messages may have {} but backlog_max is {}: echoes above that are refused (1009); \
             raise --backlog-max",
            size(message),
            size(backlog)
        ));
    }
    warnings
}

/// An address that a browser on this machine can open.
fn link(scheme: &str, address: SocketAddr) -> String {
    let near = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => return format!("{scheme}://{}/", SocketAddr::new(ip, address.port())),
    };
    format!("{scheme}://{}/  (every address of this machine)", SocketAddr::new(near, address.port()))
}

fn descriptors(raised: Raised) -> String {
    let number = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_string(), grouped);
    if raised.before == raised.after {
        number(raised.after)
    } else {
        format!("{} (raised from {})", number(raised.after), number(raised.before))
    }
}

/// How many connections the limits allow, and which of them binds.
fn connections(settings: &Settings, raised: Raised) -> String {
    let limits = &settings.config.limits;
    let by_setting = limits.connections_max as u64;
    let by_descriptors = raised.after.map_or(u64::MAX, |limit| limit.saturating_sub(DESCRIPTOR_RESERVE));
    let (allowed, binding) = if by_descriptors < by_setting {
        let text =
            format!("descriptors bind, connections_max is {}; see `tidegate doctor`", count(by_setting));
        (by_descriptors, text)
    } else {
        (by_setting, "connections_max binds".to_string())
    };
    let per_source = limits.connections_per_source_max as u64;
    let source = if per_source < allowed {
        format!(", {} from one address", grouped(per_source))
    } else {
        String::new()
    };
    format!("{}{source} ({binding})", grouped(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::LevelFilter;
    use tidegate::Config;

    fn settings(config: Config, app: Option<App>) -> Settings {
        Settings { config, binds: Vec::new(), tls_binds: Vec::new(), tls: None, app, log: LevelFilter::Off }
    }

    #[test]
    fn the_whole_text() {
        let addresses = [("http", "127.0.0.1:9001"), ("https", "[::]:9002")];
        let addresses = addresses.map(|(scheme, text)| (scheme, text.parse().unwrap()));
        let certificates = ["SHA-256 AB:CD, until 2030-01-01".to_string()];
        let raised = Raised { before: Some(1_024), after: Some(20_000) };
        let expected = format!(
            "tidegate {}
  listening     http://127.0.0.1:9001/
                https://[::1]:9002/  (every address of this machine)
  certificate   SHA-256 AB:CD, until 2030-01-01
  page          /  (chat, echo, live counters)
  applications  /echo /chat /crowd /push /game /discard /live
  descriptors   20,000 (raised from 1,024)
  connections   19,984 (descriptors bind, connections_max is 1M; see `tidegate doctor`)
  messages      up to 1MiB in up to 131,072 frames
  backlog       up to 4MiB per connection, 256KiB for 10s at most; 512MiB in all
  timeouts      handshake 10s, ping 25s, idle 5m, close 5s
  origins       any
",
            VERSION
        );
        let told = text(&settings(Config::default(), None), &addresses, &certificates, raised);
        assert_eq!(told, expected);
    }

    #[test]
    fn the_binding_limit_is_named() {
        let cases = [
            (
                1_000_000,
                Some(20_000),
                "19,984 (descriptors bind, connections_max is 1M; see `tidegate doctor`)",
            ),
            (500, Some(20_000), "500 (connections_max binds)"),
            (1_000_000, None, "1,000,000, 32,768 from one address (connections_max binds)"),
            (1_000_000, Some(3), "0 (descriptors bind, connections_max is 1M; see `tidegate doctor`)"),
        ];
        for (max, after, expected) in cases {
            let settings = settings(Config::default().connections_max(max), Some(App::Chat));
            assert_eq!(connections(&settings, Raised { before: after, after }), expected);
        }
    }

    #[test]
    fn echoes_that_cannot_be_sent_are_warned_of() {
        let cases = [
            (1 << 20, 4 << 20, Some(App::Echo), false),
            (32 << 20, 64 << 20, Some(App::Echo), false),
            (4 << 20, 4 << 20, Some(App::Echo), true),
            (4 << 20, 4 << 20, None, true),
            (4 << 20, 4 << 20, Some(App::Chat), false),
        ];
        for (message, backlog, app, warned) in cases {
            let config = Config::default().message_max(message).backlog_max(backlog);
            let in_parts = warnings(&settings(config.clone(), app));
            assert!(in_parts.is_empty(), "{in_parts:?}");
            let whole = warnings(&settings(config.deflate(DeflateMode::Shared), app));
            assert_eq!(!whole.is_empty(), warned, "{message} {backlog} {app:?}");
        }
        let config = Config::default().backlog_low(1 << 10).backlog_high(2 << 10).backlog_max(200 << 10);
        assert_eq!(warnings(&settings(config, None)).len(), 1);
        for (message, app) in [(100 << 10, Some(App::Echo)), (1 << 20, Some(App::Chat))] {
            let config = Config::default().message_max(message).backlog_max(200 << 10);
            assert_eq!(warnings(&settings(config, app)), Vec::<String>::new());
        }
    }
}
