//! What a server and clients need of each limit, and how to raise it.
//!
//! Refuses to ask the machine: readings in, rows out. Invariant: no arithmetic overflows whatever the
//! readings and needs are, and a limit that was not read is never called too low.

use super::{Need, Readings, Row, Verdict};
use crate::program::units::{grouped, rounded};

/// Descriptors that a process needs besides its connections: listeners, poller, standard streams, a reserve.
pub const DESCRIPTOR_RESERVE: u64 = 16;
/// What the kernel (Linux, x86-64) keeps for an idle TCP socket: the socket, its file, its epoll entry.
const KERNEL_BYTES: u64 = 4_300;
/// What the server keeps for an idle connection.
const SERVER_BYTES: u64 = 100;
/// What a load of clients keeps for each: its state, the message it sends, the one it reads, what it has measured.
/// Rounded up, for one that finds itself without memory measures nothing.
const CLIENT_BYTES: u64 = 1_024;
/// Default of the server's `listen_backlog`.
const LISTEN_BACKLOG: u64 = 4_096;

/// One row per limit.
pub(super) fn rows(readings: &Readings, need: &Need) -> Vec<Row> {
    let mut rows = vec![
        nofile(readings, need),
        nr_open(readings, need),
        file_max(readings, need),
        epoll_watches(readings, need),
    ];
    rows.extend((need.clients == 0 || need.server > 0).then(|| somaxconn(readings)));
    rows.extend([ports(readings, need), tcp_mem(readings, need)]);
    rows.extend(conntrack(readings, need));
    rows.push(memory(readings, need));
    rows.extend(cgroup(readings, need));
    rows
}

impl Need {
    /// Open descriptors of a server here.
    fn of_server(&self) -> u64 {
        self.server.saturating_add(DESCRIPTOR_RESERVE)
    }

    /// Open descriptors of one process: a client when there are some, else the server.
    fn of_process(&self) -> u64 {
        match self.clients {
            0 => self.of_server(),
            clients => clients.div_ceil(self.processes.max(1)).saturating_add(DESCRIPTOR_RESERVE),
        }
    }

    /// Open descriptors of all that was asked for.
    fn of_all(&self) -> u64 {
        if self.clients == 0 {
            return self.of_server();
        }
        let reserves = self.processes.max(1).saturating_mul(DESCRIPTOR_RESERVE);
        let server = if self.server == 0 { 0 } else { self.of_server() };
        self.clients.saturating_add(reserves).saturating_add(server)
    }

    /// Open descriptors once a server has clients on its own machine; advice for a server alone.
    fn with_clients(&self) -> u64 {
        if self.clients == 0 { self.of_server().saturating_mul(2) } else { self.of_all() }
    }
}

fn nofile(readings: &Readings, need: &Need) -> Row {
    let of_process = need.of_process();
    let row = Row::new("nofile (soft/hard)", grouped(of_process));
    let (Some(soft), Some(hard)) = (readings.nofile_soft, readings.nofile_hard) else { return row };
    let row = row.value(format!("{} / {}", unlimited(soft), unlimited(hard)));
    let raise = |need: u64| {
        format!(
            "ulimit -Hn {need} && ulimit -Sn {need} (as root, in the shell that starts it); \
             systemd: LimitNOFILE={need}"
        )
    };
    // The soft limit stops nobody: a program may raise it to the hard one itself, and ours do.
    if hard < of_process {
        return row.too_low(raise(of_process));
    }
    // Beside clients the server is another process, whose own limit was not read.
    if need.server > 0 && hard < need.of_server() {
        return row.note(format!("a server started from here needs more: {}", raise(need.of_server())));
    }
    row.ok()
}

