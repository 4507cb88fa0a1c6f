//! Tables for the handshake of both roles: every rule broken once, and the vectors of RFC 6455.

use super::client::AcceptError;
use super::offers::PROTOCOLS_MAX;
use httparse::EMPTY_HEADER;

use super::super::head::{HeadLimits, HeadScanner, parse_request, parse_response};
use super::HandshakeError as E;
use super::*;

const LIMITS: HeadLimits = HeadLimits { head_max: 4096, target_max: 1024, headers_max: 32 };
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const GOOD: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn with_head<T>(bytes: &str, look: impl FnOnce(&RequestHead<'_, '_>) -> T) -> T {
    let mut storage = [EMPTY_HEADER; 32];
    look(&parse_request(bytes.as_bytes(), &mut storage, &LIMITS).unwrap())
}

fn with_lines<T>(lines: &str, look: impl FnOnce(&RequestHead<'_, '_>) -> T) -> T {
    with_head(&format!("GET /chat HTTP/1.1\r\nHost: h\r\n{lines}\r\n"), look)
}

#[test]
fn accept_of_rfc6455_1_3() {
    assert_eq!(&accept_key(KEY.as_bytes()), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(Key::from_bytes(b"the sample nonce").as_bytes(), KEY.as_bytes());
}

#[test]
fn keys_are_strict() {
    for good in [KEY, "AAAAAAAAAAAAAAAAAAAAAA==", "////////////////////+w=="] {
        assert!(Key::parse(good.as_bytes()).is_some(), "{good}");
    }
    let bad = [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZR==",
        "dGhlIHNhbXBsZSBub25jZWU=",
        "dGhlIHNhbXBsZSBub25jZWVl",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSB b25jZQ==",
        "____________________-w==",
    ];
    for bad in bad {
        assert!(Key::parse(bad.as_bytes()).is_none(), "{bad}");
    }
}

#[test]
fn every_rule_of_the_server_side() {
    assert_eq!(with_lines(GOOD, check_upgrade), Ok(Key(KEY.as_bytes().try_into().unwrap())));
    // What is replaced in the good lines, by what, and the result.
    let table: &[(&str, &str, Option<E>)] = &[
        ("websocket", "h2c, WebSocket", None),
        ("Connection: Upgrade", "Connection: keep-alive\r\nConnection: upgrade", None),
        ("Sec-WebSocket-Version: 13", "Content-Length: 0\r\nSec-WebSocket-Version: 13", None),
        ("Upgrade: websocket\r\n", "", Some(E::NoUpgrade)),
        ("websocket", "websocket/13", Some(E::NoUpgrade)),
        ("Connection: Upgrade\r\n", "", Some(E::NoConnectionUpgrade)),
        ("Connection: Upgrade", "Connection: close", Some(E::NoConnectionUpgrade)),
        ("Sec-WebSocket-Version: 13\r\n", "", Some(E::VersionMissing)),
        ("Version: 13", "Version: 8", Some(E::VersionUnsupported)),
        ("Version: 13", "Version: 013", Some(E::VersionUnsupported)),
        ("Version: 13", "Version: 13, 8", Some(E::VersionUnsupported)),
        ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13", Some(E::VersionRepeated)),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", Some(E::KeyMissing)),
        ("dGhl", "dGh!", Some(E::BadKey)),
        ("Connection", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nConnection", Some(E::KeyRepeated)),
        ("Connection", "Origin: a\r\nConnection", None),
        ("Connection", "Origin: a\r\nOrigin: a\r\nConnection", Some(E::OriginRepeated)),
        ("Connection", "Sec-WebSocket-Protocol: a, b\r\nConnection", None),
        ("Connection", "Sec-WebSocket-Protocol: a b\r\nConnection", Some(E::BadProtocol)),
        ("Connection", "Sec-WebSocket-Protocol: a,b,a\r\nConnection", Some(E::ProtocolRepeated)),
        ("Connection", "Sec-WebSocket-Extensions: a;\r\nConnection", Some(E::BadExtension)),
        ("Connection", "Sec-WebSocket-Extensions: a;b=1\r\nConnection", None),
        ("Connection", "Content-Length: 1\r\nConnection", Some(E::HasBody)),
        ("Connection", "Transfer-Encoding: chunked\r\nConnection", Some(E::HasBody)),
    ];
    for (from, to, expected) in table {
        assert!(GOOD.contains(from), "{from:?}");
        let lines = GOOD.replacen(from, to, 1);
        assert_eq!(with_lines(&lines, check_upgrade).err(), *expected, "{from:?} -> {to:?}");
    }
    let post = format!("POST / HTTP/1.1\r\nHost: h\r\n{GOOD}\r\n");
    assert_eq!(with_head(&post, check_upgrade), Err(E::NotGet));
    let lower = format!("get / HTTP/1.1\r\nHost: h\r\n{GOOD}\r\n");
    assert_eq!(with_head(&lower, check_upgrade), Err(E::NotGet));
    let old = format!("GET / HTTP/1.0\r\nHost: h\r\n{GOOD}\r\n");
    assert_eq!(with_head(&old, check_upgrade), Err(E::OldVersion));
    assert!(with_lines(GOOD, wants_upgrade) && !with_lines("Connection: Upgrade\r\n", wants_upgrade));
    let statuses =
        [E::NotGet, E::OldVersion, E::NoUpgrade, E::VersionMissing, E::VersionUnsupported, E::BadKey];
    assert_eq!(statuses.map(E::status), [405, 400, 426, 426, 426, 400]);
}

#[test]
fn offered_protocols() {
    let lines = "Sec-WebSocket-Protocol: chat.v2, chat\r\nA: b\r\nsec-websocket-protocol: ,Chat,\r\n";
    with_lines(lines, |head| {
        assert_eq!(protocols(head).collect::<Vec<_>>(), ["chat.v2", "chat", "Chat"]);
        assert_eq!(offers::check_protocols(head), Ok(()));
    });
    let many = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("p{n}")).collect();
        with_lines(&format!("Sec-WebSocket-Protocol: {}\r\n", names.join(",")), offers::check_protocols)
    };
    assert_eq!((many(PROTOCOLS_MAX), many(PROTOCOLS_MAX + 1)), (Ok(()), Err(E::TooManyProtocols)));
}

