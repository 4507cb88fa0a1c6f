//! What the kernel says about TCP and its own memory: levels and counters, and what became of them during a run.
//!
//! Refuses to know which process caused it. Invariants: everything is found by the name in its heading, never by its
//! position, for kernels add columns; a name that is not there is `None`.
//!
//! Counters and sockets are those of the network namespace that this process is in; orphans, `tcp_mem_bytes` and all
//! memory are the whole machine's.

use super::{labelled_bytes, text};

/// Declares the readings, and how each one's change is made.
macro_rules! readings {
    ($($(#[$about:meta])* $name:ident: $change:ident,)*) => {
        /// Readings at one moment, or, out of [`Kernel::since`], their changes between two.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Kernel {
            $($(#[$about])* pub $name: Option<i64>,)*
        }

        impl Kernel {
            /// What has changed since `before`: levels with their sign, counters by how much they went up.
            ///
            /// A counter that fell was begun anew, so its change is not known.
            #[must_use]
            pub fn since(&self, before: &Kernel) -> Kernel {
                Kernel { $($name: $change(self.$name, before.$name),)* }
            }
        }
    };
}

readings! {
    /// TCP sockets in use, IPv4 and IPv6, without those in TIME-WAIT.
    tcp_in_use: level,
    /// Sockets that no process holds any more and that TCP still has to finish.
    tcp_orphans: level,
    /// Sockets in TIME-WAIT.
    tcp_time_wait: level,
    /// What TCP's buffers hold in bytes, to the page; the kernel reserves it per CPU, so it may be off by 1 MiB each.
    tcp_mem_bytes: level,
    /// Kernel objects that cannot be given back, in bytes: sockets among them.
    slab_unreclaimable: level,
    /// All kernel objects in bytes.
    slab: level,
    /// What could be had without swapping, in bytes: the kernel's estimate.
    mem_available: level,
    /// Connections dropped because the accept queue was full.
    listen_overflows: counter,
    /// Connections dropped on a listener for any reason, overflows included.
    listen_drops: counter,
    syncookies_sent: counter,
    /// SYNs dropped because the queue of half-open connections was full.
    request_queue_drops: counter,
    /// Segments sent again.
    retransmits: counter,
    /// Segments sent, without retransmits alone.
    out_segs: counter,
    /// Resets sent.
    out_resets: counter,
    /// Retransmission timers that ran out.
    tcp_timeouts: counter,
    /// SYNs sent again.
    syn_retransmits: counter,
    /// Connections that failed while they were being opened.
    attempt_fails: counter,
    /// Established connections that were reset.
    estab_resets: counter,
    /// Connections opened from here.
    active_opens: counter,
    /// Connections opened to here.
    passive_opens: counter,
    /// Connections given up for want of memory or because of too many orphans.
    aborts_on_memory: counter,
    /// How often TCP came under memory pressure.
    memory_pressures: counter,
    /// TIME-WAIT sockets that found no room.
    time_wait_overflows: counter,
    /// Ticks of all processors, whatever they did.
    ticks: counter,
    /// Of these, taken by the host of a virtual machine for others while ours were ready to run.
    ticks_stolen: counter,
}

impl Kernel {
    /// Reads them all; on a machine without /proc all are `None`.
    pub fn read() -> Kernel {
        let read = |path| text(path).ok().flatten().unwrap_or_default();
        let page = i64::try_from(rustix::param::page_size()).ok();
        let mut kernel = Kernel::default();
        kernel.sockets(&read("/proc/net/sockstat"), &read("/proc/net/sockstat6"), page);
        kernel.memory(&read("/proc/meminfo"));
        kernel.processors(&read("/proc/stat"));
        kernel.counters(&read("/proc/net/snmp"), &read("/proc/net/netstat"));
        kernel
    }

    fn sockets(&mut self, sockstat: &str, sockstat6: &str, page: Option<i64>) {
        let of = |name| pair(sockstat, "TCP:", name);
        // Without IPv6 there is no second file.
        let in_use6 = pair(sockstat6, "TCP6:", "inuse").unwrap_or(0);
        self.tcp_in_use = of("inuse").and_then(|in_use| in_use.checked_add(in_use6));
        self.tcp_orphans = of("orphan");
        self.tcp_time_wait = of("tw");
        self.tcp_mem_bytes = of("mem").zip(page).and_then(|(pages, page)| pages.checked_mul(page));
    }

    fn memory(&mut self, meminfo: &str) {
        let of = |name| labelled_bytes(meminfo, name).and_then(|bytes| i64::try_from(bytes).ok());
        self.slab_unreclaimable = of("SUnreclaim");
        self.slab = of("Slab");
        self.mem_available = of("MemAvailable");
    }

    /// proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal; guests' time is in user already.
    fn processors(&mut self, stat: &str) {
        let Some(words) = words_of(stat, "cpu ").next() else { return };
        let ticks: Vec<i64> = words.take(8).map_while(|word| word.parse().ok()).collect();
        self.ticks =
            (!ticks.is_empty()).then(|| ticks.iter().fold(0_i64, |sum, more| sum.saturating_add(*more)));
        self.ticks_stolen = ticks.get(7).copied();
    }

    fn counters(&mut self, snmp: &str, netstat: &str) {
        let tcp = |name| column(snmp, "Tcp:", name);
        let more = |name| column(netstat, "TcpExt:", name);
        self.listen_overflows = more("ListenOverflows");
        self.listen_drops = more("ListenDrops");
        self.syncookies_sent = more("SyncookiesSent");
        self.request_queue_drops = more("TCPReqQFullDrop");
        self.retransmits = tcp("RetransSegs");
        self.out_segs = tcp("OutSegs");
        self.out_resets = tcp("OutRsts");
        self.tcp_timeouts = more("TCPTimeouts");
        self.syn_retransmits = more("TCPSynRetrans");
        self.attempt_fails = tcp("AttemptFails");
        self.estab_resets = tcp("EstabResets");
        self.active_opens = tcp("ActiveOpens");
        self.passive_opens = tcp("PassiveOpens");
        self.aborts_on_memory = more("TCPAbortOnMemory");
        self.memory_pressures = more("TCPMemoryPressures");
        self.time_wait_overflows = more("TCPTimeWaitOverflow");
    }
}

fn level(now: Option<i64>, before: Option<i64>) -> Option<i64> {
    now?.checked_sub(before?)
}

fn counter(now: Option<i64>, before: Option<i64>) -> Option<i64> {
    level(now, before).filter(|&more| more >= 0)
}

/// From `TCP: inuse 1 orphan 0`: the number behind its name.
fn pair(text: &str, row: &str, name: &str) -> Option<i64> {
    let mut words = words_of(text, row).next()?;
    while let Some(word) = words.next() {
        let value = words.next()?;
        if word == name {
            return value.parse().ok();
        }
    }
    None
}

/// From a line of names and a line of numbers that both begin with `row`: the number below its name.
fn column(text: &str, row: &str, name: &str) -> Option<i64> {
    let mut lines = words_of(text, row);
    let at = lines.next()?.position(|word| word == name)?;
    lines.next()?.nth(at)?.parse().ok()
}

/// The words behind `row`, for each line that begins with it.
fn words_of<'a>(text: &'a str, row: &str) -> impl Iterator<Item = std::str::SplitWhitespace<'a>> {
    text.lines().filter_map(move |line| line.strip_prefix(row).map(str::split_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNMP: &str = "Ip: Forwarding OutSegs\nIp: 2 99\n\
        Tcp: RtoAlgorithm MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets OutSegs RetransSegs OutRsts New\n\
        Tcp: 1 -1 10 11 12 13 14 15 16 17\nUdp: InDatagrams\nUdp: 1\n";
    const NETSTAT: &str = "TcpExt: TCPTimeouts SyncookiesSent ListenOverflows ListenDrops TCPSynRetrans\n\
        TcpExt: 1 2 3 4\nIpExt: TCPSynRetrans\nIpExt: 9\n";

    #[test]
    fn counters_are_found_by_name() {
        let mut kernel = Kernel::default();
        kernel.counters(SNMP, NETSTAT);
        let expected = Kernel {
            active_opens: Some(10),
            passive_opens: Some(11),
            attempt_fails: Some(12),
            estab_resets: Some(13),
            out_segs: Some(14),
            retransmits: Some(15),
            out_resets: Some(16),
            tcp_timeouts: Some(1),
            syncookies_sent: Some(2),
            listen_overflows: Some(3),
            listen_drops: Some(4),
            // Its heading has no number below it, and that of another row does not count.
            syn_retransmits: None,
            ..Kernel::default()
        };
        assert_eq!(kernel, expected);
    }

    #[test]
    fn stolen_time_is_a_part_of_all_processors_time() {
        let of = |stat: &str| {
            let mut kernel = Kernel::default();
            kernel.processors(stat);
            (kernel.ticks, kernel.ticks_stolen)
        };
        assert_eq!(of("cpu  10 1 5 100 2 0 1 7 50 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"), (Some(126), Some(7)));
        assert_eq!(of("cpu  10 1 5\n"), (Some(16), None));
        assert_eq!(of("intr 5\n"), (None, None));
    }

    #[test]
    fn levels_are_found_by_name() {
        let mut kernel = Kernel::default();
        let sockstat = "sockets: used 14\nTCP: inuse 3 orphan 2 tw 5 alloc 1 mem 26\nUDP: inuse 7 mem 8\n";
        kernel.sockets(sockstat, "TCP6: inuse 4\nUDP6: inuse 9\n", Some(4096));
        kernel.memory(
            "MemTotal: 9 kB\nMemAvailable:  8 kB\nSlab:  7 kB\nSReclaimable: 2 kB\nSUnreclaim: 5 kB\n",
        );
        let expected = Kernel {
            tcp_in_use: Some(7),
            tcp_orphans: Some(2),
            tcp_time_wait: Some(5),
            tcp_mem_bytes: Some(26 * 4096),
            slab_unreclaimable: Some(5 * 1024),
            slab: Some(7 * 1024),
            mem_available: Some(8 * 1024),
            ..Kernel::default()
        };
        assert_eq!(kernel, expected);
        kernel.sockets(sockstat, "", None);
        assert_eq!((kernel.tcp_in_use, kernel.tcp_mem_bytes), (Some(3), None));
    }

    #[test]
    fn texts_that_are_none_give_nothing() {
        let bad = [
            "",
            "Tcp:",
            "Tcp:\nTcp:",
            "TCP: inuse",
            "TCP: inuse x orphan",
            "Tcp: OutSegs\n",
            "Tcp: OutSegs\nTcp: x\n",
        ];
        for text in bad {
            let mut kernel = Kernel::default();
            kernel.sockets(text, text, Some(i64::MAX));
            kernel.memory(text);
            kernel.counters(text, text);
            assert_eq!(kernel, Kernel::default(), "{text:?}");
        }
        let mut kernel = Kernel::default();
        kernel.sockets("TCP: mem 9223372036854775807 inuse 9223372036854775807", "TCP6: inuse 1", Some(4096));
        assert_eq!(kernel, Kernel::default(), "more than can be counted");
    }

    #[test]
    fn levels_may_fall_and_counters_may_not() {
        let table = [
            (Some(5), Some(3), Some(2), Some(2)),
            (Some(3), Some(5), Some(-2), None),
            (None, Some(1), None, None),
            (Some(1), None, None, None),
        ];
        for (now, before, of_level, of_counter) in table {
            let at = |value| Kernel { slab: value, out_segs: value, ..Kernel::default() };
            let change = at(now).since(&at(before));
            assert_eq!((change.slab, change.out_segs), (of_level, of_counter), "{now:?} {before:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_connection_is_noticed() {
        let before = Kernel::read();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let change = Kernel::read().since(&before);
        assert!(change.active_opens.is_some_and(|opens| opens >= 1), "{change:?}");
        assert!(change.passive_opens.is_some_and(|opens| opens >= 1), "{change:?}");
        assert!(
            change.tcp_in_use.is_some() && change.tcp_mem_bytes.is_some() && change.slab.is_some(),
            "{change:?}"
        );
    }
}
