//! What an eavesdropper between the nodes would have: every frame on the bridge is recorded.

use anyhow::{Result, ensure};
use weir_tests::Frames;

use super::cast::{CARD_NUMBER, CATALOG_PAGE, Cast, WEB_PAGE, Way};
use crate::say::Step;

const TUNNEL_PORT: u16 = 15008;
/// Bytes of a segment that are shown.
const SHOWN: usize = 24;
const SECRETS: [&str; 3] = [WEB_PAGE, CATALOG_PAGE, CARD_NUMBER];

/// Lets every client act once under observation.
pub(super) fn watch(cast: &Cast, way: Way) -> Result<Frames> {
    let step = Step::quiet();
    let sniffer = cast.mesh.sniff();
    let acted = cast.act(way);
    let frames = sniffer.stop();
    acted?;
    step.done("curl, nginx and Redis: every answer is right");
    Ok(frames)
}

pub(super) fn compare(before: &Frames, after: &Frames) -> Result<()> {
    println!("\nBetween the nodes, without the mesh");
    let secrets_before = SECRETS
        .iter()
        .filter(|secret| before.contain(secret.as_bytes()))
        .count();
    ensure!(
        secrets_before == SECRETS.len(),
        "the recording itself failed: pages are not in it"
    );
    show_first(before, |payload| contains_any(payload, &SECRETS));
    println!("    readable: {}", SECRETS.join(", "));

    println!("\nBetween the nodes, through the mesh");
    for secret in SECRETS {
        ensure!(
            !after.contain(secret.as_bytes()),
            "`{secret}` crossed the network readably"
        );
    }
    let others = after
        .segments()
        .filter(|segment| ![segment.source_port, segment.destination_port].contains(&TUNNEL_PORT))
        .count();
    ensure!(others == 0, "{others} segments went round the tunnel");
    ensure!(
        after.has_client_hello_to(TUNNEL_PORT),
        "no TLS handshake was seen"
    );
    show_first(after, is_handshake);
    show_first(after, is_application_data);
    let bytes = after.bytes_to_port(TUNNEL_PORT);
    println!("    readable: nothing; {bytes} bytes to port {TUNNEL_PORT}, none to any other");
    Ok(())
}

/// Prints the beginning of the first segment that is `wanted`.
fn show_first(frames: &Frames, wanted: impl Fn(&[u8]) -> bool) {
    if let Some(segment) = frames.segments().find(|segment| wanted(segment.payload)) {
        let (from, to) = (segment.source_port, segment.destination_port);
        let shown = &segment.payload[..segment.payload.len().min(SHOWN)];
        println!(
            "    {from:>5} → {to:<5}  {}  {}",
            hex(shown),
            meaning(segment.payload)
        );
    }
}

/// RFC 8446 §5.1: the content type, then the version that records bear for old middleboxes' sake.
fn is_handshake(payload: &[u8]) -> bool {
    matches!(payload, [0x16, 0x03, ..])
}

fn is_application_data(payload: &[u8]) -> bool {
    matches!(payload, [0x17, 0x03, 0x03, ..])
}

fn meaning(payload: &[u8]) -> String {
    match payload {
        _ if is_handshake(payload) => "TLS handshake".to_owned(),
        _ if is_application_data(payload) => "TLS application data".to_owned(),
        _ => format!("{:?}", readable(payload)),
    }
}

/// The first line.
fn readable(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(SHOWN)
        .collect()
}

fn contains_any(payload: &[u8], needles: &[&str]) -> bool {
    let contains = |needle: &&str| {
        payload
            .windows(needle.len())
            .any(|part| part == needle.as_bytes())
    };
    needles.iter().any(contains)
}

fn hex(bytes: &[u8]) -> String {
    let shown: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_named() {
        assert_eq!(
            meaning(b"HTTP/1.1 200 OK\r\nServer: x"),
            "\"HTTP/1.1 200 OK\""
        );
        assert_eq!(meaning(&[0x16, 0x03, 0x01, 0x02]), "TLS handshake");
        assert_eq!(meaning(&[0x17, 0x03, 0x03, 0x00]), "TLS application data");
        assert_eq!(hex(&[0, 0x17, 0xff]), "00 17 ff");
    }

    #[test]
    fn secrets_are_found_anywhere_in_a_segment() {
        assert!(contains_any(b"$19\r\n4111-1111-1111-1111\r\n", &SECRETS));
        assert!(!contains_any(b"4111", &SECRETS));
    }
}
