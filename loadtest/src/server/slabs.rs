//! `Slabs`: what the kernel's object caches hold, by name, from `/proc/slabinfo`.
//!
//! Refuses to know whose the objects are. Only root may read the file. Caches of like size are merged under one name
//! unless the kernel was started with `slab_nomerge`; then names are true. Invariant: a line that is none is left out.

use std::collections::BTreeMap;

use super::text;

/// One cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slab {
    /// Memory of its pages, in bytes.
    pub bytes: u64,
    /// Objects in use.
    pub objects: u64,
    /// Bytes of one object, with what it is padded by.
    pub size: u64,
}

/// All caches by name.
pub type Slabs = BTreeMap<String, Slab>;

/// Reads them; `None` where that is not allowed, or there are none.
pub fn read() -> Option<Slabs> {
    let text = text("/proc/slabinfo").ok().flatten()?;
    let slabs = parse(&text, rustix::param::page_size() as u64);
    (!slabs.is_empty()).then_some(slabs)
}

/// slabinfo(5): name, objects in use, objects, size, objects per slab, pages per slab, `: tunables` with three numbers,
/// `: slabdata`, slabs in use, slabs.
fn parse(text: &str, page: u64) -> Slabs {
    let line = |line: &str| {
        let (caches, slabdata) = line.split_once(": slabdata")?;
        let mut words = caches.split_ascii_whitespace();
        let name = words.next()?.to_string();
        let mut number = || words.next()?.parse::<u64>().ok();
        let (objects, _, size, _, pages) = (number()?, number()?, number()?, number()?, number()?);
        let slabs: u64 = slabdata.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some((name, Slab { bytes: slabs.checked_mul(pages)?.checked_mul(page)?, objects, size }))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_found_by_name() {
        let text = "slabinfo - version: 2.1\n\
            # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> \
            <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n\
            TCP                   30     39   2432   13    8 : tunables    0    0    0 : slabdata      3      3      0\n\
            filp                2000   2080    256   16    1 : tunables    0    0    0 : slabdata    130    130      0\n";
        let expected = [
            ("TCP".to_string(), Slab { bytes: 3 * 8 * 4_096, objects: 30, size: 2_432 }),
            ("filp".to_string(), Slab { bytes: 130 * 4_096, objects: 2_000, size: 256 }),
        ];
        assert_eq!(parse(text, 4_096), Slabs::from(expected));
    }

    #[test]
    fn lines_that_are_none_are_left_out() {
        for text in [
            "",
            "TCP 1 2 3 4 5",
            "TCP 1 2 3 4 : tunables : slabdata 1 2 3",
            "TCP 1 2 3 4 x : tunables 0 0 0 : slabdata 1 2 3",
            "TCP 1 2 3 4 5 : tunables 0 0 0 : slabdata 1",
            "TCP 1 2 3 4 18446744073709551615 : tunables 0 0 0 : slabdata 1 18446744073709551615 0",
        ] {
            assert_eq!(parse(text, 4_096), Slabs::new(), "{text:?}");
        }
    }
}
