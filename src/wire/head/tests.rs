//! Tables for the head: every legal and illegal form, and every cut.

use httparse::EMPTY_HEADER;

use super::HeadError as E;
use super::*;

const LIMITS: HeadLimits = HeadLimits { head_max: 200, target_max: 40, headers_max: 4 };

type Scan = Result<Option<usize>, HeadError>;

/// Scans prefixes that end at these places, as a caller does that appends what arrives.
fn scan_cut(bytes: &[u8], mut scanner: HeadScanner, ends: impl IntoIterator<Item = usize>) -> Scan {
    for end in ends {
        match scanner.scan(&bytes[..end], &LIMITS) {
            Ok(None) => {}
            done => {
                assert_eq!(scanner.scan(&bytes[..end], &LIMITS), done, "the result stays");
                return done;
            }
        }
    }
    scanner.scan(bytes, &LIMITS)
}

fn scan_every_way(bytes: &[u8], scanner: HeadScanner) -> Scan {
    let whole = scan_cut(bytes, scanner, []);
    assert_eq!(scan_cut(bytes, scanner, 0..=bytes.len()), whole, "byte by byte: {bytes:?}");
    for cut in 0..=bytes.len() {
        assert_eq!(scan_cut(bytes, scanner, [cut]), whole, "cut at {cut}: {bytes:?}");
    }
    whole
}

