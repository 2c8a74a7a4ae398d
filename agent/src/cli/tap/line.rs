//! One request of a tap, for people.

use std::fmt;

use anyhow::Context as _;
use serde_json::Value;

/// A line of the agent's.
pub(super) struct Told(Value);

pub(super) fn read(line: &[u8]) -> anyhow::Result<Told> {
    let value = serde_json::from_slice(line).context("the agent sends what is no JSON")?;
    Ok(Told(value))
}

impl Told {
    /// Else it says how many were lost.
    pub(super) fn is_request(&self) -> bool {
        self.0.get("lost").is_none()
    }

    /// A dash for what is not known.
    fn get(&self, field: &str) -> String {
        match self.0.get(field) {
            None | Some(Value::Null) => "-".to_owned(),
            Some(Value::String(text)) => shown(text),
            Some(other) => other.to_string(),
        }
    }

    /// `namespace/pod`, else the address.
    fn end(&self, of: &str) -> String {
        let field = |what: &str| self.0.get(format!("{of}_{what}"))?.as_str();
        match (field("namespace"), field("pod")) {
            (Some(namespace), Some(pod)) => shown(&format!("{namespace}/{pod}")),
            _ => self.get(&format!("{of}_address")),
        }
    }
}

/// Nothing that a terminal would obey: what clients send goes where people look.
fn shown(text: &str) -> String {
    match text.chars().any(char::is_control) {
        true => text.escape_debug().to_string(),
        false => text.to_owned(),
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_request() {
            let lost = self.get("lost");
            return write!(f, "({lost} requests were lost: they came too fast)");
        }
        let get = |field| self.get(field);
        write!(
            f,
            "{} {} -> {} {} {}{} {} {} ms, {} B in, {} B out, {}",
            get("time"),
            self.end("source"),
            self.end("destination"),
            get("method"),
            get("authority"),
            get("path"),
            get("response_code"),
            get("duration_ms"),
            get("bytes_received"),
            get("bytes_sent"),
            get("reason"),
        )?;
        if self.0.get("route").is_some() {
            write!(f, ", {} rule {}", get("route"), get("rule"))?;
            if self.0.get("backend").is_some() {
                write!(f, " to {}", get("backend"))?;
            }
        }
        if self.0.get("detail").is_some() {
            write!(f, ": {}", get("detail"))?;
        }
        write!(f, " ({})", get("reporter"))
    }
}

#[cfg(test)]
mod tests;