fn nr_open(readings: &Readings, need: &Need) -> Row {
    let of_process = need.of_process();
    let row = Row::new("fs.nr_open", grouped(of_process));
    let Some(value) = readings.nr_open else { return row };
    let row = row.value(grouped(value));
    // It caps only how far the hard limit can be raised; one that is high enough already stays in force.
    let stops = |need: u64| value < need && readings.nofile_hard.is_none_or(|hard| hard < need);
    let raise = |need: u64| format!("sysctl -w fs.nr_open={need} (before nofile is raised)");
    if stops(of_process) {
        return row.too_low(raise(of_process));
    }
    if need.server > 0 && stops(need.of_server()) {
        return row.note(format!("a server started from here needs more: {}", raise(need.of_server())));
    }
    row.ok()
}

fn file_max(readings: &Readings, need: &Need) -> Row {
    let in_use = readings.files_in_use.unwrap_or(0);
    let needed = in_use.saturating_add(need.of_all());
    let row = Row::new("fs.file-max", grouped(needed));
    let Some(value) = readings.file_max else { return row };
    let row = row.value(unlimited(value));
    let with_clients = in_use.saturating_add(need.with_clients());
    if value < needed {
        row.too_low(format!("sysctl -w fs.file-max={with_clients} ({} open now)", grouped(in_use)))
    } else if value < with_clients {
        row.note(format!("clients on this machine double it: sysctl -w fs.file-max={with_clients}"))
    } else {
        row.ok()
    }
}

fn epoll_watches(readings: &Readings, need: &Need) -> Row {
    let needed = need.of_all();
    let row = Row::new("fs.epoll.max_user_watches", grouped(needed));
    let Some(value) = readings.epoll_watches else { return row };
    let row = row.value(grouped(value));
    let with_clients = need.with_clients();
    if value < needed {
        row.too_low(format!("sysctl -w fs.epoll.max_user_watches={with_clients}"))
    } else if value < with_clients {
        row.note(format!(
            "clients of the same user double it: sysctl -w fs.epoll.max_user_watches={with_clients}"
        ))
    } else {
        row.ok()
    }
}

fn somaxconn(readings: &Readings) -> Row {
    let row = Row::new("net.core.somaxconn", grouped(LISTEN_BACKLOG));
    let Some(value) = readings.somaxconn else { return row };
    let row = row.value(grouped(value));
    if value < LISTEN_BACKLOG {
        // It stops no connection, so it is never too low.
        return row.note(format!(
            "bursts of more than {} new connections are slowed: \
             sysctl -w net.core.somaxconn={LISTEN_BACKLOG}",
            grouped(value)
        ));
    }
    row.ok()
}

fn ports(readings: &Readings, need: &Need) -> Row {
    // One address connects to one port of a server at most once per port of its own.
    let needed = match need.clients {
        0 => "none for a server".into(),
        clients => format!("{} per source", grouped(clients.div_ceil(need.sources.max(1)))),
    };
    let row = Row::new("net.ipv4.ip_local_port_range", needed);
    let Some((first, last)) = readings.ports else { return row };
    let width = last.saturating_sub(first).saturating_add(1);
    let row = row.value(format!("{first}-{last}"));
    let clients = if need.clients == 0 { need.server } else { need.clients };
    let addresses = clients.div_ceil(width);
    if addresses <= need.sources.max(1) {
        return row.ok();
    }
    let range = match addresses {
        _ if need.server == 0 => "of this machine".to_string(),
        ..=254 => format!("127.0.0.1 to 127.0.0.{addresses}"),
        _ => "all of 127.0.0.0/8 will do".to_string(),
    };
    let (ports, clients) = (grouped(width), grouped(clients));
    let wider = "or a wider range: sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"";
    if need.clients == 0 {
        row.note(format!(
            "{ports} ports per source address: {clients} clients on one machine need {addresses} addresses \
             ({range}), {wider}"
        ))
    } else {
        row.too_low(format!(
            "{ports} ports per source address: {clients} clients need {addresses} addresses ({range}), \
             named with --source, {wider}"
        ))
    }
}

