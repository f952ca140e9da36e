//! Answers on stdout: one JSON document, or text and tables for people.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::cli::failure::Result;
use crate::error::{Error, ErrorKind};

/// Prints to stdout. A reader that has seen enough (`| head`) is no failure.
pub(super) fn print(text: &str) -> Result<()> {
    print_to(&mut io::stdout().lock(), text)
}

/// Prints one JSON document to stdout.
pub(super) fn print_json(document: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(document).map_err(|error| {
        Error::new(ErrorKind::Invalid, "the answer cannot be written as JSON").because(error)
    })?;
    print(&(text + "\n"))
}

fn print_to(out: &mut impl Write, text: &str) -> Result<()> {
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let what = "cannot print the answer on standard output";
            Err(Error::new(ErrorKind::Io, what).because(error).into())
        }
        _ => Ok(()),
    }
}

/// Text that is safe on a terminal: what stands in a repository may come from anywhere, and must
/// not be able to move the cursor or worse.
pub(super) fn printable(text: &str) -> String {
    let plain = |c: char| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(plain).collect()
}

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// Names.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

/// A table without borders: two spaces between columns, nothing after the last.
pub(super) fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(columns.iter().map(|column| match column {
        Column::Left(name) | Column::Right(name) => *name,
    }));
    for (column, kind) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        if matches!(kind, Column::Right(_)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.add_rows(rows);
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// Lines of a label and a value, the values below each other.
pub(super) fn fields<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
    rows.iter().map(|(label, value)| format!("{label:width$}  {value}\n")).collect()
}

/// Text that a shell reads as one word.
pub(super) fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./@:+,".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// `1 disk`, `2 disks`.
pub(super) fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_and_a_full_disk_is_one() {
        assert!(print_to(&mut Broken(io::ErrorKind::BrokenPipe), "text").is_ok());
        assert!(print_to(&mut Broken(io::ErrorKind::StorageFull), "text").is_err());
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\nc");
    }

    #[test]
    fn a_shell_reads_a_quoted_name_as_one_word() {
        for (text, word) in [("web@latest", "web@latest"), ("", "''"), ("a b", "'a b'")] {
            assert_eq!(shell_word(text), word);
        }
        assert_eq!(shell_word("it's $5"), r"'it'\''s $5'");
    }

    #[test]
    fn names_stand_left_and_numbers_right() {
        let columns = [Column::Left("VM"), Column::Right("SIZE"), Column::Left("DISKS")];
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = table(&columns, [row(["web", "1 GiB", "a"]), row(["mail server", "32 B", "b"])]);
        let expected = "VM            SIZE  DISKS\n\
                        web          1 GiB  a\n\
                        mail server   32 B  b\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn values_stand_below_each_other() {
        let text = fields([("VM", "web".to_owned()), ("Time", "now".to_owned())]);
        assert_eq!(text, "VM    web\nTime  now\n");
    }
}
