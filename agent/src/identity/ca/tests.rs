use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use rcgen::{CertifiedIssuer, IsCa};
use tempfile::TempDir;

use super::*;
use crate::identity::{
    peer_identity,
    testing::{Still, epoch, still},
};

fn web() -> SpiffeId {
    SpiffeId::new("cluster.local", "shop", "web")
}

fn csr() -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .der()
        .to_vec()
}

fn load(folder: &Path) -> Result<EmbeddedCa, IdentityError> {
    EmbeddedCa::load_or_create(folder, "cluster.local", still())
}

#[test]
fn a_root_is_made_once_and_is_for_its_owner_alone() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("deep/state");
    let first = load(&folder).unwrap();
    let second = load(&folder).unwrap();
    assert_eq!(first.roots(), second.roots());
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(
        fs::metadata(folder.join(STATE_FILE)).unwrap().mode() & 0o7777,
        0o600
    );
    let names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, [STATE_FILE], "nothing temporary stays");
}

#[test]
fn agents_that_start_together_get_one_root() {
    let folder = TempDir::new().unwrap();
    let roots: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| load(folder.path()).unwrap().roots().to_vec()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(roots.iter().all(|root| *root == roots[0]));
}

#[test]
fn a_leaf_is_what_the_design_says() {
    let folder = TempDir::new().unwrap();
    let ca = load(folder.path()).unwrap();
    let issued = ca.sign_request(&web(), &csr()).unwrap();
    assert_eq!(issued.chain.len(), 1, "no root is sent");
    let leaf = CertificateDer::from(issued.chain[0].clone());
    assert_eq!(peer_identity(&leaf).unwrap(), web());

    let (_, parsed) = X509Certificate::from_der(&leaf).unwrap();
    assert!(parsed.subject_alternative_name().unwrap().unwrap().critical);
    assert_eq!(parsed.subject().iter().count(), 0);
    assert!(!parsed.is_ca());
    let usage = parsed.key_usage().unwrap().unwrap().value;
    assert_eq!(usage.flags, 1, "digitalSignature alone");
    let purpose = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(purpose.server_auth && purpose.client_auth && !purpose.any);
    let validity = parsed.validity();
    assert_eq!(
        SystemTime::from(validity.not_before.to_datetime()),
        epoch() - LEAF_BACKDATE
    );
    assert_eq!(
        SystemTime::from(validity.not_after.to_datetime()),
        epoch() + LEAF_LIFETIME
    );

    let again = ca.sign_request(&web(), &csr()).unwrap();
    let (_, again) = X509Certificate::from_der(&again.chain[0]).unwrap();
    assert_ne!(parsed.raw_serial(), again.raw_serial());
    assert_eq!(parsed.raw_serial().len(), 16);
}

