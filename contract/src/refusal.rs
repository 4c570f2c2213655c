//! Every way Keylend says no.
//!
//! A refusal is a decision: a stable code, a sentence that is safe to show and says what to do, and an HTTP status. It
//! never carries a value, nor anything about a share that its reader was not given.

use serde::{Deserialize, Serialize};

/// A decision to say no. Serialized with its code as the tag `code`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case", deny_unknown_fields)]
pub enum Refusal {
    /// The caller's certificate names no pod that runs now.
    #[error("the caller is not known; the pod may be gone, or was not injected by Keylend")]
    CallerUnknown,
    /// The pod's status does not show this container yet.
    #[error("the pod is not enrolled yet; this passes by itself")]
    EnrolmentPending,
    /// Token, pod or container are not what the injector made.
    #[error("this container is not the one Keylend injected, or another key is enrolled for it")]
    EnrolmentRefused,
    /// The admission policies that guard injected pods are missing or altered.
    #[error(
        "Keylend's admission policies are missing or altered; a cluster administrator restores them with helm upgrade"
    )]
    PoliciesMissing,
    /// Operator and sidecar speak different versions.
    #[error("operator and sidecar speak different versions; restart the pod to get the current sidecar")]
    WireVersionUnknown,
    /// No route of this name in the caller's namespace.
    #[error("there is no Route '{route}' in this namespace")]
    RouteUnknown {
        /// The route as the caller named it.
        route: String,
    },
    /// The route's specification is not valid.
    #[error("Route '{route}' is not valid: {field}; see its Ready condition")]
    RouteInvalid {
        /// The route.
        route: String,
        /// The field that is not valid.
        field: String,
    },
    /// No such secret, no share of it for this caller, or the caller is not listed: all alike.
    #[error("Secret '{secret}' is not available to this pod")]
    SecretUnknown {
        /// The name as the route spells it.
        secret: String,
    },
    /// The share is there, the operator has not taken charge of it yet.
    #[error("the share of Secret '{secret}' is not ready yet; this passes by itself")]
    SharePending {
        /// The name as the route spells it.
        secret: String,
    },
    /// The owner stopped sharing.
    #[error("the owner of Secret '{secret}' has stopped sharing it")]
    ShareRevoked {
        /// The name as the route spells it.
        secret: String,
    },
    /// The share's time is over.
    #[error("the share of Secret '{secret}' has expired")]
    ShareExpired {
        /// The name as the route spells it.
        secret: String,
    },
    /// The namespace, share or secret was created anew under its name since it was accepted.
    #[error(
        "the share of Secret '{secret}' was made for another namespace, share or secret of this name; its owner confirms it by setting the new uid, or the recipient accepts again"
    )]
    RecipientChanged {
        /// The name as the route spells it.
        secret: String,
    },
    /// The lock does not list the host.
    #[error("the host '{host}' is not approved by the owner")]
    HostNotApproved {
        /// The host.
        host: String,
    },
    /// The text is no host name.
    #[error("this is not a host name: {reason}")]
    HostNotAName {
        /// What is wrong.
        reason: String,
    },
    /// The policy does not list the port.
    #[error("the port {port} is not approved by the owner")]
    PortNotApproved {
        /// The port.
        port: u16,
    },
    /// An address behind the name is neither public nor listed.
    #[error("the name '{host}' resolves to an address that is not approved by the owner")]
    AddressNotApproved {
        /// The host.
        host: String,
    },
    /// The policy does not list the place.
    #[error("the place '{place}' is not approved by the owner")]
    PlaceNotApproved {
        /// Such as `header authorization`.
        place: String,
    },
    /// No value for the route's environment.
    #[error("Secret '{secret}' not configured for environment '{environment}'")]
    EnvironmentUnset {
        /// The name as the route spells it.
        secret: String,
        /// The route's environment.
        environment: String,
    },
    /// The KMS key does not open the value now.
    #[error(
        "the key of Secret '{secret}' is gone or out of reach; whoever administers the key brings it back"
    )]
    KeySealed {
        /// The name as the route spells it.
        secret: String,
    },
    /// The operator did not answer in time.
    #[error("the Keylend operator cannot be reached")]
    OperatorUnreachable,
    /// No row can be written, so nothing is used.
    #[error("the use cannot be put on record now; an administrator looks at the operator's audit volume")]
    AuditUnavailable,
    /// The grant's time passed before the call could begin.
    #[error("the call could not begin in the time it was granted; try again")]
    GrantLapsed,
    /// Too many calls at once.
    #[error("too many calls at once; try again later")]
    Overloaded,
    /// The app's request is not well-formed, or ambiguous.
    #[error("the request is malformed: {reason}")]
    RequestMalformed {
        /// What is wrong, with its source.
        reason: String,
    },
    /// The upstream cannot be resolved or connected to.
    #[error("the upstream '{host}' cannot be reached")]
    UpstreamUnreachable {
        /// The host.
        host: String,
    },
    /// The upstream's certificate does not prove its name.
    #[error("the upstream '{host}' cannot prove its name")]
    UpstreamUntrusted {
        /// The host.
        host: String,
    },
    /// The upstream's response is not well-formed, or ambiguous.
    #[error("the upstream's response is malformed: {reason}")]
    ResponseMalformed {
        /// What is wrong, with its source.
        reason: String,
    },
    /// A coding that could hide the value.
    #[error("the upstream used a content coding although identity was requested")]
    ResponseCoded,
}

