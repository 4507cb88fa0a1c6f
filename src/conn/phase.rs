//! The life of a connection as one function of (phase, trigger).
//!
//! ```text
//!              accepted            connected (client)
//!                 │                      │
//!                 ▼   head with body     ▼
//!        ┌─────► Head ──────────► Body  Head
//!        │        │ head          │      │ 101
//!        │        ▼   body        │      │
//!        └────── Reply ◄──────────┘      │
//!     answered    │ upgraded             │
//!     (kept)      ▼                      │
//!                Open ◄──────────────────┘
//!                 │ Close sent
//!                 ▼
//!              Closing        any of Head, Body, Reply, Open, Closing
//!                 │ Close received        │ refused, violated, answered (not kept), Close received
//!                 ▼                       │
//!               Ending ◄──────────────────┘      input is dropped, the last bytes are flushed,
//!                 │ done                         then our half is shut and the peer's end awaited
//!                 ▼
//!               Closed ◄── from every phase: done (reset, timed out, cut)
//! ```

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// An HTTP head is expected or arriving: a request, or to a client the answer to its own.
    Head,
    /// A request's body is arriving.
    Body,
    /// A request is with the application.
    Reply,
    /// The WebSocket is open.
    Open,
    /// We have sent Close and wait for the peer's.
    Closing,
    /// Nothing more is read or queued; what is queued goes out.
    Ending,
    /// Over; the slot waits to be reaped.
    Closed,
}

/// What moves a connection on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A request's head announced a body.
    BodyAhead,
    /// A request is complete.
    Request,
    /// The answer has been queued whole and the connection is kept for another request.
    Answered,
    /// The opening handshake is complete.
    Upgraded,
    /// Our Close has been queued first.
    CloseSent,
    /// The peer's Close has come (ours is queued too).
    CloseReceived,
    /// What we have queued is the last: an error, a refusal, an answer that ends the connection.
    Last,
    /// No byte will be read or written any more.
    Done,
}

impl Phase {
    /// The phase after `trigger`; a trigger that has no meaning in a phase changes nothing.
    pub fn after(self, trigger: Trigger) -> Phase {
        match (self, trigger) {
            (_, Trigger::Done) | (Phase::Closed, _) => Phase::Closed,
            (Phase::Head, Trigger::BodyAhead) => Phase::Body,
            (Phase::Head | Phase::Body, Trigger::Request) => Phase::Reply,
            (Phase::Reply, Trigger::Answered) => Phase::Head,
            (Phase::Reply | Phase::Head, Trigger::Upgraded) => Phase::Open,
            (Phase::Open, Trigger::CloseSent) => Phase::Closing,
            (Phase::Open | Phase::Closing, Trigger::CloseReceived) => Phase::Ending,
            (_, Trigger::Last) => Phase::Ending,
            (same, _) => same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase::*, Trigger::*, *};

    const PHASES: [Phase; 7] = [Head, Body, Reply, Open, Closing, Ending, Closed];
    const TRIGGERS: [Trigger; 8] =
        [BodyAhead, Request, Answered, Upgraded, CloseSent, CloseReceived, Last, Done];

    /// All 56 pairs, so that a new arm cannot slip in unseen.
    #[test]
    fn the_whole_table() {
        let table = [
            // BodyAhead Request Answered Upgraded CloseSent CloseReceived Last Done
            [Body, Reply, Head, Open, Head, Head, Ending, Closed],
            [Body, Reply, Body, Body, Body, Body, Ending, Closed],
            [Reply, Reply, Head, Open, Reply, Reply, Ending, Closed],
            [Open, Open, Open, Open, Closing, Ending, Ending, Closed],
            [Closing, Closing, Closing, Closing, Closing, Ending, Ending, Closed],
            [Ending, Ending, Ending, Ending, Ending, Ending, Ending, Closed],
            [Closed, Closed, Closed, Closed, Closed, Closed, Closed, Closed],
        ];
        for (phase, row) in PHASES.into_iter().zip(table) {
            for (trigger, expected) in TRIGGERS.into_iter().zip(row) {
                assert_eq!(phase.after(trigger), expected, "{phase:?} after {trigger:?}");
            }
        }
    }
}
