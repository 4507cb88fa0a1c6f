#![forbid(unsafe_code)]
//! An event-loop WebSocket server: one thread, one cache line per idle connection, a limit on everything.
//!
//! ```no_run
//! use tidegate::{Config, ConnId, Context, Handler, Message, Server};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
//!         cx.send(conn, msg);
//!     }
//! }
//!
//! Server::bind("127.0.0.1:9001", Config::default())?.run(&mut Echo)?;
//! # Ok::<(), tidegate::Error>(())
//! ```
//!
//! The primary types are [`Server`], which owns the loop, [`Handler`], which is your application, and [`Context`],
//! which is the loop lent to your callbacks. Around them:
//!
//! - [`Config`] has every limit and socket option; each has a finite default.
//! - [`Router`] sends paths to handlers and answers small HTTP requests; [`Request`], [`Reply`] and [`Response`] are
//!   what it deals in.
//! - [`Message`] is what goes in and out, [`Part`] a piece of one; [`Sent`] says how full a connection's backlog is.
//! - [`ConnId`] names a connection, [`ConnMap`] keeps your data beside it, [`Closed`] says why it ended.
//! - [`Handle`] reaches the loop from other threads.
//! - [`Stats`] counts everything.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `client` | `Context::connect`: connections to other servers through the same loop |
//! | `tls` | `wss://` in both roles: `ServerTls`, and with `client` also `ClientTls` |
//! | `deflate` | permessage-deflate: compression, off until `Config::deflate` turns it on |
//! | `log` | messages about the loop's own troubles through the `log` crate |
//! | `sim` | the same loop over a simulated network, for this project's own benches and fuzz targets |
//! | `program` | what the programs of this project share; not part of the API |
//! | `cli` | the program `tidegate` |
//!
//! None is on by default, and none changes what the rest does.

mod api;
mod conn;
mod ground;
mod hub;
/// Shared by the programs of this project. Not part of the API.
#[cfg(feature = "program")]
#[doc(hidden)]
pub mod program;
mod reactor;
mod wire;

pub use api::config::{Config, ConfigError, DeflateMode, Field, Limits, SocketOptions, Unit, Value};
pub use api::router::Router;
pub use api::server::{Error, Server};
pub use conn::closed::{By, Cause, Closed};
pub use conn::error::{ProtocolError, TlsError};
pub use conn::message::{Kind, Message, Part};
#[cfg(all(feature = "tls", feature = "client"))]
pub use conn::tls::ClientTls;
#[cfg(feature = "tls")]
pub use conn::tls::{Identity, ServerTls, TlsSession, TlsSetupError, TlsVersion};
pub use ground::id::{ConnId, ConnMap};
#[cfg(feature = "client")]
pub use hub::client::{Connect, ConnectError, InvalidRequest};
pub use hub::context::Context;
pub use hub::deadlines::{Report, TimerId};
pub use hub::exchange::{Reply, Request, Response, Upgrade};
pub use hub::handler::Handler;
pub use hub::outgoing::Sent;
pub use hub::stats::Stats;
pub use hub::topics::{Policy, TopicError};
pub use reactor::Turn;
pub use reactor::inbox::{Handle, HandleError};
pub use wire::body::BodyError;
pub use wire::frame::FrameError;
pub use wire::handshake::{Extension, Params, Value as ParamValue};
pub use wire::head::HeadError;

/// The layers below, for this project's own benches and fuzz targets. Not part of the API.
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod internals {
    pub use crate::ground::{input, wheel};
    pub use crate::reactor::sim::{fuzz, rig};
    #[cfg(feature = "deflate")]
    pub use crate::wire::deflate;
    pub use crate::wire::{body, close, frame, handshake, head, mask, utf8};
}

/// The README's examples are compiled too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
