//! An explanation for people.

use std::fmt::{self, Display, Formatter};

use super::{
    BackendPlan, ClientPlan, ENDPOINTS_SHOWN_MAX, EndpointPlan, Entry, Explanation, Outcome, Share,
    Verdict,
};

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.request)?;
        writeln!(f, "client       {}", self.client)?;
        writeln!(f, "destination  {}", self.destination.is)?;
        if let Some(spoken) = &self.spoken {
            writeln!(f, "spoken       {spoken}")?;
        }
        if let Some(routing) = &self.routing {
            writeln!(f, "routes       {}", routing.table)?;
            for entry in &routing.entries {
                writeln!(f, "  {entry}")?;
            }
        } else if self.spoken.is_some() && self.destination.service.is_some() {
            writeln!(f, "routes       none")?;
        }
        for (index, filter) in self.filters.iter().enumerate() {
            let title = match index {
                0 => "filters",
                _ => "",
            };
            writeln!(f, "{title:<12} {filter}")?;
        }
        if !self.backends.is_empty() {
            writeln!(f, "backends")?;
        }
        for backend in &self.backends {
            write!(f, "{backend}")?;
        }
        writeln!(f)?;
        for (index, share) in self.outcomes.iter().enumerate() {
            let title = match index {
                0 => "outcome",
                _ => "",
            };
            writeln!(f, "{title:<12} {share}")?;
        }
        Ok(())
    }
}

impl Display for ClientPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.pod {
            Some(pod) => write!(f, "pod {pod}")?,
            None => write!(f, "namespace {}", self.namespace)?,
        }
        if let Some(node) = self.node.as_ref().filter(|node| !node.is_empty()) {
            write!(f, " on node {node}")?;
        }
        match self.enrolled {
            Some(true) => write!(f, ", enrolled")?,
            Some(false) => write!(f, ", not enrolled")?,
            None => {}
        }
        if let Some(identity) = &self.identity {
            write!(f, ", {identity}")?;
        }
        if let Some(note) = &self.note {
            write!(f, ": {note}")?;
        }
        Ok(())
    }
}

impl Display for Entry {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            route, rule, wants, ..
        } = self;
        let mark = match self.verdict {
            Verdict::Taken => "TAKEN ",
            Verdict::Mismatch => "no    ",
            Verdict::Later => "later ",
        };
        write!(f, "{mark} {route} rule {rule} ({wants})")?;
        match &self.why_not {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}

impl Display for BackendPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            to,
            percent,
            usable,
            ready,
            ..
        } = self;
        write!(f, "  {:>5} % {to}", round(*percent))?;
        match &self.why_not {
            Some(why) => writeln!(f, ": {why}")?,
            None => {
                let how = match *ready {
                    0 => "none is ready, but still serve: ",
                    _ => "",
                };
                let http2 = match self.http2 {
                    true => ", spoken to in HTTP/2",
                    false => "",
                };
                let plural = match *usable {
                    1 => "",
                    _ => "s",
                };
                writeln!(f, ": {how}{usable} endpoint{plural}{http2}")?;
            }
        }
        if self.session {
            writeln!(f, "          the client's session is with it")?;
        }
        if let Some(rewritten) = &self.rewritten {
            writeln!(f, "          receives {rewritten}")?;
        }
        for filter in &self.filters {
            writeln!(f, "          {filter}")?;
        }
        for endpoint in &self.endpoints {
            writeln!(f, "          {endpoint}")?;
        }
        match usable.saturating_sub(ENDPOINTS_SHOWN_MAX) {
            0 => Ok(()),
            more => writeln!(f, "          and {more} more"),
        }
    }
}

impl Display for EndpointPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        if let Some(pod) = &self.pod {
            write!(f, " {pod}")?;
        }
        if let Some(node) = self.node.as_ref().filter(|node| !node.is_empty()) {
            write!(f, " on {node}")?;
        }
        let way = match self.way {
            "sameNode" => "within the node",
            "tunnel" => "mutual TLS",
            "denied" => "denied: the port is its agent's",
            _ => "plaintext",
        };
        write!(f, ", {way}")?;
        if let Some(identity) = &self.identity {
            write!(f, ", {identity}")?;
        }
        match self.session {
            true => write!(f, " (the client's session)"),
            false => Ok(()),
        }
    }
}

impl Display for Share {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.percent < 100.0 {
            write!(f, "{} %: ", round(self.percent))?;
        }
        self.outcome.fmt(f)
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeftAlone { why } => write!(f, "not the mesh's business: {why}"),
            Self::Sent { to } => write!(f, "sent to {to}"),
            Self::Answered {
                status,
                why,
                location,
            } => {
                write!(f, "{status}, answered by Weir: {why}")?;
                match location {
                    Some(location) => write!(f, " to {location}"),
                    None => Ok(()),
                }
            }
            Self::Refused {
                status,
                grpc_status,
                reason,
                why,
            } => {
                write!(f, "{status} {reason}")?;
                if let Some(status) = grpc_status {
                    write!(f, " (grpc-status {status})")?;
                }
                write!(f, ": {why}")
            }
            Self::Reset { reason, why } => write!(f, "connection reset, {reason}: {why}"),
        }
    }
}

/// To a tenth.
fn round(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}
