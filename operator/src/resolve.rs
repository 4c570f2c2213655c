//! The story of one resolve, top to bottom.
//!
//! ask → caller's pod → route and links → destination → share and secret as they are now → grant or refusal → audit row →
//! unseal → answer. Each step needs the one before: there is no value without a [`Grant`], and none leaves without a
//! durable row. Renewals run the same rule on fresh reads, count no use and write no row but refusals.

use std::{sync::Arc, time::Instant};

use futures_util::future::join_all;
use jiff::Timestamp;
use keylend_contract::{
    plaintext::Plaintext,
    refusal::Refusal,
    wire::{Ask, EnrolAnswer, Granted, OpenCall, Renew, RenewAnswer, Target, Verdict, speak},
};

use self::{
    caller::Caller,
    grant::{Grant, Readings, decide, milliseconds},
    turns::Turns,
    unseal::{UnsealError, unseal},
    wish::Wish,
};
use crate::{
    audit::{AuditLog, row::Intent},
    fault::{Failure, Fault, with_causes},
    freshness::{READ_TIME, Reader},
    storage::Storage,
    world::World,
};

pub mod caller;
pub mod grant;
pub mod policy;
pub mod respond;
pub mod rows;
pub mod server;
pub mod turns;
pub mod unseal;
pub mod wish;

#[cfg(test)]
pub(crate) mod scenario;
#[cfg(test)]
mod tests;

/// Decides what callers may have, and lends it.
#[derive(Clone)]
pub struct Resolver {
    /// What the watches have seen.
    pub world: World,
    /// What is read for each decision.
    pub reader: Reader,
    /// Where values rest.
    pub storage: Arc<Storage>,
    /// Where each use is put on record first.
    pub audit: AuditLog,
    /// Whose turn it is.
    pub turns: Arc<Turns>,
    /// The UID of the namespace `kube-system`, which stands for the cluster.
    pub cluster_uid: String,
}

impl Resolver {
    /// Answers `ask`, which `arrived` then, with what the call may do and the values it may do it with.
    ///
    /// # Errors
    /// [`Failure`]; a refusal is on record when this returns.
    pub async fn ask(
        &self,
        caller: &Caller,
        ask: Ask,
        arrived: Instant,
    ) -> Result<(Granted, Vec<Plaintext>), Failure> {
        let lent = self.lend(caller, &ask, arrived).await;
        if let Err(Failure::Refused(refusal)) = &lent {
            self.audit.refusal(rows::refusal(caller, &ask, refusal)).await;
        }
        lent
    }

    /// Decides whether each open call of `renew` may go on.
    pub async fn renew(&self, caller: &Caller, renew: Renew) -> RenewAnswer {
        let wishes = self.wishes_again(caller, &renew).await;
        let pins = wishes.iter().flatten().flat_map(Wish::pins).collect();
        let readings = self.reader.read(pins, deadline(Instant::now())).await;
        let calls = renew.calls.iter().zip(wishes);
        let verdicts = calls.map(|(call, wish)| self.verdict(caller, call, wish, &readings));
        RenewAnswer { verdicts: join_all(verdicts).await }
    }

    /// Puts a refused enrolment on record; not one that only came too early, as some of every pod that starts do.
    pub async fn record_enrolment(&self, outcome: &Result<EnrolAnswer, Failure>) {
        match outcome {
            Err(Failure::Refused(refusal)) if *refusal != Refusal::EnrolmentPending => {
                self.audit.refusal(rows::enrolment_refused(refusal)).await;
            }
            Ok(_) | Err(Failure::Refused(_) | Failure::Broke(_)) => {}
        }
    }

    async fn lend(
        &self,
        caller: &Caller,
        ask: &Ask,
        arrived: Instant,
    ) -> Result<(Granted, Vec<Plaintext>), Failure> {
        speak(ask.version)?;
        let _turn = self.turns.next(caller.namespace(), deadline(arrived)).await?;
        self.reader.runs(caller, deadline(arrived)).await?;
        let grant = self.grant(caller, ask, arrived).await?;
        self.record(rows::intent(caller, ask, &grant)).await?;
        match unseal(&grant, &self.storage).await {
            Ok(values) => Ok((grant.answer(), values)),
            Err(UnsealError::Moved) => self.lend_from_where_it_moved(caller, ask, &grant, arrived).await,
            Err(error) => Err(self.unopened(caller, error).await),
        }
    }

