use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;

/// Counts writes, and what they hold.
#[derive(Default)]
struct Counting {
    writes: Vec<usize>,
    flushes: usize,
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.push(bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn many_small_writes_become_one() {
    let (mut corked, uncork) = cork(Counting::default());
    uncork
        .drive(async {
            for _ in 0..50 {
                corked.write_all(&[7; 1000]).await.unwrap();
                corked.flush().await.unwrap();
            }
        })
        .await;
    let inner = uncork.0.borrow();
    assert_eq!(inner.stream.writes, [50_000]);
    assert_eq!(inner.stream.flushes, 1);
    assert!(inner.buffer.is_empty() && inner.buffer.capacity() <= KEPT_BYTES_MAX);
}

#[tokio::test]
async fn the_buffer_is_bounded_and_large_writes_pass() {
    let (mut corked, uncork) = cork(Counting::default());
    uncork
        .drive(async {
            for _ in 0..200 {
                corked.write_all(&[7; 1000]).await.unwrap();
            }
            corked.write_all(&[7; 100_000]).await.unwrap();
        })
        .await;
    let writes = &uncork.0.borrow().stream.writes;
    assert!(
        writes
            .iter()
            .all(|length| *length <= BUFFER_BYTES_MAX || *length == 100_000)
    );
    assert_eq!(writes.iter().sum::<usize>(), 300_000);
}

#[tokio::test]
async fn bytes_keep_their_order_through_a_slow_peer() {
    let (near, mut far) = duplex(512);
    let (mut corked, uncork) = cork(near);
    let sent: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    let write = uncork.drive(async {
        for piece in sent.chunks(7919) {
            corked.write_all(piece).await.unwrap();
            corked.flush().await.unwrap();
        }
        corked.shutdown().await.unwrap();
    });
    let read = async {
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        got
    };
    let ((), got) = tokio::join!(write, read);
    assert!(got == sent);
}
