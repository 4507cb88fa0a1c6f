//! Whole turns of the loop over the simulated network: what a message costs besides the kernel.
//!
//! `cargo bench --features sim --bench turn`. For counts instead of times: `benches/instructions`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::internals::frame::{self, Opcode};
use tidegate::internals::rig::Rig;
use tidegate::{ConnId, Context, Handler, Message};

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        cx.send(conn, msg);
    }
}

fn frames(count: usize, size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..count {
        frame::append(&mut bytes, true, Opcode::Binary, &vec![7; size], Some([1, 2, 3, 4]));
    }
    bytes
}

/// Every one of `connections` sends `depth` messages of `size` bytes and gets them back.
fn echo(c: &mut Criterion) {
    let mut group = c.benchmark_group("turn/echo");
    for (connections, depth, size) in [
        (1, 1, 0),
        (1, 1, 16),
        (1, 1, 125),
        (1, 1, 126),
        (1, 1, 64 * 1024),
        (100, 1, 20),
        (100, 16, 20),
        (1000, 1, 125),
    ] {
        let mut rig = Rig::new(connections, Echo);
        let bytes = frames(depth, size);
        let elements = (connections * depth) as u64;
        group.throughput(Throughput::ElementsAndBytes { elements, bytes: elements * size as u64 });
        group.bench_function(BenchmarkId::from_parameter(format!("{connections}x{depth}x{size}")), |b| {
            b.iter(|| {
                let taken: usize = (0..connections).map(|conn| rig.deliver(conn, &bytes)).sum();
                assert_eq!(taken, connections * bytes.len());
                let mut back = 0;
                while back < connections * depth * size.max(1) {
                    rig.turn();
                    back += (0..connections).map(|conn| rig.take_output(conn)).sum::<usize>();
                }
            });
        });
    }
    group.finish();
}

criterion_group!(turns, echo);
criterion_main!(turns);
