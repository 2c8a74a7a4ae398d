//! The bounds of the transport, by name. Most are ztunnel's, so that both kinds of node can serve
//! one mesh.

use std::time::Duration;

/// A TCP connection to an endpoint (`TrafficPolicy.timeouts.connect`'s default).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// From the first byte to the end of a TLS handshake, either side.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// From CONNECT to its answer: the peer dials its application meanwhile.
pub const CONNECT_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Unacknowledged bytes end a connection after this (TCP_USER_TIMEOUT).
pub const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection without a byte either way (`TrafficPolicy.timeouts.idle`'s default).
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// The same once one side has finished.
pub const HALF_CLOSED_IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// HTTP/2 windows and sizes of a tunnel.
pub const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Four times ztunnel's: streams whose answers nobody reads hold back the others of a connection
/// only when there are sixteen of them.
pub const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
pub const FRAME_BYTES_MAX: u32 = 1 << 20;
pub const CLIENT_HEADER_LIST_BYTES_MAX: u32 = 16 << 10;
pub const SERVER_HEADER_LIST_BYTES_MAX: u32 = 64 << 10;
pub const STREAMS_PER_CONNECTION_MAX: u32 = 200;
/// What one stream holds that its peer does not take yet.
pub const STREAM_SEND_BUFFER_BYTES: usize = 512 << 10;
/// Streams that a peer opened and reset before they were looked at; more end the connection.
pub const PENDING_RESETS_MAX: usize = 20;
/// Streams reset by either side that are still remembered.
pub const REMEMBERED_RESETS_MAX: usize = 50;

pub const PING_INTERVAL: Duration = Duration::from_secs(10);
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Another tunnel is opened at this share of the streams that the peer takes.
pub const STREAMS_SHARE_PERCENT: usize = 80;
/// Streams of one tunnel past which another is opened beside it, up to [`TUNNELS_SPREAD_MAX`]:
/// one HTTP/2 connection is one core at the peer, and one flow-control window.
pub const STREAMS_SPREAD: usize = 8;
pub const TUNNELS_SPREAD_MAX: usize = 4;
/// Tunnels of one thread for one source, destination and their identities.
pub const TUNNELS_PER_KEY_MAX: usize = 128;
/// Tunnels of one thread, all together.
pub const TUNNELS_MAX: usize = 8192;
/// A tunnel without streams is closed after this.
pub const TUNNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// TLS handshakes that peers have begun with one thread.
pub const INBOUND_HANDSHAKES_MAX: usize = 1024;
/// Tunnels from peers that one thread serves.
pub const INBOUND_TUNNELS_MAX: usize = 16_384;
/// Connections that one thread carries.
pub const CONNECTIONS_MAX: usize = 131_072;

/// How much is read at once.
pub const READ_BYTES_MAX: usize = 256 << 10;

/// From the first byte of a request's head to its end.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A request's line and fields together, in HTTP/1.1 and as HTTP/2 counts it.
pub const HEADER_BYTES_MAX: usize = 64 << 10;
/// What of a longer head HTTP/2 reads before it gives up; up to here it is answered with a reason.
pub const HEADER_LIST_BYTES_MAX: u32 = 256 << 10;
/// What is read of a client that still sends when its answer is complete, and for how long.
pub const LINGER_BYTES_MAX: usize = 16 << 20;
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a request's body waits for the application's 100 (Continue): as long as clients do.
pub const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);
/// Fields of a request's or an answer's head. hyper's own limit: any other costs it an allocation
/// for each head.
pub const HEADERS_MAX: usize = 100;
/// A request's target; longer ones get 414.
pub const URI_BYTES_MAX: usize = 16 << 10;
/// What HTTP/1.1 reads ahead of one connection.
pub const READ_AHEAD_BYTES_MAX: usize = 128 << 10;
/// How long dialling waits for the client's first byte, where nothing says what it speaks.
pub const FIRST_BYTE_WAIT: Duration = Duration::from_millis(100);

/// HTTP/2 with applications: windows of a stream and of a connection.
pub const APP_STREAM_WINDOW_BYTES: u32 = 1 << 20;
pub const APP_CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Requests that an application may have open on one HTTP/2 connection.
pub const APP_STREAMS_MAX: u32 = 1024;

/// Connections to applications and plain endpoints that one thread keeps, in use and idle.
pub const UPSTREAMS_MAX: usize = 16_384;
/// Idle ones among them for one source, destination and protocol.
pub const IDLE_UPSTREAMS_PER_KEY_MAX: usize = 256;
/// HTTP/2 connections for one source and destination.
pub const HTTP2_UPSTREAMS_PER_KEY_MAX: usize = 16;
/// An idle connection is closed after this: sooner than most servers do it.
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Mirrored requests that one thread has under way; more are left out and counted.
pub const MIRRORS_MAX: usize = 1024;
/// How long a mirrored request may take when its rule says nothing.
pub const MIRROR_TIMEOUT: Duration = Duration::from_secs(30);
/// What of a request's body is kept for its mirrors while they lag; past it they are given up.
pub const MIRROR_LAG_BYTES_MAX: usize = 1 << 20;
/// Destinations of which a thread remembers that the server speaks first.
pub const SERVER_FIRST_MAX: usize = 4096;
