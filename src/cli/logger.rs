//! Shows what libraries log: warnings and errors, or everything with `--verbose`.

use log::{LevelFilter, Log, Metadata, Record};

use crate::cli::terminal::say;

struct StderrLogger;

impl Log for StderrLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level() && may_be_shown(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_lowercase();
            say(&format!("{level}: {}: {}", record.target(), record.args()));
        }
    }

    fn flush(&self) {}
}

/// What libraries say in detail may hold what they send: passwords and tokens among it.
fn may_be_shown(metadata: &Metadata<'_>) -> bool {
    let module = metadata.target().split("::").next().unwrap_or_default();
    matches!(module, "backstop" | "fuser") || metadata.level() <= LevelFilter::Warn
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
    use log::Level;

    use super::*;

    #[test]
    fn details_of_other_libraries_are_never_shown() {
        let shown = |target: &str, level: Level| {
            may_be_shown(&Metadata::builder().target(target).level(level).build())
        };
        assert!(shown("backstop::ovirt::client", Level::Trace));
        assert!(shown("fuser::session", Level::Debug) && shown("rustls::conn", Level::Warn));
        assert!(!shown("reqwest::connect", Level::Debug) && !shown("backstopper", Level::Trace));
    }

    #[test]
    fn warnings_are_always_shown_and_the_rest_where_it_is_wanted() {
        assert_eq!([level(false), level(true)], [LevelFilter::Warn, LevelFilter::Trace]);
    }
}
