//! Reading and making the files that hold a CA.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rcgen::KeyPair;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use zeroize::Zeroizing;

use super::super::{error::IdentityError, random};

/// Size of a certificate or key file.
const PEM_BYTES_MAX: u64 = 1 << 20;
/// Certificates in one file.
const CERTIFICATES_MAX: usize = 64;

fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> IdentityError + use<'a> {
    move |source| IdentityError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

pub(super) fn exists(path: &Path) -> Result<bool, IdentityError> {
    path.try_exists().map_err(failed("look for", path))
}

/// Makes `folder` (0700) and in it `path` (0600) with `content`, all of it or nothing. False:
/// somebody else made it first, and theirs stands.
pub(super) fn create_private(
    folder: &Path,
    path: &Path,
    content: &[u8],
) -> Result<bool, IdentityError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed("make the folder", folder))?;
    let mut suffix = [0; 8];
    random::fill(&mut suffix)?;
    let temporary = path.with_extension(format!("{:016x}.tmp", u64::from_ne_bytes(suffix)));
    let result = write_new(&temporary, content).and_then(|()| {
        // A link and not a rename: it fails where the file is there by now.
        match fs::hard_link(&temporary, path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed("create", path)(error)),
        }
    });
    // It may not have come to be; if it stays, it holds a key that nobody uses.
    let _ = fs::remove_file(&temporary);
    let created = result?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("sync", folder))?;
    Ok(created)
}

fn write_new(path: &Path, content: &[u8]) -> Result<(), IdentityError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("create", path))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(failed("write", path))
}

pub(super) fn read_certificates(
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let content = read(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&content)
        .take(CERTIFICATES_MAX)
        .collect::<Result<_, _>>()
        .map_err(|error| bad_pem(path, &error))?;
    if certificates.is_empty() {
        return Err(IdentityError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(certificates)
}

pub(super) fn read_key(path: &Path) -> Result<KeyPair, IdentityError> {
    let content = read(path)?;
    let mode = fs::metadata(path)
        .map_err(failed("look at", path))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        tracing::warn!(
            path = %path.display(),
            mode = format_args!("{:04o}", mode & 0o7777),
            "the CA's key is open to other users of this machine; whoever reads it can be any workload: chmod 600"
        );
    }
    let der = PrivateKeyDer::from_pem_slice(&content).map_err(|error| match error {
        pem::Error::NoItemsFound => IdentityError::NoKey {
            path: path.to_owned(),
        },
        error => bad_pem(path, &error),
    })?;
    let der = Zeroizing::new(der);
    KeyPair::try_from(&*der).map_err(|error| IdentityError::BadKey {
        path: path.to_owned(),
        cause: error.to_string(),
    })
}

fn bad_pem(path: &Path, error: &pem::Error) -> IdentityError {
    IdentityError::Pem {
        path: path.to_owned(),
        cause: error.to_string(),
    }
}

/// The whole file. It may hold a key: wiped when dropped.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let file = File::open(path).map_err(failed("open", path))?;
    // Room for all of it at once: growing would leave copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(64 << 10));
    file.take(PEM_BYTES_MAX + 1)
        .read_to_end(&mut content)
        .map_err(failed("read", path))?;
    if content.len() as u64 > PEM_BYTES_MAX {
        return Err(IdentityError::FileTooLarge {
            path: path.to_owned(),
            limit: PEM_BYTES_MAX,
        });
    }
    Ok(content)
}
