//! The observer of a run on the command line: progress bars and problems, all on stderr.

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

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
/// A part says which it is, and has a shorter bar.
const PART_OF_KNOWN_LENGTH: &str = "{msg:24!} {wide_bar} {percent:>3}% {binary_bytes:>10} of \
                                    {binary_total_bytes:10} {binary_bytes_per_sec:>12}";
const UNKNOWN_LENGTH: &str =
    "{msg:16!} {spinner} {binary_bytes:>10} {binary_bytes_per_sec:>12} {elapsed:>4}";

/// Shows progress if stderr is a terminal, and every problem once. Parts of a run that go on at
/// once have a line each.
pub(super) struct Terminal {
    shared: Arc<Shared>,
    /// What this is the observer of, where it is a part.
    part: Option<String>,
    bar: Mutex<Option<ProgressBar>>,
}

struct Shared {
    is_live: bool,
    bars: MultiProgress,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    seen: HashSet<String>,
    documents: Vec<ErrorDocument>,
}

impl Terminal {
    pub(super) fn new() -> Self {
        Self::live(io::stderr().is_terminal())
    }

    fn live(is_live: bool) -> Self {
        let (bars, told) = (MultiProgress::new(), Mutex::default());
        Self::of(Arc::new(Shared { is_live, bars, told }), None)
    }

    const fn of(shared: Arc<Shared>, part: Option<String>) -> Self {
        Self { shared, part, bar: Mutex::new(None) }
    }

    /// Whether anything went wrong on the way.
    pub(super) fn has_problems(&self) -> bool {
        !lock(&self.shared.told).documents.is_empty()
    }

    /// The problems so far, as JSON.
    pub(super) fn problem_documents(&self) -> Vec<ErrorDocument> {
        lock(&self.shared.told).documents.clone()
    }

    /// Removes the progress bar: the run is over, or something else is to be printed.
    pub(super) fn clear(&self) {
        if let Some(bar) = lock(&self.bar).take() {
            bar.finish_and_clear();
            self.shared.bars.remove(&bar);
        }
    }

    fn title(&self, phase: &str) -> String {
        match &self.part {
            Some(part) => format!("{part}: {phase}"),
            None => phase.to_owned(),
        }
    }

    fn new_bar(&self, name: &str, total_bytes: Option<u64>) -> ProgressBar {
        let (bar, template) = match (total_bytes, &self.part) {
            (Some(total), None) => (ProgressBar::new(total), KNOWN_LENGTH),
            (Some(total), Some(_)) => (ProgressBar::new(total), PART_OF_KNOWN_LENGTH),
            (None, _) => (ProgressBar::new_spinner(), UNKNOWN_LENGTH),
        };
        let bar = self.shared.bars.add(bar);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("##-"));
        }
        bar.set_message(printable(&self.title(name)));
        bar.enable_steady_tick(TICK);
        bar
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Monitor for Terminal {
    fn phase(&self, name: &str, total_bytes: Option<u64>) {
        self.clear();
        if self.shared.is_live {
            *lock(&self.bar) = Some(self.new_bar(name, total_bytes));
        }
    }

    fn advance(&self, bytes: u64) {
        if !self.shared.is_live {
            return;
        }
        if let Some(bar) = &*lock(&self.bar) {
            bar.inc(bytes);
        }
    }

    fn problem(&self, problem: &Error) {
        let mut told = lock(&self.shared.told);
        let line = problem.chain();
        if told.documents.len() >= PROBLEMS_SHOWN || !told.seen.insert(line.clone()) {
            return;
        }
        told.documents.push(ErrorDocument::new(problem));
        let is_last = told.documents.len() == PROBLEMS_SHOWN;
        self.shared.bars.suspend(|| {
            say(&format!("problem: {line}"));
            if is_last {
                say("problem: there are more problems; they are not listed");
            }
        });
    }

    fn part(&self, name: &str) -> Option<Arc<dyn Monitor>> {
        Some(Arc::new(Self::of(Arc::clone(&self.shared), Some(name.to_owned()))))
    }
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
        for template in [KNOWN_LENGTH, PART_OF_KNOWN_LENGTH, UNKNOWN_LENGTH] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn parts_of_a_run_have_a_line_each_and_their_problems_are_told_together() {
        let whole = Terminal::live(true);
        whole.shared.bars.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        let part = |name: &str| Terminal::of(Arc::clone(&whole.shared), Some(name.to_owned()));
        let (web, db) = (part("web"), part("db"));
        web.phase("system", Some(100));
        db.phase("data", Some(100));
        web.advance(7);
        db.phase("logs", Some(100));
        db.advance(9);
        let shown = |terminal: &Terminal| {
            let bar = lock(&terminal.bar).clone().unwrap();
            (bar.message(), bar.position())
        };
        assert_eq!(shown(&web), ("web: system".to_owned(), 7));
        assert_eq!(shown(&db), ("db: logs".to_owned(), 9));
        db.problem(&Error::corrupt("a test of one part"));
        assert_eq!(whole.problem_documents().len(), 1);
        db.clear();
        assert_eq!(shown(&web).1, 7);
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