#[test]
fn what_a_request_says_beside_its_key_does_not_count() {
    let folder = TempDir::new().unwrap();
    let ca = load(folder.path()).unwrap();
    let mut params = CertificateParams::new(["evil.example".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI(
        "spiffe://cluster.local/ns/a/sa/b".try_into().unwrap(),
    ));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let request = params.serialize_request(&key).unwrap();
    let issued = ca.sign_request(&web(), request.der()).unwrap();
    let (_, parsed) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    assert!(!parsed.is_ca());
    let names = &parsed
        .subject_alternative_name()
        .unwrap()
        .unwrap()
        .value
        .general_names;
    assert_eq!(names.len(), 1);

    let mut forged = request.der().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert!(matches!(
        ca.sign_request(&web(), &forged),
        Err(IdentityError::Generate(_))
    ));
}

/// A root, an intermediate below it, and their PEM files.
struct Chain {
    folder: TempDir,
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

impl Chain {
    fn new(edit: impl FnOnce(&mut CertificateParams)) -> Self {
        let ca = |name: &str| {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            params.not_after = OffsetDateTime::from(epoch() + LEAF_LIFETIME / 2);
            params
        };
        let root = CertifiedIssuer::self_signed(ca("root"), KeyPair::generate().unwrap()).unwrap();
        let mut params = ca("intermediate");
        edit(&mut params);
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let intermediate = CertifiedIssuer::signed_by(params, key, &root).unwrap();
        Self {
            folder: TempDir::new().unwrap(),
            root,
            intermediate,
        }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn load(&self, certificates: &str) -> Result<EmbeddedCa, IdentityError> {
        let cert = self.file("cert.pem", certificates);
        let key = self.file("key.pem", &self.intermediate.key().serialize_pem());
        EmbeddedCa::from_files(&cert, &key, "cluster.local", still())
    }
}

#[test]
fn an_intermediate_signs_and_is_sent_along() {
    let chain = Chain::new(|_| ());
    let (own, root) = (chain.intermediate.pem(), chain.root.pem());

    let ca = chain.load(&[own.as_str(), root.as_str()].concat()).unwrap();
    assert_eq!(ca.roots(), [chain.root.der().clone()]);
    let issued = ca.sign_request(&web(), &csr()).unwrap();
    assert_eq!(issued.chain.len(), 2, "leaf and intermediate, no root");
    assert_eq!(issued.chain[1], chain.intermediate.der().to_vec());
    let (_, leaf) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    let not_after = SystemTime::from(leaf.validity().not_after.to_datetime());
    assert_eq!(
        not_after,
        epoch() + LEAF_LIFETIME / 2,
        "no longer than its CA"
    );

    let ca = chain.load(&own).unwrap();
    assert_eq!(
        ca.roots(),
        [chain.intermediate.der().clone()],
        "without a root, the last one"
    );
}

#[test]
fn an_expired_ca_signs_no_more() {
    let chain = Chain::new(|_| ());
    let cert = chain.file("cert.pem", &chain.intermediate.pem());
    let key = chain.file("key.pem", &chain.intermediate.key().serialize_pem());
    let late = Arc::new(Still(epoch() + LEAF_LIFETIME));
    let error = EmbeddedCa::from_files(&cert, &key, "cluster.local", late).unwrap_err();
    assert!(
        matches!(
            error,
            IdentityError::BadCa {
                cause: CaFault::Expired(_),
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn files_that_are_no_ca_are_refused_with_the_reason() {
    let load = |edit: fn(&mut CertificateParams)| {
        let chain = Chain::new(edit);
        let pem = [chain.intermediate.pem(), chain.root.pem()].concat();
        chain.load(&pem).unwrap_err()
    };
    let fault = |error: IdentityError| match error {
        IdentityError::BadCa { cause, .. } => cause,
        other => panic!("{other}"),
    };
    assert_eq!(
        fault(load(|params| params.is_ca = IsCa::NoCa)),
        CaFault::NotCa
    );
    let usage = load(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    assert_eq!(fault(usage), CaFault::NoCertSign);
    let early = load(|params| params.not_before = OffsetDateTime::from(epoch() + LEAF_BACKDATE));
    assert!(matches!(fault(early), CaFault::NotYetValid(_)));
    let purpose =
        load(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]);
    assert!(
        matches!(fault(purpose), CaFault::Chain(_)),
        "found by trying it"
    );
}

#[test]
fn a_chain_that_leads_nowhere_is_refused() {
    let (chain, other) = (Chain::new(|_| ()), Chain::new(|_| ()));
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "another root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let stranger = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let error = chain
        .load(&[chain.intermediate.pem(), stranger.pem()].concat())
        .unwrap_err();
    assert!(
        matches!(
            error,
            IdentityError::BadCa {
                cause: CaFault::Chain(_),
                ..
            }
        ),
        "{error}"
    );
    let error = chain.load(&other.intermediate.pem()).unwrap_err();
    assert!(
        matches!(error, IdentityError::KeyMismatch { .. }),
        "{error}"
    );
}

#[test]
fn broken_files_say_what_is_wrong_with_them() {
    let chain = Chain::new(|_| ());
    let good = chain.file("good.pem", &chain.intermediate.pem());
    let key = chain.file("key.pem", &chain.intermediate.key().serialize_pem());
    let load = |cert: &Path, key: &Path| {
        EmbeddedCa::from_files(cert, key, "cluster.local", still()).unwrap_err()
    };
    let missing = chain.folder.path().join("missing.pem");
    assert!(matches!(
        load(&missing, &key),
        IdentityError::File { action: "open", .. }
    ));
    let empty = chain.file("empty.pem", "");
    assert!(matches!(
        load(&empty, &key),
        IdentityError::NoCertificate { .. }
    ));
    assert!(matches!(load(&good, &empty), IdentityError::NoKey { .. }));
    assert!(matches!(load(&good, &good), IdentityError::NoKey { .. }));
    assert!(matches!(
        load(&key, &key),
        IdentityError::NoCertificate { .. }
    ));
    let cut = chain.file("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n");
    assert!(matches!(load(&cut, &key), IdentityError::Pem { .. }));
    let noise = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let noise = chain.file("noise.pem", noise);
    assert!(matches!(
        load(&noise, &key),
        IdentityError::BadCa {
            cause: CaFault::Unreadable(_),
            ..
        }
    ));
    let noise = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let noise = chain.file("noise.key", noise);
    assert!(matches!(load(&good, &noise), IdentityError::BadKey { .. }));
    let large = chain.file("large.pem", &"x".repeat((1 << 20) + 1));
    assert!(matches!(
        load(&large, &key),
        IdentityError::FileTooLarge { .. }
    ));
}

#[test]
fn a_broken_state_file_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(STATE_FILE);
    fs::write(&path, "not a CA").unwrap();
    assert!(matches!(
        load(folder.path()),
        Err(IdentityError::NoCertificate { .. })
    ));
    assert_eq!(fs::read_to_string(&path).unwrap(), "not a CA");
}

#[test]
fn nothing_prints_a_key() {
    let folder = TempDir::new().unwrap();
    let ca = load(folder.path()).unwrap();
    let printed = format!("{ca:?}");
    assert!(!printed.to_lowercase().contains("key"), "{printed}");
    fs::set_permissions(
        folder.path().join(STATE_FILE),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    assert!(
        load(folder.path()).is_ok(),
        "readable by others is a warning, not an end"
    );
}
