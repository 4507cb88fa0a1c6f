//! The vectors of RFC 7692, round trips in every setting, every kind of damage, and what codecs hold.

mod distance;

use super::*;
use crate::ground::rng::Rng;

fn inflate(inflater: &mut Inflater, bytes: &[u8], room: usize) -> Result<Vec<u8>, Broken> {
    let (mut out, mut room) = (Vec::new(), vec![0; room]);
    let tail: &[u8] = if inflater.has_ended() { &[] } else { &TAIL };
    for mut part in [bytes, tail] {
        if part == TAIL && inflater.has_ended() {
            break;
        }
        loop {
            let made = inflater.step(&mut part, &mut room)?;
            out.extend_from_slice(&room[..made]);
            if made < room.len() {
                assert!(part.is_empty(), "room and input left");
                break;
            }
        }
    }
    Ok(out)
}

fn inflated(bytes: &[u8]) -> Result<Vec<u8>, Broken> {
    let mut inflater = Inflater::default();
    let out = inflate(&mut inflater, bytes, ROOM)?;
    if inflater.is_whole() { Ok(out) } else { Err(Broken) }
}

fn deflated(deflater: &mut Deflater, message: &[u8]) -> Option<Vec<u8>> {
    let mut out = b"before".to_vec();
    let shorter = deflater.message(message, &mut vec![0; ROOM], &mut out);
    assert_eq!(out[..6], *b"before");
    assert_eq!(shorter, out.len() > 6);
    shorter.then(|| out.split_off(6))
}

/// Words in an order of the generator's choice: text that compresses, but not to nothing.
fn words(rng: &mut Rng, len: usize) -> Vec<u8> {
    let all = ["tide ", "gate ", "\"level\":", "1234", ",", "{", "}", "the water is ", "rising ", "falling "];
    let mut text = Vec::new();
    while text.len() < len {
        text.extend_from_slice(all[rng.below(all.len() as u64) as usize].as_bytes());
    }
    text.truncate(len);
    text
}

/// RFC 7692 §7.2.3.1 to §7.2.3.6.
#[test]
fn the_examples_of_rfc_7692() {
    let hello: &[u8] = b"Hello";
    let table: &[(&[u8], &[u8])] = &[
        (&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], hello),
        (&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], hello),
        (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], hello),
        (&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], hello),
        (&[0x00], b""),
    ];
    for (bytes, expected) in table {
        assert_eq!(inflated(bytes).as_deref(), Ok(*expected), "{bytes:02x?}");
        // In steps of one byte too.
        assert_eq!(inflate(&mut Inflater::default(), bytes, 1).as_deref(), Ok(*expected), "{bytes:02x?}");
    }
    // With the window kept, the second message is a reference to the first.
    let mut inflater = Inflater::default();
    assert_eq!(inflate(&mut inflater, table[0].0, ROOM).as_deref(), Ok(hello));
    assert_eq!(inflate(&mut inflater, &[0xf2, 0x00, 0x11, 0x00, 0x00], ROOM).as_deref(), Ok(hello));
    assert_eq!(inflated(&[0xf2, 0x00, 0x11, 0x00, 0x00]), Err(Broken));
}

#[test]
fn final_blocks_begin_another_stream() {
    // "Hello" in a final block; with the byte that RFC 7692 §7.2.3.4 puts behind it, and without.
    let block = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(inflated(&block).as_deref(), Ok(&b"Hello"[..]));
    let twice = [&block[..], &block].concat();
    assert_eq!(inflated(&twice).as_deref(), Ok(&b"HelloHello"[..]));
    let many = [0x03, 0x00].repeat(1000);
    assert_eq!(inflated(&many).as_deref(), Ok(&b""[..]));
    let mixed = [&many[..], &block, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]].concat();
    assert_eq!(inflated(&mixed).as_deref(), Ok(&b"HelloHello"[..]));
}

#[test]
fn what_is_compressed_inflates_in_every_setting() {
    let mut rng = Rng::new(1);
    for level in 1..=9 {
        for (memory_level, window_bits) in [(1, 8), (1, 15), (5, 9), (8, 12), (9, 15), (9, 9)] {
            for takeover in [false, true] {
                let mut deflater = Deflater::new(level, memory_level, window_bits);
                let mut inflater = Inflater::default();
                for len in [10, 130, 1_000, 20_000, 100_000] {
                    let message = words(&mut rng, len);
                    if !takeover {
                        deflater.reset();
                        inflater.reset();
                    }
                    let Some(packed) = deflated(&mut deflater, &message) else {
                        assert!(len < 200, "{len} words would not compress");
                        deflater.reset();
                        continue;
                    };
                    let step = 1 + rng.below(70_000) as usize;
                    assert_eq!(inflate(&mut inflater, &packed, step).as_deref(), Ok(&message[..]));
                }
            }
        }
    }
}

#[test]
fn what_would_not_get_shorter_is_not_compressed() {
    let mut rng = Rng::new(2);
    for len in [0, 1, 3, 100, 5_000, 70_000, 300_000] {
        let mut noise = vec![0; len];
        rng.fill(&mut noise);
        let mut deflater = Deflater::new(6, 8, 15);
        assert_eq!(deflated(&mut deflater, &noise), None, "{len} bytes of noise");
        // What it has seen of that is forgotten.
        deflater.reset();
        let message = words(&mut rng, 1_000);
        let packed = deflated(&mut deflater, &message).expect("shorter");
        assert_eq!(inflated(&packed).as_deref(), Ok(&message[..]));
    }
}

