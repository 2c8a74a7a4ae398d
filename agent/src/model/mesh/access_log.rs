//! `spec.accessLog` of `MeshConfig`.

use super::{PerNamespace, Share};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLog {
    pub mode: PerNamespace<AccessLogMode>,
    pub format: AccessLogFormat,
    pub fields: AccessLogFields,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogMode {
    #[default]
    Off,
    /// Only connections and requests that did not end well.
    Errors,
    /// Those, and of the others this share.
    Sampled(Share),
    All,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    #[default]
    Json,
    Text,
}

/// Declares the fields in the order in which a line has them.
macro_rules! fields {
    ($($field:ident = $name:literal,)*) => {
        /// What a line can say.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum AccessLogField {
            $($field,)*
        }

        impl AccessLogField {
            pub const ALL: &[Self] = &[$(Self::$field,)*];

            /// As it is written in the log and in `spec.accessLog.fields`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$field => $name,)*
                }
            }
        }
    };
}

fields! {
    Time = "time",
    Reporter = "reporter",
    Reason = "reason",
    ResponseFlags = "response_flags",
    SourceAddress = "source_address",
    SourcePod = "source_pod",
    SourceWorkload = "source_workload",
    SourceNamespace = "source_namespace",
    SourcePrincipal = "source_principal",
    OriginalDestination = "original_destination",
    DestinationAddress = "destination_address",
    DestinationPod = "destination_pod",
    DestinationWorkload = "destination_workload",
    DestinationNamespace = "destination_namespace",
    DestinationPrincipal = "destination_principal",
    DestinationService = "destination_service",
    RequestProtocol = "request_protocol",
    ConnectionSecurityPolicy = "connection_security_policy",
    Sni = "sni",
    Method = "method",
    Authority = "authority",
    Path = "path",
    Protocol = "protocol",
    UserAgent = "user_agent",
    ResponseCode = "response_code",
    GrpcStatus = "grpc_status",
    Route = "route",
    Rule = "rule",
    Backend = "backend",
    TraceId = "trace_id",
    BytesSent = "bytes_sent",
    BytesReceived = "bytes_received",
    DurationMs = "duration_ms",
    Detail = "detail",
    Policy = "policy",
}

impl AccessLogField {
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|field| field.as_str() == name)
    }
}

/// A set of [`AccessLogField`]s; by default all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessLogFields(u64);

impl AccessLogFields {
    pub fn contains(self, field: AccessLogField) -> bool {
        self.0 & (1 << field as u8) != 0
    }

    /// In the order of a line.
    pub fn iter(self) -> impl Iterator<Item = AccessLogField> {
        let fields = AccessLogField::ALL.iter().copied();
        fields.filter(move |field| self.contains(*field))
    }

    pub fn is_all(self) -> bool {
        self == Self::default()
    }
}

impl FromIterator<AccessLogField> for AccessLogFields {
    fn from_iter<I: IntoIterator<Item = AccessLogField>>(fields: I) -> Self {
        let bits = fields.into_iter().map(|field| 1 << field as u8);
        Self(bits.fold(0, |all, bit: u64| all | bit))
    }
}

impl Default for AccessLogFields {
    fn default() -> Self {
        AccessLogField::ALL.iter().copied().collect()
    }
}

const _: () = assert!(AccessLogField::ALL.len() <= u64::BITS as usize);
