//! `Table`: what few of very many have, or only for a while, each at a `Place` of its own.
//!
//! Refuses to know what it keeps and for whom. Invariant: a place is had once. A box for each would also do; but of the
//! hundreds that come and go in a turn an allocator keeps the last few for reuse, wherever they lie, and what lies below them
//! cannot be given back to the kernel.

use std::num::NonZeroU32;

use slab::Slab;

/// Where in a table something is; it can be neither copied nor made up.
#[derive(Debug)]
pub struct Place(NonZeroU32);

impl Place {
    fn key(&self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A table. See the module's text.
#[derive(Debug)]
pub struct Table<V>(Slab<V>);

impl<V> Default for Table<V> {
    fn default() -> Self {
        Table(Slab::new())
    }
}

impl<V> Table<V> {
    /// What is at `place`.
    #[inline]
    pub fn get(&self, place: &Option<Place>) -> Option<&V> {
        self.0.get(place.as_ref()?.key())
    }

    /// What is at `place`, to change it.
    #[inline]
    pub fn get_mut(&mut self, place: &Option<Place>) -> Option<&mut V> {
        self.0.get_mut(place.as_ref()?.key())
    }

    /// Puts something at `place`, which is made if there is none; what was there is gone.
    ///
    /// # Panics
    /// With four thousand million in the table.
    pub fn put(&mut self, place: &mut Option<Place>, value: V) {
        match self.get_mut(place) {
            Some(old) => *old = value,
            None => {
                let number = u32::try_from(self.0.insert(value) + 1).ok().and_then(NonZeroU32::new);
                *place = Some(Place(number.expect("fewer than connections")));
            }
        }
    }

    /// Takes out what is at `place`, which is gone then.
    pub fn take(&mut self, place: &mut Option<Place>) -> Option<V> {
        self.0.try_remove(place.take()?.key())
    }

    /// How many have something there.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<V: Default> Table<V> {
    /// What is at `place`; a default is put there first if there is nothing.
    pub fn or_default(&mut self, place: &mut Option<Place>) -> &mut V {
        if place.is_none() {
            self.put(place, V::default());
        }
        self.get_mut(place).expect("put there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_their_own() {
        let mut table = Table::default();
        let mut places: Vec<Option<Place>> = (0..100).map(|_| None).collect();
        for (i, place) in places.iter_mut().enumerate() {
            assert!(table.get(place).is_none() && table.get_mut(place).is_none());
            table.put(place, i);
        }
        let key = places[7].as_ref().map(Place::key);
        table.put(&mut places[7], 700);
        *table.or_default(&mut places[8]) += 800;
        assert_eq!((table.len(), places[7].as_ref().map(Place::key)), (100, key));
        assert_eq!((table.get(&places[7]), table.get(&places[8])), (Some(&700), Some(&808)));
        for (i, place) in places.iter_mut().enumerate().skip(9) {
            assert_eq!((table.take(place), table.take(place)), (Some(i), None));
            assert_eq!(table.get(place), None);
            assert_eq!(*table.or_default(place), 0);
        }
        assert_eq!(table.len(), 100);
    }
}
