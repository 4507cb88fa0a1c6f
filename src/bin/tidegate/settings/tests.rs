//! What `tidegate serve` understands, and how it refuses the rest; a table per source.

use std::time::Duration;

use tidegate::DeflateMode;

use super::*;

fn told(flags: &[&str]) -> Result<Settings, Failure> {
    let words = std::iter::once("serve").chain(flags.iter().copied());
    gather(&command().try_get_matches_from(words).unwrap())
}

fn refusal(flags: &[&str]) -> String {
    let failure = told(flags).unwrap_err();
    assert_eq!(failure.code(), 2, "{failure}");
    failure.to_string()
}

/// Settings of a file with this content, and the file's name.
fn filed(name: &str, content: &str, flags: &[&str]) -> (Result<Settings, Failure>, String) {
    let path = std::env::temp_dir().join(format!("tidegate-settings-{}-{name}.toml", std::process::id()));
    std::fs::write(&path, content).unwrap();
    let path = path.display().to_string();
    let mut words = vec!["--config", &path];
    words.extend(flags);
    let settings = told(&words);
    std::fs::remove_file(&path).unwrap();
    (settings, path)
}

#[test]
fn nothing_said_gives_the_defaults() {
    let settings = told(&[]).unwrap();
    assert_eq!(settings.config, Config::default().streamed_message_max(1 << 20));
    assert_eq!(settings.binds, ["127.0.0.1:9001".parse().unwrap()]);
    assert_eq!((settings.app, settings.log), (None, LevelFilter::Warn));
}

#[test]
fn every_setting_has_a_flag_that_takes_its_own_default() {
    for field in Config::fields() {
        let default = shown(field.unit, Config::default().value(field.name).unwrap());
        let settings = told(&[&format!("--{}", field.name.replace('_', "-")), &default]).unwrap();
        let mut expected = Config::default();
        if field.name != "streamed_message_max" {
            expected.limits.streamed_message_max = expected.limits.message_max as u64;
        }
        assert_eq!(settings.config, expected, "{} {default}", field.name);
    }
}

#[test]
fn every_setting_is_a_key_of_the_file() {
    let content: String = Config::fields()
        .map(|field| {
            format!(
                "{} = \"{}\"\n",
                field.name,
                shown(field.unit, Config::default().value(field.name).unwrap())
            )
        })
        .collect();
    assert_eq!(filed("every", &content, &[]).0.unwrap().config, Config::default());
}

#[test]
fn flags_are_understood() {
    let settings = told(&[
        "--max-connections=10k",
        "--message-max",
        "32 MiB",
        "--idle-timeout",
        "off",
        "--spin=50us",
        "--ping-interval=0",
        "--reuse-port",
        "--deflate=shared",
        "--nodelay",
        "false",
        "--bind",
        "[::1]:0",
        "--bind=127.0.0.1:80",
        "--app",
        "echo",
        "--origin",
        "https://a.example",
        "--origin",
        "https://b.example",
        "--log",
        "Debug",
    ])
    .unwrap();
    let expected = Config::default()
        .connections_max(10_000)
        .message_max(32 << 20)
        .streamed_message_max(32 << 20)
        .idle_timeout(Duration::ZERO)
        .spin(Duration::from_micros(50))
        .ping_interval(Duration::ZERO)
        .reuse_port(true)
        .deflate(DeflateMode::Shared)
        .nodelay(false)
        .origin("https://a.example")
        .origin("https://b.example");
    assert_eq!(settings.config, expected);
    assert_eq!(settings.binds, ["[::1]:0".parse().unwrap(), "127.0.0.1:80".parse().unwrap()]);
    assert_eq!((settings.app, settings.log), (Some(App::Echo), LevelFilter::Debug));
    assert_eq!(told(&["--connections-max", "7"]).unwrap().config.limits.connections_max, 7);
}

