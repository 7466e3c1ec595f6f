// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How much a load generator did, read from what it printed.
//!
//! Known are `redis-benchmark` (text, `-q`, `--csv`), `wrk` and `iperf3` (text, `-J`). For iperf3 a
//! transaction is a megabyte (10^6 bytes) that was received.

use serde_json::Value;

/// What a load generator did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Transactions that were completed.
    pub transactions: Option<u64>,
    /// Transactions that failed.
    pub errors: Option<u64>,
    /// Transactions per second, as the generator says.
    pub rate_per_s: Option<f64>,
}

/// Reads the output of the command line `client`. `None` if it is no known load generator, or it
/// printed no result.
pub fn parse(client: &str, stdout: &str, stderr: &str) -> Option<Load> {
    let words: Vec<_> = client.split_ascii_whitespace().collect();
    let is = |name: &str| {
        words
            .iter()
            .any(|word| word.rsplit('/').next() == Some(name))
    };
    if is("redis-benchmark") {
        redis_benchmark(&words, stdout, stderr)
    } else if is("wrk") {
        wrk(stdout)
    } else if is("iperf3") {
        iperf3(stdout)
    } else {
        None
    }
}

/// Several tests (`-t get,set`) are added up; the rate is that of all of them one after the other.
fn redis_benchmark(words: &[&str], stdout: &str, stderr: &str) -> Option<Load> {
    let per_test = option(words, "-n").map_or(Some(100_000), |n| n.parse().ok())?;
    // A line of progress ends in \r only.
    let lines = || {
        stdout
            .lines()
            .flat_map(|line| line.split('\r'))
            .map(str::trim)
    };
    let rates: Vec<f64> = lines()
        .filter_map(|line| {
            if let Some(text) = line.strip_prefix("throughput summary: ") {
                return number(text);
            }
            if let Some((_, rest)) = line.split_once(": ") {
                if rest.contains("requests per second, p50=") {
                    return number(rest);
                }
            }
            let mut fields = line.strip_prefix('"')?.split("\",\"");
            let (test, rate) = (fields.next()?, fields.next()?);
            (test != "test").then(|| rate.parse().ok()).flatten()
        })
        .collect();
    if rates.is_empty() {
        return None;
    }
    let seconds: f64 = rates.iter().map(|rate| per_test as f64 / rate).sum();
    let transactions = per_test * rates.len() as u64;
    let errors = lines()
        .chain(stderr.lines())
        .filter(|line| line.contains("Error ") || line.contains("error:"))
        .count();
    Some(Load {
        transactions: Some(transactions),
        errors: Some(errors as u64),
        rate_per_s: Some(transactions as f64 / seconds),
    })
}

fn wrk(stdout: &str) -> Option<Load> {
    let lines = || stdout.lines().map(str::trim);
    let transactions: u64 = lines()
        .find_map(|line| line.split_once(" requests in "))?
        .0
        .parse()
        .ok()?;
    let rate = lines().find_map(|line| number(line.strip_prefix("Requests/sec:")?));
    let sockets: u64 = lines()
        .find_map(|line| line.strip_prefix("Socket errors:"))
        .map_or(0, |rest| {
            rest.split(|c: char| !c.is_ascii_digit())
                .filter_map(|word| word.parse::<u64>().ok())
                .sum()
        });
    let statuses: u64 = lines()
        .find_map(|line| line.strip_prefix("Non-2xx or 3xx responses:"))
        .map_or(Some(0), |rest| rest.trim().parse().ok())?;
    Some(Load {
        transactions: Some(transactions),
        errors: Some(sockets + statuses),
        rate_per_s: rate,
    })
}

fn iperf3(stdout: &str) -> Option<Load> {
    let (bytes, seconds) = match serde_json::from_str::<Value>(stdout) {
        Ok(json) => iperf3_json(&json)?,
        Err(_) => iperf3_text(stdout)?,
    };
    let megabytes = bytes / 1e6;
    Some(Load {
        transactions: Some(megabytes.round() as u64),
        errors: Some(0),
        rate_per_s: (seconds > 0.0).then_some(megabytes / seconds),
    })
}

fn iperf3_json(json: &Value) -> Option<(f64, f64)> {
    let end = json.get("end")?;
    let sum = end.get("sum_received").or_else(|| end.get("sum"))?;
    Some((sum.get("bytes")?.as_f64()?, sum.get("seconds")?.as_f64()?))
}

/// The receiver's line of the summary; the last one is the sum if there are several streams.
fn iperf3_text(stdout: &str) -> Option<(f64, f64)> {
    let line = stdout
        .lines()
        .rfind(|line| line.trim_end().ends_with("receiver"))?;
    // [  5]   0.00-1.00   sec  2.00 GBytes  17.2 Gbits/sec                  receiver
    let (_, rest) = line.split_once(']')?;
    let mut words = rest.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let seconds = to.parse::<f64>().ok()? - from.parse::<f64>().ok()?;
    let amount: f64 = words.nth(1)?.parse().ok()?;
    let unit = match words.next()? {
        "Bytes" => 1.0,
        "KBytes" => 1024.0,
        "MBytes" => 1_048_576.0,
        "GBytes" => 1_073_741_824.0,
        _ => return None,
    };
    Some((amount * unit, seconds))
}

/// The value of an option of one letter, as `-n 5` or `-n5`.
fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words
        .iter()
        .enumerate()
        .find_map(|(index, word)| match word.strip_prefix(name)? {
            "" => words.get(index + 1).copied(),
            value => Some(value),
        })
}

