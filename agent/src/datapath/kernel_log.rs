//! The BPF programs' own log lines, into `tracing` by way of `log`.

use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};
use tracing::warn;

use super::Datapath;

/// Reads the lines as they come.
pub struct KernelLog(EbpfLogger<&'static dyn log::Log>);

impl Datapath {
    /// To be called once.
    pub fn kernel_log(&mut self) -> Result<KernelLog, aya_log::Error> {
        EbpfLogger::init(&mut self.ebpf).map(KernelLog)
    }
}

impl KernelLog {
    /// Runs on a tokio runtime, for as long as the process.
    pub async fn follow(self) {
        // SAFETY: the logger owns its descriptor and keeps it open, the same one, until dropped.
        let registered = unsafe { AsyncFd::register_with_interest(self.0, Interest::READABLE) };
        let mut lines = match registered {
            Ok(lines) => lines,
            Err(error) => return warn!(%error, "the BPF programs' log cannot be followed"),
        };
        loop {
            match lines.readable_mut().await {
                Ok(mut ready) => {
                    ready.get_inner_mut().flush();
                    ready.clear_ready();
                }
                Err(error) => return warn!(%error, "the BPF programs' log has ended"),
            }
        }
    }
}
