use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use rustls::{ProtocolVersion, ServerConfig};

use super::*;
use crate::identity::testing::{Forger, Outcome, epoch, handshake};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const DB: &str = "spiffe://cluster.local/ns/shop/sa/db";

/// A client `web` dials a server whose certificate has these names.
fn dial(root: &Forger, server_uris: &[&str]) -> Outcome {
    let trust = root.trust("cluster.local");
    let server = root.leaf(server_uris).server(&trust);
    handshake(root.leaf(&[WEB]).client(&trust, DB), server)
}

/// A client whose certificate has these names dials a server `db`.
fn dialled_by(root: &Forger, client_uris: &[&str]) -> Outcome {
    let trust = root.trust("cluster.local");
    let client = root.leaf(client_uris).client(&trust, DB);
    handshake(client, root.leaf(&[DB]).server(&trust))
}

fn of_client(outcome: &Outcome) -> TlsFailure {
    TlsFailure::of(
        outcome
            .client
            .as_ref()
            .expect_err("the client should refuse"),
    )
}

fn of_server(outcome: &Outcome) -> TlsFailure {
    TlsFailure::of(
        outcome
            .server
            .as_ref()
            .expect_err("the server should refuse"),
    )
}

#[test]
fn good_peers_agree_on_what_hbone_asks_for() {
    let outcome = dial(&Forger::new(), &[DB]);
    assert!(outcome.client.is_ok() && outcome.server.is_ok());
    let (client, server) = (outcome.client_connection, outcome.server_connection);
    assert_eq!(client.alpn_protocol(), Some(b"weir/1".as_slice()));
    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(
        client.negotiated_key_exchange_group().unwrap().name(),
        rustls::NamedGroup::X25519MLKEM768
    );
    assert_eq!(client.tls13_tickets_received(), 0);
    assert_eq!(server.server_name(), None, "no SNI is sent");
    let peer = &server.peer_certificates().unwrap()[0];
    assert_eq!(peer_identity(peer).unwrap().as_str(), WEB);
    let peer = &client.peer_certificates().unwrap()[0];
    assert_eq!(peer_identity(peer).unwrap().as_str(), DB);
}

#[test]
fn a_peer_without_post_quantum_is_served() {
    let root = Forger::new();
    let trust = root.trust("cluster.local");
    let mut client = root.leaf(&[WEB]).client(&trust, DB);
    let mut provider = crypto_provider().as_ref().clone();
    provider.kx_groups = vec![kx_group::X25519];
    let config = Arc::make_mut(&mut client);
    let verifier = Arc::new(PeerVerifier::new(trust.clone(), vec![DB.parse().unwrap()]));
    let resolver = Arc::clone(&config.client_auth_cert_resolver);
    let mut plain = rustls::ClientConfig::builder_with_details(
        Arc::new(provider),
        Arc::clone(&config.time_provider),
    )
    .with_protocol_versions(&[&rustls::version::TLS13])
    .unwrap()
    .dangerous()
    .with_custom_certificate_verifier(verifier)
    .with_client_cert_resolver(resolver);
    plain.alpn_protocols = vec![b"h2".to_vec()];
    let outcome = handshake(Arc::new(plain), root.leaf(&[DB]).server(&trust));
    assert!(outcome.client.is_ok() && outcome.server.is_ok());
}

#[test]
fn a_client_refuses_every_other_server() {
    let root = Forger::new();
    for (uris, failure) in [
        (&[WEB][..], TlsFailure::IdentityMismatch),
        (
            &["spiffe://other.example/ns/shop/sa/db"],
            TlsFailure::WrongTrustDomain,
        ),
        (
            &["spiffe://cluster.local/ns/shop/sa/db/more"],
            TlsFailure::BadSan,
        ),
        (
            &["spiffe://cluster.local/ns/shop/sa/db?x"],
            TlsFailure::BadSan,
        ),
        (&["https://cluster.local/ns/shop/sa/db"], TlsFailure::BadSan),
        (&[DB, WEB], TlsFailure::BadSan),
        (&[DB, DB], TlsFailure::BadSan),
        (&[], TlsFailure::BadSan),
    ] {
        let outcome = dial(&root, uris);
        assert_eq!(of_client(&outcome), failure, "{uris:?}");
        // The server learns that it was refused, and nothing of who dialled.
        assert_eq!(of_server(&outcome), TlsFailure::RejectedByPeer, "{uris:?}");
        assert!(
            outcome.server_connection.peer_certificates().is_none(),
            "{uris:?}"
        );
    }
}

