//! The way in from other threads: a bounded queue of commands, and a waker that is used once per batch.
//!
//! Refuses to know the hub's insides. Invariants: at most `inbox_max` commands and `inbox_bytes_max` payload bytes
//! wait; whoever is told `Ok` before the loop stops is carried out; the loop never waits for a sender; an empty queue has
//! room for a few commands at the most.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::io::Wake;
use crate::conn::message::Message;
#[cfg(feature = "tls")]
use crate::conn::tls::ServerTls;
use crate::ground::id::ConnId;

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandleError {
    /// `inbox_max` commands or `inbox_bytes_max` bytes wait already; try again later, or drop it.
    Full,
    /// The loop has ended.
    Stopped,
}

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HandleError::Full => "the loop's inbox is full",
            HandleError::Stopped => "the loop has stopped",
        })
    }
}

impl std::error::Error for HandleError {}

/// What another thread may ask of the loop.
#[derive(Debug)]
pub enum Command {
    /// Publish to a topic.
    Publish(String, Message<'static>),
    /// Send to a connection.
    Send(ConnId, Message<'static>),
    /// Close a connection.
    Close(ConnId, u16, String),
    /// Shut down gracefully.
    Shutdown,
    /// Begin TLS sessions with this from here on.
    #[cfg(feature = "tls")]
    Tls(ServerTls),
}

impl Command {
    fn len(&self) -> usize {
        match self {
            Command::Publish(topic, message) => topic.len() + message.len(),
            Command::Send(_, message) => message.len(),
            Command::Close(_, _, reason) => reason.len(),
            Command::Shutdown => 0,
            #[cfg(feature = "tls")]
            Command::Tls(_) => 0,
        }
    }
}

struct Shared {
    /// Commands that wait, and their payload bytes.
    commands: Bounded,
    bytes: Bounded,
    refused: AtomicU64,
    stopped: AtomicBool,
    /// The loop has been woken, or will look by itself.
    called: AtomicBool,
    waker: Arc<dyn Wake>,
}

/// What is taken of something that there is only so much of.
struct Bounded {
    taken: AtomicUsize,
    max: usize,
}

impl Bounded {
    fn new(max: usize) -> Self {
        Bounded { taken: AtomicUsize::new(0), max }
    }

    /// False, and nothing is taken, where there is not so much left.
    fn take(&self, count: usize) -> bool {
        let sum = |taken: usize| taken.checked_add(count).filter(|&sum| sum <= self.max);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, sum).is_ok()
    }

    fn give_back(&self, count: usize) {
        self.taken.fetch_sub(count, Ordering::AcqRel);
    }
}

impl Shared {
    /// Room for a command, or none of it.
    fn take(&self, len: usize) -> Result<(), HandleError> {
        if !self.commands.take(1) {
            return Err(HandleError::Full);
        }
        if !self.bytes.take(len) {
            self.commands.give_back(1);
            return Err(HandleError::Full);
        }
        Ok(())
    }

    fn give_back(&self, len: usize) {
        self.bytes.give_back(len);
        self.commands.give_back(1);
    }
}

/// Reaches a loop from other threads: cheap to clone, never blocks.
///
/// Commands of one handle are carried out in their order, within a turn of the loop or, under load, a few.
#[derive(Clone)]
pub struct Handle {
    sender: Sender<Command>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("bytes", &self.shared.bytes.taken).finish_non_exhaustive()
    }
}

impl Handle {
    /// Publishes a message to a topic.
    ///
    /// # Errors
    /// [`HandleError::Full`] or [`HandleError::Stopped`]; the message is dropped.
    pub fn publish(
        &self,
        topic: impl Into<String>,
        message: impl Into<Message<'static>>,
    ) -> Result<(), HandleError> {
        self.put(Command::Publish(topic.into(), message.into()))
    }

    /// Sends a message to a connection; nothing happens if that has ended.
    ///
    /// # Errors
    /// [`HandleError::Full`] or [`HandleError::Stopped`]; the message is dropped.
    pub fn send(&self, conn: ConnId, message: impl Into<Message<'static>>) -> Result<(), HandleError> {
        self.put(Command::Send(conn, message.into()))
    }

    /// Begins the closing handshake with a connection; nothing happens if that has ended.
    ///
    /// # Errors
    /// [`HandleError::Full`] or [`HandleError::Stopped`].
    pub fn close(&self, conn: ConnId, code: u16, reason: impl Into<String>) -> Result<(), HandleError> {
        self.put(Command::Close(conn, code, reason.into()))
    }

    /// Begins a graceful shutdown; see `Context::shutdown`.
    ///
    /// # Errors
    /// [`HandleError::Full`] or [`HandleError::Stopped`].
    pub fn shutdown(&self) -> Result<(), HandleError> {
        self.put(Command::Shutdown)
    }

    /// Changes the certificates, keys and roots that TLS sessions are begun with. Those that are there stay; tickets given
    /// out before count no more. (Feature `tls`.)
    ///
    /// # Errors
    /// [`HandleError::Full`] or [`HandleError::Stopped`]; everything stays as it is.
    #[cfg(feature = "tls")]
    pub fn reload_tls(&self, tls: ServerTls) -> Result<(), HandleError> {
        self.put(Command::Tls(tls))
    }

