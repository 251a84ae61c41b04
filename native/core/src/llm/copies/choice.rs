//! Which path the card of a worker takes if equal copies have others.
//!
//! Discovery says neither which worker came first nor which ones look at the cards of others. Workers of the Python
//! package never do, and ours stop some time after all paths are equal. So a worker that registers has to give way to
//! them, and workers that register at the same time have to agree among themselves:
//!
//! - A worker that has just registered takes the least path at once.
//! - The worker that has the least path waits. A greater one that stays belongs to a worker that does not give way.
//!   Then it takes that path. Each time it waits longer, and it does so a few times only.
//! - Otherwise a worker takes a smaller path only if that one stays for long.
//!
//! So after a while each change leads to the least path, and workers that look agree on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

const MIN_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How long a greater path stays before the worker takes it for the first time.
const PATIENCE: Duration = Duration::from_secs(1);
/// How much longer each time.
const PATIENCE_GROWTH: u32 = 4;
const MAX_RISES: u32 = 3;
/// How long after its first look a worker has just registered.
const YOUNG: Duration = Duration::from_secs(2);
/// How long a smaller path stays before any other worker takes it.
const LASTING: Duration = Duration::from_secs(10);

/// How long a worker waits before it looks again, if nothing has changed for a time. Each look lists all cards.
pub fn pause_after(unchanged: Duration) -> Duration {
    unchanged.clamp(MIN_PAUSE, MAX_PAUSE)
}

pub struct Choice {
    began: Instant,
    /// How often the worker took a greater path.
    rises: u32,
    /// The other paths in the last look, and since when each of them was in every look.
    seen: BTreeMap<String, Instant>,
}

impl Choice {
    pub fn new(now: Instant) -> Self {
        Self { began: now, rises: 0, seen: BTreeMap::new() }
    }

    /// Takes what the worker sees now: its own path, and the paths of the other copies that differ from it. Returns the
    /// path that its card takes next, if it changes.
    pub fn look(&mut self, own: &str, others: &BTreeSet<String>, now: Instant) -> Option<String> {
        let since = |path: &String| (path.clone(), *self.seen.get(path).unwrap_or(&now));
        self.seen = others.iter().map(since).collect();
        let next = self.next(own, now)?;
        if next.as_str() > own {
            self.rises += 1;
        }
        self.seen.clear();
        Some(next)
    }

    fn next(&self, own: &str, now: Instant) -> Option<String> {
        let (least, since) = self.seen.first_key_value()?;
        if least.as_str() < own {
            let is_young = self.rises == 0 && now - self.began < YOUNG;
            return (is_young || now - *since >= LASTING).then(|| least.clone());
        }
        let (path, since) = self.seen.iter().min_by_key(|(_, since)| **since)?;
        let waits = self.rises < MAX_RISES && now - *since >= PATIENCE * PATIENCE_GROWTH.pow(self.rises);
        waits.then(|| path.clone())
    }
}

#[cfg(test)]
mod tests;
