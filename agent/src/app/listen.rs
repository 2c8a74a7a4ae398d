//! The admin API's addresses.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, time::sleep};
use tracing::{info, warn};

use crate::admin::{self, Admin, Surface};

const RETRY: Duration = Duration::from_millis(200);

/// Serves at `address`, as soon as it is to be had: a draining predecessor may still have it.
pub(super) async fn serve(address: SocketAddr, surface: Surface, admin: Arc<Admin>) {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!(%address, ?surface, "listening");
                return admin::serve(listener, surface, admin).await;
            }
            Err(error) => {
                if !told {
                    let remedy = remedy(&error);
                    warn!(%address, ?surface, %error, remedy, "cannot listen yet; trying again");
                    told = true;
                }
                sleep(RETRY).await;
            }
        }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another agent may be draining; else give another address",
        io::ErrorKind::PermissionDenied => "give a port above 1023",
        _ => "give an address of this machine",
    }
}
