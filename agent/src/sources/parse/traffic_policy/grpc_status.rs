//! gRPC status codes by their names, as Weir's manifests write them.

/// In the order of their codes, from 0 (OK) on.
const NAMES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid-argument",
    "deadline-exceeded",
    "not-found",
    "already-exists",
    "permission-denied",
    "resource-exhausted",
    "failed-precondition",
    "aborted",
    "out-of-range",
    "unimplemented",
    "internal",
    "unavailable",
    "data-loss",
    "unauthenticated",
];

pub(super) const CODE_MAX: u32 = 16;

/// The code of a status that is an error.
pub(super) fn code(name: &str) -> Option<u8> {
    let code = NAMES.iter().position(|known| *known == name)?;
    u8::try_from(code).ok().filter(|code| *code > 0)
}

/// The code as a bit of a set.
pub(super) fn bit(name: &str) -> Option<u32> {
    code(name).map(|code| 1 << code)
}
