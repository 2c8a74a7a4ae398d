//! One root for a run and the P-256 leaves that Envoy shows. Weir's agents get the root and issue their own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use weir_tests::{Ca, Leaf, TRUST_DOMAIN};

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

    pub(crate) fn leaf(&self, name: &str) -> Result<LeafFiles> {
        let identity = self.ca.issue(&Leaf::workload(NAMESPACE, name));
        let files = LeafFiles {
            cert: self.dir.join(format!("{name}.pem")),
            key: self.dir.join(format!("{name}.key")),
            spiffe: format!("spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{name}"),
        };
        fs::write(&files.cert, identity.chain)?;
        fs::write(&files.key, identity.key)?;
        Ok(files)
    }
}
