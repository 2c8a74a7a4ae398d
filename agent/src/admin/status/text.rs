//! The status for people: what is well in a line, what is not in a table.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use super::{Breakers, CLOSED, Status, Use};

/// Transitions that are told; JSON has all that are remembered.
const TRANSITIONS_SHOWN_MAX: usize = 10;

/// Where there is nothing to say.
const NOTHING: &str = "-";

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ready = if self.ready { "ready" } else { "not ready" };
        writeln!(f, "agent     {ready}, version {}", self.version)?;
        for missing in &self.missing {
            writeln!(f, "          - {missing}")?;
        }
        write!(f, "config    generation {}, ", self.generation)?;
        match self.rejected {
            0 => writeln!(f, "nothing refused")?,
            1 => writeln!(f, "1 object or file refused: weir validate says why")?,
            many => writeln!(f, "{many} objects or files refused: weir validate says why")?,
        }
        let pods = self.pods;
        writeln!(
            f,
            "pods      {} of {} captured",
            pods.captured, pods.enrolled
        )?;
        writeln!(f, "breakers  {}", self.breakers)?;
        writeln!(
            f,
            "services  {} shown of {} that were called",
            self.services.len(),
            self.services_known
        )?;
        write!(f, "{}{}{}", self.endpoints(), self.pools(), self.changes())
    }
}

impl Display for Breakers {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.open, self.half_open) {
            (0, 0) => f.write_str("all closed")?,
            (open, half_open) => write!(f, "{open} open, {half_open} half open")?,
        }
        match self.unhealthy {
            0 => Ok(()),
            1 => f.write_str("; 1 endpoint fails its health checks"),
            many => write!(f, "; {many} endpoints fail their health checks"),
        }
    }
}

impl Display for Use {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.now, self.max)
    }
}

impl Status {
    fn endpoints(&self) -> Table<6> {
        let mut table = Table::new([
            "SERVICE",
            "ENDPOINT",
            "BREAKER",
            "SINCE",
            "HALF OPEN IN",
            "HEALTH",
        ]);
        for service in &self.services {
            for endpoint in &service.endpoints {
                let is_closed = endpoint.breaker == CLOSED;
                table.rows.push([
                    service.service.clone(),
                    endpoint.address.to_string(),
                    words(endpoint.breaker),
                    match is_closed {
                        true => NOTHING.to_owned(),
                        false => short(endpoint.since),
                    },
                    endpoint.half_open_in.map_or(NOTHING.to_owned(), short),
                    if endpoint.healthy { NOTHING } else { "failing" }.to_owned(),
                ]);
            }
        }
        table
    }

    fn pools(&self) -> Table<4> {
        let mut table = Table::new(["SERVICE", "REQUESTS", "CONNECTIONS", "PENDING"]);
        for service in &self.services {
            table.rows.push([
                service.service.clone(),
                service.requests.to_string(),
                service.connections.to_string(),
                service.pending.to_string(),
            ]);
        }
        table
    }

    fn changes(&self) -> Table<4> {
        let mut table = Table::new(["AGO", "SERVICE", "ENDPOINT", "CHANGE"]);
        for transition in self.transitions.iter().take(TRANSITIONS_SHOWN_MAX) {
            table.rows.push([
                short(transition.ago),
                transition.service.clone(),
                transition.endpoint.to_string(),
                format!("{} -> {}", words(transition.from), words(transition.to)),
            ]);
        }
        table
    }
}

fn words(breaker: &str) -> String {
    breaker.replace('_', " ")
}

/// The two largest units: `850ms`, `4s`, `2m 10s`, `3h 5m`.
pub(super) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        _ => format!("{hours}h {}m", minutes % 60),
    }
}

/// An empty one is not shown at all.
struct Table<const COLUMNS: usize> {
    head: [&'static str; COLUMNS],
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    fn new(head: [&'static str; COLUMNS]) -> Self {
        Self {
            head,
            rows: Vec::new(),
        }
    }
}

impl<const COLUMNS: usize> Display for Table<COLUMNS> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut widths = self.head.map(str::len);
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.len().max(*width);
            }
        }
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let cells: Vec<_> = cells
                .zip(widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            cells.join("  ").trim_end().to_owned()
        };
        writeln!(f, "\n{}", line(&mut self.head.iter().copied()))?;
        for row in &self.rows {
            writeln!(f, "{}", line(&mut row.iter().map(String::as_str)))?;
        }
        Ok(())
    }
}