impl Refusal {
    /// The stable code: what scripts and alerts match.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::CallerUnknown => "caller_unknown",
            Self::EnrolmentPending => "enrolment_pending",
            Self::EnrolmentRefused => "enrolment_refused",
            Self::PoliciesMissing => "policies_missing",
            Self::WireVersionUnknown => "wire_version_unknown",
            Self::RouteUnknown { .. } => "route_unknown",
            Self::RouteInvalid { .. } => "route_invalid",
            Self::SecretUnknown { .. } => "secret_unknown",
            Self::SharePending { .. } => "share_pending",
            Self::ShareRevoked { .. } => "share_revoked",
            Self::ShareExpired { .. } => "share_expired",
            Self::RecipientChanged { .. } => "recipient_changed",
            Self::HostNotApproved { .. } => "host_not_approved",
            Self::HostNotAName { .. } => "host_not_a_name",
            Self::PortNotApproved { .. } => "port_not_approved",
            Self::AddressNotApproved { .. } => "address_not_approved",
            Self::PlaceNotApproved { .. } => "place_not_approved",
            Self::EnvironmentUnset { .. } => "environment_unset",
            Self::KeySealed { .. } => "key_sealed",
            Self::OperatorUnreachable => "operator_unreachable",
            Self::AuditUnavailable => "audit_unavailable",
            Self::GrantLapsed => "grant_lapsed",
            Self::Overloaded => "overloaded",
            Self::RequestMalformed { .. } => "request_malformed",
            Self::UpstreamUnreachable { .. } => "upstream_unreachable",
            Self::UpstreamUntrusted { .. } => "upstream_untrusted",
            Self::ResponseMalformed { .. } => "response_malformed",
            Self::ResponseCoded => "response_coded",
        }
    }

    /// The HTTP status (RFC 9110, 15) it is answered with.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::RequestMalformed { .. } | Self::HostNotAName { .. } | Self::WireVersionUnknown => 400,
            Self::CallerUnknown
            | Self::EnrolmentRefused
            | Self::SecretUnknown { .. }
            | Self::ShareRevoked { .. }
            | Self::ShareExpired { .. }
            | Self::RecipientChanged { .. }
            | Self::HostNotApproved { .. }
            | Self::PortNotApproved { .. }
            | Self::AddressNotApproved { .. }
            | Self::PlaceNotApproved { .. } => 403,
            Self::RouteUnknown { .. } => 404,
            Self::EnvironmentUnset { .. } | Self::RouteInvalid { .. } => 500,
            Self::UpstreamUnreachable { .. }
            | Self::UpstreamUntrusted { .. }
            | Self::ResponseMalformed { .. }
            | Self::ResponseCoded => 502,
            Self::EnrolmentPending
            | Self::PoliciesMissing
            | Self::SharePending { .. }
            | Self::KeySealed { .. }
            | Self::OperatorUnreachable
            | Self::AuditUnavailable
            | Self::GrantLapsed
            | Self::Overloaded => 503,
        }
    }

    /// The body of an `application/problem+json` answer (RFC 9457) with our members `code` and `error`.
    #[must_use]
    pub fn problem(&self) -> String {
        problem(self.status(), self.code(), &self.to_string())
    }
}

