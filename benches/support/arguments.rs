//! What a bench is told on its command line, and the file that it leaves its samples in.

use std::fmt::Debug;
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::Value;

/// The file that takes the samples as JSON, for programs that make tables of several benches.
const JSON: &str = "--json";

/// Options, each with a value, and numbers without a name.
pub(crate) struct Arguments {
    options: Vec<(String, String)>,
    numbers: Vec<u64>,
}

impl Arguments {
    /// Reads the command line. Panics at an option that is neither `--json` nor one of `known`.
    pub(crate) fn read(known: &[&str]) -> Self {
        // Cargo adds `--bench`.
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        let (mut options, mut numbers) = (Vec::new(), Vec::new());
        while let Some(word) = words.next() {
            if word == JSON || known.contains(&word.as_str()) {
                let value = words.next().unwrap_or_else(|| panic!("{word} wants a value"));
                options.push((word, value));
            } else {
                let number = word.parse();
                numbers.push(number.unwrap_or_else(|_| panic!("unknown argument {word}")));
            }
        }
        Self { options, numbers }
    }

    /// The value of an option, the last one where there are several.
    pub(crate) fn value<T: FromStr<Err: Debug>>(&self, name: &str) -> Option<T> {
        let (_, value) = self.options.iter().rev().find(|(option, _)| option == name)?;
        Some(value.parse().unwrap_or_else(|error| panic!("{name} {value}: {error:?}")))
    }

    /// The numbers without a name.
    pub(crate) fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// Writes samples to the file of `--json`, where one was asked for.
    pub(crate) fn write_json(&self, samples: &Value) {
        if let Some(path) = self.value::<PathBuf>(JSON) {
            std::fs::write(&path, format!("{samples:#}\n")).expect("the file can be written");
        }
    }
}