fn tcp_mem(readings: &Readings, need: &Need) -> Row {
    let sockets = need.server.saturating_add(need.clients);
    let row = Row::new("net.ipv4.tcp_mem (max)", "none while idle".into());
    let (Some(pages), Some(page)) = (readings.tcp_mem_pages, readings.page_bytes) else { return row };
    let row = row.value(format!("{} pages = {}", grouped(pages), rounded(pages.saturating_mul(page))));
    if pages < sockets {
        return row.note(format!(
            "idle sockets hold no page, one with unread or unsent bytes at least one; \
             for all of them at once: sysctl -w net.ipv4.tcp_mem=\"{} {} {sockets}\"",
            sockets / 2,
            sockets / 4 * 3
        ));
    }
    row.ok()
}

fn conntrack(readings: &Readings, need: &Need) -> Option<Row> {
    let value = readings.conntrack_max?;
    // A connection with both ends here is tracked once.
    let needed = readings.conntrack_in_use.unwrap_or(0).saturating_add(need.connections());
    let row = Row::new("nf_conntrack_max", grouped(needed)).value(grouped(value));
    Some(if value < needed {
        row.too_low(format!(
            "sysctl -w net.netfilter.nf_conntrack_max={needed} (or do not track the server's port)"
        ))
    } else {
        row.ok()
    })
}

fn memory(readings: &Readings, need: &Need) -> Row {
    let advice = "add memory, or hold fewer connections";
    memory_row("memory available", readings.memory_available, need, advice)
}

fn cgroup(readings: &Readings, need: &Need) -> Option<Row> {
    let left = readings.cgroup_left?;
    let advice = "raise memory.max of the control group (systemd: MemoryMax=, containers: --memory)";
    Some(memory_row("memory left in cgroup", Some(left), need, advice))
}

fn memory_row(name: &'static str, value: Option<u64>, need: &Need, advice: &str) -> Row {
    let of_server = need.server.saturating_mul(KERNEL_BYTES + SERVER_BYTES);
    let of_clients = need.clients.saturating_mul(KERNEL_BYTES + CLIENT_BYTES);
    let needed = of_server.saturating_add(of_clients);
    let row = Row::new(name, rounded(needed));
    let Some(value) = value else { return row };
    let row = row.value(rounded(value));
    let (kernel, client) = (rounded(KERNEL_BYTES), rounded(CLIENT_BYTES));
    let each = match (need.server, need.clients) {
        (_, 0) => format!("{kernel} in the kernel and {SERVER_BYTES} bytes in the server each, while idle"),
        (0, _) => format!("{kernel} in the kernel and {client} in the client each, while idle"),
        _ => format!(
            "{kernel} in the kernel for either end, {SERVER_BYTES} bytes in the server and {client} in the \
             client each, while idle"
        ),
    };
    if value < needed {
        row.too_low(format!("{advice}; {each}"))
    } else if need.clients == 0 && value < needed.saturating_mul(2) {
        row.note(format!("{each}; clients on this machine pay the same again"))
    } else {
        row.ok()
    }
}

fn unlimited(value: u64) -> String {
    // The kernel's own "no limit" of file-max is the largest signed number.
    if value >= i64::MAX.cast_unsigned() { "unlimited".into() } else { grouped(value) }
}

impl Row {
    fn new(name: &'static str, needed: String) -> Self {
        Row { name, value: "?".into(), needed, verdict: Verdict::Unknown, advice: String::new() }
    }

    fn value(self, value: String) -> Self {
        Row { value, ..self }
    }

    fn ok(self) -> Self {
        Row { verdict: Verdict::Ok, ..self }
    }

    fn note(self, advice: String) -> Self {
        Row { verdict: Verdict::Note, advice, ..self }
    }

    fn too_low(self, advice: String) -> Self {
        Row { verdict: Verdict::TooLow, advice, ..self }
    }
}

#[cfg(test)]
mod tests;
