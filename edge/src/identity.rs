//! Who this edge is: an Ed25519 key in a file of its own, made on the first start.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use ed25519_dalek::{
    Signer, SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding},
};
use titan_proto::control::{NodeId, assignment_message, enrolment_message};

use crate::error::IdentityError;

/// The node's private key and the id that follows from it.
pub(crate) struct Identity {
    key: SigningKey,
    node_id: NodeId,
}

impl Identity {
    /// Reads the key at `path`, or makes one there if the file does not exist yet.
    ///
    /// # Errors
    ///
    /// The file cannot be read or made, is no key, or can be read by other users.
    pub(crate) fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        match Self::load(path) {
            Err(IdentityError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                create_key(path).map_err(|source| io_error(path, source))?;
                Self::load(path)
            }
            result => result,
        }
    }

    /// The node's id, derived from the public key.
    pub(crate) fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// The public key, hexadecimal.
    pub(crate) fn public_key(&self) -> String {
        hex::encode(self.key.verifying_key().as_bytes())
    }

    /// Proof, for an enrolment, that this node holds its private key; hexadecimal.
    pub(crate) fn sign_enrolment(&self, enrolment_key: &str) -> String {
        self.sign(&enrolment_message(enrolment_key))
    }

    /// Proof, for an assignment, that this node holds its private key; hexadecimal.
    pub(crate) fn sign_assignment(&self, challenge: &str) -> String {
        self.sign(&assignment_message(self.node_id, challenge))
    }

    fn load(path: &Path) -> Result<Self, IdentityError> {
        let mode = fs::metadata(path)
            .map_err(|source| io_error(path, source))?
            .permissions()
            .mode();
        if mode & OTHERS != 0 {
            return Err(IdentityError::Exposed {
                path: path.into(),
                mode: mode & 0o777,
            });
        }
        let pem = fs::read_to_string(path).map_err(|source| io_error(path, source))?;
        let key = SigningKey::from_pkcs8_pem(&pem)
            .map_err(|_| IdentityError::Malformed { path: path.into() })?;
        let node_id = NodeId::from_public_key(key.verifying_key().as_bytes());
        Ok(Self { key, node_id })
    }

    fn sign(&self, message: &[u8]) -> String {
        hex::encode(self.key.sign(message).to_bytes())
    }
}

/// Makes a key and puts it at `path` whole or not at all.
///
/// The key is written beside its place and linked there, which fails where a file exists: of two
/// edges that start at once on one file both end up with the key of the first.
fn create_key(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory)?;
    let key = SigningKey::from_bytes(&rand::random());
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(io::Error::other)?;
    let draft = directory.join(format!(".identity-{:016x}", rand::random::<u64>()));
    let placed = write_private(&draft, pem.as_bytes()).and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft).or_else(ignore_missing)?;
    match placed {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => File::open(directory)?.sync_all(),
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

fn io_error(path: &Path, source: io::Error) -> IdentityError {
    IdentityError::Io {
        path: path.into(),
        source,
    }
}

/// Permission bits of the group and of everybody.
const OTHERS: u32 = 0o077;

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signature, Verifier, VerifyingKey};

    use super::*;

    #[test]
    fn the_first_start_makes_a_private_key_and_later_ones_keep_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deeper/identity.pem");
        let first = Identity::load_or_create(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let second = Identity::load_or_create(&path).unwrap();
        assert_eq!(first.node_id(), second.node_id());
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "no draft is left behind");
    }

    #[test]
    fn edges_that_start_at_once_agree_on_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity.pem");
        let ids: Vec<NodeId> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Identity::load_or_create(&path).unwrap().node_id()))
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap())
                .collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity.pem");
        Identity::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Identity::load_or_create(&path).err().unwrap();
        assert!(matches!(
            refused,
            IdentityError::Exposed { mode: 0o640, .. }
        ));
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity.pem");
        write_private(&path, b"not a key").unwrap();
        let refused = Identity::load_or_create(&path).err().unwrap();
        assert!(matches!(refused, IdentityError::Malformed { .. }));
        assert_eq!(fs::read(&path).unwrap(), b"not a key");
    }

    #[test]
    fn signatures_are_those_the_manager_checks() {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(&directory.path().join("k")).unwrap();
        let public: [u8; 32] = hex::decode(identity.public_key())
            .unwrap()
            .try_into()
            .unwrap();
        let verifier = VerifyingKey::from_bytes(&public).unwrap();
        let signature = hex::decode(identity.sign_assignment("c")).unwrap();
        let message = assignment_message(NodeId::from_public_key(&public), "c");
        verifier
            .verify(&message, &Signature::from_slice(&signature).unwrap())
            .unwrap();
    }
}