/// Extensions as one text, so that tables stay readable: `name;param=value|name`, or the error.
fn extensions_of(lines: &str) -> Result<String, HandshakeError> {
    with_lines(lines, |head| {
        let mut names = Vec::new();
        for extension in extensions(head.fields()) {
            let extension = extension?;
            let mut text = extension.name.to_owned();
            for (name, value) in extension.params() {
                text = format!("{text};{name}");
                if let Some(value) = value {
                    text = format!("{text}={}", String::from_utf8(value.bytes().collect()).unwrap());
                }
            }
            names.push(text);
        }
        Ok(names.join("|"))
    })
}

#[test]
fn extension_lists() {
    let good = [
        ("", ""),
        (" , ,", ""),
        ("a", "a"),
        ("a,b", "a|b"),
        (", a ,, b ,", "a|b"),
        ("a;b", "a;b"),
        ("a; b=1; c", "a;b=1;c"),
        ("a ; b = 1 , c", "a;b=1|c"),
        ("a;b=\"10\"", "a;b=10"),
        ("a;b=\"1\\0\";c, d", "a;b=10;c|d"),
        (
            "permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate",
            "permessage-deflate;client_max_window_bits;server_max_window_bits=10|permessage-deflate",
        ),
    ];
    for (value, expected) in good {
        let lines = format!("Sec-WebSocket-Extensions: {value}\r\n");
        assert_eq!(extensions_of(&lines).as_deref(), Ok(expected), "{value:?}");
    }
    let two = "Sec-WebSocket-Extensions: a;b=1\r\nX: y\r\nSec-WebSocket-Extensions: c\r\n";
    assert_eq!(extensions_of(two).as_deref(), Ok("a;b=1|c"));
    let bad = [
        "a b",
        ";",
        "a;",
        "a;;b",
        "a;=1",
        "a;b=",
        "a;b=,c",
        "a;b=\"\"",
        "a;b=\"1",
        "a;b=\"1\\",
        "a;b=\"a b\"",
        "a;b=\"a,b\"",
        "a;b=\"1\"2",
        "a;b=1 2",
        "a=1",
        "\"a\"",
        "a;b==1",
        "a;b=\"\\ \"",
        "a;\"b\"",
        "a/b",
        "a;b=\u{e4}",
        "a, b;",
    ];
    for bad in bad {
        let lines = format!("Sec-WebSocket-Extensions: {bad}\r\nSec-WebSocket-Extensions: z\r\n");
        assert_eq!(extensions_of(&lines), Err(E::BadExtension), "{bad:?}");
        let after =
            with_lines(&lines, |head| extensions(head.fields()).skip_while(|item| item.is_ok()).count());
        assert_eq!(after, 1, "nothing follows the error: {bad:?}");
    }
}

