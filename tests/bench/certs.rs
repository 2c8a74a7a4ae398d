//! One root for a run and the P-256 leaves that Envoy shows. Weir's agents get the root and issue their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use weir_tests::{Ca, TRUST_DOMAIN};

const NAMESPACE: &str = "bench";

pub(crate) struct Authority {
    pub(crate) ca: Ca,
    dir: PathBuf,
}

/// Files of one identity.
pub(crate) struct LeafFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) spiffe: String,
}

impl Authority {
    pub(crate) fn create(dir: &Path) -> Self {
        Self {
            ca: Ca::create(dir, "weir-bench-root"),
            dir: dir.to_owned(),
        }
    }

    /// With openssl, as the root is: nobody has to build a TLS stack before the bench runs.
    pub(crate) fn leaf(&self, name: &str) -> Result<LeafFiles> {
        let files = LeafFiles {
            cert: self.dir.join(format!("{name}.pem")),
            key: self.dir.join(format!("{name}.key")),
            spiffe: format!("spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{name}"),
        };
        let output = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .args([
                "-nodes",
                "-sha256",
                "-days",
                "1",
                "-subj",
                &format!("/O={TRUST_DOMAIN}"),
            ])
            .args(["-addext", &format!("subjectAltName=URI:{}", files.spiffe)])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-addext", "keyUsage=critical,digitalSignature"])
            .args(["-addext", "extendedKeyUsage=serverAuth,clientAuth"])
            .arg("-CA")
            .arg(&self.ca.cert)
            .arg("-CAkey")
            .arg(&self.ca.key)
            .arg("-keyout")
            .arg(&files.key)
            .arg("-out")
            .arg(&files.cert)
            .output()
            .context("cannot run openssl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "openssl could not issue {name}: {}",
            said.trim()
        );
        Ok(files)
    }
}
