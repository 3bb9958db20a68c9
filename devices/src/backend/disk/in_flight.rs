//! What is known of requests under way, by their names.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Something for each request under way. Found in no time, and listed in the order in which the requests were made.
#[derive(Debug)]
pub struct InFlight<T>(HashMap<u64, T, BuildHasherDefault<NameHasher>>);

/// Spreads numbers that were given one after the other, not by the guest.
#[derive(Default)]
struct NameHasher(u64);

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, name: u64) {
        // 2^64 by the golden ratio.
        self.0 = (self.0 ^ name).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<T> InFlight<T> {
    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many requests are under way.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a request.
    pub fn insert(&mut self, name: u64, value: T) {
        self.0.insert(name, value);
    }

    /// What is known of a request.
    pub fn get(&self, name: u64) -> Option<&T> {
        self.0.get(&name)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, name: u64) -> Option<&mut T> {
        self.0.get_mut(&name)
    }

    /// Takes a request out.
    pub fn remove(&mut self, name: u64) -> Option<T> {
        self.0.remove(&name)
    }

    /// Forgets all requests.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Keeps the requests of which this is true.
    pub fn retain(&mut self, mut keep: impl FnMut(u64, &mut T) -> bool) {
        self.0.retain(|name, value| keep(*name, value));
    }

    /// All in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.values()
    }

    /// All in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let mut all: Vec<_> = self.0.iter().map(|(name, value)| (*name, value)).collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all.into_iter()
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        let mut all: Vec<_> = self.0.iter_mut().map(|(name, value)| (*name, value)).collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all.into_iter()
    }
}

impl<T> FromIterator<(u64, T)> for InFlight<T> {
    fn from_iter<I: IntoIterator<Item = (u64, T)>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_listed_in_their_order_whatever_has_ended_between() {
        let mut all: InFlight<u64> = (0..1000).map(|name| (name, name * name)).collect();
        all.retain(|name, _| name % 3 != 0);
        assert_eq!((all.remove(10), all.remove(10), all.get(11)), (Some(100), None, Some(&121)));
        all.iter_mut().for_each(|(_, value)| *value += 1);
        let expected: Vec<_> = (0..1000).filter(|name| name % 3 != 0 && *name != 10).collect();
        assert_eq!((all.len(), all.is_empty()), (expected.len(), false));
        assert!(
            all.iter().map(|(name, value)| (name, *value)).eq(expected.iter().map(|name| (*name, name * name + 1)))
        );
    }
}
