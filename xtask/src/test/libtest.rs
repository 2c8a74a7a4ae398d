//! Counting what `cargo test` ran: its summary lines are the one thing stable in its output.

use std::process::Command;

use anyhow::Result;

use crate::process;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) ignored: u64,
}

/// Runs `cargo test`, showing its output, and counts over all its test programs.
pub(super) fn run(cargo_test: &mut Command) -> Result<Counts> {
    let mut counts = Counts::default();
    let status = process::tee(cargo_test, |line| {
        if let Some(summary) = parse_summary(line) {
            counts.passed += summary.passed;
            counts.failed += summary.failed;
            counts.ignored += summary.ignored;
        }
    })?;
    // It did not compile, or a test program died before its summary.
    if counts.failed == 0 {
        process::require_success(cargo_test, status)?;
    }
    Ok(counts)
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; …`
fn parse_summary(line: &str) -> Option<Counts> {
    // After `--nocapture` output without an end of line, the summary does not start the line.
    let (_, result) = line.split_once("test result: ")?;
    let (_, numbers) = result.split_once(". ")?;
    let count = |what: &str| {
        numbers
            .split("; ")
            .filter_map(|part| part.trim().split_once(' '))
            .find(|(_, name)| *name == what)
            .and_then(|(number, _)| number.parse().ok())
    };
    Some(Counts {
        passed: count("passed")?,
        failed: count("failed")?,
        ignored: count("ignored")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_read() {
        let line = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(
            parse_summary(line),
            Some(Counts {
                passed: 12,
                failed: 2,
                ignored: 1
            })
        );
        let after_output = format!("some output{line}");
        assert_eq!(parse_summary(&after_output), parse_summary(line));
    }

    #[test]
    fn other_lines_are_not_summaries() {
        for line in [
            "",
            "test a::b ... ok",
            "running 3 tests",
            "test result: what?",
            "5 passed; 0 failed",
        ] {
            assert_eq!(parse_summary(line), None, "{line}");
        }
    }

    #[test]
    fn a_run_that_dies_without_a_summary_is_an_error() {
        assert!(run(Command::new("sh").args(["-c", "exit 3"])).is_err());
        let failed =
            "echo 'test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured'; exit 101";
        let counts = run(Command::new("sh").args(["-c", failed])).unwrap();
        assert_eq!(
            counts,
            Counts {
                passed: 1,
                failed: 1,
                ignored: 0
            }
        );
    }
}
