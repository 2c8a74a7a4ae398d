use proptest::prelude::*;

use super::{CLIENT_HELLO_BYTES_MAX, Sni, sni};

/// A ClientHello's handshake message with these extensions.
fn message(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(32);
    body.extend([8; 32]);
    body.extend([0, 4, 0x13, 1, 0x13, 2]);
    body.extend([1, 0]);
    let mut all = Vec::new();
    for (kind, extension) in extensions {
        all.extend(kind.to_be_bytes());
        all.extend((extension.len() as u16).to_be_bytes());
        all.extend(extension);
    }
    body.extend((all.len() as u16).to_be_bytes());
    body.extend(all);
    let mut message = vec![1];
    message.extend(&(body.len() as u32).to_be_bytes()[1..]);
    message.extend(body);
    message
}

/// In records of so many bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |fragment: &[u8]| {
        let mut record = vec![0x16, 3, 1];
        record.extend((fragment.len() as u16).to_be_bytes());
        record.extend(fragment);
        record
    };
    message.chunks(size).flat_map(record).collect()
}

fn server_name(name: &[u8]) -> (u16, Vec<u8>) {
    let mut extension = ((name.len() + 3) as u16).to_be_bytes().to_vec();
    extension.push(0);
    extension.extend((name.len() as u16).to_be_bytes());
    extension.extend(name);
    (0, extension)
}

fn hello(name: &[u8]) -> Vec<u8> {
    let groups = (10, vec![0, 2, 0, 29]);
    let shares = (51, vec![9; 1_200]);
    records(&message(&[groups, server_name(name), shares]), 1 << 14)
}

#[test]
fn a_name_is_found() {
    assert_eq!(
        sni(&hello(b"Web.shop.svc")),
        Sni::Found("web.shop.svc".into())
    );
    let more = [&hello(b"web")[..], b"and what follows"].concat();
    assert_eq!(sni(&more), Sni::Found("web".into()));
}

/// Written by another implementation.
#[test]
fn the_hello_of_rustls() {
    use std::sync::Arc;

    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = "web.shop.svc.cluster.local".try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    assert_eq!(sni(&bytes), Sni::Found("web.shop.svc.cluster.local".into()));
    assert_eq!(super::super::detect(&bytes), super::super::Detected::Tls);
}

#[test]
fn records_may_cut_it_anywhere() {
    let message = message(&[server_name(b"web.shop")]);
    for size in 1..=message.len() {
        let bytes = records(&message, size);
        assert_eq!(sni(&bytes), Sni::Found("web.shop".into()), "{size}");
    }
}

#[test]
fn without_a_name_there_is_none() {
    for message in [
        message(&[]),
        message(&[(10, vec![0, 2, 0, 29])]),
        message(&[server_name(b"")]),
        message(&[server_name("ä.example".as_bytes())]),
        message(&[server_name(b"a b")]),
        message(&[server_name(&[b'a'; 254])]),
        message(&[(0, vec![])]),
        message(&[(0, vec![0, 9, 0])]),
        // A name of another type.
        message(&[(0, vec![0, 4, 1, 0, 1, b'a'])]),
    ] {
        assert_eq!(sni(&records(&message, 1 << 14)), Sni::None);
    }
}

#[test]
fn what_is_no_hello_is_no_reason_to_wait() {
    for bytes in [
        &[0x17][..],
        &[0x16, 2],
        &[0x16, 3, 1, 0, 0],
        &[0x16, 3, 1, 0x40, 1],
        &[0x16, 3, 1, 0, 1, 2],
        // 16 MiB are announced.
        &[0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff],
        // An alert, where the second record should be.
        &[0x16, 3, 1, 0, 1, 1, 0x15],
    ] {
        assert_eq!(sni(bytes), Sni::None, "{bytes:x?}");
    }
    let mut long = message(&[server_name(b"web"), (21, vec![0; CLIENT_HELLO_BYTES_MAX])]);
    assert_eq!(sni(&records(&long, 1 << 14)), Sni::None);
    long.truncate(3);
    assert_eq!(sni(&records(&long, 1)), Sni::NeedMore);
}

proptest! {
    #[test]
    fn a_verdict_is_final(
        name in "[a-z.]{1,20}",
        size in 1_usize..400,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = records(&message(&[(10, vec![0, 2, 0, 29]), server_name(name.as_bytes())]), size);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut verdict = Sni::NeedMore;
        for length in 0..=bytes.len() {
            let now = sni(&bytes[..length]);
            prop_assert!(verdict == Sni::NeedMore || verdict == now, "{length}");
            verdict = now;
        }
    }

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = sni(&bytes);
        let _ = sni(&records(&[&[1, 0, 0, bytes.len() as u8][..], &bytes].concat(), 100));
    }
}