/// The number that a text begins with.
fn number(text: &str) -> Option<f64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIS: &str = "\
GET: rps=0.0 (overall: nan) avg_msec=nan (overall: nan)\r\
====== GET ======
  3000 requests completed in 0.36 seconds
  8 parallel clients
  3 bytes payload
  keep alive: 0

Summary:
  throughput summary: 8333.33 requests per second
  latency summary (msec):
          avg       min       p50       p95       p99       max
        0.742     0.080     0.463     3.151     4.527    12.303
";
    const REDIS_QUIET: &str = "\
SET: rps=0.0 (overall: 8000.0) avg_msec=0.127 (overall: 0.127)\r                          \r\
SET: 33707.86 requests per second, p50=0.103 msec
GET: rps=0.0 (overall: nan) avg_msec=nan (overall: nan)\r                          \r\
GET: 48387.10 requests per second, p50=0.095 msec
";
    const REDIS_CSV: &str = "\
\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\"
\"GET\",\"47619.05\",\"0.116\",\"0.016\",\"0.095\",\"0.151\"
";
    const WRK: &str = "\
Running 1s test @ http://127.0.0.1:8080/none
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.55ms    9.11ms  79.69ms   94.02%
    Req/Sec     1.66k   674.06     2.65k    60.00%
  1657 requests in 1.00s, 841.63KB read
";
    const IPERF: &str = "\
[ ID] Interval           Transfer     Bitrate         Retr
[  5]   0.00-1.00   sec   794 MBytes  6.65 Gbits/sec    7            sender
[  5]   0.00-1.00   sec   788 MBytes  6.60 Gbits/sec                  receiver
[SUM]   0.00-1.00   sec  1.56 GBytes  13.4 Gbits/sec   15             sender
[SUM]   0.00-1.00   sec  1.55 GBytes  13.3 Gbits/sec                  receiver

iperf Done.
";

    #[test]
    fn redis_text_has_its_count_from_the_command() {
        let client = "redis-benchmark -h 10.99.0.2 -k 0 -c 32 -t get -n 3000";
        let load = parse(client, REDIS, "").unwrap();
        assert_eq!(load.transactions, Some(3000));
        assert_eq!(load.errors, Some(0));
        assert!((load.rate_per_s.unwrap() - 8333.33).abs() < 0.01);
    }

    #[test]
    fn redis_tests_are_added_up() {
        let load = parse("redis-benchmark -q -t get,set -n3000", REDIS_QUIET, "").unwrap();
        assert_eq!(load.transactions, Some(6000));
        let rate = load.rate_per_s.unwrap();
        assert!((39_000.0..40_500.0).contains(&rate), "{rate}");
    }

    #[test]
    fn redis_csv_defaults_to_its_own_count() {
        let load = parse("/usr/bin/redis-benchmark --csv -t get", REDIS_CSV, "").unwrap();
        assert_eq!(load.transactions, Some(100_000));
        assert!((load.rate_per_s.unwrap() - 47_619.05).abs() < 0.01);
    }

    #[test]
    fn redis_errors_are_counted() {
        let stderr = "Error from server: NOAUTH Authentication required.\n";
        let load = parse("redis-benchmark -n 3000", REDIS, stderr).unwrap();
        assert_eq!(load.errors, Some(1));
        let refused = "Could not connect to Redis at 127.0.0.1:1: Connection refused\n";
        assert_eq!(parse("redis-benchmark -n 30", "", refused), None);
    }

    #[test]
    fn wrk_errors_of_both_kinds_count() {
        let clean = format!("{WRK}Requests/sec:   1655.58\nTransfer/sec:    840.90KB\n");
        let load = parse("wrk -t1 -c4 http://10.99.0.2/", &clean, "").unwrap();
        assert_eq!(load.transactions, Some(1657));
        assert_eq!(load.errors, Some(0));
        assert_eq!(load.rate_per_s, Some(1655.58));
        let failed = format!(
            "{WRK}  Socket errors: connect 1, read 2, write 3, timeout 4\n  \
             Non-2xx or 3xx responses: 7\nRequests/sec:   1655.58\n"
        );
        let load = parse("wrk http://10.99.0.2/", &failed, "").unwrap();
        assert_eq!(load.errors, Some(17));
    }

    #[test]
    fn iperf3_counts_what_was_received() {
        let load = parse("iperf3 -c 10.99.0.2 -R -P 2", IPERF, "").unwrap();
        assert_eq!(load.transactions, Some(1664));
        let json = r#"{"start":{},"end":{"sum_sent":{"bytes":9000000,"seconds":1},
            "sum_received":{"bytes":8000000,"seconds":2.0,"bits_per_second":32000000}}}"#;
        let load = parse("iperf3 -J -c 10.99.0.2", json, "").unwrap();
        assert_eq!(load.transactions, Some(8));
        assert_eq!(load.rate_per_s, Some(4.0));
    }

    #[test]
    fn what_is_unknown_or_damaged_gives_nothing() {
        assert_eq!(parse("curl http://10.99.0.2/", "ok", ""), None);
        assert_eq!(parse("iperf3 -c x", "iperf3: error - refused\n", ""), None);
        assert_eq!(parse("wrk x", "unable to connect to x\n", ""), None);
        assert_eq!(parse("redis-benchmark -n many", REDIS, ""), None);
        assert_eq!(parse("redis-benchmark -n", "\"GET\"\n: ,\n\"\n", ""), None);
        assert_eq!(parse("", "", ""), None);
    }
}
