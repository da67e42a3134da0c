//! Datagrams through the PoP's UDP ASSOCIATE.

use anyhow::{Context, Result, bail};

use super::Bench;
use crate::{
    report::{Metric, WHOLE},
    subject::{Running, Subject},
    udp,
    via::Via,
};

/// Measures this project's PoP and edge. A PoP that does not relay datagrams is a note in the
/// report, not a failure.
///
/// # Errors
/// The programs do not start.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let stage = bench.stage();
    for subject in bench.subjects.clone() {
        let Subject::Titan(_) = &subject else {
            continue;
        };
        let running = subject.start(&stage).await?;
        let measured = one(bench, &running).await;
        running.stop().await;
        if let Err(error) = measured {
            let note = format!("datagrams through {}: {error:#}", subject.name());
            bench.say(&note);
            bench.report.notes.push(note);
        }
    }
    Ok(())
}

async fn one(bench: &mut Bench, running: &Running) -> Result<()> {
    let Via::Socks5 { proxy, login } = &running.route().via else {
        bail!("there is no SOCKS5 proxy")
    };
    let target = running.route().endpoints.datagrams;
    let target = target.context("there is no echo of datagrams")?;
    let plan = bench.lengths.datagrams;
    let found = udp::measure(*proxy, login.as_ref(), target, &plan, running.roles()).await?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let [returned, lost, largest] = [
        found.returned as f64,
        (found.sent - found.returned) as f64,
        found.largest as f64,
    ];
    for (metric, value) in [
        (Metric::UdpReturned, returned),
        (Metric::UdpLost, lost),
        (Metric::UdpLargest, largest),
    ] {
        bench.report.add(metric, &running.name, WHOLE, value);
    }
    let mut line = format!(
        "{} datagrams sent, {} returned, {} wrong in {:.1} s, largest {} bytes",
        found.sent, found.returned, found.wrong, found.seconds, found.largest
    );
    for (role, &micros) in found.cpu_us.iter().filter(|(role, _)| *role != "manager") {
        bench
            .report
            .add(Metric::UdpCpu, &running.name, role, micros);
        line += &format!(", {role} {micros:.1} µs each");
    }
    bench.say(&line);
    if found.wrong > 0 {
        bail!("{} datagrams came twice or changed", found.wrong);
    }
    Ok(())
}
