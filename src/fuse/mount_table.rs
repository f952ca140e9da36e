//! What is mounted where, as `/proc/self/mountinfo` tells it. Asking the table never waits for a
//! file system that does not answer.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::{IoContext, Result};

const TABLE: &str = "/proc/self/mountinfo";

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where.
    pub(super) path: PathBuf,
    /// Number of the device, `major:minor`; no two file systems have the same at one time.
    pub(super) device: String,
    /// Type of the file system.
    pub(super) kind: String,
}

/// The mounts at exactly `path`, which has no links in it; the uppermost is the last.
pub(super) fn mounts_at(path: &Path) -> Result<Vec<Mount>> {
    let table = fs::read(TABLE).context("cannot tell what is mounted", Path::new(TABLE))?;
    Ok(parse(&table).filter(|mount| mount.path == path).collect())
}

fn parse(table: &[u8]) -> impl Iterator<Item = Mount> + '_ {
    table.split(|byte| *byte == b'\n').filter_map(parse_line)
}

/// `id parent major:minor root path options [optional fields] - type source options`
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = String::from_utf8(fields.nth(2)?.to_vec()).ok()?;
    let path = PathBuf::from(OsString::from_vec(unescape(fields.nth(1)?)));
    fields.find(|field| *field == b"-")?;
    let kind = String::from_utf8(fields.next()?.to_vec()).ok()?;
    Some(Mount { path, device, kind })
}

/// The table writes blanks, line breaks and `\` as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *byte == b'\\');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uppermost_of_stacked_mounts_counts_and_paths_may_have_blanks() {
        let table = b"22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
            77 22 0:51 / /mnt/a\\040b ro,nosuid - fuse.backstop backstop ro,user_id=0\n\
            78 77 0:52 / /mnt/a\\040b rw master:3 shared:9 - tmpfs none rw\n\
            bad line\n";
        let mounts: Vec<_> = parse(table).collect();
        assert_eq!(mounts.len(), 3);
        assert_eq!(mounts[1].path, Path::new("/mnt/a b"));
        assert_eq!(mounts[1].kind, "fuse.backstop");
        assert_eq!((mounts[2].device.as_str(), mounts[2].kind.as_str()), ("0:52", "tmpfs"));
    }

    #[test]
    fn an_escape_that_is_none_is_kept() {
        assert_eq!(unescape(b"a\\134b\\04"), b"a\\b\\04");
    }
}
