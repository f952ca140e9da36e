//! Reads Rust source without parsing it: what is code, where items end, what belongs to tests.

/// A source file of the package.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path from the package root, with `/`.
    pub(crate) path: String,
    /// The file as it is.
    pub(crate) text: String,
    /// The file with comments and the insides of strings and characters blanked, byte for byte.
    pub(crate) code: String,
    test_lines: Vec<bool>,
}

impl Source {
    /// `is_test` for a file that only tests are built from.
    pub(crate) fn new(path: &str, text: &str, is_test: bool) -> Self {
        let code = blank(text);
        let test_lines = if is_test || code.contains("#![cfg(test)]") {
            vec![true; text.lines().count()]
        } else {
            test_lines(&code)
        };
        Self { path: path.to_owned(), text: text.to_owned(), code, test_lines }
    }

    /// The number of the line that holds byte `at`, counted from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        line(&self.code, at)
    }

    /// Whether that line, counted from 1, is only built for tests.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.test_lines.get(line - 1).copied().unwrap_or(false)
    }

    /// How many lines are only built for tests.
    pub(crate) fn test_line_count(&self) -> usize {
        self.test_lines.iter().filter(|is_test| **is_test).count()
    }

    /// How many lines there are.
    pub(crate) fn line_count(&self) -> usize {
        self.test_lines.len()
    }

    /// A problem of that line, counted from 1, ready to print.
    pub(crate) fn problem(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

fn line(code: &str, at: usize) -> usize {
    code.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Marks the lines of every item under `#[cfg(test)]`.
fn test_lines(code: &str) -> Vec<bool> {
    let mut marks = vec![false; code.lines().count()];
    for attribute in ["#[cfg(test)]", "#[cfg(all(test,"] {
        for (from, _) in code.match_indices(attribute) {
            let end = item_end(code, from + attribute.len());
            let lines = line(code, from)..=line(code, end.saturating_sub(1).max(from));
            lines.for_each(|number| marks[number - 1] = true);
        }
    }
    marks
}

/// Where the item that begins at `from` ends in blanked code: after its `;` or its closing brace.
pub(crate) fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'}' if depth == 0 => return at,
            b'}' => {
                depth -= 1;
                // A const argument, `Array<{ N }>`, is no body.
                let is_argument = code[at + 1..].trim_start().starts_with(['>', ',']);
                if depth == 0 && !is_argument {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The identifiers, keywords and numbers of blanked code, each with the byte where it begins.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let from = rest + code[rest..].find(is_word_char)?;
        let len = code[from..].find(|c| !is_word_char(c)).unwrap_or(code.len() - from);
        rest = from + len;
        Some((from, &code[from..rest]))
    })
}

/// Whether `c` may stand inside an identifier.
pub(crate) fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The places where `needle` stands in `text` and is no part of a longer word.
pub(crate) fn whole_matches<'a>(text: &'a str, needle: &'a str) -> impl Iterator<Item = usize> {
    text.match_indices(needle).map(|(at, _)| at).filter(move |at| {
        let joins = |outside: Option<char>, inside: Option<char>| {
            outside.is_some_and(is_word_char) && inside.is_some_and(is_word_char)
        };
        let before = text[..*at].chars().next_back();
        let after = text[at + needle.len()..].chars().next();
        !joins(before, needle.chars().next()) && !joins(after, needle.chars().next_back())
    })
}

/// Blanks comments and the insides of strings and characters; every byte keeps its place.
pub(crate) fn blank(text: &str) -> String {
    let chars = text.chars().collect();
    let mut blanker = Blanker { chars, at: 0, out: String::with_capacity(text.len()) };
    while let Some(here) = blanker.peek(0) {
        match (here, blanker.peek(1)) {
            ('/', Some('/')) => blanker.line_comment(),
            ('/', Some('*')) => blanker.block_comment(),
            ('"', _) => blanker.string(),
            ('\'', _) => blanker.quote(),
            _ => blanker.keep(),
        }
    }
    blanker.out
}

struct Blanker {
    chars: Vec<char>,
    at: usize,
    out: String,
}

impl Blanker {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn keep(&mut self) {
        self.out.extend(self.peek(0));
        self.at += 1;
    }

    fn hide(&mut self) {
        match self.peek(0) {
            Some('\n') => self.out.push('\n'),
            Some(c) => self.out.extend(std::iter::repeat_n(' ', c.len_utf8())),
            None => {}
        }
        self.at += 1;
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|c| c != '\n') {
            self.hide();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while let Some(here) = self.peek(0) {
            match (here, self.peek(1)) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => {
                    self.hide();
                    continue;
                }
            }
            self.hide();
            self.hide();
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        let raw_hashes = self.raw_hashes();
        self.keep();
        while let Some(here) = self.peek(0) {
            match raw_hashes {
                None if here == '\\' => self.hide(),
                None if here == '"' => break,
                Some(hashes) if here == '"' && self.hashes_follow(hashes) => break,
                _ => {}
            }
            self.hide();
        }
        self.keep();
    }

