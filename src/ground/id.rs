//! `ConnId`: the name of a connection that never names a stranger, and `ConnMap`: a side table keyed by it.
//!
//! Knows nothing of what a connection is. Invariant: two connections of one loop never have the same id, so an id
//! kept after its connection ended finds nothing.

use std::fmt;

/// Names one connection of one loop: its place in the slab and a generation that is new for every connection.
///
/// Ids are small and `Copy`; keep them as long as you like. An id whose connection has ended finds nothing.
/// (Generations are 32 bits wide: an id would have to be kept while 4,294,967,296 further connections come, and then
/// meet the same place, to be mistaken.)
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnId({self})")
    }
}

/// The application's own data per connection, in a table beside the loop: one array access per look-up.
///
/// Insert in `on_open`, remove in `on_close`. A stale id neither finds nor removes what its successor at the same
/// place stored. The table's size is bounded by the highest number of connections that were open at once.
///
/// ```
/// # use tidegate::{ConnMap, ConnId, Context, Handler, Message};
/// #[derive(Default)]
/// struct Names { names: ConnMap<String> }
///
/// impl Handler for Names {
///     fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
///         match self.names.get(conn) {
///             Some(name) => { cx.send(conn, format!("hello again, {name}")); }
///             None => { self.names.insert(conn, msg.as_text().unwrap_or("?").to_owned()); }
///         }
///     }
///     fn on_close(&mut self, _: &mut Context<'_>, conn: ConnId, _: &tidegate::Closed) {
///         self.names.remove(conn);
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct ConnMap<T> {
    entries: Vec<Option<(u32, T)>>,
    len: usize,
}

impl<T> Default for ConnMap<T> {
    fn default() -> Self {
        ConnMap { entries: Vec::new(), len: 0 }
    }
}

impl<T> ConnMap<T> {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores `value` for `conn` and returns what was stored for the same connection before. What an earlier
    /// connection left at the same place is dropped.
    pub fn insert(&mut self, conn: ConnId, value: T) -> Option<T> {
        let place = conn.index as usize;
        if place >= self.entries.len() {
            self.entries.resize_with(place + 1, || None);
        }
        match self.entries[place].replace((conn.generation, value)) {
            None => {
                self.len += 1;
                None
            }
            Some((generation, old)) => (generation == conn.generation).then_some(old),
        }
    }

    /// What is stored for `conn`.
    pub fn get(&self, conn: ConnId) -> Option<&T> {
        match self.entries.get(conn.index as usize) {
            Some(Some((generation, value))) if *generation == conn.generation => Some(value),
            _ => None,
        }
    }

    /// What is stored for `conn`, to change it.
    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut T> {
        match self.entries.get_mut(conn.index as usize) {
            Some(Some((generation, value))) if *generation == conn.generation => Some(value),
            _ => None,
        }
    }

    /// Takes out what is stored for `conn`.
    pub fn remove(&mut self, conn: ConnId) -> Option<T> {
        self.get(conn)?;
        self.len -= 1;
        self.entries[conn.index as usize].take().map(|(_, value)| value)
    }

    /// All entries, in the order of the connections' places.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        self.entries.iter().enumerate().filter_map(|(place, entry)| {
            let (generation, value) = entry.as_ref()?;
            Some((ConnId { index: place as u32, generation: *generation }, value))
        })
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_finds_nothing_and_removes_nothing() {
        let old = ConnId { index: 3, generation: 1 };
        let new = ConnId { index: 3, generation: 2 };
        let mut map = ConnMap::new();
        assert_eq!(map.insert(old, "old"), None);
        assert_eq!(map.insert(old, "older"), Some("old"));
        assert_eq!(map.insert(new, "new"), None, "an earlier connection's value is not ours to return");
        assert_eq!((map.get(old), map.get(new), map.len()), (None, Some(&"new"), 1));
        assert_eq!(map.remove(old), None);
        assert_eq!(map.iter().collect::<Vec<_>>(), [(new, &"new")]);
        assert_eq!(map.remove(new), Some("new"));
        assert!(map.is_empty());
    }
}
