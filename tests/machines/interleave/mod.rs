//! Commands beside each other, step by step, in every order that matters and in many others.

mod explore;
mod lies;
mod scene;
mod scenes;
mod store;
mod turns;

use std::sync::Mutex;
use std::time::Instant;

use crate::scale::{runs, seed};
use crate::told::Broken;

use explore::{Bounds, Dice, Replay, Search, Touched};
use scene::{Scene, Stage};
use scenes::{UNSAFE, Unsafe, WHOLE, Whole};
use turns::{Choice, Record};

/// Schedules of those that must break something, at most.
const UNSAFE_SCHEDULES: usize = 5000;
/// Scenes that are tried at a time.
const THREADS: usize = 2;

/// What a search came to.
#[derive(Debug, Default)]
struct Tried {
    schedules: usize,
    moments: usize,
    /// Those that did not begin as they were to.
    astray: usize,
    /// Whether there are no others within the bounds.
    is_complete: bool,
    /// What was broken, and in which schedule.
    broken: Option<(String, Broken)>,
}

/// The schedule in words: who goes on up to where. Actors have their places among the deeds.
fn in_words(scene: &Scene, record: &Record) -> String {
    let mut words = Vec::new();
    for (at, (moment, choice)) in record.0.iter().enumerate() {
        let next = record.0.get(at + 1).map(|(_, next)| *next);
        let (actor, how) = match *choice {
            Choice::Kill(actor) => (actor, "is killed before"),
            Choice::Run(actor) if next != Some(*choice) => (actor, "up to"),
            Choice::Run(_) => continue,
        };
        let (deed, call) = (scene.deeds[actor], &moment.ready[&actor]);
        words.push(format!("{deed} ({actor}) {how} {call}"));
    }
    words.join(", ")
}

/// Tries `count` random schedules, or until one breaks something.
fn throw(scene: &Scene, count: usize) -> Tried {
    let stage = Stage::new(scene);
    let mut tried = Tried::default();
    let (one_after_the_other, _) = stage.run(Box::new(Replay::new(Vec::new())));
    for seed in (seed()..).take(count) {
        let dice = Dice::new(seed, scene.deeds.len(), one_after_the_other.0.len());
        let (record, result) = stage.run(Box::new(dice));
        tried.schedules += 1;
        tried.moments += record.0.len();
        if let Err(broken) = result {
            tried.broken = Some((format!("seed {seed}: {}", in_words(scene, &record)), broken));
            break;
        }
    }
    tried
}

/// Tries schedules within bounds, all of them or at most `limit`, until one breaks something.
fn search(scene: &Scene, bounds: Bounds, limit: usize) -> Tried {
    let stage = Stage::new(scene);
    let mut touched = Touched::default();
    let mut tried = Tried::default();
    // What others touch is learned on the way: first in the orders without interruptions. A search
    // in which it turned out that more matters is made once more.
    for bounds in [Bounds { interruptions: 0, ..bounds }, bounds, bounds] {
        let mut search = Search::new(bounds, seed());
        let mut is_news = false;
        while let Some(begin) = search.next() {
            if tried.schedules == limit {
                return tried;
            }
            let len = begin.len();
            let (record, result) = stage.run(Box::new(Replay::new(begin.clone())));
            tried.schedules += 1;
            tried.moments += record.0.len();
            if let Err(broken) = result {
                tried.broken = Some((in_words(scene, &record), broken));
                return tried;
            }
            is_news |= touched.learn(&record);
            // A prune goes through its sets in an order of its own, which may take other calls.
            match record.0.iter().take(len).map(|(_, choice)| *choice).eq(begin) {
                true => search.branch(len, &record, &touched),
                false => tried.astray += 1,
            }
        }
        tried.is_complete = !is_news && tried.astray == 0 && bounds.interruptions > 0;
        if tried.is_complete {
            break;
        }
    }
    tried
}

/// Tries a scene in orders within bounds and in random ones; none may break anything.
fn hold(whole: &Whole) {
    let began = Instant::now();
    let Whole { name, scene, bounds } = whole;
    let searched = search(scene, *bounds, runs(20, 2500));
    let thrown = throw(scene, runs(20, 1000));
    println!(
        "interleave: {name}: {} schedules of up to {} interruptions and {} kills{}, \
         {} random ones, {} calls, {} astray, {} s",
        searched.schedules,
        bounds.interruptions,
        bounds.kills,
        if searched.is_complete { ", which are all" } else { "" },
        thrown.schedules,
        searched.moments + thrown.moments,
        searched.astray,
        began.elapsed().as_secs(),
    );
    for tried in [searched, thrown] {
        if let Some((schedule, broken)) = tried.broken {
            panic!("{name}: {broken}: {schedule}");
        }
    }
}

#[test]
fn in_no_order_of_commands_is_anything_lost() {
    let scenes = Mutex::new(WHOLE.iter());
    let next = || scenes.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(whole) = next() {
                    hold(whole);
                }
            });
        }
    });
}

#[test]
fn every_order_of_a_backup_and_a_prune_with_one_interruption_was_tried() {
    for Whole { name, scene, .. } in &WHOLE[..2] {
        let tried = search(scene, Bounds { interruptions: 1, kills: 0, areas: &[] }, usize::MAX);
        assert_eq!(tried.broken, None, "{name}");
        assert!(tried.is_complete && tried.schedules > 50, "{name}: {tried:?}");
    }
}

#[test]
fn a_step_that_is_missing_is_missed() {
    if crate::repo::is_encrypted() {
        // A lie tells a commit by its bytes.
        return crate::skip::skip("a_step_that_is_missing_is_missed", "objects are sealed");
    }
    for Unsafe { scene, bounds } in UNSAFE {
        let tried = search(scene, *bounds, UNSAFE_SCHEDULES);
        let (schedule, broken) = tried.broken.unwrap_or_else(|| panic!("{:?}", scene.lies));
        assert!(broken.contains("is not whole"), "{:?}: {broken}", scene.lies);
        println!("interleave: {:?} loses in schedule {}: {schedule}", scene.lies, tried.schedules);
    }
}
