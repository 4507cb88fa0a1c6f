//! Tables for the parameters: each rule of RFC 7692 §7.1, kept and broken, in either role.

use super::super::super::handshake::extensions;
use super::super::super::head::Fields;
use super::*;

const DEDICATED: Terms = Terms { takeover: true, window_bits: 15 };
const SHARED: Terms = Terms { takeover: false, window_bits: 15 };

fn each<T>(value: &str, look: impl FnOnce(&mut dyn Iterator<Item = Extension<'_>>) -> T) -> T {
    let header = httparse::Header { name: "Sec-WebSocket-Extensions", value: value.as_bytes() };
    look(&mut extensions(Fields(&[header])).map_while(Result::ok))
}

fn accepted(offers: &str, terms: Terms) -> Option<String> {
    each(offers, |offers| accept(offers, terms)).map(|agreed| agreed.to_string())
}

fn judged(answer: &str, terms: Terms) -> Result<Agreement, ParamError> {
    each(answer, |answers| terms.judge(&answers.next().expect("one")))
}

#[test]
fn a_server_accepts_the_first_offer_that_it_can() {
    let plain = "permessage-deflate";
    let none = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let narrow = Terms { window_bits: 10, ..DEDICATED };
    let table: &[(&str, Terms, Option<&str>)] = &[
        (plain, DEDICATED, Some(plain)),
        (plain, SHARED, Some(none)),
        ("x-other, permessage-deflate", DEDICATED, Some(plain)),
        ("x-webkit-deflate-frame", DEDICATED, None),
        ("permessage-deflate; client_max_window_bits", DEDICATED, Some(plain)),
        ("permessage-deflate; client_max_window_bits", SHARED, Some(none)),
        (
            "permessage-deflate; server_no_context_takeover",
            DEDICATED,
            Some("permessage-deflate; server_no_context_takeover"),
        ),
        (
            "permessage-deflate; client_no_context_takeover",
            DEDICATED,
            Some("permessage-deflate; client_no_context_takeover"),
        ),
        // What is asked for is granted with the same or a smaller value.
        (
            "permessage-deflate; server_max_window_bits=15",
            DEDICATED,
            Some("permessage-deflate; server_max_window_bits=15"),
        ),
        (
            "permessage-deflate; server_max_window_bits=8",
            DEDICATED,
            Some("permessage-deflate; server_max_window_bits=8"),
        ),
        (
            "permessage-deflate; server_max_window_bits=12",
            narrow,
            Some("permessage-deflate; server_max_window_bits=10"),
        ),
        (
            "permessage-deflate; client_max_window_bits=9",
            DEDICATED,
            Some("permessage-deflate; client_max_window_bits=9"),
        ),
        (
            "permessage-deflate; client_max_window_bits=\"12\"",
            narrow,
            Some("permessage-deflate; server_max_window_bits=10; client_max_window_bits=10"),
        ),
        // The server's own limit may be said unasked; the client's only to one that has offered it.
        (plain, narrow, Some("permessage-deflate; server_max_window_bits=10")),
        (
            "permessage-deflate; client_max_window_bits",
            narrow,
            Some("permessage-deflate; server_max_window_bits=10; client_max_window_bits=10"),
        ),
        // Offers in order of preference; one that cannot be accepted is passed over.
        (
            "permessage-deflate; server_max_window_bits=9, permessage-deflate",
            DEDICATED,
            Some("permessage-deflate; server_max_window_bits=9"),
        ),
        ("permessage-deflate; new_parameter, permessage-deflate", DEDICATED, Some(plain)),
        ("permessage-deflate; server_max_window_bits=16, permessage-deflate", DEDICATED, Some(plain)),
    ];
    for (offers, terms, expected) in table {
        assert_eq!(accepted(offers, *terms).as_deref(), *expected, "{offers}, {terms:?}");
    }
}

#[test]
fn a_malformed_offer_is_declined() {
    let table = [
        ("x", ParamError::Unknown),
        ("x=1", ParamError::Unknown),
        ("Server_No_Context_Takeover", ParamError::Unknown),
        ("server_no_context_takeover=1", ParamError::Value),
        ("server_no_context_takeover=true", ParamError::Value),
        ("client_no_context_takeover=0", ParamError::Value),
        ("server_max_window_bits", ParamError::Value),
        ("server_max_window_bits=7", ParamError::Value),
        ("server_max_window_bits=16", ParamError::Value),
        ("server_max_window_bits=08", ParamError::Value),
        ("server_max_window_bits=+9", ParamError::Value),
        ("server_max_window_bits=9a", ParamError::Value),
        ("server_max_window_bits=265", ParamError::Value),
        ("client_max_window_bits=7", ParamError::Value),
        ("client_max_window_bits=010", ParamError::Value),
        ("server_no_context_takeover; server_no_context_takeover", ParamError::Repeated),
        ("client_no_context_takeover; client_no_context_takeover", ParamError::Repeated),
        ("server_max_window_bits=9; server_max_window_bits=9", ParamError::Repeated),
        ("client_max_window_bits; client_max_window_bits=9", ParamError::Repeated),
    ];
    for (params, error) in table {
        let offer = format!("{NAME}; {params}");
        assert_eq!(each(&offer, |offers| Params::read(&offers.next().unwrap())), Err(error), "{offer}");
        assert_eq!(accepted(&offer, DEDICATED), None, "{offer}");
    }
}

#[test]
fn a_client_offers_and_judges_the_answer() {
    assert_eq!(DEDICATED.offer(), "permessage-deflate; client_max_window_bits");
    let none = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(SHARED.offer(), format!("{none}; client_max_window_bits"));
    let narrow = Terms { window_bits: 10, ..DEDICATED };
    assert_eq!(narrow.offer(), "permessage-deflate; server_max_window_bits=10; client_max_window_bits=10");
    let bad = Err(ParamError::NotOffered);
    /// Whether the server and the client forget, and the bits of their windows.
    type Judged = Result<(bool, bool, Option<u8>, Option<u8>), ParamError>;
    let table: &[(&str, Terms, Judged)] = &[
        ("", DEDICATED, Ok((false, false, None, Some(15)))),
        ("; server_no_context_takeover", DEDICATED, Ok((true, false, None, Some(15)))),
        ("; client_no_context_takeover", DEDICATED, Ok((false, true, None, Some(15)))),
        ("; server_max_window_bits=9", DEDICATED, Ok((false, false, Some(9), Some(15)))),
        ("; client_max_window_bits=8", DEDICATED, Ok((false, false, None, Some(8)))),
        ("; server_no_context_takeover", SHARED, Ok((true, true, None, Some(15)))),
        // What was asked for must be granted.
        ("", SHARED, bad),
        ("; client_no_context_takeover", SHARED, bad),
        ("", narrow, bad),
        ("; server_max_window_bits=11", narrow, bad),
        ("; server_max_window_bits=10", narrow, Ok((false, false, Some(10), Some(10)))),
        ("; server_max_window_bits=9; client_max_window_bits=11", narrow, bad),
        (
            "; server_max_window_bits=9; client_max_window_bits=9",
            narrow,
            Ok((false, false, Some(9), Some(9))),
        ),
        // In an answer the client's window has a value.
        ("; client_max_window_bits", DEDICATED, bad),
        ("; client_max_window_bits=16", DEDICATED, Err(ParamError::Value)),
        ("; server_max_window_bits", DEDICATED, Err(ParamError::Value)),
        ("; x", DEDICATED, Err(ParamError::Unknown)),
        ("; server_max_window_bits=9; server_max_window_bits=9", DEDICATED, Err(ParamError::Repeated)),
    ];
    for (params, terms, expected) in table {
        let found = judged(&format!("{NAME}{params}"), *terms).map(|agreed| {
            let Agreement {
                server_no_context_takeover: server,
                client_no_context_takeover: client,
                server_max_window_bits,
                client_max_window_bits,
            } = agreed;
            (server, client, server_max_window_bits, client_max_window_bits)
        });
        assert_eq!(found, *expected, "{params}, {terms:?}");
    }
}

/// Whatever our client offers, our server accepts, and the client can live with the answer.
#[test]
fn both_roles_understand_each_other() {
    for (a, b) in (8..=15).flat_map(|a| (8..=15).map(move |b| (a, b))) {
        for takeovers in 0..4 {
            let client = Terms { takeover: takeovers & 1 != 0, window_bits: a.max(9) };
            let server = Terms { takeover: takeovers & 2 != 0, window_bits: b.max(9) };
            let answer = accepted(&client.offer(), server).expect("an answer");
            let agreed = judged(&answer, client).unwrap_or_else(|e| panic!("{answer}: {e:?}"));
            assert!(
                agreed.server_max_window_bits.unwrap_or(15) <= client.window_bits.min(server.window_bits)
            );
            assert!(agreed.client_max_window_bits.unwrap_or(15) <= client.window_bits);
            assert_eq!(agreed.server_no_context_takeover, !(client.takeover && server.takeover));
        }
    }
}
