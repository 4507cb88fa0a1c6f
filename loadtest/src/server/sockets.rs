//! The machine's TCP sockets by state, from /proc/net/tcp and tcp6: how many ends of connections the kernel still has.
//!
//! Refuses to know whose they are; a filter says which count. Invariants: one pass, no allocation per row, and what is
//! not a row is counted as such, never guessed at.
//!
//! The kernel hands the table out in pieces, so a row that comes or goes meanwhile may be missed or seen twice: a count
//! is exact only while nothing changes. It shows the network namespace that this process is in.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Rows are about 150 bytes; what is longer is not a row.
const ROW_MAX: u64 = 1024;

/// States of a TCP socket, in the kernel's numbering from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Established = 1,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynReceived,
}

const STATES: [State; 12] = [
    State::Established,
    State::SynSent,
    State::SynReceived,
    State::FinWait1,
    State::FinWait2,
    State::TimeWait,
    State::Close,
    State::CloseWait,
    State::LastAck,
    State::Listen,
    State::Closing,
    State::NewSynReceived,
];

/// One socket. IPv4 addresses mapped into IPv6 are given as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub state: State,
}

/// How many sockets are in which state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    states: [u64; STATES.len()],
    /// Rows that could not be read.
    pub malformed: u64,
}

/// Sockets of the machine, counted again and again with the same buffer.
#[derive(Debug, Default)]
pub struct Sockets {
    line: Vec<u8>,
}

impl Counts {
    pub fn of(&self, state: State) -> u64 {
        self.states[state as usize - 1]
    }
}

impl Sockets {
    /// Counts the sockets that the filter wants; `None` where /proc/net/tcp cannot be read.
    pub fn count(&mut self, mut filter: impl FnMut(&Row) -> bool) -> Option<Counts> {
        let mut counts = Counts::default();
        self.add(File::open("/proc/net/tcp").ok()?, &mut filter, &mut counts).ok()?;
        match File::open("/proc/net/tcp6") {
            Ok(table) => self.add(table, &mut filter, &mut counts).ok()?,
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return None,
        }
        Some(counts)
    }

    fn add(
        &mut self,
        table: impl Read,
        filter: &mut impl FnMut(&Row) -> bool,
        counts: &mut Counts,
    ) -> io::Result<()> {
        let mut table = BufReader::with_capacity(64 * 1024, table);
        let mut heading = true;
        loop {
            self.line.clear();
            if table.by_ref().take(ROW_MAX).read_until(b'\n', &mut self.line)? == 0 {
                return Ok(());
            }
            if std::mem::take(&mut heading) {
                continue;
            }
            match row(&self.line) {
                Some(row) if filter(&row) => counts.states[row.state as usize - 1] += 1,
                Some(_) => {}
                None => counts.malformed += 1,
            }
        }
    }
}

/// `  sl: local remote state ...`
fn row(line: &[u8]) -> Option<Row> {
    let mut fields = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    fields.next()?.strip_suffix(':')?;
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    let state = usize::from_str_radix(fields.next()?, 16).ok()?;
    Some(Row { local, remote, state: *STATES.get(state.checked_sub(1)?)? })
}