#[test]
fn extension_numbers() {
    let number = |value: &str| {
        with_lines(&format!("Sec-WebSocket-Extensions: a;b={value}\r\n"), |head| {
            let extension = extensions(head.fields()).next().unwrap().unwrap();
            let value = extension.params().next().unwrap().1.unwrap();
            (value.number(), value.is("15"))
        })
    };
    assert_eq!(number("15"), (Some(15), true));
    assert_eq!(number("\"1\\5\""), (Some(15), true));
    assert_eq!(number("0"), (Some(0), false));
    assert_eq!(number("255"), (Some(255), false));
    for bad in ["256", "015", "00", "1a", "99999999"] {
        assert_eq!(number(bad), (None, false), "{bad}");
    }
}

#[test]
fn origins() {
    let list = ["https://a.example".to_owned(), "null".to_owned()];
    assert!(origin_allowed(None, &list) && origin_allowed(Some(b"x"), &[]) && origin_allowed(None, &[]));
    assert!(origin_allowed(Some(b"HTTPS://A.example"), &list));
    for bad in [&b"http://a.example"[..], b"https://a.example.evil", b"https://a.exampl", b""] {
        assert!(!origin_allowed(Some(bad), &list), "{bad:?}");
    }
}

fn accept_of(protocol: Option<&str>, headers: &[(&str, &str)]) -> String {
    let mut out = Vec::new();
    write_accept(&mut out, &Key::parse(KEY.as_bytes()).unwrap(), protocol, None, headers.iter().copied());
    String::from_utf8(out).unwrap()
}

#[test]
fn the_answer_is_written() {
    let start = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    assert_eq!(accept_of(None, &[]), format!("{start}\r\n"));
    assert_eq!(
        accept_of(Some("chat"), &[("Set-Cookie", "a=b")]),
        format!("{start}Sec-WebSocket-Protocol: chat\r\nSet-Cookie: a=b\r\n\r\n")
    );
    let bad = [("X", "a\r\nb"), ("sec-websocket-EXTENSIONS", "x"), ("Content-Length", "3")];
    assert_eq!(accept_of(Some("a\r\nb"), &bad), format!("{start}\r\n"));
}

