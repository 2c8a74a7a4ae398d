//! How fast it is: the tools that people would take, for a few seconds each. An orientation on this
//! machine, where everything shares the cores; `docs/performance.md` has what was measured with care.

use std::time::Duration;

use anyhow::{Context, Result};

use super::cast::{Cast, Way};
use crate::say::Step;

/// How long anything here may take that should take no time.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
const DIALS: usize = 25;
const WRK_SECONDS: &str = "3s";
const REDIS_REQUESTS: &str = "30000";
const CONNECTIONS: &str = "8";

pub(super) struct Speed {
    /// Median time of one curl with a new connection.
    curl_ms: f64,
    web: Rate,
    redis: Rate,
}

/// What a load generator reported.
#[derive(Debug, PartialEq)]
struct Rate {
    requests_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
}

pub(super) fn measure(cast: &Cast, way: Way) -> Result<Speed> {
    let step = Step::quiet();
    let speed = Speed {
        curl_ms: curl(cast, way)?,
        web: wrk(cast, way)?,
        redis: redis(cast, way)?,
    };
    step.done("measured");
    Ok(speed)
}

fn curl(cast: &Cast, way: Way) -> Result<f64> {
    let url = format!("http://{}/", cast.web_addr(way));
    let mut times = Vec::with_capacity(DIALS);
    for _ in 0..DIALS {
        let curl = cast.shopper.command("curl");
        let curl = curl.args(["-sS", "-o", "/dev/null", "-w", "%{time_total}", &url]);
        let seconds: f64 = curl
            .run()
            .expect_ok()
            .trim()
            .parse()
            .context("curl's time")?;
        times.push(seconds * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[DIALS / 2])
}

fn wrk(cast: &Cast, way: Way) -> Result<Rate> {
    let url = format!("http://{}/", cast.web_addr(way));
    let wrk = cast.shopper.command("wrk");
    let said = wrk
        .args([
            "-t",
            "1",
            "-c",
            CONNECTIONS,
            "-d",
            WRK_SECONDS,
            "--latency",
            &url,
        ])
        .run()
        .expect_ok();
    parse_wrk(&said).with_context(|| format!("wrk said:\n{said}"))
}

fn redis(cast: &Cast, way: Way) -> Result<Rate> {
    let addr = cast.redis_addr(way);
    let benchmark = cast.cart.command("redis-benchmark");
    let said = benchmark
        .args(["-h", &addr.ip().to_string(), "-p", &addr.port().to_string()])
        .args([
            "-t",
            "get",
            "-n",
            REDIS_REQUESTS,
            "-c",
            CONNECTIONS,
            "--csv",
        ])
        .run()
        .expect_ok();
    parse_redis(&said).with_context(|| format!("redis-benchmark said:\n{said}"))
}

/// `  50%  123.00us` … `Requests/sec:  1234.56`
fn parse_wrk(said: &str) -> Option<Rate> {
    let after = |name: &str| {
        let line = said
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with(name))?;
        line[name.len()..].split_whitespace().next()
    };
    Some(Rate {
        requests_per_s: after("Requests/sec:")?.parse().ok()?,
        p50_ms: milliseconds(after("50%")?)?,
        p99_ms: milliseconds(after("99%")?)?,
    })
}

/// `123.00us`, `1.20ms`, `2.00s`
fn milliseconds(text: &str) -> Option<f64> {
    let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)];
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

/// A line of names, then a line of values, all quoted.
fn parse_redis(said: &str) -> Option<Rate> {
    let mut lines = said.lines().map(|line| {
        line.split(',')
            .map(|field| field.trim_matches('"'))
            .collect::<Vec<_>>()
    });
    let names = lines.find(|fields| fields.contains(&"rps"))?;
    let values = lines.next()?;
    let value = |name: &str| {
        let column = names.iter().position(|field| *field == name)?;
        values.get(column)?.parse::<f64>().ok()
    };
    Some(Rate {
        requests_per_s: value("rps")?,
        p50_ms: value("p50_latency_ms")?,
        p99_ms: value("p99_latency_ms")?,
    })
}

pub(super) fn compare(without: &Speed, with: &Speed) {
    println!(
        "\nHow fast, from node 1 to node 2{:>24}{:>12}",
        "without", "with Weir"
    );
    row(
        "curl, a new connection each, median ms",
        without.curl_ms,
        with.curl_ms,
        2,
    );
    for (name, without, with) in [
        ("wrk → nginx", &without.web, &with.web),
        ("redis-benchmark → Redis", &without.redis, &with.redis),
    ] {
        let name = format!("{name}, {CONNECTIONS} connections,");
        row(
            &format!("{name} requests/s"),
            without.requests_per_s,
            with.requests_per_s,
            0,
        );
        row(&format!("{name} p50 ms"), without.p50_ms, with.p50_ms, 2);
        row(&format!("{name} p99 ms"), without.p99_ms, with.p99_ms, 2);
    }
}

fn row(name: &str, without: f64, with: f64, decimals: usize) {
    println!("    {name:<51}{without:>7.decimals$}{with:>12.decimals$}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_read() {
        let said = "Running 3s test @ http://10.9.2.5:8080/\n  1 threads and 8 connections\n\
            \x20 Thread Stats   Avg      Stdev     Max   +/- Stdev\n\
            \x20   Latency   250.00us  100.00us   5.50ms   90.00%\n\
            \x20 Latency Distribution\n     50%  123.00us\n     75%  200.00us\n     90%  1.00ms\n     99%  1.20ms\n\
            \x20 1000 requests in 3.00s, 200.00KB read\nRequests/sec:  33333.25\nTransfer/sec:  6.67MB\n";
        let rate = parse_wrk(said).unwrap();
        assert_eq!(
            rate,
            Rate {
                requests_per_s: 33333.25,
                p50_ms: 0.123,
                p99_ms: 1.2
            }
        );
        assert_eq!(parse_wrk("unable to connect"), None);
    }

    #[test]
    fn redis_benchmark_is_read() {
        let said = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\
            \"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
            \"GET\",\"50000.00\",\"0.100\",\"0.050\",\"0.095\",\"0.200\",\"0.300\",\"1.000\"\n";
        let rate = parse_redis(said).unwrap();
        assert_eq!(
            rate,
            Rate {
                requests_per_s: 50000.0,
                p50_ms: 0.095,
                p99_ms: 0.3
            }
        );
        assert_eq!(parse_redis(""), None);
    }

    #[test]
    fn times_have_units() {
        assert_eq!(milliseconds("1.50ms"), Some(1.5));
        assert_eq!(milliseconds("2s"), Some(2000.0));
        assert_eq!(milliseconds("2m"), None);
    }
}