/// The body of an `application/problem+json` answer (RFC 9457) with our members `code` and `error`.
#[must_use]
pub fn problem(status: u16, code: &str, error: &str) -> String {
    serde_json::json!({"type": "about:blank", "status": status, "code": code, "error": error}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Refusal> {
        let [route, secret, host, reason] = ["route", "secret", "a.example.com", "reason"].map(str::to_owned);
        vec![
            Refusal::CallerUnknown,
            Refusal::EnrolmentPending,
            Refusal::EnrolmentRefused,
            Refusal::PoliciesMissing,
            Refusal::WireVersionUnknown,
            Refusal::RouteUnknown { route: route.clone() },
            Refusal::RouteInvalid { route, field: "spec.upstream".into() },
            Refusal::SecretUnknown { secret: secret.clone() },
            Refusal::SharePending { secret: secret.clone() },
            Refusal::ShareRevoked { secret: secret.clone() },
            Refusal::ShareExpired { secret: secret.clone() },
            Refusal::RecipientChanged { secret: secret.clone() },
            Refusal::HostNotApproved { host: host.clone() },
            Refusal::HostNotAName { reason: reason.clone() },
            Refusal::PortNotApproved { port: 8443 },
            Refusal::AddressNotApproved { host: host.clone() },
            Refusal::PlaceNotApproved { place: "header authorization".into() },
            Refusal::EnvironmentUnset { secret: secret.clone(), environment: "staging".into() },
            Refusal::KeySealed { secret },
            Refusal::OperatorUnreachable,
            Refusal::AuditUnavailable,
            Refusal::GrantLapsed,
            Refusal::Overloaded,
            Refusal::RequestMalformed { reason: reason.clone() },
            Refusal::UpstreamUnreachable { host: host.clone() },
            Refusal::UpstreamUntrusted { host },
            Refusal::ResponseMalformed { reason },
            Refusal::ResponseCoded,
        ]
    }

    #[test]
    fn the_code_is_the_tag_on_the_wire() {
        for refusal in all() {
            let json = serde_json::to_value(&refusal).unwrap();
            assert_eq!(json["code"], refusal.code());
            assert_eq!(serde_json::from_value::<Refusal>(json).unwrap(), refusal);
        }
        assert!(serde_json::from_str::<Refusal>(r#"{"code":"something_newer"}"#).is_err());
    }

    #[test]
    fn each_code_and_status_is_documented() {
        let variants = include_str!("refusal.rs").matches("\n    #[error(").count();
        assert_eq!(all().len(), variants);
        let documented: Vec<String> = include_str!("../../docs/refusals.md")
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| line.split('|').take(3).collect::<Vec<_>>().join("|"))
            .collect();
        let rows = all()
            .iter()
            .map(|refusal| format!("| `{}` | {} ", refusal.code(), refusal.status()))
            .collect::<Vec<_>>();
        assert_eq!(documented, rows);
    }

    #[test]
    fn a_missing_environment_has_the_documented_sentence() {
        let refusal =
            Refusal::EnvironmentUnset { secret: "stripe_api_key".into(), environment: "staging".into() };
        let problem: serde_json::Value = serde_json::from_str(&refusal.problem()).unwrap();
        assert_eq!(problem["error"], "Secret 'stripe_api_key' not configured for environment 'staging'");
        assert_eq!(problem["status"], 500);
        assert_eq!(problem["code"], "environment_unset");
    }
}