#[test]
fn the_request_is_written() {
    let write = |host: &str, target: &str, protocols: &[&str], headers: &[(&str, &str)]| {
        let mut out = Vec::new();
        let key = write_upgrade_request(
            &mut out,
            host,
            target,
            b"the sample nonce",
            protocols,
            None,
            headers.iter().copied(),
        );
        assert_eq!(key.is_err(), out.is_empty());
        key.map(|key| (key, String::from_utf8(out).unwrap()))
    };
    let (key, text) = write("h:9001", "/chat?a", &["a", "b"], &[("Origin", "o"), ("host", "x")]).unwrap();
    assert_eq!(
        text,
        format!(
            "GET /chat?a HTTP/1.1\r\nHost: h:9001\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: a, b\r\n\
             Origin: o\r\n\r\n"
        )
    );
    assert_eq!(HeadScanner::default().scan(text.as_bytes(), &LIMITS), Ok(Some(text.len())));
    assert_eq!(with_head(&text, check_upgrade), Ok(key), "our server takes what our client writes");
    for host in ["", "a b", "a\r\nb", "u@h"] {
        assert_eq!(write(host, "/", &[], &[]), Err(InvalidRequest::Host), "{host:?}");
    }
    for target in ["", "a", "/ ", "/#", "/\r\n", "/\u{e4}"] {
        assert_eq!(write("h", target, &[], &[]), Err(InvalidRequest::Target), "{target:?}");
    }
    for protocols in [&["a b"][..], &[""], &["a", "a"]] {
        assert_eq!(write("h", "/", protocols, &[]), Err(InvalidRequest::Protocol), "{protocols:?}");
    }
}

#[test]
fn every_rule_of_the_client_side() {
    let good = accept_of(Some("chat"), &[]);
    let protocol = "Sec-WebSocket-Protocol: chat\r\n";
    type Answer = Result<Option<&'static str>, AcceptError>;
    let table: &[(&str, &str, Answer)] = &[
        ("101", "101", Ok(Some("chat"))),
        ("websocket", "WebSocket", Ok(Some("chat"))),
        (protocol, "", Ok(None)),
        ("101", "200", Err(AcceptError::Status(200))),
        ("HTTP/1.1", "HTTP/1.0", Err(AcceptError::OldVersion)),
        ("Upgrade: websocket\r\n", "", Err(AcceptError::NoUpgrade)),
        ("Upgrade: websocket", "Upgrade: websocket, h2c", Err(AcceptError::NoUpgrade)),
        ("Upgrade: websocket", "Upgrade: h2c", Err(AcceptError::NoUpgrade)),
        ("Connection: Upgrade\r\n", "", Err(AcceptError::NoConnectionUpgrade)),
        ("Sec-WebSocket-Accept", "X", Err(AcceptError::AcceptMissing)),
        ("s3p", "S3p", Err(AcceptError::WrongAccept)),
        ("xOo=", "xOo", Err(AcceptError::WrongAccept)),
        (
            protocol,
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
            Err(AcceptError::AcceptRepeated),
        ),
        (protocol, "Sec-WebSocket-Extensions: permessage-deflate\r\n", Err(AcceptError::ExtensionNotOffered)),
        (protocol, "Sec-WebSocket-Extensions: ;\r\n", Err(AcceptError::ExtensionNotOffered)),
        (protocol, "Sec-WebSocket-Extensions:\r\n", Ok(None)),
        ("chat", "Chat", Err(AcceptError::ProtocolNotOffered)),
        ("chat", "chat, b", Err(AcceptError::ProtocolNotOffered)),
        (protocol, "Sec-WebSocket-Protocol:\r\n", Err(AcceptError::ProtocolNotOffered)),
        ("chat", "chat\r\nSec-WebSocket-Protocol: chat", Err(AcceptError::ProtocolRepeated)),
    ];
    let key = Key::parse(KEY.as_bytes()).unwrap();
    for (from, to, expected) in table {
        assert!(good.contains(from), "{from:?}");
        let bytes = good.replacen(from, to, 1);
        let mut storage = [EMPTY_HEADER; 8];
        let response = parse_response(bytes.as_bytes(), &mut storage, &LIMITS).unwrap();
        assert_eq!(check_accept(&response, &key, &["b", "chat"]), *expected, "{from:?} -> {to:?}");
    }
}