    fn put(&self, command: Command) -> Result<(), HandleError> {
        let result = self.try_put(command);
        if result == Err(HandleError::Full) {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    fn try_put(&self, command: Command) -> Result<(), HandleError> {
        let shared = &*self.shared;
        if shared.stopped.load(Ordering::Acquire) {
            return Err(HandleError::Stopped);
        }
        let len = command.len();
        shared.take(len)?;
        self.sender.send(command).map_err(|_| {
            shared.give_back(len);
            HandleError::Stopped
        })?;
        if !shared.called.swap(true, Ordering::AcqRel) {
            shared.waker.wake();
        }
        Ok(())
    }
}

/// The loop's end of the queue.
pub struct Inbox {
    receiver: Receiver<Command>,
    handle: Handle,
    /// Commands may wait although nobody has called since.
    more: bool,
}

impl Inbox {
    /// A queue of these bounds.
    pub fn new(commands_max: usize, bytes_max: usize, waker: Arc<dyn Wake>) -> Self {
        // Without bounds of its own, for one with bounds sets all its places aside: 260 KiB for 4,096 commands.
        let (sender, receiver) = channel();
        let shared = Shared {
            commands: Bounded::new(commands_max),
            bytes: Bounded::new(bytes_max),
            refused: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            called: AtomicBool::new(false),
            waker,
        };
        Inbox { receiver, handle: Handle { sender, shared: Arc::new(shared) }, more: false }
    }

    /// The senders' end.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// To be called before a batch is taken: true when there may be one.
    pub fn begin(&mut self) -> bool {
        // Cleared before the queue is looked at, so that a command put in meanwhile calls again.
        let called = self.handle.shared.called.swap(false, Ordering::AcqRel);
        std::mem::replace(&mut self.more, false) || called
    }

    /// The next command.
    pub fn next(&mut self) -> Option<Command> {
        let command = self.receiver.try_recv().ok()?;
        self.handle.shared.give_back(command.len());
        Some(command)
    }

    /// The loop has ended: what is put in from here on would never be looked at.
    pub fn stop(&mut self) {
        self.handle.shared.stopped.store(true, Ordering::Release);
    }

    /// Commands refused so far.
    pub fn refused(&self) -> u64 {
        self.handle.shared.refused.load(Ordering::Relaxed)
    }

    /// The batch was cut off by its budget: there may be more.
    pub fn cut_off(&mut self) {
        self.more = true;
    }

    /// True when the loop must not sleep because commands may wait.
    pub fn has_more(&self) -> bool {
        self.more
    }
}

impl Drop for Inbox {
    /// Whoever finds it full is told that it will not get any emptier.
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn bounded_in_count_and_in_bytes() {
        let mut inbox = Inbox::new(3, 10, Arc::new(Count::default()));
        let handle = inbox.handle();
        assert_eq!(handle.publish("t", vec![0; 10]), Err(HandleError::Full), "eleven bytes");
        assert_eq!(handle.publish("t", vec![0; 9]), Ok(()));
        assert_eq!(handle.publish("t", vec![]), Err(HandleError::Full));
        assert_eq!(handle.shutdown(), Ok(()));
        assert_eq!(handle.shutdown(), Ok(()));
        assert_eq!(handle.shutdown(), Err(HandleError::Full), "the fourth command");
        assert!(inbox.begin());
        assert_eq!(std::iter::from_fn(|| inbox.next()).count(), 3);
        assert_eq!(handle.publish("t", vec![0; 9]), Ok(()), "room is given back");
        inbox.stop();
        assert_eq!(handle.shutdown(), Err(HandleError::Stopped), "although the queue is still there");
        drop(inbox);
        let full = Inbox::new(0, 10, Arc::new(Count::default()));
        let of_full = full.handle();
        assert_eq!(of_full.shutdown(), Err(HandleError::Full));
        drop(full);
        assert_eq!(of_full.shutdown(), Err(HandleError::Stopped));
        assert_eq!(handle.shutdown(), Err(HandleError::Stopped));
    }

    #[test]
    fn an_empty_queue_has_room_for_a_few_only() {
        let mut inbox = None;
        let made = allocation_counter::measure(|| {
            inbox = Some(Inbox::new(100_000, 100_000, Arc::new(Count::default())));
        });
        assert!(made.bytes_current < 1_024, "{made:?}");
        let inbox = inbox.as_mut().unwrap();
        let handle = inbox.handle();
        let used = allocation_counter::measure(|| {
            for _ in 0..100_000 {
                handle.shutdown().unwrap();
            }
            assert_eq!(std::iter::from_fn(|| inbox.next()).count(), 100_000);
        });
        let command = size_of::<Command>() as i64;
        assert!(used.bytes_max >= 100_000 * command as u64, "{used:?}");
        assert!(used.bytes_current <= 64 * command, "{used:?}");
    }

    #[test]
    fn one_wake_for_a_batch_and_none_lost() {
        let count = Arc::new(Count::default());
        let mut inbox = Inbox::new(100, 100, Arc::clone(&count) as Arc<dyn Wake>);
        let handle = inbox.handle();
        for _ in 0..10 {
            handle.shutdown().unwrap();
        }
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(inbox.begin());
        handle.shutdown().unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), 2, "a command put in after the batch began calls again");
        assert_eq!(std::iter::from_fn(|| inbox.next()).count(), 11);
        assert!(inbox.begin() && inbox.next().is_none() && !inbox.begin());
    }
}
