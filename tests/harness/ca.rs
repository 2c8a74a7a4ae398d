//! The root that all agents of a mesh share, and leaves for peers that are not Weir.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub const TRUST_DOMAIN: &str = "cluster.local";

/// A root certificate and its key, as files that `--ca-cert` and `--ca-key` name.
#[derive(Clone, Debug)]
pub struct Ca {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Ca {
    /// Makes a root with openssl: what a person would give to `--ca-cert`.
    pub fn create(dir: &Path, name: &str) -> Self {
        let ca = Self {
            cert: dir.join(format!("{name}.crt")),
            key: dir.join(format!("{name}.key")),
        };
        let status = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args([
                "-days",
                "30",
                "-subj",
                &format!("/O={TRUST_DOMAIN}/CN={name}"),
            ])
            .args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"])
            .arg("-keyout")
            .arg(&ca.key)
            .arg("-out")
            .arg(&ca.cert)
            .stderr(Stdio::null())
            .status()
            .unwrap_or_else(|e| panic!("cannot run openssl: {e}"));
        assert!(status.success(), "openssl could not make a root: {status}");
        ca
    }
}

#[cfg(feature = "peers")]
pub use leaf::{Identity, Leaf};

#[cfg(feature = "peers")]
mod leaf {
    use std::fs;

    use rcgen::{
        CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
        SanType,
    };
    use time::{Duration, OffsetDateTime};

    use super::{Ca, TRUST_DOMAIN};

    /// What a certificate shall say.
    #[derive(Clone, Debug)]
    pub struct Leaf {
        uris: Vec<String>,
        /// From now.
        not_before: Duration,
        not_after: Duration,
    }

    impl Leaf {
        /// Of a workload of the mesh's trust domain.
        pub fn workload(namespace: &str, service_account: &str) -> Self {
            Self::uri(format!(
                "spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{service_account}"
            ))
        }

        pub fn uri(uri: impl Into<String>) -> Self {
            Self {
                uris: vec![uri.into()],
                not_before: -Duration::HOUR,
                not_after: Duration::DAY,
            }
        }

        /// A further URI SAN.
        #[must_use]
        pub fn and_uri(mut self, uri: impl Into<String>) -> Self {
            self.uris.push(uri.into());
            self
        }

        #[must_use]
        pub fn expired(mut self) -> Self {
            (self.not_before, self.not_after) = (-2 * Duration::DAY, -Duration::DAY);
            self
        }
    }

    /// A certificate chain and its key, PEM.
    #[derive(Clone, Debug)]
    pub struct Identity {
        pub chain: String,
        pub key: String,
        /// What its owner trusts, PEM.
        pub roots: String,
    }

    impl Ca {
        pub fn issue(&self, leaf: &Leaf) -> Identity {
            let roots = fs::read_to_string(&self.cert).unwrap();
            let ca_key = KeyPair::from_pem(&fs::read_to_string(&self.key).unwrap()).unwrap();
            let issuer = Issuer::from_ca_cert_pem(&roots, ca_key).unwrap();
            let key = KeyPair::generate().unwrap();

            let mut params = CertificateParams::default();
            params.distinguished_name.remove(DnType::CommonName);
            params
                .distinguished_name
                .push(DnType::OrganizationName, TRUST_DOMAIN);
            params.subject_alt_names = leaf
                .uris
                .iter()
                .map(|uri| SanType::URI(uri.as_str().try_into().unwrap()))
                .collect();
            let now = OffsetDateTime::now_utc();
            params.not_before = now + leaf.not_before;
            params.not_after = now + leaf.not_after;
            params.use_authority_key_identifier_extension = true;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ];
            let cert = params.signed_by(&key, &issuer).unwrap();
            Identity {
                chain: cert.pem(),
                key: key.serialize_pem(),
                roots,
            }
        }
    }
}
