//! Reads a page of `docs/format/`: its tables and its test vectors.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A field as a page tells it: name, offset, size.
pub(crate) type PageField = (String, usize, usize);

pub(crate) struct Page {
    name: &'static str,
    text: String,
}

impl Page {
    pub(crate) fn load(name: &'static str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/format").join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { name, text }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The cells of the first table with these column titles below `heading`, without markup.
    pub(crate) fn table(&self, heading: &str, titles: &[&str]) -> Vec<Vec<String>> {
        let mut lines = self.text.lines().skip_while(|line| !is_heading(line, heading)).skip(1);
        let section = lines.by_ref().take_while(|line| !line.starts_with("## "));
        let mut table = section.skip_while(|line| cells(line) != titles).skip(1);
        let rule = table.next();
        assert!(rule.is_some(), "{}: no table {titles:?} below {heading:?}", self.name);
        table.take_while(|line| line.starts_with('|')).map(cells).collect()
    }

    /// The fields of fixed size of the layout below `heading`, in order.
    pub(crate) fn layout(&self, heading: &str) -> Vec<PageField> {
        let rows = self.table(heading, &["Offset", "Size", "Type", "Field", "Meaning"]);
        let fields = rows.iter().filter_map(|row| {
            let size = row[1].parse().ok()?;
            let bits: Option<usize> = row[2].strip_prefix('u').map(|bits| bits.parse().unwrap());
            assert!(bits.is_none_or(|bits| bits == size * 8), "{}: type of {row:?}", self.name);
            Some((row[3].clone(), row[0].parse().unwrap(), size))
        });
        fields.collect()
    }

    /// The bytes that the table below `heading` gives for the field `magic`.
    pub(crate) fn magic(&self, heading: &str) -> Vec<u8> {
        let rows = self.table(heading, &["Offset", "Size", "Type", "Field", "Meaning"]);
        let row = rows.iter().find(|row| row[3] == "magic").expect("a row for the magic");
        let digits: Vec<_> = row[4].split(' ').take_while(|word| word.len() == 2).collect();
        parse_hex(&digits.concat())
    }

    /// The JSON fields that the table below `heading` lists.
    pub(crate) fn json_fields(&self, heading: &str) -> BTreeSet<String> {
        let rows = self.table(heading, &["Field", "Type", "Meaning"]);
        rows.into_iter().map(|row| row[0].clone()).collect()
    }

    /// The bytes of the test vector of that name.
    pub(crate) fn hex(&self, name: &str) -> Vec<u8> {
        let block = self.block(&format!("hex {name}"));
        let digits = block.lines().map(|line| line.split('#').next().unwrap_or_default());
        let words = digits.flat_map(str::split_whitespace);
        words.flat_map(parse_word).collect()
    }

    /// The JSON block of that name.
    pub(crate) fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(self.block(&format!("json {name}"))).expect("valid JSON")
    }

    fn block(&self, info: &str) -> &str {
        let begin = format!("```{info}\n");
        let found = self.text.split_once(&begin).and_then(|(_, rest)| rest.split_once("\n```"));
        found.unwrap_or_else(|| panic!("{}: no block {info:?}", self.name)).0
    }
}

fn is_heading(line: &str, heading: &str) -> bool {
    line.strip_prefix("## ") == Some(heading)
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(|cell| cell.trim().replace('`', "")).collect()
}

/// Digits, or one byte and how many times it stands: `00*40`.
fn parse_word(word: &str) -> Vec<u8> {
    match word.split_once('*') {
        Some((byte, times)) => parse_hex(byte).repeat(times.parse().expect("a number")),
        None => parse_hex(word),
    }
}

fn parse_hex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2) && digits.is_ascii(), "hexadecimal: {digits}");
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}
