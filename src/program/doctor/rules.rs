//! What N connections need of each limit, and how to raise it.
//!
//! Refuses to ask the machine: readings in, rows out. Invariant: no arithmetic overflows whatever the
//! readings are, and a limit that was not read is never called too low.

use super::{Readings, Row, Verdict};
use crate::program::units::{grouped, rounded};

/// Descriptors that a process needs besides its connections: listeners, poller, standard streams, a reserve.
pub const DESCRIPTOR_RESERVE: u64 = 16;
/// What the kernel (Linux, x86-64) keeps for an idle TCP socket: the socket, its file, its epoll entry.
const KERNEL_BYTES: u64 = 4_300;
/// What the server keeps for an idle connection.
const SERVER_BYTES: u64 = 100;
/// Default of the server's `listen_backlog`.
const LISTEN_BACKLOG: u64 = 4_096;

/// One row per limit.
pub(super) fn rows(readings: &Readings, connections: u64) -> Vec<Row> {
    let mut rows = vec![
        nofile(readings, connections),
        nr_open(readings, connections),
        file_max(readings, connections),
        epoll_watches(readings, connections),
        somaxconn(readings),
        ports(readings, connections),
        tcp_mem(readings, connections),
    ];
    rows.extend(conntrack(readings, connections));
    rows.push(memory(readings, connections));
    rows.extend(cgroup(readings, connections));
    rows
}

fn nofile(readings: &Readings, connections: u64) -> Row {
    let need = connections.saturating_add(DESCRIPTOR_RESERVE);
    let row = Row::new("nofile (soft/hard)", grouped(need));
    let (Some(soft), Some(hard)) = (readings.nofile_soft, readings.nofile_hard) else { return row };
    let row = row.value(format!("{} / {}", unlimited(soft), unlimited(hard)));
    // The soft limit stops nobody: a program may raise it to the hard one itself, and ours do.
    if hard < need {
        return row.too_low(format!(
            "ulimit -Hn {need} && ulimit -Sn {need} (as root, in the shell that starts it); \
             systemd: LimitNOFILE={need}"
        ));
    }
    row.ok()
}

fn nr_open(readings: &Readings, connections: u64) -> Row {
    let need = connections.saturating_add(DESCRIPTOR_RESERVE);
    let row = Row::new("fs.nr_open", grouped(need));
    let Some(value) = readings.nr_open else { return row };
    let row = row.value(grouped(value));
    // It caps only how far the hard limit can be raised; one that is high enough already stays in force.
    if value < need && readings.nofile_hard.is_none_or(|hard| hard < need) {
        return row.too_low(format!("sysctl -w fs.nr_open={need} (before nofile is raised)"));
    }
    row.ok()
}

fn file_max(readings: &Readings, connections: u64) -> Row {
    let in_use = readings.files_in_use.unwrap_or(0);
    let of_server = connections.saturating_add(DESCRIPTOR_RESERVE);
    let need = in_use.saturating_add(of_server);
    let row = Row::new("fs.file-max", grouped(need));
    let Some(value) = readings.file_max else { return row };
    let row = row.value(unlimited(value));
    let with_clients = need.saturating_add(of_server);
    if value < need {
        row.too_low(format!("sysctl -w fs.file-max={with_clients} ({} open now)", grouped(in_use)))
    } else if value < with_clients {
        row.note(format!("clients on this machine double it: sysctl -w fs.file-max={with_clients}"))
    } else {
        row.ok()
    }
}

fn epoll_watches(readings: &Readings, connections: u64) -> Row {
    let need = connections.saturating_add(DESCRIPTOR_RESERVE);
    let row = Row::new("fs.epoll.max_user_watches", grouped(need));
    let Some(value) = readings.epoll_watches else { return row };
    let row = row.value(grouped(value));
    let with_clients = need.saturating_mul(2);
    if value < need {
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

fn ports(readings: &Readings, connections: u64) -> Row {
    let row = Row::new("net.ipv4.ip_local_port_range", "none for a server".into());
    let Some((first, last)) = readings.ports else { return row };
    let width = last.saturating_sub(first).saturating_add(1);
    let row = row.value(format!("{first}-{last}"));
    if connections <= width {
        return row.ok();
    }
    let addresses = connections.div_ceil(width);
    let range = match addresses {
        ..=254 => format!("127.0.0.1 to 127.0.0.{addresses}"),
        _ => "all of 127.0.0.0/8 will do".to_string(),
    };
    // One address connects to one port of a server at most once per port of its own.
    row.note(format!(
        "{} ports per source address: {} clients on one machine need {addresses} addresses ({range}), \
         or a wider range: sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"",
        grouped(width),
        grouped(connections),
    ))
}

fn tcp_mem(readings: &Readings, connections: u64) -> Row {
    let row = Row::new("net.ipv4.tcp_mem (max)", "none while idle".into());
    let (Some(pages), Some(page)) = (readings.tcp_mem_pages, readings.page_bytes) else { return row };
    let row = row.value(format!("{} pages = {}", grouped(pages), rounded(pages.saturating_mul(page))));
    if pages < connections {
        return row.note(format!(
            "idle sockets hold no page, one with unread or unsent bytes at least one; \
             for all of them at once: sysctl -w net.ipv4.tcp_mem=\"{} {} {connections}\"",
            connections / 2,
            connections / 4 * 3
        ));
    }
    row.ok()
}

fn conntrack(readings: &Readings, connections: u64) -> Option<Row> {
    let value = readings.conntrack_max?;
    let need = readings.conntrack_in_use.unwrap_or(0).saturating_add(connections);
    let row = Row::new("nf_conntrack_max", grouped(need)).value(grouped(value));
    Some(if value < need {
        row.too_low(format!(
            "sysctl -w net.netfilter.nf_conntrack_max={need} (or do not track the server's port)"
        ))
    } else {
        row.ok()
    })
}

fn memory(readings: &Readings, connections: u64) -> Row {
    memory_row(
        "memory available",
        readings.memory_available,
        connections,
        "add memory, or hold fewer connections",
    )
}

fn cgroup(readings: &Readings, connections: u64) -> Option<Row> {
    let left = readings.cgroup_left?;
    let advice = "raise memory.max of the control group (systemd: MemoryMax=, containers: --memory)";
    Some(memory_row("memory left in cgroup", Some(left), connections, advice))
}

fn memory_row(name: &'static str, value: Option<u64>, connections: u64, advice: &str) -> Row {
    let need = connections.saturating_mul(KERNEL_BYTES + SERVER_BYTES);
    let row = Row::new(name, rounded(need));
    let Some(value) = value else { return row };
    let row = row.value(rounded(value));
    let each = format!(
        "{} in the kernel and {SERVER_BYTES} bytes in the server each, while idle",
        rounded(KERNEL_BYTES)
    );
    if value < need {
        row.too_low(format!("{advice}; {each}"))
    } else if value < need.saturating_mul(2) {
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
