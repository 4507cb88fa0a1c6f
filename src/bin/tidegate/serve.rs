//! `tidegate serve`: opens the listeners, says what is in force, and runs the loop until it is told to stop.
//!
//! Knows no application from inside. Invariant: nothing is printed as in force that is not; the listeners
//! are open and signals are heeded before the address appears.

mod signals;
mod summary;
mod tls;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;

use log::LevelFilter;
use tidegate::program::descriptors;
use tidegate::program::doctor::DESCRIPTOR_RESERVE;
use tidegate::program::failure::{self, Failure, complain};
use tidegate::{Error, Handler, Server, Turn};

use crate::settings::Settings;
use crate::{NAME, apps};
use signals::Signals;

/// Descriptors that the kernel's table is made large enough for at the start: half a megabyte of its memory. Beyond, it
/// doubles as it fills.
const ROOM_MAX: u64 = 65_536;

/// Serves until a signal ends it.
///
/// # Errors
/// When a listener cannot be opened or the loop breaks.
pub fn serve(settings: Settings) -> Result<(), Failure> {
    log_to_stderr(settings.log);
    let raised = descriptors::raise();
    let wanted = settings.config.limits.connections_max as u64 + DESCRIPTOR_RESERVE;
    // Were it refused, newcomers would meet the kernel's pauses, and nothing else.
    let _ = descriptors::make_room(wanted.min(raised.after.unwrap_or(u64::MAX)).min(ROOM_MAX));
    let certificates = settings.tls.as_ref().map(tls::load).transpose()?;
    let mut config = settings.config.clone();
    config.tls = certificates.clone();
    let mut server = Server::new(config).map_err(|error| explain(&error))?;
    let mut app: Box<dyn Handler> =
        settings.app.map_or_else(|| Box::new(apps::all()) as _, |app| app.handler());
    let mut signals = Signals::heed(server.handle(), settings.tls.clone())?;
    server.wake_on(signals.as_fd()).map_err(|error| explain(&error))?;
    let mut addresses = Vec::with_capacity(settings.binds.len() + settings.tls_binds.len());
    for bind in &settings.binds {
        addresses.push(("http", server.listen(*bind).map_err(|error| explain(&error))?));
    }
    for bind in &settings.tls_binds {
        addresses.push(("https", server.listen_tls(*bind).map_err(|error| explain(&error))?));
    }
    let shown = certificates.as_ref().map(tls::lines).unwrap_or_default();
    failure::print(&summary::text(&settings, &addresses, &shown, raised))?;
    let expiring = certificates.as_ref().map(tls::warnings).unwrap_or_default();
    for warning in summary::warnings(&settings).into_iter().chain(expiring) {
        complain(NAME, format!("warning: {warning}"));
    }
    let report = loop {
        match server.run_until_woken(&mut *app).map_err(|error| explain(&error))? {
            Turn::Stopped(report) => break report,
            Turn::Running => signals.obey(|| server.stats().open),
        }
    };
    failure::print(&format!("{report}\n"))
}

fn log_to_stderr(level: LevelFilter) {
    // Only a second logger would be refused, and this is the only one.
    let _ = env_logger::Builder::new()
        .filter_level(level)
        .target(env_logger::Target::Stderr)
        .format(|out, record| writeln!(out, "{:<5} {}: {}", record.level(), record.target(), record.args()))
        .try_init();
}

fn explain(error: &Error) -> Failure {
    match error {
        Error::Config(error) => Failure::usage(error.to_string()),
        Error::Listen { address, source } => Failure::refused(refused_listener(*address, source)),
        other => Failure::refused(other.to_string()),
    }
}

/// Why an address could not be listened on, and what to do about it.
fn refused_listener(address: SocketAddr, error: &io::Error) -> String {
    let advice = match error.kind() {
        // What we refuse ourselves says what to do.
        _ if error.get_ref().is_some() => error.to_string(),
        io::ErrorKind::AddrInUse => {
            "the port is in use: stop the other program, or choose another port with --bind".to_string()
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has this address: choose one that does with --bind".to_string()
        }
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            "ports below 1024 are privileged: choose a higher one with --bind, or grant CAP_NET_BIND_SERVICE"
                .to_string()
        }
        _ => format!("{error}: choose another address with --bind"),
    };
    format!("cannot listen on {address}: {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_listener_is_explained() {
        let cases = [
            (
                "127.0.0.1:80",
                io::ErrorKind::PermissionDenied,
                "127.0.0.1:80: ports below 1024 are privileged",
            ),
            ("127.0.0.1:9001", io::ErrorKind::AddrInUse, "127.0.0.1:9001: the port is in use"),
            ("[2001:db8::1]:9001", io::ErrorKind::AddrNotAvailable, "[2001:db8::1]:9001: no interface"),
            (
                "127.0.0.1:9001",
                io::ErrorKind::PermissionDenied,
                "127.0.0.1:9001: permission denied: choose another",
            ),
        ];
        for (address, kind, expected) in cases {
            let text = refused_listener(address.parse().unwrap(), &io::Error::from(kind));
            assert!(text.starts_with(&format!("cannot listen on {expected}")), "{text}");
        }
        let ours = io::Error::new(io::ErrorKind::PermissionDenied, "an option is refused");
        let text = refused_listener("127.0.0.1:80".parse().unwrap(), &ours);
        assert_eq!(text, "cannot listen on 127.0.0.1:80: an option is refused");
    }
}
