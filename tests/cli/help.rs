use clap::Command;

use crate::support::Lab;

/// The commands that do something, each with the words that lead to it.
pub(crate) fn leaves(command: &Command, words: &[String]) -> Vec<(Vec<String>, Command)> {
    let below = command.get_subcommands().filter(|below| below.get_name() != "help");
    let below = below.flat_map(|below| {
        let words = [words, &[below.get_name().to_owned()]].concat();
        leaves(below, &words)
    });
    let below: Vec<_> = below.collect();
    if below.is_empty() { vec![(words.to_vec(), command.clone())] } else { below }
}

pub(crate) fn commands() -> Vec<(Vec<String>, Command)> {
    let mut definition = backstop::cli::definition();
    definition.build();
    leaves(&definition, &[])
}

/// The examples in a text: every line that begins with spaces and runs the program.
pub(crate) fn examples(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().filter(|line| line.starts_with("  "));
    let pieces = lines.flat_map(|line| line.split(" | "));
    let runs = pieces.filter_map(|piece| {
        let words = words(piece);
        let start = words.iter().position(|word| word == "backstop")?;
        let is_env = |word: &String| word.contains('=');
        words[..start].iter().all(is_env).then(|| words[start..].to_vec())
    });
    runs.collect()
}

/// Splits a line as a shell does that knows single quotes only.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (number, part) in line.trim().split('\'').enumerate() {
        match number % 2 {
            0 => {
                let mut pieces = part.split(' ');
                let first = pieces.next().unwrap_or_default();
                words.last_mut().unwrap().push_str(first);
                words.extend(pieces.map(str::to_owned));
            }
            _ => words.last_mut().unwrap().push_str(part),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_has_a_line_of_help_without_a_full_stop_and_examples_that_are_right() {
    for (path, command) in commands() {
        let about = command.get_about().unwrap().to_string();
        assert!(!about.ends_with('.'), "{path:?}: {about}");
        let after = command.get_after_help().unwrap_or_default().to_string();
        let examples = examples(&after);
        assert!(!examples.is_empty(), "{path:?} has no examples");
        for example in examples {
            assert!(example.iter().any(|word| *word == path[0]), "{path:?}: {example:?}");
            let parsed = backstop::cli::definition().try_get_matches_from(&example);
            assert!(parsed.is_ok(), "{example:?}: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    let lab = Lab::empty();
    for (path, _) in commands() {
        let ran = lab.run(path.iter().map(String::as_str).chain(["--help"])).expect(0);
        assert!(ran.stdout.contains("\nExamples:\n"), "{path:?}");
        assert!(ran.stdout.contains("--repo <DIR>"), "{path:?}");
        assert_eq!(ran.stderr, "");
    }
    let version = lab.run(["--version"]).expect(0).stdout;
    assert_eq!(version, concat!("backstop ", env!("CARGO_PKG_VERSION"), "\n"));
}
