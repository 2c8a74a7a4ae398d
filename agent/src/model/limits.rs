//! Every bound of the agent that is not a setting, by name.

use std::time::Duration;

/// The port of the tunnel (HBONE) in every captured pod.
pub const HBONE_PORT: u16 = 15008;

/// Pods of one node that can be captured at the same time. The datapath has ten bits for it.
pub const LOCAL_PODS_MAX: usize = 1024;

/// Files of a configuration folder.
pub const CONFIG_FILES_MAX: usize = 10_000;
/// Size of one configuration file.
pub const CONFIG_FILE_BYTES_MAX: u64 = 256 << 20;
/// Documents of one configuration file.
pub const CONFIG_DOCUMENTS_MAX: usize = 500_000;
/// Deltas waiting to be folded; a full queue holds the source back.
pub const DELTA_QUEUE_MAX: usize = 64;

/// How long after an enrolment change a refused tunnel port is tried again.
pub const ENROLMENT_GRACE: Duration = Duration::from_secs(1);
