//! The number of open connections where another thread can read it.
//!
//! Passes every callback on unchanged. Invariant: the gauge is the loop's own count at the last opening or
//! closing, so it costs nothing while connections only talk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate::{Closed, ConnId, Context, Handler, Message, Part, Reply, Request};

/// An application, and how many connections it has open.
pub struct Gauged {
    app: Box<dyn Handler>,
    open: Arc<AtomicU64>,
}

impl Gauged {
    pub fn new(app: Box<dyn Handler>) -> Self {
        Gauged { app, open: Arc::default() }
    }

    /// The gauge, for the thread that reads it.
    pub fn open(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.open)
    }

    fn note(&self, cx: &Context<'_>) {
        self.open.store(cx.stats().open, Ordering::Relaxed);
    }
}

impl Handler for Gauged {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.app.on_start(cx);
    }

    fn on_request(&mut self, cx: &mut Context<'_>, conn: ConnId, req: &Request<'_>) -> Reply {
        self.app.on_request(cx, conn, req)
    }

    #[cfg(feature = "client")]
    fn on_connect(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.app.on_connect(cx, conn);
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.note(cx);
        self.app.on_open(cx, conn);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        self.app.on_message(cx, conn, msg);
    }

    fn on_part(&mut self, cx: &mut Context<'_>, conn: ConnId, part: Part<'_>) {
        self.app.on_part(cx, conn, part);
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.app.on_drain(cx, conn);
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: &Closed) {
        self.note(cx);
        self.app.on_close(cx, conn, why);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        self.app.on_timer(cx, tag);
    }
}
