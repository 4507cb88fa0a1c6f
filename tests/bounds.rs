//! The fixed bounds that settings and servers meet: listeners, numbers, times. (The settings' own limits have tests of
//! their own; those of the wire stand beside its code.)

use std::time::Duration;

use tidegate::{Config, Error, Server};

#[test]
fn listeners_are_bounded() {
    let mut server = Server::new(Config::default()).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    for _ in 0..63 {
        server.listen(any).unwrap();
    }
    let refused = server.listen(any).unwrap_err();
    assert!(
        matches!(&refused, Error::Listen { source, .. } if source.to_string().contains("at most 63")),
        "{refused}"
    );
}

#[cfg(unix)]
#[test]
fn descriptors_that_wake_are_bounded() {
    use std::os::fd::AsFd;
    let mut server = Server::new(Config::default()).unwrap();
    let pipes: Vec<_> = (0..17).map(|_| std::io::pipe().unwrap()).collect();
    pipes[..16].iter().for_each(|(end, _)| server.wake_on(end.as_fd()).unwrap());
    let refused = server.wake_on(pipes[16].0.as_fd()).unwrap_err();
    assert!(
        matches!(&refused, Error::Wake(source) if source.to_string().contains("at most 16")),
        "{refused}"
    );
}

#[test]
fn numbers_and_times_are_bounded() {
    let room = 1 << 30;
    let day = Duration::from_secs(24 * 3600);
    let table = [
        (Config::default().connections_max(room), None),
        (Config::default().connections_max(room + 1), Some("connections_max")),
        (Config::default().timers_max(room), None),
        (Config::default().timers_max(room + 1), Some("timers_max")),
        (Config::default().idle_timeout(100 * day), None),
        (Config::default().idle_timeout(101 * day), Some("idle_timeout")),
    ];
    for (config, field) in table {
        assert_eq!(config.validate().err().map(|error| error.field), field);
    }
}
