//! Who may use what, and where it may go: the rule, and the only maker of a [`Grant`].
//!
//! Pure: the caller, what it wants, the shares and secrets as they are now, and the time come in; a grant or a refusal
//! comes out. Every hold must permit or none is used. A share that is not for the caller looks like one that is not
//! there. Never add a default, a fallback or a cached decision.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use keylend_contract::{
    material::{HeaderMaterial, Part},
    name::SecretName,
    refusal::Refusal,
    template::Segment,
    upstream::Upstream,
    wire::{GRANT_TERM, Granted, HeadersDigest, OpenCall, Permit},
};
use keylend_crds::{
    STOP_FINALIZER, Secret, SecretShare,
    secret::{FieldStatus, SecretType},
    secret_share::Access,
};

use super::{
    caller::Caller,
    policy::{Policy, expiry},
    wish::{Pin, WantedShare, Wish},
};
use crate::{
    revocation::{Stop, stop_of},
    storage::envelope::Binding,
};

/// A share and its secret as one linearizable read found them, the share after the secret.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// The share, if there is one of that name.
    pub share: Option<SecretShare>,
    /// Its secret, if there is one.
    pub secret: Option<Secret>,
}

/// What was read for one decision, by what was wanted.
pub type Readings = HashMap<Pin, Reading>;

/// Proof that every owner permits this call, now. Only [`decide`] makes one.
///
/// ```compile_fail
/// use keylend_operator::resolve::{grant::{Grant, Hold}, wish::Wish};
/// fn forged(wish: Wish, holds: Vec<Hold>, term: std::time::Duration) -> Grant { Grant { wish, holds, term } }
/// ```
#[derive(Debug)]
pub struct Grant {
    wish: Wish,
    holds: Vec<Hold>,
    term: Duration,
}

/// One secret of a call: whose it is, where its value rests, and what its share permits.
#[derive(Debug)]
pub struct Hold {
    name: SecretName,
    binding: Binding,
    permit: Permit,
    ends: Option<Timestamp>,
}

/// Decides whether `caller` may have its `wish` at `now`, in the cluster of `cluster_uid`.
///
/// # Errors
/// The first [`Refusal`], secret by secret in the route's order.
pub fn decide(
    caller: &Caller,
    wish: Wish,
    readings: &Readings,
    cluster_uid: &str,
    now: Timestamp,
) -> Result<Grant, Refusal> {
    let hold = |wanted: &WantedShare| {
        let reading = readings.get(&wanted.pin).ok_or(Refusal::OperatorUnreachable)?;
        Case { caller, wish: &wish, wanted, cluster_uid, now }.hold(reading)
    };
    let holds = wish.shares.iter().map(hold).collect::<Result<Vec<_>, _>>()?;
    let ends = holds.iter().filter_map(|hold| hold.ends).min();
    let term = ends.map_or(GRANT_TERM, |ends| until(ends, now).min(GRANT_TERM));
    Ok(Grant { wish, holds, term })
}

