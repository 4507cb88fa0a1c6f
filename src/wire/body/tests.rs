//! Tables for bodies: every legal and illegal form, every cut, every limit.

use super::BodyError as E;
use super::*;

const BODY_MAX: u64 = 20;

/// The body and what follows it; `None` while it goes on.
type Outcome = Result<Option<(Vec<u8>, usize)>, BodyError>;

fn decode(bytes: &[u8], length: BodyLength, ends: impl IntoIterator<Item = usize>) -> Outcome {
    let mut decoder = BodyDecoder::new(length, BODY_MAX)?;
    let (mut body, mut from) = (Vec::new(), 0);
    for end in ends.into_iter().chain([bytes.len()]) {
        let mut input = &bytes[from..end];
        loop {
            match decoder.decode(&mut input) {
                Ok(BodyEvent::Piece(piece)) => {
                    assert!(!piece.is_empty());
                    body.extend_from_slice(piece);
                }
                Ok(BodyEvent::NeedMore) => break assert!(input.is_empty(), "all input is used"),
                Ok(BodyEvent::End) => {
                    assert!(decoder.is_done());
                    return Ok(Some((body, bytes.len() - (end - input.len()))));
                }
                Err(error) => {
                    for _ in 0..40 {
                        assert_eq!(decoder.decode(&mut input), Err(error), "an error stays");
                    }
                    return Err(error);
                }
            }
            assert!(body.len() as u64 <= BODY_MAX);
        }
        from = end;
    }
    Ok(None)
}

fn decode_every_way(bytes: &[u8], length: BodyLength) -> Outcome {
    let whole = decode(bytes, length, []);
    assert_eq!(decode(bytes, length, 0..=bytes.len()), whole, "byte by byte");
    for cut in 0..=bytes.len() {
        assert_eq!(decode(bytes, length, [cut]), whole, "cut at {cut}");
    }
    whole
}

#[test]
fn plain_bodies() {
    let end = |body: &[u8], left| Ok(Some((body.to_vec(), left)));
    let table: &[(&[u8], BodyLength, Outcome)] = &[
        (b"GET", BodyLength::None, end(b"", 3)),
        (b"GET", BodyLength::Length(0), end(b"", 3)),
        (b"", BodyLength::Length(1), Ok(None)),
        (b"abc", BodyLength::Length(3), end(b"abc", 0)),
        (b"abc", BodyLength::Length(2), end(b"ab", 1)),
        (b"abc", BodyLength::Length(4), Ok(None)),
        (b"aaaaaaaaaaaaaaaaaaaa", BodyLength::Length(20), end(b"aaaaaaaaaaaaaaaaaaaa", 0)),
        (b"", BodyLength::Length(21), Err(E::TooLarge)),
        (b"", BodyLength::Length(u64::MAX), Err(E::TooLarge)),
    ];
    for (bytes, length, expected) in table {
        assert_eq!(decode_every_way(bytes, *length), *expected, "{length:?}");
    }
}