#[test]
fn a_server_refuses_every_other_client() {
    let root = Forger::new();
    for (uris, failure) in [
        (
            &["spiffe://other.example/ns/shop/sa/web"][..],
            TlsFailure::WrongTrustDomain,
        ),
        (
            &["spiffe://cluster.local/ns/shop/sa/web/more"],
            TlsFailure::BadSan,
        ),
        (&[WEB, DB], TlsFailure::BadSan),
        (&[], TlsFailure::BadSan),
    ] {
        let outcome = dialled_by(&root, uris);
        assert_eq!(of_server(&outcome), failure, "{uris:?}");
        assert_eq!(of_client(&outcome), TlsFailure::RejectedByPeer, "{uris:?}");
    }
}

#[test]
fn time_counts_on_both_sides() {
    let root = Forger::new();
    let trust = root.trust("cluster.local");
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
    let past = |uri| root.leaf_between(&[uri], epoch() - hour, epoch() - second);
    let future = |uri| root.leaf_between(&[uri], epoch() + second, epoch() + hour);

    let good = root.leaf(&[WEB]).client(&trust, DB);
    let outcome = handshake(Arc::clone(&good), past(DB).server(&trust));
    assert_eq!(of_client(&outcome), TlsFailure::Expired);
    let outcome = handshake(good, future(DB).server(&trust));
    assert_eq!(of_client(&outcome), TlsFailure::NotYetValid);

    let good = root.leaf(&[DB]).server(&trust);
    let outcome = handshake(past(WEB).client(&trust, DB), Arc::clone(&good));
    assert_eq!(of_server(&outcome), TlsFailure::Expired);
    let outcome = handshake(future(WEB).client(&trust, DB), good);
    assert_eq!(of_server(&outcome), TlsFailure::NotYetValid);
}

#[test]
fn another_root_is_refused_until_it_is_trusted() {
    let (ours, theirs) = (Forger::new(), Forger::new());
    let (our_trust, their_trust) = (ours.trust("cluster.local"), theirs.trust("cluster.local"));
    let both = [ours.root(), theirs.root()];
    let client = ours.leaf(&[WEB]).client(&our_trust, DB);
    let server = theirs.leaf(&[DB]).server(&their_trust);

    let outcome = handshake(Arc::clone(&client), Arc::clone(&server));
    assert_eq!(of_client(&outcome), TlsFailure::UntrustedRoot);

    // Live, for configurations that exist: the client first, then the server.
    our_trust.set_roots(&both).unwrap();
    let outcome = handshake(Arc::clone(&client), Arc::clone(&server));
    assert_eq!(of_server(&outcome), TlsFailure::UntrustedRoot);
    their_trust.set_roots(&both).unwrap();
    let outcome = handshake(Arc::clone(&client), Arc::clone(&server));
    assert!(outcome.client.is_ok() && outcome.server.is_ok());

    assert!(matches!(
        our_trust.set_roots(&[]),
        Err(IdentityError::NoRoots)
    ));
    assert!(
        handshake(client, server).client.is_ok(),
        "a bundle that is refused changes nothing"
    );
}