/// A compressor that has been reset may be followed by any receiver that remembers: it refers to nothing before.
#[test]
fn a_message_that_does_not_look_back_fits_any_window() {
    let mut rng = Rng::new(3);
    let (mut own, mut shared, mut inflater) =
        (Deflater::new(6, 8, 15), Deflater::new(6, 8, 15), Inflater::default());
    let mut stale = false;
    for _ in 0..300 {
        let len = 200 + rng.below(2_000) as usize;
        let message = words(&mut rng, len);
        let through_own = rng.chance(1, 2);
        let packed = if through_own {
            if std::mem::take(&mut stale) {
                own.reset();
            }
            deflated(&mut own, &message)
        } else {
            stale = true;
            shared.reset();
            deflated(&mut shared, &message)
        };
        let packed = packed.expect("shorter");
        assert_eq!(inflate(&mut inflater, &packed, ROOM).as_deref(), Ok(&message[..]));
    }
}

/// Digits of the generator's choice, half of them copied from up to `most` bytes before.
fn repeats(rng: &mut Rng, len: usize, most: usize) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::new();
    while text.len() < len {
        let back = 1 + rng.below(most as u64) as usize;
        if back <= text.len() && rng.chance(1, 2) {
            let start = text.len() - back;
            text.extend_from_within(start..text.len().min(start + 40));
        } else {
            text.extend((0..40).map(|_| b'a' + rng.below(16) as u8));
        }
    }
    text
}

/// RFC 7692 §7.1.2: nothing refers to what is farther back than the window that was agreed, one of 256 bytes included.
#[test]
fn the_agreed_window_is_obeyed() {
    let mut rng = Rng::new(4);
    for level in 1..=9 {
        for window_bits in 8..=15 {
            let mut deflater = Deflater::new(level, 8, window_bits);
            let mut farthest = 0;
            for len in [400, 3_000, 90_000] {
                let message = repeats(&mut rng, len, 2 << window_bits);
                match deflated(&mut deflater, &message) {
                    Some(packed) => farthest = farthest.max(distance::farthest(&packed)),
                    None => deflater.reset(),
                }
            }
            assert!(farthest <= 1 << window_bits, "{farthest} bytes back in a window of {window_bits} bits");
            assert!(farthest > 1 << (window_bits - 2), "level {level} looks back only {farthest} bytes");
        }
    }
}

#[test]
fn damage_is_found_or_harmless_and_never_a_panic() {
    let mut rng = Rng::new(5);
    let message = words(&mut rng, 3_000);
    let packed = deflated(&mut Deflater::new(6, 8, 15), &message).expect("shorter");
    for cut in 0..packed.len() {
        assert!(inflated(&packed[..cut]).is_err(), "cut at {cut} of {}", packed.len());
    }
    let mut broken = 0;
    for _ in 0..20_000 {
        let mut bytes = packed.clone();
        for _ in 0..1 + rng.below(4) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        broken += u32::from(inflated(&bytes).is_err());
    }
    assert!(broken > 1_000, "{broken} of 20000 damaged messages were found");
    for _ in 0..20_000 {
        let mut noise = vec![0; rng.below(300) as usize];
        rng.fill(&mut noise);
        let _ = inflated(&noise);
    }
}

/// A step gives what there is room for, and the rest is still there afterwards.
#[test]
fn a_bomb_goes_off_one_step_at_a_time() {
    let zeros = vec![0; 64 << 20];
    let packed = deflated(&mut Deflater::new(9, 9, 15), &zeros).expect("shorter");
    assert!(packed.len() * 1_000 < zeros.len());
    let (mut inflater, mut rest, mut room) = (Inflater::default(), &packed[..], vec![1; 1_000]);
    for _ in 0..5 {
        assert_eq!(inflater.step(&mut rest, &mut room), Ok(1_000));
    }
    // What was read ahead is bounded too: not all of the input is taken to make five thousand bytes.
    assert!(rest.len() > packed.len() / 2);
}

/// What is set aside for a codec is what it holds.
#[test]
fn the_cost_of_a_codec_is_what_it_holds() {
    let held = |make: &dyn Fn() -> Box<dyn std::any::Any>| {
        let mut kept = None;
        let bytes = allocation_counter::measure(|| kept = Some(make())).bytes_current;
        drop(kept);
        bytes as usize
    };
    for (memory_level, window_bits) in [(1, 8), (1, 9), (8, 15), (9, 15), (9, 9), (4, 12)] {
        let bytes = held(&|| Box::new(Deflater::new(6, memory_level, window_bits)));
        let cost = Deflater::cost(memory_level, window_bits);
        assert!(
            bytes <= cost && cost < bytes + bytes / 8,
            "{memory_level}, {window_bits}: {bytes}, said {cost}"
        );
    }
    let bytes = held(&|| Box::new(Inflater::default()));
    assert!(
        bytes <= Inflater::COST && Inflater::COST < bytes + bytes / 8,
        "{bytes}, said {}",
        Inflater::COST
    );
}
