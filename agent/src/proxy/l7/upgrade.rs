//! What a connection becomes after 101 Switching Protocols, or after a CONNECT: bytes both ways
//! until both sides are done.

use std::rc::Rc;

use bytes::Bytes;
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};

use super::wire::Wire;
use crate::{
    proxy::registry::Registered,
    telemetry::{Reason, RequestRecord},
};

/// The upstream's side of an upgraded connection. The request is over when it is.
pub(in crate::proxy) struct Upgraded {
    pub(super) upstream: Wire,
    /// What came with the upstream's answer.
    pub(super) read_ahead: Bytes,
    pub(super) records: Vec<RequestRecord>,
    /// The destination's half, where both are on this node.
    pub(super) guards: super::body::Guards,
}

impl Upgraded {
    pub(super) async fn run(mut self, mut client: Wire, ahead: Bytes, registered: &Registered) {
        let supervision = Rc::clone(&registered.supervision);
        let (records, read_ahead) = (std::mem::take(&mut self.records), self.read_ahead.clone());
        let copied = async {
            client.write_all(&read_ahead).await?;
            self.upstream.write_all(&ahead).await?;
            copy_bidirectional(&mut client, &mut self.upstream).await
        };
        let outcome = tokio::select! {
            copied = copied => copied.map_err(|error| (Reason::UpstreamReset, Some(error.to_string()))),
            reason = supervision.ended() => Err((reason, None)),
        };
        let (reason, detail) = match outcome {
            Ok((received, sent)) => {
                for record in &records {
                    record.received(received + ahead.len() as u64);
                    record.sent(sent + read_ahead.len() as u64);
                }
                (Reason::Ok, None)
            }
            Err((reason, detail)) => {
                client.reset();
                self.upstream.reset();
                (reason, detail)
            }
        };
        for record in records {
            record.finish(reason, detail.clone().map(Into::into));
        }
        drop(self.guards);
    }
}
