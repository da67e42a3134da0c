//! Files that keep one secret, for their owner's eyes only.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::error::IdentityError;

/// The secret in `path`; `None` if there is no such file.
pub(crate) fn read_secret(path: &Path) -> Result<Option<String>, IdentityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::SecretFile {
            path: path.into(),
            source,
        }),
    }
}

/// A secret that is on disk (mode 0600) but not yet under its name.
///
/// Written before the store learns of the secret and published after: a secret that counts is
/// never lost because its folder could not be written to, and one that lost a race is never seen.
#[must_use]
pub(crate) struct PendingSecret {
    file: NamedTempFile,
    path: PathBuf,
}

impl PendingSecret {
    /// Writes `secret` next to `path`, and makes the folder if it is missing.
    pub(crate) fn write(path: &Path, secret: &str) -> Result<Self, IdentityError> {
        let file = write_beside(path, secret).map_err(|source| IdentityError::SecretFile {
            path: path.into(),
            source,
        })?;
        Ok(Self {
            file,
            path: path.into(),
        })
    }

    /// Puts it in place of whatever is at its path.
    pub(crate) fn publish(self) -> Result<(), IdentityError> {
        let Self { file, path } = self;
        file.persist(&path)
            .map_err(|error| error.error)
            .and_then(|_| File::open(folder_of(&path))?.sync_all())
            .map_err(|source| IdentityError::SecretFile { path, source })
    }
}

fn write_beside(path: &Path, secret: &str) -> io::Result<NamedTempFile> {
    let folder = folder_of(path);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    // tempfile makes files of mode 0600.
    let mut file = NamedTempFile::new_in(folder)?;
    writeln!(file, "{secret}")?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_appears_when_published_and_for_its_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/secret");
        assert_eq!(read_secret(&path).expect("no file is no error"), None);
        let pending = PendingSecret::write(&path, "first").expect("written");
        assert_eq!(read_secret(&path).expect("no file is no error"), None);
        pending.publish().expect("published");
        PendingSecret::write(&path, "second")
            .expect("written")
            .publish()
            .expect("published");
        assert_eq!(read_secret(&path).expect("read").as_deref(), Some("second"));
        let mode = fs::metadata(&path).expect("exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(PendingSecret::write(&path, "third").expect("written"));
        let left = fs::read_dir(folder.path().join("deep"))
            .expect("a folder")
            .count();
        assert_eq!(left, 1, "what was not published is removed");
    }
}
