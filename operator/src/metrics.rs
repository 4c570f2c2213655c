//! What Prometheus reads: prefix `keylend_`, base units, labels from closed lists only.

use std::time::Duration;

use keylend_contract::{
    plaintext::Plaintext,
    wire::{EnrolAnswer, Granted, RenewAnswer, Verdict},
};
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::{
    audit::{AuditLog, Reading},
    fault::Failure,
};

const GRANTED: &str = "granted";
const FAULT: &str = "fault";

/// The operator's metrics.
pub struct Metrics {
    registry: Registry,
    asks: IntCounterVec,
    ask_seconds: Histogram,
    renewals: IntCounterVec,
    enrolments: IntCounterVec,
    reviews: IntCounter,
    policies_unaltered: IntGauge,
    audit_rows: IntCounter,
    audit_syncs: IntCounter,
    audit_lost: IntCounterVec,
    audit_counted: IntCounter,
    audit_segments_dropped: IntCounter,
    audit_mirror_dropped: IntCounter,
    audit_segments_damaged: IntGauge,
    audit_bytes: IntGauge,
}

impl Metrics {
    /// Registers every metric once.
    ///
    /// # Errors
    /// The library's, if two metrics had one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let by_code = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["code"]);
        let metrics = Self {
            registry: Registry::new(),
            asks: by_code("keylend_asks_total", "Asks by outcome: granted, fault, or the refusal's code.")?,
            ask_seconds: Histogram::with_opts(
                HistogramOpts::new("keylend_ask_duration_seconds", "From an ask's arrival to its answer.")
                    .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0]),
            )?,
            renewals: by_code(
                "keylend_renewals_total",
                "Renewed calls by outcome: held, undecided, or the refusal's code.",
            )?,
            enrolments: by_code(
                "keylend_enrolments_total",
                "Enrolments by outcome: enrolled, fault, or the refusal's code.",
            )?,
            reviews: IntCounter::new("keylend_admission_reviews_total", "Pods reviewed for injection.")?,
            policies_unaltered: IntGauge::new(
                "keylend_policies_unaltered",
                "1 while the admission policies stand as they were installed.",
            )?,
            audit_rows: IntCounter::new("keylend_audit_rows_total", "Durable audit rows.")?,
            audit_syncs: IntCounter::new(
                "keylend_audit_syncs_total",
                "Times the audit log was made durable.",
            )?,
            audit_lost: IntCounterVec::new(
                Opts::new(
                    "keylend_audit_rows_lost_total",
                    "Audit rows without room (full), on a failing disk (fault), or not durable in time (late).",
                ),
                &["reason"],
            )?,
            audit_counted: IntCounter::new(
                "keylend_audit_denials_counted_total",
                "Refusals and alarms beyond their budget, which stand in a row that counts them.",
            )?,
            audit_segments_dropped: IntCounter::new(
                "keylend_audit_segments_dropped_total",
                "Segments past the minimum retention that were dropped for room.",
            )?,
            audit_mirror_dropped: IntCounter::new(
                "keylend_audit_mirror_rows_dropped_total",
                "Rows that are on the volume but were not written to standard output.",
            )?,
            audit_segments_damaged: IntGauge::new(
                "keylend_audit_segments_damaged",
                "Segments that were found damaged at the start of this replica.",
            )?,
            audit_bytes: IntGauge::new("keylend_audit_bytes", "Bytes the audit log takes on its volume.")?,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(self.asks.clone()))?;
        self.registry.register(Box::new(self.ask_seconds.clone()))?;
        self.registry.register(Box::new(self.renewals.clone()))?;
        self.registry.register(Box::new(self.enrolments.clone()))?;
        self.registry.register(Box::new(self.reviews.clone()))?;
        self.registry.register(Box::new(self.policies_unaltered.clone()))?;
        self.registry.register(Box::new(self.audit_rows.clone()))?;
        self.registry.register(Box::new(self.audit_syncs.clone()))?;
        self.registry.register(Box::new(self.audit_lost.clone()))?;
        self.registry.register(Box::new(self.audit_counted.clone()))?;
        self.registry.register(Box::new(self.audit_segments_dropped.clone()))?;
        self.registry.register(Box::new(self.audit_mirror_dropped.clone()))?;
        self.registry.register(Box::new(self.audit_segments_damaged.clone()))?;
        self.registry.register(Box::new(self.audit_bytes.clone()))
    }

    /// Counts one ask.
    pub fn asked(&self, outcome: &Result<(Granted, Vec<Plaintext>), Failure>, took: Duration) {
        self.asks.with_label_values(&[label(outcome, GRANTED)]).inc();
        self.ask_seconds.observe(took.as_secs_f64());
    }

    /// Counts one enrolment.
    pub fn enrolled(&self, outcome: &Result<EnrolAnswer, Failure>) {
        self.enrolments.with_label_values(&[label(outcome, "enrolled")]).inc();
    }

    /// Counts each call of one renewal.
    pub fn renewed(&self, answer: &RenewAnswer) {
        for verdict in &answer.verdicts {
            let code = match verdict {
                Verdict::Held(_) => "held",
                Verdict::Cut(refusal) => refusal.code(),
                Verdict::Undecided => "undecided",
            };
            self.renewals.with_label_values(&[code]).inc();
        }
    }

    /// Counts one review.
    pub fn reviewed(&self) {
        self.reviews.inc();
    }

    /// Says whether the admission policies stand.
    pub fn policies(&self, state: &crate::policies::PoliciesState) {
        self.policies_unaltered.set(i64::from(*state == crate::policies::PoliciesState::Unaltered));
    }

    /// Everything in the text format of Prometheus.
    ///
    /// # Errors
    /// The encoder's.
    pub fn text(&self, audit: &AuditLog) -> Result<Vec<u8>, prometheus::Error> {
        self.read(&audit.reading());
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl Metrics {
    /// Takes over what the audit log counts itself.
    fn read(&self, log: &Reading) {
        for (counter, value) in [
            (&self.audit_rows, log.rows),
            (&self.audit_syncs, log.syncs),
            (&self.audit_counted, log.counted),
            (&self.audit_segments_dropped, log.segments_dropped),
            (&self.audit_mirror_dropped, log.mirror_dropped),
        ] {
            counter.reset();
            counter.inc_by(value);
        }
        self.audit_lost.reset();
        for (reason, rows) in [("full", log.full), ("fault", log.faults), ("late", log.late)] {
            self.audit_lost.with_label_values(&[reason]).inc_by(rows);
        }
        for (gauge, value) in
            [(&self.audit_segments_damaged, log.segments_damaged), (&self.audit_bytes, log.bytes)]
        {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}

fn label<T>(outcome: &Result<T, Failure>, granted: &'static str) -> &'static str {
    match outcome {
        Ok(_) => granted,
        Err(Failure::Refused(refusal)) => refusal.code(),
        Err(Failure::Broke(_)) => FAULT,
    }
}
