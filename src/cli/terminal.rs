//! The observer of a run on the command line: a progress bar and problems, all on stderr.

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::base::sync::lock;
use crate::cli::failure::ErrorDocument;
use crate::cli::output::printable;
use crate::error::Error;
use crate::monitor::Monitor;

const TICK: Duration = Duration::from_millis(250);
/// Problems that are shown and listed, one by one. More would help nobody and are only counted.
const PROBLEMS_SHOWN: usize = 1000;

/// Fits into 80 columns.
const KNOWN_LENGTH: &str = "{msg:16!} {wide_bar} {percent:>3}% {binary_bytes:>10} of \
                            {binary_total_bytes:10} {binary_bytes_per_sec:>12} {eta:>4}";
const UNKNOWN_LENGTH: &str =
    "{msg:16!} {spinner} {binary_bytes:>10} {binary_bytes_per_sec:>12} {elapsed:>4}";

/// Shows progress if stderr is a terminal, and every problem once.
pub(super) struct Terminal {
    is_live: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bar: Option<ProgressBar>,
    seen: HashSet<String>,
    documents: Vec<ErrorDocument>,
}

impl Terminal {
    pub(super) fn new() -> Self {
        Self { is_live: io::stderr().is_terminal(), state: Mutex::default() }
    }

    /// Whether anything went wrong on the way.
    pub(super) fn has_problems(&self) -> bool {
        !self.state().documents.is_empty()
    }

    /// The problems so far, as JSON.
    pub(super) fn problem_documents(&self) -> Vec<ErrorDocument> {
        self.state().documents.clone()
    }

    /// Removes the progress bar: the run is over, or something else is to be printed.
    pub(super) fn clear(&self) {
        if let Some(bar) = self.state().bar.take() {
            bar.finish_and_clear();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Monitor for Terminal {
    fn phase(&self, name: &str, total_bytes: Option<u64>) {
        self.clear();
        if self.is_live {
            self.state().bar = Some(new_bar(name, total_bytes));
        }
    }

    fn advance(&self, bytes: u64) {
        if !self.is_live {
            return;
        }
        if let Some(bar) = &self.state().bar {
            bar.inc(bytes);
        }
    }

    fn problem(&self, problem: &Error) {
        let mut state = self.state();
        let line = problem.chain();
        if state.documents.len() >= PROBLEMS_SHOWN || !state.seen.insert(line.clone()) {
            return;
        }
        state.documents.push(ErrorDocument::new(problem));
        let say = || say(&format!("problem: {line}"));
        match &state.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
        if state.documents.len() == PROBLEMS_SHOWN {
            self::say("problem: there are more problems; they are not listed");
        }
    }
}

fn new_bar(name: &str, total_bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match total_bytes {
        Some(total) => (ProgressBar::new(total), KNOWN_LENGTH),
        None => (ProgressBar::new_spinner(), UNKNOWN_LENGTH),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("##-"));
    }
    bar.set_message(printable(name));
    bar.enable_steady_tick(TICK);
    bar
}

/// One message on stderr. That nobody reads it must not end the run.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_of_the_bar_are_understood() {
        for template in [KNOWN_LENGTH, UNKNOWN_LENGTH] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn a_problem_is_counted_once() {
        let terminal = Terminal::new();
        assert!(!terminal.has_problems());
        for _ in 0..3 {
            terminal.problem(&Error::corrupt("a test of the monitor"));
        }
        assert_eq!(terminal.problem_documents().len(), 1);
    }
}
