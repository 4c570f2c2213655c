//! What a call through the sidecar costs, beside nginx that adds a constant header and beside the direct call.
//!
//! One client, in one pod, toward one upstream; nginx runs in the same pod's network. The three ways take turns within a
//! round, figures are compared within a round, and the median over the rounds is told: only ratios travel from machine to
//! machine. It prints tables and judges nothing. usage: keylend-benchmark NGINX PROGRAMS-FOLDER, inside a cluster.

mod nginx;
mod process;

use std::{
    env, fs,
    io::{self, Write as _},
    path::Path,
    thread,
    time::Duration,
};

use keylend_e2e::{App, Pod, Stage, Summary, app, operator};
use serde_json::{Value, json};

use self::{nginx::Nginx, process::Process};

const VALUE: &str = "kl-test-3c8e5f1a7b2d9046";
const PATH: &str = "/v1/charges";
const ROUNDS: usize = 5;
const LONG: u64 = 2_000;
const CONCURRENCIES: [usize; 2] = [1, 16];

/// A way to the upstream, and the processes on it that are not client or upstream.
struct Way {
    name: &'static str,
    wish: Value,
    parts: Vec<(&'static str, Vec<Process>)>,
}

/// One measurement of one way.
struct Measured {
    p50: f64,
    p99: f64,
    per_second: f64,
    /// Microseconds of processor time a call, of each part.
    cpu: Vec<f64>,
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [nginx, programs] = arguments.as_slice() else {
        return Err(io::Error::other("usage: keylend-benchmark NGINX PROGRAMS-FOLDER"));
    };
    let stage = Stage::set("benchmark", VALUE);
    let pod = stage.recipient.pods("app=checkout").pop().ok_or_else(|| io::Error::other("no app runs"))?;
    at_rest(&pod, Path::new(programs))?;
    stage.wait_until_injected(&pod.app());
    let expected = json!({"authorization": format!("Bearer {VALUE}")});
    app::post(&format!("{}/expect", stage.upstream().control()), &expected);
    let nginx = Nginx::start(Path::new(nginx), &pod.container("app"), &stage, VALUE)?;
    let ways = [direct(&stage), through_nginx(&nginx), through_sidecar(&pod)?];
    for concurrency in CONCURRENCIES {
        calls(&pod.app(), &ways, concurrency)?;
    }
    Ok(())
}

fn direct(stage: &Stage) -> Way {
    let url = format!("https://{}{PATH}", stage.host);
    let headers = json!({"Authorization": format!("Bearer {VALUE}")});
    Way {
        name: "direct",
        wish: json!({"url": url, "headers": headers, "ca_pem": stage.ca_bundle}),
        parts: vec![],
    }
}

fn through_nginx(nginx: &Nginx) -> Way {
    let url = format!("http://{}{PATH}", nginx::LISTENER);
    Way { name: "nginx", wish: json!({"url": url}), parts: vec![("nginx", vec![nginx.process()])] }
}

fn through_sidecar(pod: &Pod) -> io::Result<Way> {
    let operators =
        operator::pods().iter().map(|replica| Process::of(&replica.container("operator"))).collect();
    Ok(Way {
        name: "keylend",
        wish: json!({"url": format!("/stripe{PATH}")}),
        parts: vec![
            ("sidecar", vec![Process::of(&pod.container("keylend-sidecar"))]),
            ("operator", operators),
            ("API server, etcd", vec![Process::daemon("kube-apiserver")?, Process::daemon("etcd")?]),
        ],
    })
}

/// Sizes, memory before the first call, and how long a start takes.
fn at_rest(pod: &Pod, programs: &Path) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "\n{:<18}{:>10}{:>14}{:>16}", "", "size MB", "idle RSS MB", "start ms")?;
    let replica = &operator::pods()[0];
    let parts = [
        ("keylend-sidecar", pod, "keylend-sidecar", "enrolled"),
        ("keylend-operator", replica, "operator", "the operator is ready"),
    ];
    for (program, pod, container, ready) in parts {
        let size = megabytes(fs::metadata(programs.join(program))?.len());
        let process = Process::of(&pod.container(container));
        let (rss, start) = (megabytes(process.resident()?), process.start(pod, container, ready)?);
        writeln!(out, "{program:<18}{size:>10.1}{rss:>14.1}{start:>16.0}   until \"{ready}\"")?;
    }
    let size = megabytes(fs::metadata(programs.join("kubectl-keylend"))?.len());
    writeln!(out, "{:<18}{size:>10.1}", "kubectl-keylend")
}

#[expect(clippy::cast_precision_loss, reason = "it is shown with one decimal")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Measures every way in turn, some rounds, and prints the medians.
fn calls(app: &App, ways: &[Way], concurrency: usize) -> io::Result<()> {
    // What opens connections, or is called for the first time, stays out of the figures.
    for way in ways {
        measure(app, way, concurrency, 300)?;
    }
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let round: Vec<Measured> =
            ways.iter().map(|way| measure(app, way, concurrency, LONG)).collect::<io::Result<_>>()?;
        rounds.push(round);
        thread::sleep(Duration::from_millis(200));
    }
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "\n{concurrency} at once, {ROUNDS} rounds of {LONG} ms each; microseconds, medians over the rounds"
    )?;
    writeln!(
        out,
        "{:<10}{:>8}{:>8}{:>12}{:>12}{:>10}   CPU a call",
        "", "p50", "p99", "added p50", "added p99", "calls/s"
    )?;
    for (index, way) in ways.iter().enumerate() {
        let of = |figure: &dyn Fn(&Measured, &Measured) -> f64| {
            median(rounds.iter().map(|round| figure(&round[index], &round[0])).collect())
        };
        write!(
            out,
            "{:<10}{:>8.0}{:>8.0}{:>12.0}{:>12.0}{:>10.0}  ",
            way.name,
            of(&|way, _| way.p50),
            of(&|way, _| way.p99),
            of(&|way, direct| way.p50 - direct.p50),
            of(&|way, direct| way.p99 - direct.p99),
            of(&|way, _| way.per_second),
        )?;
        for (part, (name, _)) in way.parts.iter().enumerate() {
            write!(out, " {name} {:.0}", of(&|way, _| way.cpu[part]))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Calls one way for `long` milliseconds. Every call has to be answered as one with the right credential.
fn measure(app: &App, way: &Way, concurrency: usize, long: u64) -> io::Result<Measured> {
    let mut wish = way.wish.clone();
    wish["concurrency"] = json!(concurrency);
    wish["for_ms"] = json!(long);
    let used =
        || -> io::Result<Vec<f64>> { way.parts.iter().map(|(_, processes)| used(processes)).collect() };
    let before = used()?;
    let Summary { calls, by_status, per_second, p50_us, p99_us } = app.summary(&wish);
    let after = used()?;
    if calls == 0 || by_status.get("200") != Some(&calls) {
        return Err(io::Error::other(format!("{}: {calls} calls, {by_status:?}", way.name)));
    }
    #[expect(clippy::cast_precision_loss, reason = "a run has fewer calls than a float has digits")]
    let each = |(before, after): (&f64, &f64)| (after - before) / calls as f64;
    let cpu = before.iter().zip(&after).map(each).collect();
    Ok(Measured { p50: p50_us, p99: p99_us, per_second, cpu })
}

/// Microseconds of processor time that `processes` have used.
fn used(processes: &[Process]) -> io::Result<f64> {
    processes.iter().copied().map(Process::used).sum()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
