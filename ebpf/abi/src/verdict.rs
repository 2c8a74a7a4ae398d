//! What the kernel decided, counted per CPU.

macro_rules! verdicts {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// A decision of the kernel side about a connection of a captured pod.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Verdict { $($(#[$doc])* $name,)+ }

        impl Verdict {
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The value of the metric label `verdict`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

verdicts! {
    /// An application's dial goes to the agent.
    Redirected = "outbound_redirected",
    /// Not TCP: left alone.
    NotTcp = "outbound_not_tcp",
    /// The destination is not in the mesh.
    NotMesh = "outbound_not_mesh",
    /// The destination is loopback or the pod itself.
    Own = "outbound_own",
    /// The dial is the agent's.
    Agent = "outbound_agent",
    /// Named by `weir.dev/skip-outbound-ports` or `-cidrs`.
    OutboundSkipped = "outbound_skipped",
    /// The pod has no address of the destination's family.
    NoFamily = "outbound_no_family",
    /// A captured dial found no listener of the agent: refused.
    OutboundRefused = "outbound_refused",
    /// What the agent needs to know could not be kept: the dial is refused.
    HandoffFailed = "handoff_failed",
    /// A connection to the pod goes to the agent.
    Delivered = "inbound_delivered",
    /// From the pod itself: the application's, or the agent's own dial to it.
    InboundOwn = "inbound_own",
    /// Named by `weir.dev/skip-inbound-ports`.
    InboundSkipped = "inbound_skipped",
    /// The pod is captured but the agent's listener is gone: refused, never let past in plaintext.
    InboundRefused = "inbound_refused",
}

impl Verdict {
    pub const COUNT: u32 = Self::ALL.len() as u32;
}