impl Grant {
    /// The route it was granted by.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.wish.route
    }

    /// The route's environment.
    #[must_use]
    pub fn environment(&self) -> &str {
        self.wish.parsed.environment.as_str()
    }

    /// The one destination.
    #[must_use]
    pub fn destination(&self) -> &Upstream {
        &self.wish.parsed.upstream
    }

    /// The secrets it lends, in the order in which [`Granted::headers`] point at their values.
    #[must_use]
    pub fn holds(&self) -> &[Hold] {
        &self.holds
    }

    /// How long after its sending an ask or a renewal may be relied on.
    #[must_use]
    pub fn term(&self) -> Duration {
        self.term
    }

    /// Whether what was granted then is what is granted now, to the last field of each share.
    #[must_use]
    pub fn continues(&self, open: &OpenCall) -> bool {
        self.answer().basis() == open.basis
    }

    /// What the sidecar is told, but for the values.
    #[must_use]
    pub fn answer(&self) -> Granted {
        Granted {
            begin_within_ms: milliseconds(self.term),
            destination: self.destination().clone(),
            permits: self.permits(),
            headers: self.headers(),
            headers_digest: HeadersDigest::of(&self.wish.parsed.headers),
        }
    }

    /// One entry a share, though two names may stand for it.
    fn permits(&self) -> Vec<Permit> {
        let mut permits: Vec<Permit> = Vec::with_capacity(self.holds.len());
        for hold in &self.holds {
            if !permits.iter().any(|permit| permit.share == hold.permit.share) {
                permits.push(hold.permit.clone());
            }
        }
        permits
    }

    fn headers(&self) -> Vec<HeaderMaterial> {
        let part = |segment: &Segment| match segment {
            Segment::Literal(text) => Some(Part::Literal(text.clone())),
            Segment::Secret(name) => self.holds.iter().position(|hold| hold.name == *name).map(Part::Value),
        };
        let headers = self.wish.parsed.headers.iter();
        headers
            .map(|(name, template)| HeaderMaterial {
                name: name.clone(),
                parts: template.segments().iter().filter_map(part).collect(),
            })
            .collect()
    }
}

impl Hold {
    /// The secret, as the route spells it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.written()
    }

    /// Where its value rests.
    #[must_use]
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// The UID of the share that lends it.
    #[must_use]
    pub fn share_uid(&self) -> &str {
        &self.permit.share
    }
}

/// A term as it goes over the wire.
#[must_use]
pub fn milliseconds(term: Duration) -> u64 {
    u64::try_from(term.as_millis()).unwrap_or(0)
}

/// One secret of one wish.
struct Case<'a> {
    caller: &'a Caller,
    wish: &'a Wish,
    wanted: &'a WantedShare,
    cluster_uid: &'a str,
    now: Timestamp,
}