#[test]
fn chunked_bodies() {
    let end = |body: &[u8], left| Ok(Some((body.to_vec(), left)));
    let table: &[(&[u8], Outcome)] = &[
        (b"", Ok(None)),
        (b"0\r\n\r\n", end(b"", 0)),
        (b"000\r\n\r\nGET", end(b"", 3)),
        (b"3\r\nabc\r\n0\r\n\r\n", end(b"abc", 0)),
        (b"1\r\na\r\n1\r\nb\r\n00a\r\n0123456789\r\n0\r\n\r\nx", end(b"ab0123456789", 1)),
        (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", end(b"01234567890123456789", 0)),
        (b"2\r\n\r\n\r\n0\r\n\r\n", end(b"\r\n", 0)),
        (b"1;a\r\na\r\n0 ;b=\"c;d\"\t\r\n\r\n", end(b"a", 0)),
        (b"0\r\nA: b\r\nC:\r\n\r\n!", end(b"", 1)),
        (b"3\r\nabc", Ok(None)),
        (b"3\r\nabc\r\n0\r\n", Ok(None)),
        (b"0\r\nA: b\r\n", Ok(None)),
        (b"\r\n", Err(E::BadChunkSize)),
        (b";a\r\n", Err(E::BadChunkSize)),
        (b" 1\r\na", Err(E::BadChunkSize)),
        (b"1 \r\na", Err(E::BadChunkSize)),
        (b"1 1\r\na", Err(E::BadChunkSize)),
        (b"0x1\r\n", Err(E::BadChunkSize)),
        (b"-1\r\n", Err(E::BadChunkSize)),
        (b"+1\r\n", Err(E::BadChunkSize)),
        (b"g\r\n", Err(E::BadChunkSize)),
        (b"1\na", Err(E::BadChunkSize)),
        (b"1\rXa", Err(E::BadChunkSize)),
        (b"1;a\nb", Err(E::BadChunkSize)),
        (b"1;\0\r\n", Err(E::BadChunkSize)),
        (b"1\r\nab", Err(E::BadChunkEnd)),
        (b"1\r\na\n", Err(E::BadChunkEnd)),
        (b"1\r\na\rb", Err(E::BadChunkEnd)),
        (b"15\r\n", Err(E::TooLarge)),
        (b"14\r\n01234567890123456789\r\n1\r\n", Err(E::TooLarge)),
        (b"FFFFFFFFFFFFFFFF\r\n", Err(E::TooLarge)),
        (b"10000000000000000\r\n", Err(E::ChunkSizeOverflow)),
        (b"FFFFFFFFFFFFFFFFF\r\n", Err(E::ChunkSizeOverflow)),
        (b"0\r\n\n", Err(E::BadTrailer)),
        (b"0\r\n\rX", Err(E::BadTrailer)),
        (b"0\r\nA\r\n", Err(E::BadTrailer)),
        (b"0\r\nA : b\r\n", Err(E::BadTrailer)),
        (b"0\r\n: b\r\n", Err(E::BadTrailer)),
        (b"0\r\nA: b\r\n c\r\n", Err(E::BadTrailer)),
        (b"0\r\nA: b\n", Err(E::BadTrailer)),
        (b"0\r\nA: \0\r\n", Err(E::BadTrailer)),
        (b"0\r\nA: b\rc", Err(E::BadTrailer)),
    ];
    for (bytes, expected) in table {
        assert_eq!(decode_every_way(bytes, BodyLength::Chunked), *expected, "{:?}", bytes.escape_ascii());
    }
}

#[test]
fn overhead_is_bounded() {
    let chunked = |bytes: &str| decode(bytes.as_bytes(), BodyLength::Chunked, []);
    let line = |len: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(len - 2));
    assert_eq!(chunked(&line(256)), Ok(Some((b"a".to_vec(), 0))));
    assert_eq!(chunked(&line(257)), Err(E::ChunkLineTooLong));
    let digits = |len: usize| format!("{}1\r\na\r\n0\r\n\r\n", "0".repeat(len - 1));
    assert_eq!(chunked(&digits(256)), Ok(Some((b"a".to_vec(), 0))));
    assert_eq!(chunked(&digits(257)), Err(E::ChunkLineTooLong));
    // One trailer or many: the limit is on all of them together, CRs and LFs included.
    let one = |len: usize| format!("0\r\nA:{}\r\n\r\n", "v".repeat(len - 4));
    assert_eq!(chunked(&one(1024)), Ok(Some((vec![], 0))));
    assert_eq!(chunked(&one(1025)), Err(E::TrailersTooLarge));
    assert_eq!(chunked(&format!("0\r\n{}\r\n", "A:bc\r\n".repeat(170))), Ok(Some((vec![], 0))));
    assert_eq!(chunked(&format!("0\r\n{}\r\n", "A:bc\r\n".repeat(171))), Err(E::TrailersTooLarge));
}

#[test]
fn chunks_are_written_as_they_are_read() {
    let mut out = Vec::new();
    write_chunk(&mut out, b"hello world, hi");
    write_chunk(&mut out, b"");
    write_chunk(&mut out, b"!");
    write_last_chunk(&mut out);
    assert_eq!(out, b"f\r\nhello world, hi\r\n1\r\n!\r\n0\r\n\r\n");
    assert_eq!(decode_every_way(&out, BodyLength::Chunked), Ok(Some((b"hello world, hi!".to_vec(), 0))));
}

#[test]
fn statuses_of_faults() {
    assert_eq!(
        (E::TooLarge.status(), E::TrailersTooLarge.status(), E::BadChunkEnd.status()),
        (413, 431, 400)
    );
}
