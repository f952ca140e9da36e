//! Names of VMs and disks as names of files: harmless, and different for different names.

use std::fmt::Write;

use crate::base::hash::blake3_256;

/// Longest safe name, in bytes. File systems allow 255; `.raw` and what a user appends fit behind.
pub const SAFE_NAME_BYTES_MAX: usize = 200;

/// Stands before the hash that ends a name which was too long. No encoded name holds it: a `%` of
/// the encoding is always followed by a digit.
const HASH_MARK: &str = "%~";
/// Bytes of the hash in such a name: enough that nobody finds two names with the same.
const HASH_BYTES: usize = 16;
const LONG_PREFIX_BYTES_MAX: usize = SAFE_NAME_BYTES_MAX - HASH_MARK.len() - HASH_BYTES * 2;

/// The name of a directory or file for something that people call `name`.
///
/// Characters that no file name can hold, that control a terminal or the direction of text, that
/// hide a file or that some systems drop from the end of a name are written as `%` and two
/// hexadecimal digits per byte of UTF-8, and so is `%` itself. A result longer than
/// [`SAFE_NAME_BYTES_MAX`] is cut and ends in a hash of the whole name.
#[must_use]
pub fn safe_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut cut = 0;
    for (at, c) in name.char_indices() {
        let is_last = at + c.len_utf8() == name.len();
        if is_harmless(c, at == 0, is_last) {
            out.push(c);
        } else {
            push_encoded(&mut out, c);
        }
        if out.len() <= LONG_PREFIX_BYTES_MAX {
            cut = out.len();
        }
    }
    if out.len() <= SAFE_NAME_BYTES_MAX {
        return out;
    }
    out.truncate(cut);
    out.push_str(HASH_MARK);
    push_hex(&mut out, &blake3_256(name.as_bytes())[..HASH_BYTES], false);
    out
}

fn is_harmless(c: char, is_first: bool, is_last: bool) -> bool {
    match c {
        '/' | '%' => false,
        '.' => !is_first && !is_last,
        ' ' => !is_last,
        _ => !c.is_control() && !is_direction_control(c),
    }
}

/// The characters of Unicode's property `Bidi_Control`: they make a name read as another one.
fn is_direction_control(c: char) -> bool {
    matches!(
        c,
        '\u{061c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

fn push_encoded(out: &mut String, c: char) {
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        out.push('%');
        push_hex(out, &[byte], true);
    }
}

fn push_hex(out: &mut String, bytes: &[u8], is_upper: bool) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = if is_upper { write!(out, "{byte:02X}") } else { write!(out, "{byte:02x}") };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads an encoding back; none for a name that was cut.
    fn decode(safe: &str) -> Option<String> {
        let mut bytes = Vec::new();
        let mut rest = safe.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'%' {
                let digits = [rest.next()?, rest.next()?];
                let text = std::str::from_utf8(&digits).ok()?;
                bytes.push(u8::from_str_radix(text, 16).ok()?);
            } else {
                bytes.push(byte);
            }
        }
        String::from_utf8(bytes).ok()
    }

    #[test]
    fn ordinary_names_stay_and_dangerous_ones_become_harmless() {
        for name in ["db", "web server 1", "größe", "a.b", "vm_01-x", "日本"] {
            assert_eq!(safe_name(name), name);
        }
        for (name, safe) in [
            ("a/b", "a%2Fb"),
            ("..", "%2E%2E"),
            (".", "%2E"),
            (".hidden", "%2Ehidden"),
            ("end. ", "end.%20"),
            ("end.", "end%2E"),
            ("100%", "100%25"),
            ("a\u{202e}b", "a%E2%80%AEb"),
            ("tab\tnul\0", "tab%09nul%00"),
            ("\u{7f}\u{85}", "%7F%C2%85"),
        ] {
            assert_eq!(safe_name(name), safe);
        }
    }

    #[test]
    fn long_names_that_differ_only_in_what_is_cut_stay_different() {
        let names = ["a", "b"].map(|end| "/".repeat(100) + end);
        let safe = names.each_ref().map(|name| safe_name(name));
        assert_ne!(safe[0], safe[1]);
        assert!(safe.iter().all(|safe| safe.len() <= SAFE_NAME_BYTES_MAX));
        assert!(safe[0].starts_with("%2F%2F") && safe[0].contains(HASH_MARK));
    }

    proptest! {
        #[test]
        fn a_safe_name_is_short_harmless_and_reads_back_unless_it_was_cut(
            name in "\\PC{1,80}|.{1,255}",
        ) {
            let safe = safe_name(&name);
            prop_assert!((1..=SAFE_NAME_BYTES_MAX).contains(&safe.len()));
            let last = safe.chars().last().unwrap();
            let mut chars = safe.chars().enumerate();
            let harmless = chars.all(|(at, c)| c == '%' || is_harmless(c, at == 0, false));
            prop_assert!(harmless);
            prop_assert!(last != '.' && last != ' ');
            match decode(&safe) {
                Some(read) => prop_assert_eq!(read, name),
                None => prop_assert!(safe.contains(HASH_MARK)),
            }
        }

        #[test]
        fn different_names_never_meet(
            a in "[%~.\\- /a2F\u{202e}]{1,90}",
            b in "[%~.\\- /a2F\u{202e}]{1,90}",
        ) {
            prop_assert_eq!(a == b, safe_name(&a) == safe_name(&b));
            // A name that looks like the encoding of another is encoded itself.
            let safe = safe_name(&a);
            prop_assert!(safe_name(&safe) != safe || !safe.contains('%'));
        }
    }
}