impl Case<'_> {
    /// The rule, in the order in which its refusals tell the least to whom the share is not for.
    fn hold(&self, reading: &Reading) -> Result<Hold, Refusal> {
        let share = self.received(reading.share.as_ref())?;
        let ends = self.not_stopped(share)?;
        let secret_uid = self.taken_charge_of(share)?;
        let owned = self.owned(reading.secret.as_ref(), secret_uid)?;
        let binding = self.live_value(owned, self.environment(share)?)?;
        let permit = self.permitted(share)?;
        Ok(Hold { name: self.wanted.name.clone(), binding, permit, ends })
    }

    fn name(&self) -> String {
        self.wanted.name.written().to_owned()
    }

    /// The share, if it is for the caller. One that is gone, or now another's, was stopped; who was not listed in it when
    /// the link last saw it learns not even that.
    fn received<'a>(&self, share: Option<&'a SecretShare>) -> Result<&'a SecretShare, Refusal> {
        let unknown = || Refusal::SecretUnknown { secret: self.name() };
        let anew = || Refusal::RecipientChanged { secret: self.name() };
        let had = self.lists_caller(self.wanted.service_accounts.as_ref());
        let gone = || if had { Refusal::ShareRevoked { secret: self.name() } } else { unknown() };
        let share = share.ok_or_else(gone)?;
        let recipient = &share.spec.recipient.namespace;
        let listed = recipient.name == self.caller.namespace()
            && self.lists_caller(recipient.service_accounts.as_ref());
        if share.metadata.uid.as_deref() != Some(self.wanted.pin.uid.as_str()) {
            return Err(if listed { anew() } else { gone() });
        }
        if !listed {
            return Err(unknown());
        }
        let namespace = share.recipient_namespace_uid();
        if namespace.is_some_and(|uid| uid != self.caller.namespace_uid()) { Err(anew()) } else { Ok(share) }
    }

    /// A list that is left out is for every service account of the namespace.
    fn lists_caller(&self, accounts: Option<&Vec<String>>) -> bool {
        let account = self.caller.service_account();
        accounts.is_none_or(|accounts| accounts.iter().any(|name| name == account))
    }

    /// When the share ends by itself; a refusal once it was stopped, or if its end cannot be read.
    fn not_stopped(&self, share: &SecretShare) -> Result<Option<Timestamp>, Refusal> {
        match stop_of(share, self.now) {
            Some(Stop::Final) => Err(Refusal::ShareRevoked { secret: self.name() }),
            Some(Stop::Expired { .. }) => Err(Refusal::ShareExpired { secret: self.name() }),
            None => expiry(&share.spec)
                .map_err(|error| error.refusal(&self.wish.parsed.upstream, self.wanted.name.written())),
        }
    }

    /// The pinned UID of the share's secret. Without our finalizer on the share no stop could wait for this grant, and
    /// without the pins nobody could say whom it was for.
    fn taken_charge_of<'a>(&self, share: &'a SecretShare) -> Result<&'a str, Refusal> {
        let held = share.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == STOP_FINALIZER);
        let status = share.status.as_ref().filter(|_| held);
        let secret = status.and_then(|status| status.secret_uid.as_deref());
        share
            .recipient_namespace_uid()
            .and(secret)
            .ok_or_else(|| Refusal::SharePending { secret: self.name() })
    }

    /// The share's secret, if it is still the one that was pinned.
    fn owned<'a>(&self, secret: Option<&'a Secret>, pinned: &str) -> Result<&'a Secret, Refusal> {
        let secret = secret.filter(|secret| secret.metadata.deletion_timestamp.is_none());
        let secret = secret.ok_or_else(|| Refusal::SecretUnknown { secret: self.name() })?;
        match secret.spec.type_ {
            SecretType::Linked => Err(Refusal::SecretUnknown { secret: self.name() }),
            SecretType::String if secret.metadata.uid.as_deref() == Some(pinned) => Ok(secret),
            SecretType::String => Err(Refusal::RecipientChanged { secret: self.name() }),
        }
    }

    /// The route's environment, if the share lends that very one: a link cannot make one environment's value another's.
    fn environment<'a>(&self, share: &'a SecretShare) -> Result<&'a str, Refusal> {
        let lent = share.spec.environment.as_str();
        if lent == self.wish.parsed.environment.as_str() { Ok(lent) } else { Err(self.unset()) }
    }

    fn unset(&self) -> Refusal {
        Refusal::EnvironmentUnset {
            secret: self.name(),
            environment: self.wish.parsed.environment.to_string(),
        }
    }

    /// What the live value of the share's `environment` is bound to.
    fn live_value(&self, owned: &Secret, environment: &str) -> Result<Binding, Refusal> {
        let live = owned.live(environment).and_then(|field| self.binding(owned, environment, field));
        live.ok_or_else(|| self.unset())
    }

    fn binding(&self, owned: &Secret, environment: &str, field: &FieldStatus) -> Option<Binding> {
        Some(Binding {
            cluster_uid: self.cluster_uid.to_owned(),
            namespace: owned.metadata.namespace.clone()?,
            name: owned.metadata.name.clone()?,
            uid: owned.metadata.uid.clone()?,
            secret_type: owned.spec.type_.as_str().to_owned(),
            environment: environment.to_owned(),
            field: field.name.clone(),
            version: u64::try_from(field.version).ok()?,
            wrap_generation: u64::try_from(field.wrap_generation).ok()?,
        })
    }

    /// The lock, the ports and the places, before anything is unsealed.
    fn permitted(&self, share: &SecretShare) -> Result<Permit, Refusal> {
        match share.spec.access {
            None | Some(Access::UseOnly) => {}
        }
        let route = &self.wish.parsed;
        let policy = Policy::parse(&share.spec.use_policy)
            .map_err(|error| error.refusal(&route.upstream, self.wanted.name.written()))?;
        policy.permit(&route.upstream, route.places_of(&self.wanted.name))?;
        let Policy { lock, ports, networks, anchors, .. } = policy;
        let generation = share.metadata.generation.unwrap_or_default();
        Ok(Permit { share: self.wanted.pin.uid.clone(), generation, lock, ports, networks, anchors })
    }
}

fn until(ends: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(ends.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