#[test]
fn scanner_finds_the_end_or_the_fault() {
    let long_target = [b"GET /", "a".repeat(40).as_bytes(), b" HTTP/1.1\r\n\r\n"].concat();
    let full_target = [b"GET /", "a".repeat(39).as_bytes(), b" HTTP/1.1\r\n\r\n"].concat();
    let long_method = ["A".repeat(33).as_bytes(), b" / HTTP/1.1\r\n\r\n"].concat();
    let full_method = ["A".repeat(32).as_bytes(), b" / HTTP/1.1\r\n\r\n"].concat();
    let head_of = |len: usize| {
        let start = b"GET / HTTP/1.1\r\nA: ";
        [&start[..], "v".repeat(len - start.len() - 4).as_bytes(), b"\r\n\r\n"].concat()
    };
    let table: &[(&[u8], Scan)] = &[
        (b"", Ok(None)),
        (b"GET / HTTP/1.1\r\n\r\n", Ok(Some(18))),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\0\n", Ok(Some(27))),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r", Ok(None)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", Ok(None)),
        (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Ok(Some(22))),
        (b"\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", Ok(Some(26))),
        (b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", Err(E::BadRequestLine)),
        (b"\x16", Ok(None)),
        (b"\x16\x03\x01\x02\x00", Err(E::TlsOnPlainPort)),
        (b"\x16\x04", Err(E::BadRequestLine)),
        (b"\r\n\x16\x03", Err(E::BadRequestLine)),
        (b" GET / HTTP/1.1\r\n\r\n", Err(E::BadRequestLine)),
        (b"(", Err(E::BadRequestLine)),
        (b"GE\xffT", Err(E::BadRequestLine)),
        (b"GET\r\n", Err(E::BadRequestLine)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Ok(Some(18))),
        (b"\n", Err(E::BareLf)),
        (b"GET / HTTP/1.1\n", Err(E::BareLf)),
        (b"GET /\n", Err(E::BareLf)),
        (b"GET / HTTP/1.1\r\nA: b\n", Err(E::BareLf)),
        (b"GET / HTTP/1.1\r\n\n", Err(E::BareLf)),
        (b"\rG", Err(E::BareCr)),
        (b"GET / HTTP/1.1\r\nA: b\rc", Err(E::BareCr)),
        (b"GET / HTTP/1.1\r\n\rA", Err(E::BareCr)),
        (b"GET / HTTP/1.1\r\r\n", Err(E::BareCr)),
        (b"\0", Err(E::NulByte)),
        (b"GET /\0", Err(E::NulByte)),
        (b"GET / HTTP/1.1\r\nA: \0", Err(E::NulByte)),
        (b"GET / HTTP/1.1\r\n A: b", Err(E::FoldedLine)),
        (b"GET / HTTP/1.1\r\nA: b\r\n\tc", Err(E::FoldedLine)),
        (&full_target, Ok(Some(full_target.len()))),
        (&long_target, Err(E::TargetTooLong)),
        (&long_target[..45], Err(E::TargetTooLong)),
        (&long_target[..44], Ok(None)),
        (&full_method, Ok(Some(full_method.len()))),
        (&long_method, Err(E::MethodTooLong)),
        (&head_of(200), Ok(Some(200))),
        (&head_of(201), Err(E::HeadTooLarge)),
        (&head_of(201)[..200], Ok(None)),
    ];
    for (bytes, expected) in table {
        assert_eq!(scan_every_way(bytes, HeadScanner::default()), *expected, "{:?}", bytes.escape_ascii());
    }
    let response = b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n\x81\0";
    assert_eq!(scan_every_way(response, HeadScanner::response()), Ok(Some(response.len() - 2)));
    assert_eq!(scan_every_way(b"HTTP/1.1 101\n", HeadScanner::response()), Err(E::BareLf));
}

fn request<T>(bytes: &[u8], look: impl FnOnce(Result<RequestHead<'_, '_>, HeadError>) -> T) -> T {
    let mut storage = [EMPTY_HEADER; 8];
    look(parse_request(bytes, &mut storage, &LIMITS))
}

fn fault(bytes: &[u8]) -> Option<HeadError> {
    request(bytes, |head| head.err())
}

#[test]
fn request_lines() {
    type PathAndQuery = (&'static str, Option<&'static str>);
    let table: &[(&str, Result<PathAndQuery, HeadError>)] = &[
        ("GET / HTTP/1.1", Ok(("/", None))),
        ("\r\n\r\nGET / HTTP/1.1", Ok(("/", None))),
        ("GET /a/b%20c?x=1?&y HTTP/1.1", Ok(("/a/b%20c", Some("x=1?&y")))),
        ("GET /? HTTP/1.1", Ok(("/", Some("")))),
        ("GET //x HTTP/1.1", Ok(("//x", None))),
        ("GET http://a:80/b?c HTTP/1.1", Ok(("/b", Some("c")))),
        ("GET HTTPS://a HTTP/1.1", Ok(("/", None))),
        ("GET http://a?q HTTP/1.1", Ok(("/", Some("q")))),
        ("GET http://[::1]:8/ HTTP/1.1", Ok(("/", None))),
        ("OPTIONS * HTTP/1.1", Ok(("*", None))),
        ("get / HTTP/1.1", Ok(("/", None))),
        ("GET / HTTP/1.7", Ok(("/", None))),
        ("GET * HTTP/1.1", Err(E::BadTarget)),
        ("GET a HTTP/1.1", Err(E::BadTarget)),
        ("GET a:80 HTTP/1.1", Err(E::BadTarget)),
        ("GET http:/// HTTP/1.1", Err(E::BadTarget)),
        ("GET http:// HTTP/1.1", Err(E::BadTarget)),
        ("GET http://u@a/ HTTP/1.1", Err(E::BadTarget)),
        ("GET ftp://a/ HTTP/1.1", Err(E::BadTarget)),
        ("GET ?a HTTP/1.1", Err(E::BadTarget)),
        ("GET /\u{e4} HTTP/1.1", Err(E::BadTarget)),
        ("GET /\x7f HTTP/1.1", Err(E::BadTarget)),
        ("GET /\t HTTP/1.1", Err(E::BadTarget)),
        ("GET /#a HTTP/1.1", Err(E::FragmentInTarget)),
        ("CONNECT a:80 HTTP/1.1", Err(E::ConnectUnsupported)),
        ("GET  / HTTP/1.1", Err(E::BadRequestLine)),
        ("GET /  HTTP/1.1", Err(E::BadRequestLine)),
        ("GET / HTTP/1.1 ", Err(E::BadRequestLine)),
        ("GET /a b HTTP/1.1", Err(E::BadRequestLine)),
        ("GET /", Err(E::BadRequestLine)),
        ("GET", Err(E::BadRequestLine)),
        (" / HTTP/1.1", Err(E::BadRequestLine)),
        ("G(T / HTTP/1.1", Err(E::BadRequestLine)),
        ("GET / HTTP/2.0", Err(E::VersionUnsupported)),
        ("GET / HTTP/0.9", Err(E::VersionUnsupported)),
        ("GET / http/1.1", Err(E::BadVersion)),
        ("GET / HTTP/1", Err(E::BadVersion)),
        ("GET / HTTP/1.10", Err(E::BadVersion)),
        ("GET / HTTP/1.x", Err(E::BadVersion)),
        ("GET / ", Err(E::BadVersion)),
        ("GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1", Err(E::TargetTooLong)),
    ];
    for (line, expected) in table {
        let bytes = format!("{line}\r\nHost: h\r\n\r\n");
        let result = request(bytes.as_bytes(), |head| {
            head.map(|head| (head.path().to_owned(), head.query().map(str::to_owned)))
        });
        let result = result.as_ref().map(|(path, query)| (path.as_str(), query.as_deref())).map_err(|e| *e);
        assert_eq!(result, *expected, "{line:?}");
    }
    request(b"GET http://a:8/ HTTP/1.1\r\nHost: b\r\n\r\n", |head| {
        assert_eq!(head.unwrap().host(), Some(&b"a:8"[..]));
    });
}

#[test]
fn header_lines_are_strict() {
    let table: &[(&str, Option<HeadError>)] = &[
        ("", None),
        ("A:b\r\n", None),
        ("A: \t b \t\r\n", None),
        ("A:\r\n", None),
        ("A: \u{fc}\tb\r\n", None),
        ("!#$%&'*+-.^_`|~09azAZ: b\r\n", None),
        ("A : b\r\n", Some(E::BadHeaderName)),
        ("A\t: b\r\n", Some(E::BadHeaderName)),
        (": b\r\n", Some(E::BadHeaderName)),
        ("A\r\n", Some(E::BadHeaderName)),
        ("A(: b\r\n", Some(E::BadHeaderName)),
        ("\u{fc}: b\r\n", Some(E::BadHeaderName)),
        (" A: b\r\n", Some(E::BadHeaderName)),
        ("A: b\r\n c\r\n", Some(E::BadHeaderName)),
        ("A:\r\n\tc\r\n", Some(E::BadHeaderName)),
        ("A: b\rc\r\n", Some(E::BadHeaderValue)),
        ("A: b\0c\r\n", Some(E::BadHeaderValue)),
        ("A: \x01\r\n", Some(E::BadHeaderValue)),
        ("A: \x0b\r\n", Some(E::BadHeaderValue)),
        ("A: b\x7f\r\n", Some(E::BadHeaderValue)),
        ("A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\x1fb\r\n", Some(E::BadHeaderValue)),
        ("A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\x7fb\r\n", Some(E::BadHeaderValue)),
        ("A:a\r\nB:b\r\nC:c\r\n", None),
        ("A:a\r\nB:b\r\nC:c\r\nD:d\r\n", Some(E::TooManyHeaders)),
        ("\r\n", Some(E::NotOneHead)),
    ];
    for (lines, expected) in table {
        let bytes = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        assert_eq!(fault(bytes.as_bytes()), *expected, "{lines:?}");
    }
    assert_eq!(fault(b"GET / HTTP/1.1\r\nHost: h\r\n"), Some(E::NotOneHead));
    assert_eq!(fault(b""), Some(E::NotOneHead));
    let mut one = [EMPTY_HEADER; 1];
    let two = parse_request(b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n", &mut one, &LIMITS);
    assert_eq!(two.err(), Some(E::TooManyHeaders), "the storage is a limit too");
    // Every control byte, wherever the parser's vector steps place it.
    for byte in (0u8..32).chain([127]).filter(|b| !b"\t\r\n".contains(b)) {
        for before in 0..40 {
            let value = [&vec![b'v'; before][..], &[byte], &[b'w'; 40]].concat();
            let head = [b"GET / HTTP/1.1\r\nHost: h\r\nA: ", &value[..], b"\r\n\r\n"].concat();
            assert_eq!(fault(&head), Some(E::BadHeaderValue), "{byte} after {before}");
        }
    }
}

#[test]
fn hosts() {
    let table: &[(&str, &str, Option<HeadError>)] = &[
        ("1.1", "", Some(E::HostMissing)),
        ("1.0", "", None),
        ("1.1", "Host: a\r\nhost: a\r\n", Some(E::HostRepeated)),
        ("1.0", "Host: a\r\nhost: a\r\n", Some(E::HostRepeated)),
        ("1.0", "Host: a b\r\n", Some(E::BadHost)),
    ];
    for (version, lines, expected) in table {
        assert_eq!(fault(format!("GET / HTTP/{version}\r\n{lines}\r\n").as_bytes()), *expected, "{lines:?}");
    }
    for good in ["", "a", "a.b-c_d:80", "1.2.3.4:65535", "a:", "[::1]", "[::ffff:1.2.3.4]:9", "a%20b"] {
        assert!(valid_host(good.as_bytes()), "{good:?}");
    }
    let bad = [
        ":80", "a b", "a/b", "u@a", "a:b", "a:80:80", "a:65536", "a:000080", "a:-1", "[::1", "[]", "[::1]x",
        "[g::]", "a,b c", "a?b", "a#b", "a\\b", "\u{e4}", "[1]", "::1", "a\t",
    ];
    for bad in bad {
        assert!(!valid_host(bad.as_bytes()), "{bad:?}");
    }
}

#[test]
fn body_lengths() {
    use BodyLength::{Chunked, Length, None};
    let table: &[(&str, Result<BodyLength, HeadError>)] = &[
        ("", Ok(None)),
        ("Content-Length: 0\r\n", Ok(Length(0))),
        ("content-length: 007\r\n", Ok(Length(7))),
        ("Content-Length: 18446744073709551615\r\n", Ok(Length(u64::MAX))),
        ("Transfer-Encoding: chunked\r\n", Ok(Chunked)),
        ("Transfer-Encoding: , Chunked ,\r\n", Ok(Chunked)),
        ("Content-Length: 18446744073709551616\r\n", Err(E::BadContentLength)),
        ("Content-Length: 99999999999999999999\r\n", Err(E::BadContentLength)),
        ("Content-Length: +1\r\n", Err(E::BadContentLength)),
        ("Content-Length: -1\r\n", Err(E::BadContentLength)),
        ("Content-Length: 0x1\r\n", Err(E::BadContentLength)),
        ("Content-Length: 1 1\r\n", Err(E::BadContentLength)),
        ("Content-Length: 1, 1\r\n", Err(E::BadContentLength)),
        ("Content-Length:\r\n", Err(E::BadContentLength)),
        ("Content-Length: 1\r\nContent-Length: 1\r\n", Err(E::ContentLengthRepeated)),
        ("Content-Length: 1\r\nContent-Length: 2\r\n", Err(E::ContentLengthRepeated)),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", Err(E::TwoLengths)),
        ("Content-Length: 1\r\nTransfer-Encoding: x\r\n", Err(E::TwoLengths)),
        ("Transfer-Encoding: gzip, chunked\r\n", Err(E::TransferCodingUnsupported)),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", Err(E::TransferCodingUnsupported)),
        ("Transfer-Encoding: chunked, chunked\r\n", Err(E::TransferCodingUnsupported)),
        ("Transfer-Encoding: gzip\r\n", Err(E::ChunkedNotLast)),
        ("Transfer-Encoding: chunked, identity\r\n", Err(E::ChunkedNotLast)),
        ("Transfer-Encoding: \"chunked\"\r\n", Err(E::ChunkedNotLast)),
        ("Transfer-Encoding: chunked;a=b\r\n", Err(E::ChunkedNotLast)),
        ("Transfer-Encoding: xchunked\r\n", Err(E::ChunkedNotLast)),
        ("Transfer-Encoding:\r\n", Err(E::ChunkedNotLast)),
    ];
    for (lines, expected) in table {
        let bytes = format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        assert_eq!(request(bytes.as_bytes(), |head| head.unwrap().body_length()), *expected, "{lines:?}");
    }
    request(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", |head| {
        assert_eq!(head.unwrap().body_length(), Err(E::TransferEncodingInOldVersion));
    });
}

#[test]
fn fields_over_several_lines() {
    let bytes =
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: ,a ,, Keep-Alive\r\nCONNECTION:\tB\r\nX: 1\r\n\r\n";
    request(bytes, |head| {
        let head = head.unwrap();
        assert_eq!((head.method, head.target, head.version), ("GET", "/", Version::Http11));
        assert_eq!(head.header_lines("connection").count(), 2);
        assert_eq!(
            head.fields().elements("connection").collect::<Vec<_>>(),
            [&b"a"[..], b"Keep-Alive", b"B"]
        );
        for token in ["A", "b", "keep-alive"] {
            assert!(head.has_token("Connection", token), "{token}");
        }
        for token in ["keep", "alive", "", "a ,"] {
            assert!(!head.has_token("Connection", token), "{token}");
        }
        assert_eq!(head.single("connection"), Err(Duplicate));
        assert_eq!(head.single("x"), Ok(Some(&b"1"[..])));
        assert_eq!(head.single("y"), Ok(None));
    });
}

#[test]
fn persistence_and_expectation() {
    // Version, lines, keeps_alive, expects_continue.
    let table = [
        ("1.1", "", true, false),
        ("1.1", "Connection: close\r\n", false, false),
        ("1.1", "Connection: x, CLOSE\r\n", false, false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false, false),
        ("1.0", "", false, false),
        ("1.0", "Connection: Keep-Alive\r\n", true, false),
        ("1.0", "Connection: keep-alive, close\r\n", false, false),
        ("1.1", "Expect: 100-Continue\r\n", true, true),
        ("1.0", "Expect: 100-continue\r\n", false, false),
        ("1.1", "Expect: 200-ok\r\n", true, false),
    ];
    for (version, lines, keeps, expects) in table {
        let bytes = format!("POST / HTTP/{version}\r\nHost: h\r\n{lines}\r\n");
        request(bytes.as_bytes(), |head| {
            let head = head.unwrap();
            assert_eq!(
                (head.keeps_alive(), head.expects_continue()),
                (keeps, expects),
                "{version} {lines:?}"
            );
        });
    }
}

#[test]
fn statuses_of_faults() {
    let table = [
        (E::BadRequestLine, 400),
        (E::TlsOnPlainPort, 400),
        (E::HostMissing, 400),
        (E::TargetTooLong, 414),
        (E::HeadTooLarge, 431),
        (E::TooManyHeaders, 431),
        (E::ConnectUnsupported, 501),
        (E::TransferCodingUnsupported, 501),
        (E::ChunkedNotLast, 400),
        (E::VersionUnsupported, 505),
    ];
    for (error, status) in table {
        assert_eq!(error.status(), status, "{error}");
    }
}

#[test]
fn responses_parse() {
    let table: &[(&str, Result<u16, HeadError>)] = &[
        ("HTTP/1.1 101 Switching Protocols", Ok(101)),
        ("HTTP/1.0 200 ", Ok(200)),
        ("HTTP/1.1 999", Ok(999)),
        ("HTTP/1.1 200 caf\u{e9}", Ok(200)),
        ("HTTP/2.0 200 OK", Err(E::VersionUnsupported)),
        ("http/1.1 200 OK", Err(E::BadStatusLine)),
        ("HTTP/1.1  200 OK", Err(E::BadStatusLine)),
        ("HTTP/1.1 20 OK", Err(E::BadStatusLine)),
        ("HTTP/1.1 2000 OK", Err(E::BadStatusLine)),
        ("HTTP/1.1 099 OK", Err(E::BadStatusLine)),
        ("HTTP/1.1 2x0 OK", Err(E::BadStatusLine)),
        ("HTTP/1.1 200 O\x01K", Err(E::BadStatusLine)),
        ("HTTP/1.1", Err(E::BadStatusLine)),
        ("", Err(E::BadStatusLine)),
    ];
    for (line, expected) in table {
        let bytes = format!("{line}\r\nA: b\r\n\r\n");
        let mut storage = [EMPTY_HEADER; 4];
        let result = parse_response(bytes.as_bytes(), &mut storage, &LIMITS);
        assert_eq!(result.map(|head| head.status), *expected, "{line:?}");
        if let Ok(head) = result {
            assert_eq!(head.fields().single("a"), Ok(Some(&b"b"[..])));
        }
    }
    let mut storage = [EMPTY_HEADER; 4];
    let folded = parse_response(b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", &mut storage, &LIMITS);
    assert_eq!(folded.err(), Some(E::BadHeaderName));
}

#[test]
fn responses_are_written() {
    let written = |status, framing, persist, headers: &[(&str, &str)]| {
        let mut out = Vec::new();
        write_response_head(&mut out, status, framing, persist, headers.iter().copied());
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        written(200, Framing::Length(5), Persist::Default, &[("Content-Type", "text/plain")]),
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\n"
    );
    assert_eq!(
        written(404, Framing::Chunked, Persist::KeepAlive, &[]),
        "HTTP/1.1 404 Not Found\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    assert_eq!(
        written(299, Framing::UntilClose, Persist::Close, &[]),
        "HTTP/1.1 299 \r\nConnection: close\r\n\r\n"
    );
    for status in [100, 204, 304] {
        assert!(!written(status, Framing::Length(0), Persist::Default, &[]).contains("Content-Length"));
    }
    assert_eq!(
        written(426, Framing::Length(0), Persist::Close, &[("Upgrade", "h2c")]),
        "HTTP/1.1 426 Upgrade Required\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let smuggled =
        [("A", "b\r\nC: d"), ("A\r\nB", "c"), ("", "a"), ("content-length", "9"), ("A", "\0"), ("A B", "c")];
    assert_eq!(
        written(200, Framing::Length(0), Persist::Default, &smuggled),
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    );
    assert!(valid_header("X-A", "caf\u{e9}\t ok") && valid_header("a", ""));
}
