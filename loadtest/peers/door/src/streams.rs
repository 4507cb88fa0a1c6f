//! Echo and chat over whatever is a stream and a sink of messages, on tokio.
//!
//! Refuses to know whose messages they are. Invariants: what arrived together is answered with one flush; a member of
//! the chat that is [`CHAT_MAX`] messages behind is dropped, so nothing grows without an end.

use std::future::Future;
use std::time::Duration;

use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

/// Messages that wait for the slowest member of the chat, at most.
pub const CHAT_MAX: usize = 1_024;
/// Before a listener that has failed is asked again.
const PAUSE: Duration = Duration::from_millis(10);
/// Messages answered with one flush, at most.
const BATCH_MAX: usize = 128;

/// The chat: what one says, all hear, the one who said it too.
pub fn chat<M: Clone>() -> broadcast::Sender<M> {
    broadcast::channel(CHAT_MAX).0
}

/// Serves every connection by a task of its own, on one thread, for ever.
pub fn serve<M: Clone, F>(port: u16, serve: fn(tokio::net::TcpStream, broadcast::Sender<M>) -> F)
where
    F: Future<Output: Send> + Send + 'static,
{
    run(async {
        let (listener, chat) = (listener(port), chat());
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(serve(stream, chat.clone()))),
                Err(_) => rest().await,
            }
        }
    })
}

/// Runs this on one thread, with sockets and clock.
pub fn run<F: Future>(server: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap_or_else(|error| crate::fail(&error.to_string())).block_on(server)
}

/// The listener of this port, for tokio.
pub fn listener(port: u16) -> tokio::net::TcpListener {
    let listener = tokio::net::TcpListener::from_std(crate::listener(port));
    listener.unwrap_or_else(|error| crate::fail(&error.to_string()))
}

/// A moment's pause where no connection can be accepted: the descriptors are used up, and trying again would spin.
async fn rest() {
    tokio::time::sleep(PAUSE).await;
}

/// Sends back what comes and is data, until the stream ends or fails.
pub async fn echo<W, M, E>(mut socket: W, is_data: fn(&M) -> bool) -> Option<()>
where
    W: Stream<Item = Result<M, E>> + Sink<M> + Unpin,
{
    let mut batch = Vec::new();
    loop {
        let mut arrived = socket.next().await;
        // All of them are read before the first is written, as some libraries flush whenever they read.
        let over = loop {
            match arrived {
                Some(Ok(message)) if is_data(&message) => batch.push(message),
                Some(Ok(_)) => {}
                _ => break true,
            }
            if batch.len() == BATCH_MAX {
                break false;
            }
            match socket.next().now_or_never() {
                Some(next) => arrived = next,
                None => break false,
            }
        };
        for message in batch.drain(..) {
            socket.feed(message).await.ok()?;
        }
        socket.flush().await.ok()?;
        if over {
            return Some(());
        }
    }
}

/// Spreads what comes and is data, and sends what is spread, until either ends or fails.
///
/// Reading and writing are two tasks: one that waits for both would look at its socket with each message.
pub async fn join<W, M, E>(socket: W, is_data: fn(&M) -> bool, chat: broadcast::Sender<M>)
where
    W: Stream<Item = Result<M, E>> + Sink<M> + Unpin + Send + 'static,
    M: Clone + Send + 'static,
{
    let (sink, mut stream) = socket.split();
    let writer = tokio::spawn(tell(sink, chat.subscribe()));
    while let Some(Ok(message)) = stream.next().await {
        if writer.is_finished() {
            break;
        }
        if is_data(&message) {
            // Fails only when nobody hears, and this connection does.
            let _ = chat.send(message);
        }
    }
    writer.abort();
}

async fn tell<S: Sink<M> + Unpin, M: Clone>(mut sink: S, mut heard: broadcast::Receiver<M>) -> Option<()> {
    loop {
        let mut message = heard.recv().await.ok()?;
        loop {
            sink.feed(message).await.ok()?;
            message = match heard.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Empty) => break,
                Err(_) => return None,
            };
        }
        sink.flush().await.ok()?;
    }
}
