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
/// About how many moments a schedule has.
const LENGTH: usize = 200;

/// What a search came to.
#[derive(Debug, Default)]
struct Tried {
    schedules: usize,
    moments: usize,
    /// Whether there are no others within the bounds.
    is_complete: bool,
    /// What was broken, and in which schedule.
    broken: Option<(String, Broken)>,
}

/// The schedule in words: who goes on up to where.
fn in_words(scene: &Scene, record: &Record) -> String {
    let mut words = String::new();
    let mut last = None;
    for (at, (moment, choice)) in record.0.iter().enumerate() {
        let next = record.0.get(at + 1).map(|(_, next)| *next);
        match *choice {
            Choice::Kill(actor) => {
                words +=
                    &format!("{} is killed before {} | ", scene.deeds[actor], moment.ready[&actor]);
            }
            Choice::Run(actor) if next != Some(*choice) => {
                let again = if last == Some(actor) { "" } else { " up to" };
                words += &format!("{}{again} {} | ", scene.deeds[actor], moment.ready[&actor]);
                last = Some(actor);
            }
            Choice::Run(_) => {}
        }
    }
    words
}

/// Tries `count` random schedules, or until one breaks something.
fn throw(scene: &Scene, count: usize) -> Tried {
    let stage = Stage::new(scene);
    let mut tried = Tried::default();
    let mut length = LENGTH;
    for n in 0..count as u64 {
        let dice = Dice::new(seed() + n, scene.deeds.len(), length);
        let (record, result) = stage.run(Box::new(dice));
        length = record.0.len().max(1);
        tried.schedules += 1;
        tried.moments += record.0.len();
        if let Err(broken) = result {
            tried.broken = Some((in_words(scene, &record), broken));
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
            let went: Vec<_> = record.0.iter().take(len).map(|(_, choice)| *choice).collect();
            assert_eq!(went, begin, "a schedule cannot be repeated");
            if let Err(broken) = result {
                tried.broken = Some((in_words(scene, &record), broken));
                return tried;
            }
            is_news |= touched.learn(&record);
            search.branch(len, &record, &touched);
        }
        tried.is_complete = !is_news && bounds.interruptions > 0;
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
         {} random ones, {} calls, {} s",
        searched.schedules,
        bounds.interruptions,
        bounds.kills,
        if searched.is_complete { ", which are all" } else { "" },
        thrown.schedules,
        searched.moments + thrown.moments,
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
    let scene = &WHOLE[0].scene;
    let tried = search(scene, Bounds { interruptions: 1, kills: 0, areas: &[] }, usize::MAX);
    assert_eq!(tried.broken, None);
    assert!(tried.is_complete && tried.schedules > 50, "{tried:?}");
}

#[test]
fn a_step_that_is_missing_is_missed() {
    for Unsafe { scene, bounds } in UNSAFE {
        let tried = search(scene, *bounds, UNSAFE_SCHEDULES);
        let (schedule, broken) = tried.broken.unwrap_or_else(|| panic!("{:?}", scene.lies));
        assert!(broken.contains("is not whole"), "{:?}: {broken}", scene.lies);
        println!("interleave: {:?} loses in schedule {}: {schedule}", scene.lies, tried.schedules);
    }
}