#[test]
fn wrong_flags_are_refused_with_value_and_rule() {
    let cases: &[(&[&str], &str)] = &[
        (&["--message-max", "12q"], "--message-max 12q: a size is a whole number of bytes"),
        (&["--idle-timeout", "25"], "--idle-timeout 25: a time span needs a unit: 25us, 25ms or 25s"),
        (&["--accept-budget", "0"], "--accept-budget 0: must be at least 1"),
        (&["--accept-budget", "-1"], "--accept-budget -1: a count is a whole number"),
        (&["--pong-timeout", "off"], "--pong-timeout off: must be longer than zero"),
        (&["--backlog-low", "1MiB"], "--backlog-low 1MiB: must be below backlog_high (262144)"),
        (
            &["--backlog-max", "1KiB"],
            "backlog_high is 262144, its default: must be below backlog_max (1024); set --backlog-high too",
        ),
        (&["--message-max", "99999999TiB"], "--message-max 99999999TiB: the number is too large for 64 bits"),
        (&["--deflate", "on"], "--deflate on: must be one of off, shared, dedicated"),
        (&["--deflate-window-bits", "8"], "--deflate-window-bits 8: must be from 9 to 15"),
        (&["--nodelay=maybe"], "--nodelay maybe: a switch is true or false"),
        (&["--app", "ehco"], "--app ehco: must be one of echo, chat, crowd, push, game, discard"),
        (&["--log", "loud"], "--log loud: must be one of off, error, warn, info, debug, trace"),
        (
            &["--bind", "localhost"],
            "--bind: \"localhost\" is no IP address with a port; write it like 127.0.0.1:9001",
        ),
        (&["--bind", "1.2.3.4:70000"], "--bind: \"1.2.3.4:70000\" is no IP address with a port"),
        (
            &["--origin", "example.org"],
            "--origin: \"example.org\" must look like https://example.org, without a path",
        ),
    ];
    for (flags, start) in cases {
        let text = refusal(flags);
        assert!(text.starts_with(start), "{text}");
    }
}

#[test]
fn the_file_is_understood_and_flags_win() {
    let content = "message_max = \"32MiB\"\nbacklog_max = 67_108_864\nidle_timeout = 0\nreuse_port = true\n\
                   bind = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n\
                   app = \"chat\"\norigin = \"https://a.example\"\nlog = \"info\"\n";
    let (settings, _) = filed("understood", content, &["--message-max", "1MiB", "--bind", "127.0.0.1:3"]);
    let settings = settings.unwrap();
    let expected = Config::default()
        .message_max(1 << 20)
        .streamed_message_max(1 << 20)
        .backlog_max(64 << 20)
        .idle_timeout(Duration::ZERO)
        .reuse_port(true)
        .origin("https://a.example");
    assert_eq!(settings.config, expected);
    assert_eq!(settings.binds, ["127.0.0.1:3".parse().unwrap()]);
    assert_eq!((settings.app, settings.log), (Some(App::Chat), LevelFilter::Info));
}

#[test]
fn a_wrong_file_is_refused_with_line_key_value_and_rule() {
    let cases = [
        (
            "log = \"info\"\nmax_connections = 5",
            ":2: max_connections = 5: there is no such setting; did you mean connections_max?",
        ),
        ("binds = []", ":1: binds: there is no such setting; did you mean bind?"),
        ("colour = 1", ":1: colour = 1: there is no such setting; `tidegate serve --help` lists them all"),
        (
            "[limits]\nmessage_max = 1",
            ":1: limits: there are no sections; write every setting at the top level",
        ),
        (
            "\nmessage_max = true",
            ":2: message_max = true: must be a number or a text with a unit, not true or false",
        ),
        (
            "message_max = 1.5",
            ":1: message_max = 1.5: must be a number or a text with a unit, not a fraction",
        ),
        (
            "message_max = -1",
            ":1: message_max = -1: must be a number or a text with a unit, not a negative or huge number",
        ),
        ("idle_timeout = 25", ":1: idle_timeout = 25: a time span needs a unit: 25us, 25ms or 25s"),
        ("nodelay = 1", ":1: nodelay = 1: must be true or false, not a number"),
        ("bind = [1]", ":1: bind: must be a list of texts, not a list of other things"),
        ("bind = []", ":1: bind: must name at least one, or be left out"),
        ("app = [\"echo\"]", ":1: app: must be a text, not a list"),
        ("backlog_low = \"1MiB\"", ":1: backlog_low = \"1MiB\": must be below backlog_high (262144)"),
        ("origin = [\"a b\"]", ":1: origin: \"a b\" must look like https://example.org, without a path"),
    ];
    for (at, (content, end)) in cases.iter().enumerate() {
        let (settings, path) = filed(&at.to_string(), content, &[]);
        let failure = settings.unwrap_err();
        assert_eq!(failure.to_string(), format!("{path}{end}"));
        assert_eq!(failure.code(), 2);
    }
}

#[test]
fn a_flag_mends_what_the_file_got_out_of_step() {
    let (settings, _) = filed("mends", "backlog_low = \"1MiB\"", &["--backlog-high", "2MiB"]);
    assert_eq!(settings.unwrap().config.limits.backlog_low, 1 << 20);
}