    /// Reads everything once more, since an envelope was gone. The row on record must still tell the whole truth.
    async fn lend_from_where_it_moved(
        &self,
        caller: &Caller,
        ask: &Ask,
        before: &Grant,
        arrived: Instant,
    ) -> Result<(Granted, Vec<Plaintext>), Failure> {
        let grant = self.grant(caller, ask, arrived).await?;
        if rows::intent(caller, ask, &grant) != rows::intent(caller, ask, before) {
            return Err(Refusal::GrantLapsed.into());
        }
        match unseal(&grant, &self.storage).await {
            Ok(values) => Ok((grant.answer(), values)),
            Err(error) => Err(self.unopened(caller, error).await),
        }
    }

    async fn grant(&self, caller: &Caller, ask: &Ask, arrived: Instant) -> Result<Grant, Refusal> {
        let wish = self.wish(caller, ask)?;
        let readings = self.reader.read(wish.pins().collect(), deadline(arrived)).await;
        decide(caller, wish, &readings, &self.cluster_uid, Timestamp::now())
    }

    fn wish(&self, caller: &Caller, ask: &Ask) -> Result<Wish, Refusal> {
        let Target::Route(name) = &ask.target;
        let route = self.world.route(caller.namespace(), name);
        Wish::of(name, route.as_deref(), |secret| self.world.secret(caller.namespace(), secret.as_str()))
    }

    async fn wishes_again(&self, caller: &Caller, renew: &Renew) -> Vec<Result<Wish, Refusal>> {
        let known = match speak(renew.version) {
            Ok(()) => self.reader.runs(caller, deadline(Instant::now())).await,
            Err(refusal) => Err(refusal),
        };
        let wish = |call: &OpenCall| known.clone().and_then(|()| self.wish(caller, &call.ask));
        renew.calls.iter().map(wish).collect()
    }

    async fn verdict(
        &self,
        caller: &Caller,
        call: &OpenCall,
        wish: Result<Wish, Refusal>,
        readings: &Readings,
    ) -> Verdict {
        let again = wish
            .and_then(|wish| decide(caller, wish, readings, &self.cluster_uid, Timestamp::now()))
            .and_then(|grant| grant.continues(call).then_some(grant).ok_or(Refusal::GrantLapsed));
        match again {
            Ok(grant) => Verdict::Held(milliseconds(grant.term())),
            // Nobody said no. The term runs out by itself, unless the next renewal finds out more.
            Err(Refusal::OperatorUnreachable) => Verdict::Undecided,
            Err(refusal) => {
                self.audit.refusal(rows::refusal(caller, &call.ask, &refusal)).await;
                Verdict::Cut(refusal)
            }
        }
    }

    /// The row is durable when this returns; without it there is no use.
    async fn record(&self, intent: Intent) -> Result<(), Refusal> {
        match self.audit.intent(intent).await {
            Ok(_position) => Ok(()),
            Err(error) => {
                tracing::error!(
                    error = with_causes(&error),
                    "nothing is lent: its use could not be put on record"
                );
                Err(Refusal::AuditUnavailable)
            }
        }
    }

    async fn unopened(&self, caller: &Caller, error: UnsealError) -> Failure {
        match error {
            UnsealError::Refused(refusal) => refusal.into(),
            UnsealError::Moved => {
                Fault::new("opening an envelope", "it is not where its secret points").into()
            }
            UnsealError::Altered(envelope) => {
                self.audit.alarm(rows::altered(caller, &envelope)).await;
                Fault::new("opening an envelope", "it is not what was sealed under its name").into()
            }
        }
    }
}

/// When a question that arrived then is no longer worth a read.
fn deadline(arrived: Instant) -> tokio::time::Instant {
    (arrived + READ_TIME).into()
}
