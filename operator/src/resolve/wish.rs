//! What a call wants, as far as the recipient's own namespace says it: its route, and the shares its linked secrets name.
//!
//! Pure. The destination is fixed here, before any share is looked at. A name means a `Secret` of the route's own
//! namespace and nothing else; never add a way to name another namespace's.

use std::sync::Arc;

use keylend_contract::{
    environment::Environment, name::SecretName, place::HeaderPlace, refusal::Refusal, template::Template,
    upstream::Upstream,
};
use keylend_crds::{Route, RouteSpec, Secret, route::RouteHeader, secret::ShareReference};

/// The most secrets one route names: four of the largest policies are what one answer has room for.
pub const MAX_ROUTE_SECRETS: usize = 4;

/// A route whose every field was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedRoute {
    /// The one destination.
    pub upstream: Upstream,
    /// Which environment's values go in.
    pub environment: Environment,
    /// What is written where.
    pub headers: Vec<(HeaderPlace, Template)>,
    /// The secrets it names, each once, in the order of their first mention.
    pub secrets: Vec<SecretName>,
}

/// A field of a route that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {advice}")]
pub struct FieldError {
    /// Such as `spec.headers[0].value`.
    pub field: String,
    /// What is wrong, and what to write instead.
    pub advice: String,
}

/// What one call wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// The route's name.
    pub route: String,
    /// What it says.
    pub parsed: ParsedRoute,
    /// The shares that would have to permit it, one a secret, in the route's order.
    pub shares: Vec<WantedShare>,
}

/// A share that a linked secret stands for, as it was when the link was accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct WantedShare {
    /// The secret, as the route spells it.
    pub name: SecretName,
    /// Which share.
    pub pin: Pin,
    /// The service accounts it was for when the link last saw it; none, for every one of the namespace.
    pub service_accounts: Option<Vec<String>>,
}

/// A share by its place *and* its UID: another of the same name is another share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pin {
    /// Where it is.
    pub reference: ShareReference,
    /// Which it was when it was accepted.
    pub uid: String,
}

impl ParsedRoute {
    /// Parses every field of `spec`.
    ///
    /// # Errors
    /// [`FieldError`] for the first field that is not valid.
    pub fn parse(spec: &RouteSpec) -> Result<Self, FieldError> {
        let upstream = parse("spec.upstream", &spec.upstream)?;
        let environment = parse("spec.environment", &spec.environment)?;
        let mut headers: Vec<(HeaderPlace, Template)> = Vec::with_capacity(spec.headers.len());
        for (index, header) in spec.headers.iter().enumerate() {
            let parsed = parse_header(index, header)?;
            if headers.iter().any(|(place, _)| *place == parsed.0) {
                return Err(field(format!("spec.headers[{index}].name"), "a header is written once"));
            }
            headers.push(parsed);
        }
        let mut secrets: Vec<SecretName> = Vec::new();
        for name in headers.iter().flat_map(|(_, template)| template.secrets()) {
            if !secrets.contains(name) {
                secrets.push(name.clone());
            }
        }
        match secrets.len() {
            0 => Err(field("spec.headers", "a route writes at least one header with a secret")),
            1..=MAX_ROUTE_SECRETS => Ok(Self { upstream, environment, headers, secrets }),
            _ => Err(field("spec.headers", format!("a route names at most {MAX_ROUTE_SECRETS} secrets"))),
        }
    }

    /// The headers that carry `secret`.
    pub fn places_of(&self, secret: &SecretName) -> impl Iterator<Item = &HeaderPlace> {
        self.headers
            .iter()
            .filter(move |(_, template)| template.secrets().any(|name| name == secret))
            .map(|(place, _)| place)
    }
}

impl Wish {
    /// Reads the wish off the caller's own namespace: its `route`, and its secrets by `secret_named`.
    ///
    /// # Errors
    /// [`Refusal`]: the route is missing or not valid, a secret is missing or not accepted, an environment is unset.
    pub fn of(
        name: &str,
        route: Option<&Route>,
        secret_named: impl Fn(&SecretName) -> Option<Arc<Secret>>,
    ) -> Result<Self, Refusal> {
        let unknown = || Refusal::RouteUnknown { route: name.to_owned() };
        let route = route.filter(|route| route.metadata.deletion_timestamp.is_none()).ok_or_else(unknown)?;
        let parsed = ParsedRoute::parse(&route.spec)
            .map_err(|error| Refusal::RouteInvalid { route: name.to_owned(), field: error.field })?;
        let share = |name: &SecretName| accepted(name, secret_named(name).as_deref(), &parsed.environment);
        let shares = parsed.secrets.iter().map(share).collect::<Result<_, Refusal>>()?;
        Ok(Self { route: name.to_owned(), parsed, shares })
    }

