use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::{Choice, pause_after};

const MS: Duration = Duration::from_millis(1);
const ABSENCE_MS: u32 = 1000;
const EQUAL_MS: u32 = 10_000;

fn paths(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_string()).collect()
}

/// What a worker does at each look, in milliseconds after its first one.
fn looks(own: &str, steps: &[(u32, &[&str])]) -> Vec<Option<String>> {
    let start = Instant::now();
    let mut choice = Choice::new(start);
    steps.iter().map(|(at, others)| choice.look(own, &paths(others), start + MS * *at)).collect()
}

fn some(path: &str) -> Option<String> {
    Some(path.to_string())
}

#[test]
fn takes_the_least_path_at_once() {
    assert_eq!(looks("c", &[(0, &["b", "d", "a"])]), [some("a")]);
    assert_eq!(looks("c", &[(0, &[]), (1900, &["a"])]), [None, some("a")]);
}

#[test]
fn keeps_its_path_when_a_worker_with_a_smaller_one_joins_later() {
    let steps: [(u32, &[&str]); 4] = [(0, &[]), (2100, &["a"]), (12_000, &["a"]), (12_200, &["a"])];
    assert_eq!(looks("c", &steps), [None, None, None, some("a")]);
}

#[test]
fn takes_a_greater_path_that_stays() {
    assert_eq!(looks("a", &[(0, &["c"]), (900, &["c", "b"]), (1000, &["c", "b"])]), [None, None, some("c")]);
    // The other worker took this one's path in the meantime.
    assert_eq!(looks("a", &[(0, &["c"]), (900, &[]), (1000, &["c"]), (1900, &["c"])]), [None, None, None, None]);
}

#[test]
fn waits_longer_each_time_and_then_no_longer_takes_a_greater_path() {
    let start = Instant::now();
    let mut choice = Choice::new(start);
    let (mut rises, mut since) = (Vec::new(), 0);
    for second in 0..200 {
        if let Some(path) = choice.look("a", &paths(&["b"]), start + MS * (second * 1000)) {
            assert_eq!(path, "b");
            rises.push(second - since);
            since = second + 1;
        }
    }
    assert_eq!(rises, [1, 4, 16]);
}

#[test]
fn does_not_return_to_a_smaller_path_at_once() {
    let start = Instant::now();
    let mut choice = Choice::new(start);
    let mut look = |own, others, at| choice.look(own, &paths(others), start + MS * at);
    assert_eq!(look("a", &["b"], 0), None);
    assert_eq!(look("a", &["b"], 1000), some("b"));
    assert_eq!(look("b", &["a"], 1100), None);
    assert_eq!(look("b", &["a"], 11_000), None);
    assert_eq!(look("b", &["a"], 11_100), some("a"));
}

/// A small generator of pseudo-random numbers (SplitMix64), so that each failure repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % u64::from(end)) as u32
    }
}

enum Step {
    Look,
    Register(String),
}

struct Worker {
    path: String,
    choice: Option<Choice>,
    next: (u32, Step),
    /// The other paths in the last look, and since when they are the same.
    view: (BTreeSet<String>, u32),
}

/// Workers that register at random times within `spread` and whose steps take random times below `slow`, both in
/// milliseconds. Each stops when all paths have been equal for 10 seconds. Returns the paths after that, and how many
/// cards were replaced.
fn run(count: u32, spread: u32, slow: u32, seed: u64) -> (BTreeSet<String>, u32) {
    let mut random = Random(seed);
    let start = Instant::now();
    let mut cards: BTreeMap<usize, String> = BTreeMap::new();
    let mut replaced = 0;
    let mut workers: Vec<Worker> = (0..count)
        .map(|_| {
            let path = format!("{:08x}", random.below(u32::MAX));
            let next = (random.below(spread), Step::Register(path.clone()));
            Worker { path, choice: None, next, view: (BTreeSet::new(), 0) }
        })
        .collect();
    loop {
        let at = (0..workers.len()).min_by_key(|at| workers[*at].next.0).unwrap();
        let worker = &mut workers[at];
        let now = worker.next.0;
        if now == u32::MAX {
            return (cards.into_values().collect(), replaced);
        }
        assert!(now < 200_000, "it does not end");
        let took = |random: &mut Random| 1 + random.below(slow);
        if let Step::Register(path) = &worker.next.1 {
            worker.path = path.clone();
            worker.view.1 = now;
            cards.insert(at, path.clone());
            worker.next = (now + took(&mut random), Step::Look);
            continue;
        }
        let others: BTreeSet<String> = cards.values().filter(|path| **path != worker.path).cloned().collect();
        let instant = start + MS * now;
        if worker.choice.is_none() || worker.view.0 != others {
            worker.view = (others.clone(), now);
        }
        let unchanged = now - worker.view.1;
        let choice = worker.choice.get_or_insert_with(|| Choice::new(instant));
        worker.next = match choice.look(&worker.path, &others, instant) {
            Some(path) => {
                replaced += 1;
                cards.remove(&at);
                (now + ABSENCE_MS + took(&mut random), Step::Register(path))
            }
            None if others.is_empty() && unchanged >= EQUAL_MS => (u32::MAX, Step::Look),
            None => {
                let pause = pause_after(MS * unchanged).as_millis() as u32;
                (now + pause + took(&mut random), Step::Look)
            }
        };
    }
}

#[test]
fn workers_that_register_together_agree() {
    for count in 2..=8 {
        for (spread, slow) in [(1, 2), (1000, 10), (5000, 50), (3000, 1000)] {
            for seed in 0..100 {
                let (paths, _) = run(count, spread, slow, seed);
                assert_eq!(paths.len(), 1, "{count} workers, spread {spread}, slow {slow}, seed {seed}: {paths:?}");
            }
        }
    }
}

#[test]
fn each_worker_but_one_replaces_its_card_once_if_all_register_at_once() {
    for count in 2..=8 {
        for seed in 0..100 {
            assert_eq!(run(count, 1, 2, seed).1, count - 1);
        }
    }
}
