//! Topics: who gets what is published.
//!
//! Refuses to know messages. Invariants: a connection stands in a topic's list exactly when the topic stands in the
//! connection's list, each with the place in the other; a topic exists while it has subscribers or a policy of its own.

use std::collections::HashMap;
use std::fmt;

use slab::Slab;

use super::{Hub, Marks};
#[cfg(feature = "deflate")]
use crate::conn::deflate::VARIANTS;
use crate::conn::phase::Phase;
use crate::conn::{Extra, Flags};
use crate::ground::id::ConnId;

/// What happens to a publication for a subscriber that does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// It is queued; the backlog's limits close the connection in the end. The default.
    #[default]
    Close,
    /// It is left out for this subscriber if it would raise the backlog above `backlog_high`.
    DropNewest,
    /// It takes the place of this topic's last unsent one: the subscriber gets the latest state, not every state.
    KeepLatest,
}

/// Why a subscription was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicError {
    /// The connection is not an open WebSocket.
    Gone,
    /// The name is longer than `topic_name_max`.
    NameTooLong,
    /// There are `topics_max` topics.
    TooManyTopics,
    /// The connection has `subscriptions_max` subscriptions.
    TooManySubscriptions,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TopicError::Gone => "the connection is not open",
            TopicError::NameTooLong => "the topic's name is longer than topic_name_max",
            TopicError::TooManyTopics => "there are topics_max topics already",
            TopicError::TooManySubscriptions => "the connection has subscriptions_max subscriptions already",
        })
    }
}

impl std::error::Error for TopicError {}

#[derive(Debug)]
struct Topic {
    name: Box<str>,
    policy: Policy,
    /// Marks what may be replaced by a later publication; never used for another topic.
    tag: u32,
    /// Places of connections.
    subscribers: Vec<u32>,
    /// How many of them are not open any more, and wait to be buried.
    mute: usize,
    /// A connection that we made ourselves has subscribed: it masks its own copy of each frame.
    has_clients: bool,
    /// How many subscribers get what is published in which compressed form.
    #[cfg(feature = "deflate")]
    deflating: [u32; VARIANTS],
}

/// The topics of one loop.
#[derive(Debug, Default)]
pub struct Topics {
    places: HashMap<Box<str>, u32>,
    entries: Slab<Topic>,
    last_tag: u32,
}

impl Topics {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.places.get(name).copied()
    }

    /// A topic's policy, and the tag of its publications.
    pub(super) fn policy(&self, topic: u32) -> (Policy, u32) {
        let entry = &self.entries[topic as usize];
        (entry.policy, if entry.policy == Policy::KeepLatest { entry.tag } else { 0 })
    }

    /// Number of subscribers that are open.
    pub(super) fn listeners(&self, topic: u32) -> usize {
        let entry = &self.entries[topic as usize];
        entry.subscribers.len() - entry.mute
    }

    pub(super) fn has_clients(&self, topic: u32) -> bool {
        self.entries[topic as usize].has_clients
    }

    /// True when some subscriber gets what is published in this compressed form.
    #[cfg(feature = "deflate")]
    pub(super) fn deflates(&self, topic: u32, variant: usize) -> bool {
        self.entries[topic as usize].deflating[variant] > 0
    }

    /// A subscriber is not open any more.
    pub(super) fn mute(&mut self, extra: Option<&Extra>) {
        for &(topic, _) in extra.map_or(&[][..], |extra| &extra.topics) {
            self.entries[topic as usize].mute += 1;
        }
    }

    /// Lends the list of subscribers; it must be given back before anything else is done with the topic.
    pub(super) fn lend(&mut self, topic: u32) -> Vec<u32> {
        std::mem::take(&mut self.entries[topic as usize].subscribers)
    }

    pub(super) fn give_back(&mut self, topic: u32, subscribers: Vec<u32>) {
        self.entries[topic as usize].subscribers = subscribers;
    }

    fn next_tag(&mut self) -> u32 {
        self.last_tag = self.last_tag.wrapping_add(1).max(1);
        self.last_tag
    }

    fn make(&mut self, name: &str) -> u32 {
        let (policy, tag) = (Policy::default(), self.next_tag());
        let topic = Topic {
            name: name.into(),
            policy,
            tag,
            subscribers: Vec::new(),
            mute: 0,
            has_clients: false,
            #[cfg(feature = "deflate")]
            deflating: [0; VARIANTS],
        };
        let place = self.entries.insert(topic) as u32;
        self.places.insert(name.into(), place);
        place
    }

    /// Forgets a topic that nobody needs any more; true when it did.
    fn tidy(&mut self, topic: u32) -> bool {
        let entry = &self.entries[topic as usize];
        let unneeded = entry.subscribers.is_empty() && entry.policy == Policy::Close;
        if unneeded {
            self.places.remove(&entry.name);
            self.entries.remove(topic as usize);
        }
        unneeded
    }
}

impl Hub {
    pub(super) fn subscribe(&mut self, id: ConnId, name: &str) -> Result<(), TopicError> {
        let result = self.try_subscribe(id, name);
        if matches!(result, Err(error) if error != TopicError::Gone) {
            self.stats.refused_subscriptions += 1;
        }
        result
    }

