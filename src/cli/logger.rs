//! Shows what libraries log: warnings and errors, or everything with `--verbose`.

use log::{LevelFilter, Log, Metadata, Record};

use crate::cli::terminal::say;

struct StderrLogger;

impl Log for StderrLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_lowercase();
            say(&format!("{level}: {}: {}", record.target(), record.args()));
        }
    }

    fn flush(&self) {}
}

/// Installs the logger for the life of the process.
pub(super) fn install(verbose: bool) {
    // Fails only where a logger is there already, and then that one is wanted.
    if log::set_logger(&StderrLogger).is_ok() {
        log::set_max_level(level(verbose));
    }
}

fn level(verbose: bool) -> LevelFilter {
    if verbose { LevelFilter::Trace } else { LevelFilter::Warn }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_always_shown_and_the_rest_where_it_is_wanted() {
        assert_eq!([level(false), level(true)], [LevelFilter::Warn, LevelFilter::Trace]);
    }
}
