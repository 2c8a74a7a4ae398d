use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use rustls::{client::UnbufferedClientConnection, server::UnbufferedServerConnection};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    identity::{EmbeddedCa, IdentityStore, Material, TrustBundle},
    model::{
        seams::{CertificateEvents, SystemClock},
        spiffe::SpiffeId,
    },
    transport::tls::{accept, connect},
};

type Pair = (
    TlsStream<UnbufferedClientConnection>,
    TlsStream<UnbufferedServerConnection>,
);

struct Deaf;

impl CertificateEvents for Deaf {
    fn issued(&self, _: &SpiffeId, _: SystemTime) {}
    fn failed(&self, _: &SpiffeId) {}
    fn removed(&self, _: &SpiffeId) {}
}

fn identity(service_account: &str) -> SpiffeId {
    SpiffeId::new("cluster.local", "shop", service_account)
}

async fn material(identity: &SpiffeId) -> (Arc<Material>, tempfile::TempDir) {
    let state = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock);
    let ca = EmbeddedCa::load_or_create(state.path(), "cluster.local", clock.clone()).unwrap();
    let trust = TrustBundle::new(ca.roots(), "cluster.local".into()).unwrap();
    let store = IdentityStore::new(Arc::new(ca), trust, clock, Arc::new(Deaf));
    (store.ensure(identity).await.unwrap().current(), state)
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

async fn pair() -> Pair {
    let (material, _state) = material(&identity("web")).await;
    let (client, server) = sockets().await;
    let web = identity("web");
    let (client, server) =
        tokio::join!(connect(client, &material, &web), accept(server, &material));
    let (server, peer) = server.unwrap();
    assert_eq!(peer, web);
    (client.unwrap(), server)
}

/// Bytes that tell a lost, doubled or swapped piece.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + i / 251) as u8).collect()
}

async fn send_all(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], piece: usize) {
    for piece in bytes.chunks(piece) {
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
    }
    stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn carries_bytes_both_ways_in_pieces_of_any_size() {
    for piece in [1, 100, 16_384, 16_385, 300_000, 1_000_000] {
        let sent = pattern(if piece == 1 { 5000 } else { 3_000_000 });
        let (client, server) = pair().await;
        let (mut client_read, mut client_write) = tokio::io::split(client);
        let (mut server_read, mut server_write) = tokio::io::split(server);
        let (mut up, mut down) = (Vec::new(), Vec::new());
        let (_, _, got_up, got_down) = tokio::join!(
            send_all(&mut client_write, &sent, piece),
            send_all(&mut server_write, &sent, piece),
            server_read.read_to_end(&mut up),
            client_read.read_to_end(&mut down),
        );
        assert_eq!(
            (got_up.unwrap(), got_down.unwrap()),
            (sent.len(), sent.len())
        );
        assert!(up == sent && down == sent, "in pieces of {piece}");
    }
}

#[tokio::test]
async fn keeps_vectored_writes_in_order() {
    let (mut client, mut server) = pair().await;
    let (head, body) = ([7_u8; 9], pattern(500_000));
    let write = async {
        let mut slices = [IoSlice::new(&head), IoSlice::new(&body)];
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let written = client.write_vectored(rest).await.unwrap();
            IoSlice::advance_slices(&mut rest, written);
        }
        client.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let ((), read) = tokio::join!(write, server.read_to_end(&mut got));
    assert_eq!(read.unwrap(), head.len() + body.len());
    assert!(got[..9] == head && got[9..] == body);
}

#[tokio::test]
async fn an_idle_connection_holds_no_buffer() {
    let (mut client, mut server) = pair().await;
    let sent = pattern(1_000_000);
    let mut got = vec![0; sent.len()];
    let write = async {
        client.write_all(&sent).await.unwrap();
        client.flush().await.unwrap();
    };
    let ((), read) = tokio::join!(write, server.read_exact(&mut got));
    read.unwrap();
    // One more read, which finds nothing.
    let mut more = [0; 1];
    let nothing =
        tokio::time::timeout(std::time::Duration::from_millis(50), server.read(&mut more));
    assert!(nothing.await.is_err());
    assert_eq!(server.incoming.capacity() + server.plaintext.capacity(), 0);
    assert!(client.outgoing.is_empty());
}

#[tokio::test]
async fn tells_a_goodbye_from_a_cut_line() {
    let (mut client, mut server) = pair().await;
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut [0; 10]).await.unwrap(), 0);

    let (client, mut server) = pair().await;
    drop(client);
    let error = server.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn refuses_what_is_not_tls() {
    let (material, _state) = material(&identity("web")).await;
    let (mut client, server) = sockets().await;
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let begun = Instant::now();
    assert!(accept(server, &material).await.is_err());
    assert!(begun.elapsed() < crate::transport::limits::TLS_HANDSHAKE_TIMEOUT);
}

#[tokio::test]
async fn a_record_that_was_changed_on_the_way_ends_the_connection() {
    let (client, mut server) = pair().await;
    let mut raw = client.socket;
    let mut forged = vec![0x17, 3, 3, 0, 40];
    forged.extend([0x55; 40]);
    raw.write_all(&forged).await.unwrap();
    let error = server.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    // The alert says so to the peer.
    let mut alert = [0; 5];
    raw.read_exact(&mut alert).await.unwrap();
    assert_eq!(alert[0], 0x17);
}

#[tokio::test]
async fn a_peer_that_is_another_is_refused_before_it_sees_anything() {
    let (material, _state) = material(&identity("web")).await;
    let (client, server) = sockets().await;
    let expected = identity("somebody-else");
    let (client, server) = tokio::join!(
        connect(client, &material, &expected),
        accept(server, &material)
    );
    let Err(error) = client else {
        panic!("it was accepted");
    };
    assert_eq!(error.failure, crate::identity::TlsFailure::IdentityMismatch);
    assert!(server.is_err());
}
