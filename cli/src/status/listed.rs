//! What a route asks of a share, beside what the share's owner listed. Pure, and by the types that decide calls.

use keylend_contract::{
    domain_lock::DomainLock,
    name::SecretName,
    place::{HeaderPlace, Places},
    refusal::Refusal,
    template::Template,
    upstream::{HTTPS_PORT, Ports, Upstream},
};
use keylend_crds::{Route, secret_share::UsePolicy};

/// Whether `policy` lists where `route` goes and where it puts the secret `name`. A field that cannot be read is passed
/// over here: it stands in the route's or the share's own Ready condition.
///
/// # Errors
/// The refusal that a call by this route would get.
pub(super) fn permit(route: &Route, name: &SecretName, policy: &UsePolicy) -> Result<(), Refusal> {
    let Ok(upstream) = route.spec.upstream.parse::<Upstream>() else { return Ok(()) };
    if let Ok(lock) = DomainLock::parse(&policy.domains) {
        lock.permit(upstream.host())?;
    }
    let ports = policy.ports.clone().unwrap_or_else(|| vec![HTTPS_PORT.into()]);
    let ports: Vec<u16> = ports.into_iter().filter_map(|port| u16::try_from(port).ok()).collect();
    if let Ok(ports) = Ports::try_from(ports) {
        ports.permit(upstream.port())?;
    }
    let places =
        Places::headers(policy.inject.headers.iter().filter_map(|header| header.parse().ok()).collect());
    for header in &route.spec.headers {
        let carries =
            header.value.parse::<Template>().is_ok_and(|value| value.secrets().any(|one| one == name));
        match header.name.parse::<HeaderPlace>() {
            Ok(place) if carries => places.permit(&place)?,
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_owner_did_not_list_is_named_as_a_call_would_hear_it() {
        let policy = |domain: &str, ports: Option<Vec<i32>>, header: &str| -> UsePolicy {
            serde_json::from_value(
                json!({"domains": [domain], "ports": ports, "inject": {"headers": [header]}}),
            )
            .unwrap()
        };
        let route: Route = serde_json::from_value(json!({
            "apiVersion": "keylend.dev/v1alpha1", "kind": "Route", "metadata": {"name": "stripe"},
            "spec": {
                "upstream": "https://api.example.com:8443", "environment": "production",
                "headers": [
                    {"name": "Authorization", "value": "Bearer {{secret:STRIPE_API_KEY}}"},
                    {"name": "X-Other", "value": "{{secret:other}}"},
                ],
            },
        }))
        .unwrap();
        // (policy, code)
        let table = [
            (policy("*.example.com", Some(vec![443, 8443]), "authorization"), None),
            (policy("example.com", Some(vec![8443]), "Authorization"), Some("host_not_approved")),
            (policy("api.example.com", None, "Authorization"), Some("port_not_approved")),
            (policy("api.example.com", Some(vec![8443]), "X-Other"), Some("place_not_approved")),
            (policy("*.com", Some(vec![8443]), "Authorization"), None),
        ];
        let name = "stripe-api-key".parse().unwrap();
        for (policy, code) in table {
            let refused = permit(&route, &name, &policy).err();
            assert_eq!(refused.map(|refusal| refusal.code()), code, "{:?}", policy.domains);
        }
    }
}
