//! Arguments of `weir-bench run`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::paths::PathKind;
use crate::run::Work;

#[derive(Debug)]
pub(crate) struct RunArgs {
    /// About two minutes instead of at most ten.
    pub(crate) quick: bool,
    pub(crate) json: Option<PathBuf>,
    /// Where the Markdown for `docs/performance.md` goes.
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) weir: Option<PathBuf>,
    pub(crate) envoy: Option<PathBuf>,
    /// What the agent's own bench counted for one request; see [`crate::pipeline`].
    pub(crate) pipeline: Option<PathBuf>,
    /// The same for each feature of a TrafficPolicy.
    pub(crate) features: Option<PathBuf>,
    pub(crate) commit: String,
    pub(crate) paths: Vec<PathKind>,
    pub(crate) works: Vec<Work>,
    /// Overrides how long each measurement counts.
    pub(crate) seconds: Option<f64>,
    pub(crate) rounds: Option<usize>,
    /// A folder for one `perf` recording of each path's proxies and work.
    pub(crate) perf: Option<PathBuf>,
}

impl RunArgs {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut args = Self {
            quick: false,
            json: None,
            markdown: None,
            weir: None,
            envoy: None,
            pipeline: None,
            features: None,
            commit: "unknown".into(),
            paths: PathKind::ALL.to_vec(),
            works: Work::ALL.to_vec(),
            seconds: None,
            rounds: None,
            perf: None,
        };
        while let Some(flag) = words.next() {
            if flag == "--quick" {
                args.quick = true;
                continue;
            }
            let value = words
                .next()
                .with_context(|| format!("{flag} without a value"))?;
            match flag.as_str() {
                "--json" => args.json = Some(value.into()),
                "--markdown" => args.markdown = Some(value.into()),
                "--weir" => args.weir = Some(value.into()),
                "--envoy" => args.envoy = Some(value.into()),
                "--pipeline" => args.pipeline = Some(value.into()),
                "--features" => args.features = Some(value.into()),
                "--commit" => args.commit = value,
                "--paths" => {
                    args.paths = value
                        .split(',')
                        .map(PathKind::parse)
                        .collect::<Result<_>>()?
                }
                "--works" => {
                    args.works = value.split(',').map(Work::parse).collect::<Result<_>>()?
                }
                "--seconds" => args.seconds = Some(value.parse().context("--seconds")?),
                "--rounds" => args.rounds = Some(value.parse().context("--rounds")?),
                "--perf" => args.perf = Some(value.into()),
                _ => bail!("no option `{flag}`"),
            }
        }
        if args
            .seconds
            .is_some_and(|seconds| !(0.1..=60.0).contains(&seconds))
        {
            bail!("--seconds is from 0.1 to 60");
        }
        if args
            .rounds
            .is_some_and(|rounds| !(1..=50).contains(&rounds))
        {
            bail!("--rounds is from 1 to 50");
        }
        Ok(args)
    }
}