    /// How many `#` end the string that begins here, if it is a raw one.
    fn raw_hashes(&self) -> Option<usize> {
        let before = &self.chars[..self.at];
        let hashes = before.iter().rev().take_while(|c| **c == '#').count();
        let before = before[..before.len() - hashes].strip_suffix(&['r'])?;
        let before = match before {
            [rest @ .., 'b' | 'c'] => rest,
            _ => before,
        };
        let is_literal = !before.last().copied().is_some_and(is_word_char);
        is_literal.then_some(hashes)
    }

    fn hashes_follow(&self, count: usize) -> bool {
        (1..=count).all(|ahead| self.peek(ahead) == Some('#'))
    }

    /// A character, or the mark of a lifetime.
    fn quote(&mut self) {
        let is_escape = self.peek(1) == Some('\\');
        let is_char = is_escape || (self.peek(2) == Some('\'') && self.peek(1) != Some('\''));
        self.keep();
        if !is_char {
            return;
        }
        if is_escape {
            self.hide();
        }
        self.hide();
        while self.peek(0).is_some_and(|c| c != '\'') {
            self.hide();
        }
        self.keep();
    }
}

#[test]
fn comments_and_the_insides_of_strings_are_blanked() {
    let cases = [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        (r#"f("a // \" b") + 1"#, r#"f("         ") + 1"#),
        (r##"r#"a " b"# + r"\" + b"##, r##"r#"     "# + r" " + b"##),
        (r##"br#"{"# }"##, r##"br#" "# }"##),
        ("\"a\nb\" {", "\" \n \" {"),
        ("\"é\" é", "\"  \" é"),
    ];
    for (text, expected) in cases {
        assert_eq!(blank(text), expected, "{text}");
    }
}

#[test]
fn lifetimes_are_told_from_characters() {
    let cases = [
        ("fn f<'a>(c: &'a str) -> char { '{' }", "fn f<'a>(c: &'a str) -> char { ' ' }"),
        (r"['\'', '\\', '\u{7d}', b'}']", r"['  ', '  ', '      ', b' ']"),
        ("'outer: loop { '\"' }", "'outer: loop { ' ' }"),
    ];
    for (text, expected) in cases {
        assert_eq!(blank(text), expected, "{text}");
    }
}

#[test]
fn an_item_ends_at_its_own_brace_or_semicolon() {
    let cases = [
        ("fn f(a: [u8; 4]) { { } } fn g() {}", "fn f(a: [u8; 4]) { { } }"),
        ("fn f() -> u8; fn g() {}", "fn f() -> u8;"),
        ("fn f(a: Array<{ N }>) { } x", "fn f(a: Array<{ N }>) { }"),
        ("mod tests { use a::b; } x", "mod tests { use a::b; }"),
        ("a: u8 } struct B { }", "a: u8 "),
    ];
    for (code, expected) in cases {
        assert_eq!(&code[..item_end(code, 0)], expected, "{code}");
    }
}

#[test]
fn test_code_is_what_stands_under_cfg_test() {
    let text = "use a;\n#[cfg(test)]\nuse b;\nfn f() {}\n#[cfg(test)]\n#[rustfmt::skip]\n\
                mod tests {\n    // }\n}\nfn g() {}\n";
    let source = Source::new("src/a.rs", text, false);
    let tests: Vec<_> = (1..=source.line_count()).filter(|line| source.is_test(*line)).collect();
    assert_eq!(tests, [2, 3, 5, 6, 7, 8, 9]);
    assert_eq!(Source::new("src/a.rs", text, true).test_line_count(), 10);
    let file = Source::new("src/a.rs", "#![cfg(test)]\nfn f() {}\n", false);
    assert_eq!(file.test_line_count(), 2);
    let shipped = Source::new("src/a.rs", "#[cfg(any(test, unix))]\nmod b {}\n", false);
    assert_eq!(shipped.test_line_count(), 0);
}

#[test]
fn a_word_inside_a_longer_word_is_no_match() {
    assert_eq!(whole_matches("eprint!(a); print!(b)", "print!(").collect::<Vec<_>>(), [12]);
    assert_eq!(whole_matches("File::create_new()", "File::create").count(), 0);
    assert_eq!(whole_matches("a.unwrap().b", ".unwrap()").count(), 1);
}