#[test]
fn aliases_of_the_trust_domain_are_accepted_while_they_are_set() {
    let root = Forger::new();
    let trust = root.trust("cluster.local");
    let old = "spiffe://old.example/ns/shop/sa/web";
    let client = root.leaf(&[old]).client(&root.trust("cluster.local"), DB);
    let server = root.leaf(&[DB]).server(&trust);
    let dial = || {
        handshake(Arc::clone(&client), Arc::clone(&server))
            .server
            .is_ok()
    };
    assert!(!dial());
    trust.set_aliases(&["old.example".into()]);
    assert!(dial());
    trust.set_aliases(&[]);
    assert!(!dial());
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let root = Forger::new();
    let trust = root.trust("cluster.local");
    let good = root.leaf(&[WEB]).client(&trust, DB);
    let verifier = Arc::new(PeerVerifier::new(
        Arc::clone(&trust),
        vec![DB.parse().unwrap()],
    ));
    let mut nobody = rustls::ClientConfig::builder_with_details(
        crypto_provider(),
        Arc::clone(&good.time_provider),
    )
    .with_protocol_versions(&[&rustls::version::TLS13])
    .unwrap()
    .dangerous()
    .with_custom_certificate_verifier(verifier)
    .with_no_client_auth();
    nobody.alpn_protocols = vec![b"h2".to_vec()];
    let outcome = handshake(Arc::new(nobody), root.leaf(&[DB]).server(&trust));
    assert_eq!(of_server(&outcome), TlsFailure::NoCertificate);
    assert_eq!(of_client(&outcome), TlsFailure::RejectedByPeer);
}

#[test]
fn protocols_without_overlap_are_incompatible() {
    let root = Forger::new();
    let trust = root.trust("cluster.local");
    let mut server: Arc<ServerConfig> = root.leaf(&[DB]).server(&trust);
    Arc::make_mut(&mut server).alpn_protocols = vec![b"http/1.1".to_vec()];
    let outcome = handshake(root.leaf(&[WEB]).client(&trust, DB), server);
    assert_eq!(of_server(&outcome), TlsFailure::Incompatible);
    assert_eq!(of_client(&outcome), TlsFailure::Incompatible);
}

#[test]
fn what_is_no_tls_is_a_protocol_failure_and_never_a_panic() {
    let root = Forger::new();
    let config = root.leaf(&[DB]).server(&root.trust("cluster.local"));
    let mut server = rustls::ServerConnection::new(config).unwrap();
    server
        .read_tls(&mut b"GET / HTTP/1.1\r\n\r\n".as_slice())
        .unwrap();
    let error = server.process_new_packets().unwrap_err();
    assert_eq!(TlsFailure::of(&error), TlsFailure::Protocol);
}

#[test]
fn an_error_of_a_stream_is_classified_and_described() {
    let outcome = dial(&Forger::new(), &[WEB]);
    let error = std::io::Error::other(outcome.client.unwrap_err());
    assert_eq!(TlsFailure::of_io(&error), TlsFailure::IdentityMismatch);
    assert_eq!(
        crate::identity::describe(&error),
        format!("expected [{DB}], the peer is {WEB}")
    );
    let lost = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    assert_eq!(TlsFailure::of_io(&lost), TlsFailure::ConnectionLost);
    let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
    assert_eq!(TlsFailure::of_io(&late), TlsFailure::HandshakeTimeout);
}

#[test]
fn bytes_after_a_certificate_are_refused() {
    let mut der = Forger::new().leaf(&[WEB]).chain[0].to_vec();
    assert!(peer_identity(&CertificateDer::from(der.clone())).is_ok());
    der.push(0);
    let error = peer_identity(&CertificateDer::from(der)).unwrap_err();
    assert!(matches!(error, IdentityError::Certificate(_)));
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(der in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = peer_identity(&CertificateDer::from(der));
    }

    /// Nearer to the parser's inside than noise: a good certificate with a few bytes changed.
    #[test]
    fn a_damaged_certificate_is_parsed_or_refused(
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<proptest::sample::Index>(),
    ) {
        static GOOD: LazyLock<Vec<u8>> =
            LazyLock::new(|| Forger::new().leaf(&[WEB]).chain[0].to_vec());
        let mut der = GOOD.clone();
        for (at, byte) in damage {
            let at = at.index(der.len());
            der[at] = byte;
        }
        let _ = peer_identity(&CertificateDer::from(der.clone()));
        der.truncate(cut.index(der.len()));
        let _ = peer_identity(&CertificateDer::from(der));
    }
}
