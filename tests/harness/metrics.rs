//! Prometheus text, read back.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Debug, Default)]
pub struct Metrics(Vec<Sample>);

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Metrics {
    pub fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.filter_map(Sample::parse).collect())
    }

    /// Samples of `name` that have all of `labels`.
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Sample> {
        self.0
            .iter()
            .filter(move |sample| sample.name == name && sample.has(labels))
    }

    /// The sum over them; 0 where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).map(|sample| sample.value).sum()
    }

    /// Names of all families, for the message of a failed test.
    pub fn starting_with(&self, prefix: &str) -> Vec<&Sample> {
        self.0
            .iter()
            .filter(|sample| sample.name.starts_with(prefix))
            .collect()
    }
}

impl Sample {
    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels
            .iter()
            .all(|(key, value)| self.labels.get(*key).map(String::as_str) == Some(value))
    }

    fn parse(line: &str) -> Option<Self> {
        let Some((name, rest)) = line.split_once('{') else {
            let (name, value) = line.split_once(' ')?;
            return Some(Self {
                name: name.into(),
                labels: BTreeMap::new(),
                value: number(value)?,
            });
        };
        let mut labels = BTreeMap::new();
        let mut rest = rest;
        loop {
            rest = rest.trim_start_matches(',');
            if let Some(value) = rest.strip_prefix('}') {
                return Some(Self {
                    name: name.into(),
                    labels,
                    value: number(value)?,
                });
            }
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(key.into(), value);
            rest = after;
        }
    }
}

/// The value, without a timestamp or an exemplar that may follow.
fn number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Up to the closing quote, with `\\`, `\"` and `\n` resolved, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_samples_that_match() {
        let metrics = Metrics::parse(concat!(
            "# TYPE opened counter\n",
            "opened_total{reporter=\"source\",peer=\"a\\\"b,c}\"} 2\n",
            "opened_total{reporter=\"source\",peer=\"d\"} 3 # {trace=\"x\"} 1\n",
            "opened_total{reporter=\"destination\"} 7 1700000000\n",
            "up 1\n# EOF\n",
        ));
        assert_eq!(metrics.sum("opened_total", &[("reporter", "source")]), 5.0);
        assert_eq!(metrics.sum("opened_total", &[("peer", "a\"b,c}")]), 2.0);
        assert_eq!(
            metrics.sum("opened_total", &[("reporter", "destination")]),
            7.0
        );
        assert_eq!(metrics.sum("up", &[]), 1.0);
        assert_eq!(metrics.sum("absent", &[]), 0.0);
    }
}