    /// The shares to read.
    pub fn pins(&self) -> impl Iterator<Item = Pin> {
        self.shares.iter().map(|wanted| wanted.pin.clone())
    }
}

/// The share that `linked` stands for in `environment`: only one that was accepted, and as it was then. Where the link
/// names a UID itself, that of no other share will do.
fn accepted(
    name: &SecretName,
    linked: Option<&Secret>,
    environment: &Environment,
) -> Result<WantedShare, Refusal> {
    let unknown = || Refusal::SecretUnknown { secret: name.written().to_owned() };
    let linked = linked.filter(|secret| secret.metadata.deletion_timestamp.is_none()).ok_or_else(unknown)?;
    let link = linked.spec.link.as_ref().ok_or_else(unknown)?;
    let unset = || Refusal::EnvironmentUnset {
        secret: name.written().to_owned(),
        environment: environment.to_string(),
    };
    let wanted =
        link.shares.iter().find(|share| share.environment == environment.as_str()).ok_or_else(unset)?;
    let accepted = linked.accepted(wanted).ok_or_else(unknown)?;
    if wanted.uid.as_ref().is_some_and(|uid| *uid != accepted.uid) {
        return Err(Refusal::RecipientChanged { secret: name.written().to_owned() });
    }
    Ok(WantedShare {
        name: name.clone(),
        pin: Pin { reference: accepted.share_ref.clone(), uid: accepted.uid.clone() },
        service_accounts: accepted.service_accounts.clone(),
    })
}

fn parse_header(index: usize, header: &RouteHeader) -> Result<(HeaderPlace, Template), FieldError> {
    let place = parse(&format!("spec.headers[{index}].name"), &header.name)?;
    let template = parse(&format!("spec.headers[{index}].value"), &header.value)?;
    Ok((place, template))
}

fn parse<T: std::str::FromStr<Err: ToString>>(name: &str, text: &str) -> Result<T, FieldError> {
    text.parse().map_err(|error: T::Err| field(name, error.to_string()))
}

fn field(field: impl Into<String>, advice: impl Into<String>) -> FieldError {
    FieldError { field: field.into(), advice: advice.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> RouteSpec {
        RouteSpec {
            upstream: "https://api.example.com".into(),
            environment: "production".into(),
            headers: vec![header("Authorization", "Bearer {{secret:STRIPE_API_KEY}}")],
        }
    }

    fn header(name: &str, value: &str) -> RouteHeader {
        RouteHeader { name: name.into(), value: value.into() }
    }

    #[test]
    fn an_invalid_field_is_named() {
        type Change = fn(&mut RouteSpec);
        // (change, field)
        let table: [(Change, &str); 9] = [
            (|s| s.upstream = "https://API.example.com".into(), "spec.upstream"),
            (|s| s.upstream = "https://api.example.com/v1".into(), "spec.upstream"),
            (|s| s.environment = "Production".into(), "spec.environment"),
            (|s| s.headers = vec![], "spec.headers"),
            (|s| s.headers[0].name = "Host".into(), "spec.headers[0].name"),
            (|s| s.headers[0].value = "{{secret:a".into(), "spec.headers[0].value"),
            (|s| s.headers.push(header("x-key", "text")), "spec.headers[1].value"),
            (|s| s.headers.push(header("AUTHORIZATION", "{{secret:a}}")), "spec.headers[1].name"),
            (
                |s| s.headers.push(header("x-key", "{{secret:a}}{{secret:b}}{{secret:c}}{{secret:d}}")),
                "spec.headers",
            ),
        ];
        for (change, field) in table {
            let mut spec = spec();
            change(&mut spec);
            assert_eq!(ParsedRoute::parse(&spec).unwrap_err().field, field);
        }
    }

    #[test]
    fn three_spellings_are_one_secret_and_its_places_are_all_found() {
        let mut spec = spec();
        spec.headers.push(header("x-key", "{{secret:stripe-api-key}}"));
        spec.headers.push(header("x-other", "{{secret:other}}"));
        let route = ParsedRoute::parse(&spec).unwrap();
        let written: Vec<_> = route.secrets.iter().map(SecretName::written).collect();
        assert_eq!(written, ["STRIPE_API_KEY", "other"]);
        let places: Vec<_> = route.places_of(&route.secrets[0]).map(HeaderPlace::as_str).collect();
        assert_eq!(places, ["authorization", "x-key"]);
    }
}
