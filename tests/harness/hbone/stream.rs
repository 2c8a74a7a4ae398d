//! One CONNECT stream of a tunnel, from either end.

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use super::block_on;

/// How the peer ended its direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// END_STREAM: the FIN of the application behind it.
    Eof,
    /// RST_STREAM with this code.
    Reset(Reason),
    /// The connection beneath broke.
    Broken(String),
}

impl From<h2::Error> for End {
    fn from(error: h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_reset() => Self::Reset(reason),
            _ => Self::Broken(error.to_string()),
        }
    }
}

/// Bytes between the peer and the application at the other end.
pub struct Stream {
    pub(super) send: SendStream<Bytes>,
    pub(super) recv: RecvStream,
    pub(super) unread: Vec<u8>,
}

impl Stream {
    pub fn send(&mut self, data: &[u8]) {
        self.send
            .send_data(Bytes::copy_from_slice(data), false)
            .unwrap();
    }

    /// END_STREAM.
    pub fn finish(&mut self) {
        self.send.send_data(Bytes::new(), true).unwrap();
    }

    pub fn reset(&mut self, reason: Reason) {
        self.send.send_reset(reason);
    }

    /// Exactly `length` bytes, or how the stream ended before.
    #[track_caller]
    pub fn read(&mut self, length: usize) -> Result<Vec<u8>, End> {
        block_on("data", async {
            while self.unread.len() < length {
                self.more().await?;
            }
            Ok(self.unread.drain(..length).collect())
        })
    }

    /// Everything until the peer ends its direction, and how it does.
    #[track_caller]
    pub fn read_to_end(&mut self) -> (Vec<u8>, End) {
        let end = block_on("the end of the stream", async {
            loop {
                if let Err(end) = self.more().await {
                    return end;
                }
            }
        });
        (std::mem::take(&mut self.unread), end)
    }

    pub(super) async fn more(&mut self) -> Result<(), End> {
        match self.recv.data().await {
            Some(Ok(data)) => {
                let _ = self.recv.flow_control().release_capacity(data.len());
                self.unread.extend(data);
                Ok(())
            }
            Some(Err(error)) => Err(error.into()),
            None => Err(End::Eof),
        }
    }
}
