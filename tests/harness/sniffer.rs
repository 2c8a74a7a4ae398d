//! What is on the wire between the pods.

use std::{
    num::NonZeroU32,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with,
    sockopt::{Timeout, set_socket_recv_buffer_size, set_socket_timeout},
};

use crate::netns::Netns;

const ETH_P_ALL: u16 = 3;
/// Where the recording stops.
const BYTES_MAX: usize = 64 << 20;
/// Bulk segments are handed over before they are cut to the wire's size.
const FRAME_BYTES_MAX: usize = 128 << 10;

/// Records every frame that crosses a namespace.
pub struct Sniffer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Sniffer {
    pub(crate) fn start(netns: &Netns) -> Self {
        let socket = netns.enter(|| {
            let all = NonZeroU32::new(u32::from(ETH_P_ALL.to_be())).map(Protocol::from_raw);
            socket_with(
                AddressFamily::PACKET,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                all,
            )
        });
        let socket = socket.unwrap_or_else(|e| panic!("cannot open a packet socket: {e}"));
        let _ = set_socket_recv_buffer_size(&socket, 8 << 20);
        set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_millis(50))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || record(&socket, &stop)
        });
        Self { stop, thread }
    }

    pub fn stop(self) -> Frames {
        self.stop.store(true, Ordering::Relaxed);
        Frames(self.thread.join().unwrap_or_default())
    }
}

fn record(socket: &OwnedFd, stop: &AtomicBool) -> Vec<Vec<u8>> {
    let (mut frames, mut bytes) = (Vec::new(), 0);
    let mut buffer = vec![0_u8; FRAME_BYTES_MAX];
    while bytes < BYTES_MAX {
        match recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((length, _)) => {
                bytes += length;
                frames.push(buffer[..length].to_vec());
            }
            // What had arrived before the stop has been read.
            Err(_) if stop.load(Ordering::Relaxed) => break,
            Err(_) => {}
        }
    }
    frames
}

/// Recorded Ethernet frames. One that crosses the bridge appears more than once.
#[derive(Debug)]
pub struct Frames(Vec<Vec<u8>>);

/// The TCP part of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    pub source_port: u16,
    pub destination_port: u16,
    pub payload: &'a [u8],
}

impl Frames {
    /// TCP segments that carry data, in the order of capture.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.0.iter().filter_map(|frame| segment(frame))
    }

    /// Whether these bytes appear in one of the frames.
    pub fn contain(&self, needle: &[u8]) -> bool {
        self.0
            .iter()
            .any(|frame| frame.windows(needle.len()).any(|window| window == needle))
    }

    /// What was sent to the tunnel's port.
    pub fn to_port(&self, port: u16) -> impl Iterator<Item = &[u8]> {
        self.segments()
            .filter(move |s| s.destination_port == port)
            .map(|s| s.payload)
    }

    pub fn bytes_to_port(&self, port: u16) -> usize {
        self.to_port(port).map(<[u8]>::len).sum()
    }

    /// Whether a TLS handshake record with a ClientHello went to `port` (RFC 8446 §5.1).
    pub fn has_client_hello_to(&self, port: u16) -> bool {
        self.to_port(port)
            .any(|data| matches!(data, [0x16, 0x03, _, _, _, 0x01, ..]))
    }
}

fn segment(frame: &[u8]) -> Option<Segment<'_>> {
    const TCP: u8 = 6;
    let packet = frame.get(14..)?;
    let (tcp, length) = match frame.get(12..14)? {
        [0x08, 0x00] if *packet.get(9)? == TCP => {
            let header = usize::from(packet[0] & 0xf) * 4;
            let total = usize::from(be16(packet, 2)?);
            (packet.get(header..)?, total.checked_sub(header)?)
        }
        [0x86, 0xdd] if *packet.get(6)? == TCP => {
            (packet.get(40..)?, usize::from(be16(packet, 4)?))
        }
        _ => return None,
    };
    let header = usize::from(*tcp.get(12)? >> 4) * 4;
    // A length of 0 stands for a segment larger than the field can say.
    let end = if length == 0 {
        tcp.len()
    } else {
        length.min(tcp.len())
    };
    let payload = tcp.get(header..end).filter(|payload| !payload.is_empty())?;
    Some(Segment {
        source_port: be16(tcp, 0)?,
        destination_port: be16(tcp, 2)?,
        payload,
    })
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
