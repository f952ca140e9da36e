//! How much of its work a machine does: a part in the suite, all of it by `tools/machines`.

use std::str::FromStr;

fn from_environment<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    text.parse().map_or_else(|_| panic!("{name} is no number: {text}"), Some)
}

/// Whether everything is to be done.
fn is_long() -> bool {
    from_environment::<u8>("BACKSTOP_MACHINES_LONG") == Some(1)
}

/// `short` runs in the suite, `long` by command, or as many as were asked for.
pub(crate) fn runs(short: usize, long: usize) -> usize {
    let usual = if is_long() { long } else { short };
    from_environment("BACKSTOP_MACHINES_RUNS").unwrap_or(usual)
}

/// Where the dice begin.
pub(crate) fn seed() -> u64 {
    from_environment("BACKSTOP_MACHINES_SEED").unwrap_or(1)
}

/// All places of `1..=count`, or in the suite `short` of them, or as many as were asked for, evenly
/// spread.
pub(crate) fn places(count: usize, short: usize) -> Vec<usize> {
    let chosen = runs(short, count).min(count);
    (0..chosen).map(|n| 1 + n * count / chosen).collect()
}