/// `0100007F:1F90`, or four such words and a port.
fn address(field: &str) -> Option<SocketAddr> {
    let (words, port) = field.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let ip = match words.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(words)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(words.get(8 * at..8 * at + 8)?)?);
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The kernel prints four bytes in network order as if they were a number of this machine: 127.0.0.1 is `0100007F` on
/// a little-endian one, `7F000001` on a big-endian one.
fn word(hex: &str) -> Option<[u8; 4]> {
    u32::from_str_radix(hex, 16).ok().map(u32::to_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";

    fn count(table: &str, mut filter: impl FnMut(&Row) -> bool) -> Counts {
        let mut counts = Counts::default();
        Sockets::default().add(table.as_bytes(), &mut filter, &mut counts).unwrap();
        counts
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn rows_of_both_families_are_read() {
        let table = [
            (
                "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:0",
                "127.0.0.1:8080",
                "0.0.0.0:0",
                State::Listen,
            ),
            (
                "  12: 0500A8C0:2329 0600A8C0:FFFF 01",
                "192.168.0.5:9001",
                "192.168.0.6:65535",
                State::Established,
            ),
            (
                "   1: 00000000000000000000000001000000:2329 B80D0120000000000000000001000000:C001 06 x",
                "[::1]:9001",
                "[2001:db8::1]:49153",
                State::TimeWait,
            ),
            (
                "   2: 0000000000000000FFFF00000100007F:2329 0000000000000000FFFF00000200007F:0001 08",
                "127.0.0.1:9001",
                "127.0.0.2:1",
                State::CloseWait,
            ),
        ];
        for (line, local, remote, state) in table {
            let expected = Row { local: local.parse().unwrap(), remote: remote.parse().unwrap(), state };
            assert_eq!(row(line.as_bytes()), Some(expected), "{line}");
        }
    }

    #[test]
    fn what_is_not_a_row_is_counted_as_such() {
        let bad = [
            "",
            "0:",
            "0 0100007F:1F90 00000000:0000 0A",
            "0: 0100007F:1F90 00000000:0000",
            "0: 0100007F:1F90 00000000:0000 00",
            "0: 0100007F:1F90 00000000:0000 0D",
            "0: 0100007F:1F90 00000000:0000 XX",
            "0: 0100007F:11F90 00000000:0000 0A",
            "0: 0100007F 00000000:0000 0A",
            "0: 0100007:1F90 00000000:0000 0A",
            "0: 0100007G:1F90 00000000:0000 0A",
            "0: 000000000000000000000000010000é:1F90 00000000:0000 0A",
            "0: 0000000é00000000000000000100000:1F90 00000000:0000 0A",
        ];
        for line in bad {
            assert_eq!(row(line.as_bytes()), None, "{line}");
        }
        assert_eq!(row(b"0: \xff\xff 00000000:0000 0A"), None);
        let counts = count(&format!("{HEADING}{}\n", bad.join("\n")), |_| true);
        assert_eq!((counts.malformed, counts.states), (bad.len() as u64, [0; STATES.len()]));
        let long = format!("{HEADING}{}", "x".repeat(5 * ROW_MAX as usize));
        assert_eq!(count(&long, |_| true).malformed, 5, "a row without an end is bounded");
        assert_eq!(count("", |_| true), Counts::default());
    }

    #[test]
    fn many_rows_are_counted_by_state_and_filter() {
        let mut table = HEADING.to_string();
        for at in 0..200_000_u32 {
            let (port, state) = (1024 + at % 50_000, if at % 4 == 0 { 6 } else { 1 });
            table.push_str(&format!(
                "{at:>4}: 0100007F:2329 0100007F:{port:04X} {state:02X} 00000000:00000000\n"
            ));
        }
        let all = count(&table, |_| true);
        assert_eq!(
            (all.of(State::Established), all.of(State::TimeWait), all.malformed),
            (150_000, 50_000, 0)
        );
        let some = count(&table, |row| row.remote.port() == 1024);
        assert_eq!((some.of(State::TimeWait), some.states.iter().sum::<u64>()), (4, 4));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_ends_of_a_connection_are_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(server).unwrap();
        let (near, _far) = (stream.local_addr().unwrap(), listener.accept().unwrap());
        let mut sockets = Sockets::default();
        let mut of = |state, filter: &dyn Fn(&Row) -> bool| sockets.count(filter).unwrap().of(state);
        assert_eq!(of(State::Listen, &|row| row.local == server), 1);
        assert_eq!(of(State::Established, &|row| row.local == near && row.remote == server), 1);
        assert_eq!(of(State::Established, &|row| row.local == server && row.remote == near), 1);
    }
}
