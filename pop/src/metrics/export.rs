//! The counters in the text format of OpenMetrics.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::{Family, Label, Metrics, ShardMetrics};

/// Everything that is counted, as text that Prometheus reads.
///
/// # Errors
/// Never, short of memory: a string takes whatever is written to it.
pub fn encode(metrics: &Arc<Metrics>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("titan_pop");
    registry.register_collector(Box::new(Export(Arc::clone(metrics))));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Export(Arc<Metrics>);

impl Collector for Export {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page {
            metrics: &self.0,
            encoder,
        };
        page.counter("clients", "Proxy clients accepted", |m| m.clients.get())?;
        page.gauge("handshakes_active", "Clients in their handshake", |m| {
            m.handshakes_active.get()
        })?;
        page.family(
            "client_closes",
            "Clients that got no session",
            "reason",
            |m| &m.client_closes,
        )?;
        page.family("logins", "Logins of proxy clients", "outcome", |m| {
            &m.logins
        })?;
        page.counter("sessions_opened", "Sessions opened", |m| {
            m.sessions_opened.get()
        })?;
        page.counter(
            "sessions_reopened",
            "Sessions opened again after an edge failed them",
            |m| m.sessions_reopened.get(),
        )?;
        page.gauge(
            "kept_bytes",
            "Bytes kept to open sessions again with",
            |m| m.kept_bytes.get(),
        )?;
        page.gauge("sessions_active", "Sessions running", |m| {
            m.sessions_active.get()
        })?;
        page.family("sessions_failed", "Sessions that failed", "reason", |m| {
            &m.sessions_failed
        })?;
        page.gauge(
            "session_memory_bytes",
            "Bytes held for clients and edges that take them slowly",
            |m| m.session_memory.get(),
        )?;
        page.gauge(
            "session_memory_limit_bytes",
            "Bytes that may be held for them",
            |m| m.session_memory_limit.get(),
        )?;
        page.counter("bytes_up", "Bytes from clients to targets", |m| {
            m.bytes_up.get()
        })?;
        page.counter("bytes_down", "Bytes from targets to clients", |m| {
            m.bytes_down.get()
        })?;
        page.datagrams()?;
        page.tunnels()?;
        page.usage()?;
        page.counter(
            "client_handovers",
            "Clients moved to their tunnel's shard",
            |m| m.client_handovers.get(),
        )?;
        page.counter("task_panics", "Tasks that panicked", |m| {
            m.net.task_panics.load(Ordering::Relaxed)
        })?;
        page.counter(
            "accept_errors",
            "Failures to accept for want of resources",
            |m| m.net.accept_errors.load(Ordering::Relaxed),
        )
    }
}

struct Page<'m, 'e> {
    metrics: &'m Metrics,
    encoder: DescriptorEncoder<'e>,
}

impl Page<'_, '_> {
    fn datagrams(&mut self) -> fmt::Result {
        self.gauge("associations_active", "UDP associations running", |m| {
            m.associations_active.get()
        })?;
        self.counter("datagrams_up", "Datagrams from clients to targets", |m| {
            m.datagrams_up.get()
        })?;
        self.counter("datagrams_down", "Datagrams from targets to clients", |m| {
            m.datagrams_down.get()
        })?;
        self.family("datagrams_dropped", "Datagrams dropped", "reason", |m| {
            &m.datagrams_dropped
        })
    }

    fn tunnels(&mut self) -> fmt::Result {
        self.gauge("tunnels_active", "Tunnels ready", |m| {
            m.tunnels_active.get()
        })?;
        self.counter("tunnels_opened", "Tunnels that became ready", |m| {
            m.tunnels_opened.get()
        })?;
        self.family(
            "tunnel_refusals",
            "Tunnel requests refused",
            "reason",
            |m| &m.tunnel_refusals,
        )?;
        self.family("tunnel_ends", "Tunnels that ended", "cause", |m| {
            &m.tunnel_ends
        })?;
        self.counter("tunnel_handovers", "Tunnels moved to another shard", |m| {
            m.tunnel_handovers.get()
        })
    }

    fn usage(&mut self) -> fmt::Result {
        let usage = &self.metrics.usage;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let lag = match usage.oldest_waiting.get() {
            0 => 0,
            oldest => now.saturating_sub(oldest),
        };
        let (sent, cut) = (usage.batches_sent.get(), usage.spool_bytes_cut.get());
        self.counter_of(
            "usage_batches_sent",
            "Batches of usage that the manager has counted",
            sent,
        )?;
        self.gauge_of(
            "usage_batches_waiting",
            "Batches of usage on disk that wait for the manager",
            usage.batches_waiting.get(),
        )?;
        self.gauge_of(
            "usage_lag_seconds",
            "Age of the oldest batch of usage that waits",
            lag,
        )?;
        self.gauge_of(
            "usage_spool_bytes",
            "Bytes of usage on disk",
            usage.spool_bytes.get(),
        )?;
        self.counter_of(
            "usage_spool_bytes_cut",
            "Bytes of a batch of usage that a crash had cut short",
            cut,
        )?;
        self.gauge_of(
            "usage_paused",
            "Whether new sessions are kept out because usage cannot be kept",
            usage.paused.get(),
        )
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        number: impl Fn(&ShardMetrics) -> u64,
    ) -> fmt::Result {
        self.counter_of(name, help, self.metrics.sum(number))
    }

    fn counter_of(&mut self, name: &str, help: &str, number: u64) -> fmt::Result {
        ConstCounter::new(number).encode(self.encoder.encode_descriptor(
            name,
            help,
            None,
            MetricType::Counter,
        )?)
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        number: impl Fn(&ShardMetrics) -> u64,
    ) -> fmt::Result {
        self.gauge_of(name, help, self.metrics.sum(number))
    }

    fn gauge_of(&mut self, name: &str, help: &str, number: u64) -> fmt::Result {
        ConstGauge::new(number).encode(self.encoder.encode_descriptor(
            name,
            help,
            None,
            MetricType::Gauge,
        )?)
    }

    fn family<L: Label>(
        &mut self,
        name: &str,
        help: &str,
        key: &'static str,
        family: impl Fn(&ShardMetrics) -> &Family<L>,
    ) -> fmt::Result {
        let metrics = self.metrics;
        let mut encoder = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for &label in L::ALL {
            let total = metrics.sum(|shard| family(shard).get(label));
            let labels = [(key, label.text())];
            ConstCounter::new(total).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use titan_proto::reason::Reason;

    use super::*;
    use crate::directory::ShardId;

    #[test]
    fn shards_are_added_up_and_labelled() {
        let metrics = Arc::new(Metrics::new(2));
        metrics.shard(ShardId(0)).bytes_up.add(40);
        metrics.shard(ShardId(1)).bytes_up.add(2);
        metrics
            .shard(ShardId(1))
            .sessions_failed
            .inc(Reason::NameNotFound);
        let page = encode(&metrics).expect("encodes");
        assert!(page.contains("titan_pop_bytes_up_total 42\n"), "{page}");
        assert!(page.contains("titan_pop_sessions_failed_total{reason=\"name_not_found\"} 1\n"));
        assert!(page.contains("titan_pop_sessions_active 0\n"), "{page}");
        assert!(page.ends_with("# EOF\n"));
    }
}