    fn try_subscribe(&mut self, id: ConnId, name: &str) -> Result<(), TopicError> {
        let index = self.find_in(id, Phase::Open).ok_or(TopicError::Gone)?;
        let topic = self.topics.find(name);
        if topic.is_some_and(|topic| self.is_subscribed(index, topic)) {
            return Ok(());
        }
        let extra = self.slots.0[index as usize].conn.extra();
        if extra.topics.len() >= self.limits.subscriptions_max {
            return Err(TopicError::TooManySubscriptions);
        }
        let topic = match topic {
            Some(topic) => topic,
            None => self.new_topic(name)?,
        };
        self.settle_topic(topic);
        let entry = &mut self.topics.entries[topic as usize];
        let place = entry.subscribers.len() as u32;
        entry.subscribers.push(index);
        entry.has_clients |= self.slots.0[index as usize].conn.flags.has(Flags::CLIENT);
        #[cfg(feature = "deflate")]
        if let Some(variant) = self.slots.0[index as usize].conn.variant() {
            entry.deflating[variant] += 1;
        }
        self.slots.0[index as usize].conn.extra().topics.push((topic, place));
        Ok(())
    }

    fn new_topic(&mut self, name: &str) -> Result<u32, TopicError> {
        if name.len() > self.limits.topic_name_max {
            return Err(TopicError::NameTooLong);
        }
        if self.topics.len() >= self.limits.topics_max {
            return Err(TopicError::TooManyTopics);
        }
        Ok(self.topics.make(name))
    }

    pub(super) fn unsubscribe(&mut self, id: ConnId, name: &str) -> bool {
        let Some((index, topic)) = self.find(id).zip(self.topics.find(name)) else { return false };
        self.settle_topic(topic);
        let topics = &self.slots.0[index as usize].conn.extra().topics;
        let Some(at) = topics.iter().position(|&(of, _)| of == topic) else { return false };
        self.leave(index, at);
        true
    }

    /// Takes a connection that ends out of all its topics.
    pub(super) fn leave_topics(&mut self, index: u32) {
        while let Some(last) = self.subscriptions(index).checked_sub(1) {
            self.leave(index, last);
        }
    }

    fn subscriptions(&self, index: u32) -> usize {
        self.slots.0[index as usize].conn.extra.as_ref().map_or(0, |extra| extra.topics.len())
    }

    /// Takes the connection's subscription number `at` out of both lists.
    fn leave(&mut self, index: u32, at: usize) {
        let slot = &mut self.slots.0[index as usize];
        let open = slot.marks.has(Marks::OPEN);
        let (topic, place) = slot.conn.extra().topics.swap_remove(at);
        let entry = &mut self.topics.entries[topic as usize];
        entry.mute -= usize::from(!open);
        #[cfg(feature = "deflate")]
        if let Some(variant) = slot.conn.variant() {
            entry.deflating[variant] -= 1;
        }
        let subscribers = &mut entry.subscribers;
        subscribers.swap_remove(place as usize);
        // The last subscriber has taken the place that became free.
        if let Some(&moved) = subscribers.get(place as usize) {
            for entry in &mut self.slots.0[moved as usize].conn.extra().topics {
                if entry.0 == topic {
                    entry.1 = place;
                }
            }
        }
        if self.topics.tidy(topic) {
            self.drop_gathered(topic);
        }
    }

    /// True when a connection subscribes to a topic.
    pub(super) fn is_subscribed(&self, index: u32, topic: u32) -> bool {
        let extra = self.slots.0[index as usize].conn.extra.as_ref();
        extra.is_some_and(|extra| extra.topics.iter().any(|&(of, _)| of == topic))
    }

    pub(super) fn topic_policy(&mut self, name: &str, policy: Policy) -> Result<(), TopicError> {
        let topic = match self.topics.find(name) {
            Some(topic) => topic,
            None if policy == Policy::Close => return Ok(()),
            None => self.new_topic(name).inspect_err(|_| self.stats.refused_subscriptions += 1)?,
        };
        self.settle_topic(topic);
        // A new tag: what was published under another policy keeps its place before what comes.
        let tag = self.topics.next_tag();
        let entry = &mut self.topics.entries[topic as usize];
        (entry.policy, entry.tag) = (policy, tag);
        self.topics.tidy(topic);
        Ok(())
    }

    pub(super) fn subscribers(&self, name: &str) -> usize {
        self.topics.find(name).map_or(0, |topic| self.topics.entries[topic as usize].subscribers.len())
    }

    /// Verifies that both kinds of lists agree.
    pub(super) fn check_topics(&self) {
        let mut total = 0;
        for (topic, entry) in &self.topics.entries {
            total += entry.subscribers.len();
            let mute = |&&index: &&u32| !self.slots.0[index as usize].marks.has(Marks::OPEN);
            assert_eq!(entry.mute, entry.subscribers.iter().filter(mute).count(), "mute of topic {topic}");
            for (place, &index) in entry.subscribers.iter().enumerate() {
                let extra =
                    self.slots.0[index as usize].conn.extra.as_ref().expect("a subscriber has topics");
                assert!(extra.topics.contains(&(topic as u32, place as u32)), "topic {topic} place {place}");
            }
        }
        let of_connections: usize =
            self.slots.0.iter().map(|(index, _)| self.subscriptions(index as u32)).sum();
        assert_eq!(total, of_connections, "subscriptions");
    }
}
