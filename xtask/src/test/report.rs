//! What each check came to, and the table at the end.

use std::process::ExitCode;

use anyhow::Result;

use super::libtest::Counts;
use crate::say::{Step, say};

#[derive(Default)]
pub(super) struct Report {
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    counts: Counts,
    seconds: f64,
}

impl Report {
    /// Runs something that works or fails as a whole.
    pub(super) fn step<T>(
        &mut self,
        name: &'static str,
        check: impl FnOnce() -> Result<T>,
    ) -> Option<T> {
        let mut value = None;
        self.tests(name, || {
            value = Some(check()?);
            Ok(Counts {
                passed: 1,
                ..Counts::default()
            })
        });
        value
    }

    /// Runs something that counts its tests; an error is one more failure.
    pub(super) fn tests(&mut self, name: &'static str, check: impl FnOnce() -> Result<Counts>) {
        say(name);
        let started = Step::quiet();
        let counts = check().unwrap_or_else(|error| {
            println!("✗ {name}: {error:#}");
            Counts {
                failed: 1,
                ..Counts::default()
            }
        });
        self.rows.push(Row {
            name,
            counts,
            seconds: started.seconds(),
        });
    }

    /// Prints the table. Its last line is what CI reads.
    pub(super) fn finish(&self) -> ExitCode {
        println!();
        println!(
            "{:<14}{:>8}{:>8}{:>9}{:>10}",
            "", "passed", "failed", "ignored", "seconds"
        );
        for Row {
            name,
            counts,
            seconds,
        } in &self.rows
        {
            let Counts {
                passed,
                failed,
                ignored,
            } = counts;
            println!("{name:<14}{passed:>8}{failed:>8}{ignored:>9}{seconds:>10.1}");
        }
        println!();
        println!("{}", self.verdict());
        if self.failed() == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn verdict(&self) -> String {
        let passed: u64 = self.rows.iter().map(|row| row.counts.passed).sum();
        format!("{passed} passed, {} failed", self.failed())
    }

    fn failed(&self) -> u64 {
        self.rows.iter().map(|row| row.counts.failed).sum()
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn steps_count_one_and_tests_count_themselves() {
        let mut report = Report::default();
        assert_eq!(report.step("build", || Ok(7)), Some(7));
        report.tests("unit", || {
            Ok(Counts {
                passed: 40,
                failed: 0,
                ignored: 2,
            })
        });
        assert_eq!(report.verdict(), "41 passed, 0 failed");
        assert_eq!(report.failed(), 0);
    }

    #[test]
    fn an_error_is_a_failure_and_the_rest_still_runs() {
        let mut report = Report::default();
        assert_eq!(
            report.step("lint", || -> Result<()> { bail!("untidy") }),
            None
        );
        report.tests("unit", || {
            Ok(Counts {
                passed: 3,
                failed: 2,
                ignored: 0,
            })
        });
        assert_eq!(report.verdict(), "3 passed, 3 failed");
    }
}
