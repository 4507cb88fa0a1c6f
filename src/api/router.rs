//! `Router`: paths to handlers. Itself a handler, the outermost one.
//!
//! Refuses to know connections beyond their number of handler. Invariant: a connection's events and a handler's timers
//! come to the handler that its request was routed to.

use std::collections::HashMap;

use crate::conn::closed::Closed;
use crate::conn::message::{Message, Part};
use crate::ground::id::ConnId;
use crate::hub::context::Context;
use crate::hub::exchange::{Reply, Request, Response};
use crate::hub::handler::Handler;

type Answer = Box<dyn FnMut(&mut Context<'_>, ConnId, &Request<'_>) -> Reply>;

enum Route {
    /// Plain requests, GET and HEAD.
    Get(Answer),
    /// A WebSocket, by the number of its handler.
    Ws(u16),
}

/// Sends each request to the handler for its path.
///
/// Unknown paths get 404, methods other than GET and HEAD 405, and a plain request for a WebSocket's path 426. Paths
/// match exactly; the query does not count. A router is the outermost handler: it cannot be put into another one.
///
/// ```
/// use tidegate::{Context, ConnId, Handler, Message, Reply, Response, Router};
///
/// struct Chat;
/// impl Handler for Chat {
///     fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
///         cx.subscribe(conn, "chat").ok();
///     }
///     fn on_message(&mut self, cx: &mut Context<'_>, _: ConnId, msg: Message<'_>) {
///         cx.publish("chat", msg);
///     }
/// }
///
/// let mut app = Router::new();
/// app.get("/health", |_, _, _| Reply::Respond(Response::text(200, "ok")));
/// app.ws("/chat", Chat);
/// ```
#[derive(Default)]
pub struct Router {
    routes: HashMap<String, Vec<Route>>,
    /// Number 0 is nobody's.
    handlers: Vec<Box<dyn Handler>>,
    fallback: Option<u16>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("paths", &self.routes.keys()).finish_non_exhaustive()
    }
}

impl Router {
    /// A router without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers GET and HEAD for `path` with what `answer` returns. `Reply::Later` and `Reply::Stream` are for
    /// handlers, which learn of the connection's end: use [`Router::ws`] or [`Router::fallback`] for these.
    pub fn get(
        &mut self,
        path: impl Into<String>,
        answer: impl FnMut(&mut Context<'_>, ConnId, &Request<'_>) -> Reply + 'static,
    ) -> &mut Self {
        self.routes.entry(path.into()).or_default().push(Route::Get(Box::new(answer)));
        self
    }

    /// Gives the WebSockets at `path` to `handler`, whose `on_request` may still refuse.
    ///
    /// # Panics
    /// After 65,535 handlers.
    pub fn ws(&mut self, path: impl Into<String>, handler: impl Handler + 'static) -> &mut Self {
        let number = self.add(Box::new(handler));
        self.routes.entry(path.into()).or_default().push(Route::Ws(number));
        self
    }

    /// Gives everything that no route matches to `handler`, plain requests too.
    ///
    /// # Panics
    /// After 65,535 handlers.
    pub fn fallback(&mut self, handler: impl Handler + 'static) -> &mut Self {
        self.fallback = Some(self.add(Box::new(handler)));
        self
    }

    fn add(&mut self, handler: Box<dyn Handler>) -> u16 {
        self.handlers.push(handler);
        u16::try_from(self.handlers.len()).expect("at most 65,535 handlers")
    }

    fn handler(&mut self, cx: &Context<'_>) -> Option<&mut Box<dyn Handler>> {
        usize::from(cx.scope()).checked_sub(1).and_then(|place| self.handlers.get_mut(place))
    }

    fn delegate(&mut self, number: u16, cx: &mut Context<'_>, conn: ConnId, req: &Request<'_>) -> Reply {
        cx.set_scope(number);
        match self.handler(cx) {
            Some(handler) => handler.on_request(cx, conn, req),
            None => Reply::Respond(Response::text(404, "no such path\n")),
        }
    }
}

impl Handler for Router {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        for (place, handler) in self.handlers.iter_mut().enumerate() {
            cx.set_scope(place as u16 + 1);
            handler.on_start(cx);
        }
    }

    fn on_request(&mut self, cx: &mut Context<'_>, conn: ConnId, req: &Request<'_>) -> Reply {
        let get = matches!(req.method(), "GET" | "HEAD");
        if let Some(routes) = self.routes.get_mut(req.path()) {
            let websocket = routes.iter().find_map(|route| match route {
                Route::Ws(number) => Some(*number),
                Route::Get(_) => None,
            });
            let answer = routes.iter_mut().find_map(|route| match route {
                Route::Get(answer) => Some(answer),
                Route::Ws(_) => None,
            });
            return match (websocket, answer) {
                (Some(number), _) if req.is_websocket() => self.delegate(number, cx, conn, req),
                (_, Some(answer)) if get => answer(cx, conn, req),
                (Some(number), None) if get => self.delegate(number, cx, conn, req),
                _ => Reply::Respond(Response::text(405, "method not allowed\n").header("Allow", "GET, HEAD")),
            };
        }
        match self.fallback {
            Some(number) => self.delegate(number, cx, conn, req),
            None => Reply::Respond(Response::text(404, "no such path\n")),
        }
    }

    #[cfg(any(test, feature = "client"))]
    fn on_connect(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if let Some(handler) = self.handler(cx) {
            handler.on_connect(cx, conn);
        }
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if let Some(handler) = self.handler(cx) {
            handler.on_open(cx, conn);
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        if let Some(handler) = self.handler(cx) {
            handler.on_message(cx, conn, msg);
        }
    }

    fn on_part(&mut self, cx: &mut Context<'_>, conn: ConnId, part: Part<'_>) {
        if let Some(handler) = self.handler(cx) {
            handler.on_part(cx, conn, part);
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if let Some(handler) = self.handler(cx) {
            handler.on_drain(cx, conn);
        }
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: &Closed) {
        if let Some(handler) = self.handler(cx) {
            handler.on_close(cx, conn, why);
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        if let Some(handler) = self.handler(cx) {
            handler.on_timer(cx, tag);
        }
    }
}
