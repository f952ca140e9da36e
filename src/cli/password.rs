//! Reads passwords from where the configuration says they are. Never from an argument.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::base::secret::{Secret, SecretKey};
use crate::cli::config::PasswordSource;
use crate::error::{Error, ErrorKind, IoContext, Result};

/// Longest password that makes sense.
const PASSWORD_BYTES_MAX: usize = 4096;
const OTHERS: u32 = 0o007;
const GROUP_AND_OTHERS: u32 = 0o077;

/// Reads a password; line breaks at its end do not belong to it.
pub(super) fn read(source: &PasswordSource) -> Result<Secret> {
    read_unless(source, OTHERS)
}

/// The same for one that not even the group of a file may read.
pub(super) fn read_private(source: &PasswordSource) -> Result<Secret> {
    read_unless(source, GROUP_AND_OTHERS)
}

/// Reads a key file.
pub(super) fn read_key(path: &Path) -> Result<SecretKey> {
    let file = File::open(path).context("cannot read the key", path)?;
    check_mode(&file, path, GROUP_AND_OTHERS)?;
    let bytes = read_all(file, path)?;
    match bytes.expose().as_array() {
        Some(key) => Ok(SecretKey::new(*key)),
        None => Err(Error::new(ErrorKind::Invalid, "a key file has 32 bytes").at(path)),
    }
}

/// Reads a password from a file that nobody of `forbidden`, bits of its mode, may use.
fn read_unless(source: &PasswordSource, forbidden: u32) -> Result<Secret> {
    let path = path(source, std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from))?;
    let file = File::open(&path).context("cannot read the password", &path)?;
    if matches!(source, PasswordSource::File(_)) {
        check_mode(&file, &path, forbidden)?;
    }
    let secret = read_all(file, &path)?.trimmed();
    match secret.expose().is_empty() {
        true => Err(Error::new(ErrorKind::Invalid, "the password is empty").at(path)),
        false => Ok(secret),
    }
}

fn path(source: &PasswordSource, credentials: Option<PathBuf>) -> Result<PathBuf> {
    match source {
        PasswordSource::File(path) => Ok(path.clone()),
        PasswordSource::Descriptor(number) => Ok(format!("/dev/fd/{number}").into()),
        PasswordSource::Credential(name) => {
            if name.is_empty() || name.contains('/') || name.starts_with('.') {
                return Err(Error::new(ErrorKind::Invalid, "this cannot be a credential's name"));
            }
            let dir = credentials.ok_or_else(|| {
                let what = "systemd has handed no credentials to this process: use \
                            LoadCredential= in the unit of the service";
                Error::new(ErrorKind::NotFound, what)
            })?;
            Ok(dir.join(name))
        }
    }
}

fn check_mode(file: &File, path: &Path, forbidden: u32) -> Result<()> {
    let mode = file.metadata().context("cannot read the password", path)?.permissions().mode();
    if mode & forbidden == 0 {
        return Ok(());
    }
    let what = match forbidden {
        OTHERS => "every user can read the password: take that right away (chmod o= FILE)",
        _ => "other users can read the secret: take that right away (chmod go= FILE)",
    };
    Err(Error::new(ErrorKind::Invalid, what).at(path))
}

fn read_all(mut file: File, path: &Path) -> Result<Secret> {
    let mut buffer = [0; PASSWORD_BYTES_MAX];
    let mut secret = Secret::with_capacity(PASSWORD_BYTES_MAX);
    loop {
        let read = file.read(&mut buffer).context("cannot read the password", path)?;
        secret.push(&buffer[..read]);
        if read == 0 {
            break;
        }
        if secret.expose().len() > PASSWORD_BYTES_MAX {
            return Err(Error::new(ErrorKind::Invalid, "this is no password: too long").at(path));
        }
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;

    use super::*;

    fn file_of(mode: u32, text: &str) -> (tempfile::TempDir, PasswordSource) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, PasswordSource::File(path))
    }

    #[test]
    fn a_password_is_read_from_a_file_that_others_cannot_read() {
        let (_dir, source) = file_of(0o640, "s3 cret\n");
        assert_eq!(read(&source).unwrap().expose(), b"s3 cret");
        let (_dir, source) = file_of(0o644, "s3 cret\n");
        assert_eq!(read(&source).err().unwrap().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn what_cannot_be_a_password_is_refused() {
        for text in ["", "\n", &"x".repeat(5000)] {
            let (_dir, source) = file_of(0o600, text);
            assert_eq!(read(&source).err().unwrap().kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn a_password_is_read_from_a_descriptor() {
        let (_dir, source) = file_of(0o600, "s3cret");
        let PasswordSource::File(path) = source else { unreachable!("made as a file") };
        let file = File::open(path).unwrap();
        let number = u32::try_from(file.as_raw_fd()).unwrap();
        assert_eq!(read(&PasswordSource::Descriptor(number)).unwrap().expose(), b"s3cret");
    }

    #[test]
    fn a_credential_is_a_file_in_the_directory_that_systemd_names() {
        let credential = |name: &str| PasswordSource::Credential(name.to_owned());
        let dir = Some(PathBuf::from("/run/credentials/backstop"));
        let found = path(&credential("engine"), dir.clone()).unwrap();
        assert_eq!(found, Path::new("/run/credentials/backstop/engine"));
        assert!(path(&credential("engine"), None).is_err());
        for name in ["", "../x", "a/b", "."] {
            assert!(path(&credential(name), dir.clone()).is_err(), "{name}");
        }
    }
}
