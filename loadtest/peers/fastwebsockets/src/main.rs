//! Echo and chat with fastwebsockets over hyper's upgrade, as its own examples do, one thread.
//!
//! It writes each frame by itself: answers to messages that arrived together are not gathered. Its read cannot be given
//! up half-way, so a member of the chat reads in one task and writes in another.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use door::streams;
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use fastwebsockets::{
    FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError, WebSocketWrite,
};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::WriteHalf;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::sync::broadcast::{Receiver, Sender};
use tokio::task::unconstrained;

/// What is said in the chat.
type Said = (OpCode, Bytes);
type Writer = Arc<Mutex<WebSocketWrite<WriteHalf<TokioIo<Upgraded>>>>>;

async fn echo(upgraded: UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = upgraded.await?;
    socket.set_max_message_size(door::MESSAGE_MAX);
    let mut socket = FragmentCollector::new(socket);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn join(upgraded: UpgradeFut, chat: Sender<Said>) -> Result<(), WebSocketError> {
    let mut socket = upgraded.await?;
    socket.set_max_message_size(door::MESSAGE_MAX);
    let (reader, writer) = socket.split(tokio::io::split);
    let (mut reader, writer) = (FragmentCollectorRead::new(reader), Arc::new(Mutex::new(writer)));
    let telling = tokio::spawn(unconstrained(tell(writer.clone(), chat.subscribe())));
    // Pongs and the answer to a Close are ours to write where reading and writing are apart.
    let mut oblige = |frame: Frame<'_>| {
        let frame = Frame::new(true, frame.opcode, None, Payload::Owned(frame.payload.to_vec()));
        let writer = writer.clone();
        async move { writer.lock().await.write_frame(frame).await }
    };
    while let Ok(frame) = reader.read_frame(&mut oblige).await {
        match frame.opcode {
            OpCode::Text | OpCode::Binary if !telling.is_finished() => {
                // Fails only when nobody hears, and this connection does.
                let _ = chat.send((frame.opcode, Bytes::from(frame.payload.to_vec())));
            }
            OpCode::Ping | OpCode::Pong => {}
            _ => break,
        }
    }
    telling.abort();
    Ok(())
}

async fn tell(writer: Writer, mut heard: Receiver<Said>) -> Result<(), WebSocketError> {
    while let Ok((opcode, bytes)) = heard.recv().await {
        let frame = Frame::new(true, opcode, None, Payload::Borrowed(&bytes));
        writer.lock().await.write_frame(frame).await?;
    }
    Ok(())
}

async fn answer(
    mut request: Request<Incoming>,
    chat: Sender<Said>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let chats = request.uri().path() == "/chat";
    Ok(match upgrade(&mut request) {
        Ok((response, upgraded)) if chats => {
            tokio::spawn(unconstrained(join(upgraded, chat)));
            response
        }
        Ok((response, upgraded)) => {
            tokio::spawn(unconstrained(echo(upgraded)));
            response
        }
        Err(_) => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    })
}

async fn serve(stream: TcpStream, chat: Sender<Said>) {
    let service = service_fn(move |request| answer(request, chat.clone()));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A connection that breaks is its peer's to tell.
    let _ = connection.with_upgrades().await;
}

fn main() {
    streams::serve(door::words().port, serve)
}
