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
/// Size of one document of a configuration file: it becomes a tree in memory of ten times that.
pub const CONFIG_DOCUMENT_BYTES_MAX: usize = 32 << 20;
/// Nodes of the tree of one document, with what its aliases stand for.
pub const CONFIG_DOCUMENT_NODES_MAX: usize = 4_000_000;
/// Collections within each other in one document.
pub const CONFIG_DOCUMENT_DEPTH_MAX: usize = 64;
/// Aliases (`*name`) of one document, and nodes that they may stand for.
pub const CONFIG_ALIASES_MAX: usize = 1_000;
pub const CONFIG_ALIASED_NODES_MAX: usize = 100_000;
/// Problems that are logged one by one after one change of the folder.
pub const CONFIG_PROBLEMS_LOGGED_MAX: usize = 100;
/// Documents of one configuration file.
pub const CONFIG_DOCUMENTS_MAX: usize = 500_000;
/// Deltas waiting to be folded; a full queue holds the source back.
pub const DELTA_QUEUE_MAX: usize = 64;

/// How long after an enrolment change a refused tunnel port is tried again.
pub const ENROLMENT_GRACE: Duration = Duration::from_secs(1);
