//! What `mount -t backstop` and `/etc/fstab` call: `mount.backstop REPO DIR [-sfnv] [-o OPTIONS]`.
//!
//! The arguments become those of `backstop mount`; there is nothing else to it.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The names under which `mount` looks for a helper.
const NAMES: [&str; 2] = ["mount.backstop", "mount.fuse.backstop"];
/// Options of `/etc/fstab` that are nothing to a helper. `x-` and `X-` begin those of other
/// programs.
const NOTHING_TO_US: [&str; 17] = [
    "defaults", "rw", "ro", "auto", "noauto", "user", "nouser", "users", "dev", "nodev", "suid",
    "nosuid", "exec", "noexec", "atime", "noatime", "_netdev",
];
const ALSO_NOTHING: [&str; 3] = ["nofail", "relatime", "owner"];

/// The arguments of the program if it was called as a helper for these; none if it was not.
pub(super) fn translate(typed: &[OsString]) -> Option<Vec<OsString>> {
    let (program, args) = typed.split_first()?;
    let name = Path::new(program).file_name()?;
    NAMES.iter().any(|helper| name == *helper).then(|| arguments(program, args))
}

fn arguments(program: &OsStr, args: &[OsString]) -> Vec<OsString> {
    let (mut places, mut options) = (Vec::new(), Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("-o") => options.extend(args.next().and_then(|list| list.to_str())),
            // The type, which is known.
            Some("-t") => drop(args.next()),
            // Sloppy, fake, not in mtab, verbose.
            Some("-s" | "-n" | "-v" | "-f") => {}
            _ => places.push(arg.clone()),
        }
    }
    let mut out = vec![program.to_owned()];
    let mut places = places.into_iter();
    if let Some(repo) = places.next() {
        out.extend(["--repo".into(), repo]);
    }
    out.extend(["mount".into(), "--background".into()]);
    out.extend(options.iter().flat_map(|list| list.split(',')).filter_map(option));
    out.extend(places);
    out
}

/// `allow_other` as `--allow-other`, `cache=1GiB` as `--cache=1GiB`.
fn option(option: &str) -> Option<OsString> {
    let (name, value) = option.split_once('=').map_or((option, None), |(n, v)| (n, Some(v)));
    let is_ours = !NOTHING_TO_US.contains(&name)
        && !ALSO_NOTHING.contains(&name)
        && !name.to_ascii_lowercase().starts_with("x-")
        && !name.is_empty();
    let long = format!("--{}", name.replace('_', "-"));
    is_ours.then(|| value.map_or(long.clone(), |value| format!("{long}={value}")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> Option<String> {
        let typed: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let args = translate(&typed)?;
        Some(args.join(OsStr::new(" ")).into_string().unwrap())
    }

    #[test]
    fn a_line_of_fstab_becomes_a_mount_in_the_background() {
        let line =
            "/sbin/mount.backstop /backup /mnt -s -o rw,nodev,x-systemd.automount,allow_other";
        let expected = "/sbin/mount.backstop --repo /backup mount --background --allow-other /mnt";
        assert_eq!(translated(line).unwrap(), expected);
        let line = "mount.fuse.backstop /backup /mnt -o cache=1GiB,writable,overlay_limit=5GiB";
        let expected = "mount.fuse.backstop --repo /backup mount --background --cache=1GiB \
                        --writable --overlay-limit=5GiB /mnt";
        assert_eq!(translated(line).unwrap(), expected);
        assert_eq!(translated("/usr/bin/backstop mount /mnt"), None);
    }
}
